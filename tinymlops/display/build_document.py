"""What a document tells of a build of a training set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tinymlops.display.feature_facts import feature_facts
from tinymlops.display.model_document import baseline_of_model
from tinymlops.features.definitions.specs import decode
from tinymlops.features.history.reproducing import reproduce
from tinymlops.features.history.training_sets import read_manifest
from tinymlops.features.law.pages import about_said, facts_of
from tinymlops.records import LoggedModel, ModelVersion, RunRow
from tinymlops.registry.catalog import Catalog
from tinymlops.times import from_micros

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.records import Definition, TrainingSetBuild

__all__ = ["build_values"]

_RUNS = 50
_SAMPLE = 20


class _Sample(NamedTuple):
    """Rows of a build that was made again."""

    columns: list[str]
    are_numbers: list[bool]
    rows: list[tuple[Any, ...]]
    is_same: bool
    """Whether its content is what it was."""


def build_values(context: Context, record: TrainingSetBuild, *, rows: bool) -> dict[str, Any]:
    """Return what the template of a build names.

    Args:
        context: The workspace's state.
        record: The build.
        rows: Whether with a sample of its rows, for which it is built again, and with values in its distributions.
    """
    database = context.environment.database
    manifest = read_manifest(context, record)
    recipe = manifest.recipe
    catalog = Catalog(context.scope)
    definitions = [*catalog.built_with(manifest.definitions), *catalog.variants_in(manifest.definitions)]
    trained = database.list(LoggedModel, where={"training_set": record.id}, order="at")
    baseline = next((found for one in reversed(trained) if (found := baseline_of_model(context, one))), None)
    runs = database.list(RunRow, where={"training_set": record.id}, order="-started_at", limit=_RUNS + 1)
    named = sorted({one.run for one in trained})
    return {
        "build": record,
        "manifest": manifest,
        "recipe": recipe,
        "report": manifest.report,
        "complete_until": from_micros(recipe.complete_until),
        "test_from": None if recipe.test_from is None else from_micros(recipe.test_from),
        "about": recipe.training_set.description,
        "owner": about_said(recipe.training_set).owner,
        "label": _told(definitions, "label", recipe.training_set.label),
        "spine": _told(definitions, "source", recipe.training_set.spine),
        "definitions": definitions,
        "features": feature_facts(manifest.signature.features, definitions, baseline, rows=rows),
        "has_distributions": baseline is not None,
        "in_place": [(one.source, one.rows, len(one.files)) for one in manifest.in_place],
        "runs": [one for one in runs[:_RUNS] if one.deleted_at is None],
        "has_more": len(runs) > _RUNS,
        "models": database.list(ModelVersion, where={"run": named}, order="name") if named else [],
        "sample": _sample(context, record) if rows else None,
    }


def _told(definitions: list[Definition], kind: str, name: str) -> dict[str, str]:
    """Return what is told of a definition that the build was made with, as it was."""
    found = next((one for one in definitions if (one.kind, one.name) == (kind, name)), None)
    if found is None:
        return {}
    spec = decode(msgspec.json.encode(found.spec))
    return {"about": spec.description, "owner": about_said(spec).owner, **facts_of(spec)}


def _sample(context: Context, record: TrainingSetBuild) -> _Sample:
    """Build it again, and return rows that lie evenly in it."""
    import polars as pl

    data = reproduce(context, record)
    parts = [one for one in (data.train, data.test) if one is not None]
    # A request field is a column of the spine and a feature: it is shown once.
    whole = pl.concat([one.spine.with_columns(*one.X.get_columns(), one.y) for one in parts])
    step = max(1, -(-whole.height // _SAMPLE))
    taken: pl.DataFrame = whole.gather_every(step)
    kinds = [dtype.is_numeric() for dtype in taken.dtypes]
    return _Sample(taken.columns, kinds, taken.rows(), data.fingerprint == record.fingerprint)
