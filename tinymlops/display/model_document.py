"""What a document tells of a version of a model, and of the versions beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.display.feature_facts import feature_facts
from tinymlops.display.measured import MeasuredMetric, measured
from tinymlops.records import LoggedModel, ModelVersion, Note, Outcome
from tinymlops.registry.predictions import newest_predictions
from tinymlops.training.baseline import Baseline, read_baseline

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.records import Prediction, Signature
    from tinymlops.registry.models import Models
    from tinymlops.stores.database import Database

__all__ = ["baseline_of_model", "model_values"]

_MOVES = 100
_VERSIONS = 50
_PREDICTIONS = 20
_LATEST = (2**62, 2**62)


class _Version(NamedTuple):
    record: ModelVersion
    metrics: list[MeasuredMetric]
    aliases: list[str]
    note: str


def model_values(context: Context, models: Models, version: ModelVersion, *, rows: bool) -> dict[str, Any]:
    """Return what the template of a model names.

    Args:
        context: The workspace's state.
        models: Those that are registered.
        version: The one that is told of.
        rows: Whether with values of rows: names of classes and categories, and predictions.
    """
    database = context.environment.database
    manifest = models.manifest(version)
    aliases = models.aliases(version.name)
    notes = database.list(Note, where={"kind": "model", "name": version.name}, order="id")
    versions, moves = list(reversed(models.versions(version.name))), models.moves(version.name)
    predictions = _predictions(database, version) if rows else []
    signature = manifest.model.signature
    definitions = [*manifest.definitions, *manifest.variants]
    return {
        "version": version,
        "manifest": manifest,
        "model": manifest.model,
        "aliases": [one.alias for one in aliases if one.version == version.version],
        "metrics": measured(manifest.model.evaluation),
        "notes": [one for one in notes if one.version == version.version],
        "versions": [_version(database, one, aliases, notes) for one in versions[:_VERSIONS]],
        "more_versions": max(0, len(versions) - _VERSIONS),
        "moves": moves[:_MOVES],
        "more_moves": max(0, len(moves) - _MOVES),
        "features": feature_facts(
            signature.features, definitions, baseline_of_model(context, manifest.model), rows=rows
        ),
        "classes": _classes(signature, rows=rows),
        "predictions": predictions,
        "outcomes": _outcomes(database, predictions),
    }


def baseline_of_model(context: Context, model: LoggedModel) -> Baseline | None:
    """Return the distributions of the training rows of a model; None if they are not kept."""
    if model.baseline_sha256 is None:
        return None
    return read_baseline(context.environment.blobs.read(model.baseline_sha256))


def _version(database: Database, record: ModelVersion, aliases: list[Any], notes: list[Note]) -> _Version:
    logged = database.get(LoggedModel, run=record.run, name=record.logged_name)
    own = [one.text for one in notes if one.version == record.version]
    pointing = [one.alias for one in aliases if one.version == record.version]
    return _Version(record, measured(None if logged is None else logged.evaluation), pointing, own[-1] if own else "")


def _classes(signature: Signature, *, rows: bool) -> str:
    """Return the classes of the label in words; what they are called, somebody's row may have held."""
    classes = signature.classes
    if classes is None:
        return ""
    if rows or all(isinstance(one, bool | int) for one in classes):
        return ", ".join(map(str, classes))
    return f"{len(classes)} classes, whose names are left out"


def _predictions(database: Database, version: ModelVersion) -> list[Prediction]:
    found = newest_predictions(database, version.name, version.version, before=_LATEST, limit=_PREDICTIONS)
    return [one.prediction for one in found]


def _outcomes(database: Database, predictions: list[Prediction]) -> dict[str, Outcome]:
    if not predictions:
        return {}
    found = database.list(Outcome, where={"prediction_id": [one.id for one in predictions]})
    return {one.prediction_id: one for one in found}
