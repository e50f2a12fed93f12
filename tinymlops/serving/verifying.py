"""`verify_online`: recompute the features of predictions from history and check that they are the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import EntitySpec, SourceSpec, ViewSpec
from tinymlops.features.history.historical import features_for
from tinymlops.features.history.stored import stored_rows
from tinymlops.progress import progress
from tinymlops.records import Prediction
from tinymlops.registry.predictions import sequences_read_at, versions_logged
from tinymlops.serving.model import Model, load_version
from tinymlops.serving.prediction import features_of
from tinymlops.serving.request import json_rows, read_rows
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.registry.models import Models

__all__ = ["Mismatch", "VerifiedOnline", "verify_online"]

_SHOWN = 20


class Mismatch(msgspec.Struct, frozen=True):
    """One feature of one prediction that history does not confirm."""

    prediction_id: str
    feature: str
    logged: Any
    recomputed: Any


class VerifiedOnline(msgspec.Struct, frozen=True):
    """The result of recomputing logged features."""

    predictions: int
    features: int
    """Values compared."""
    mismatches: dict[str, int]
    """`model:version feature` to the number of its values that differ: empty if none does."""
    examples: list[Mismatch]
    """The first mismatches."""

    @property
    def same(self) -> bool:
        """Whether all features are confirmed."""
        return not self.mismatches

    def __repr__(self) -> str:
        told = ", ".join(f"{feature}: {count:,}" for feature, count in self.mismatches.items())
        return (
            f"<{self.predictions:,} predictions, {self.features:,} features recomputed: "
            f"{f'MISMATCHES in {told}' if told else 'all the same'}>"
        )


def verify_online(context: Context, models: Models, *, since: int | None = None) -> VerifiedOnline:
    """Recompute the features of logged predictions at their `t` and `Q` and compare them, bit for bit.

    Predictions for which full rows of features were sent read nothing, and are skipped.

    Args:
        context: The workspace's state.
        models: The registry.
        since: Only predictions from this time on, microseconds UTC; None for all.

    Raises:
        DefinitionError: If Python code that a model depends on has changed or is gone.
        NotFoundError: If rows that a prediction was made from are no longer kept.
    """
    # These counts come from an index; the predictions themselves are read with their checksums.
    groups = versions_logged(context.environment.database, since=_start(since))
    total = sum(count for _, _, count in groups)
    compared, wrong, examples = 0, Counter[str](), []
    with progress("recomputing predictions", total) as advance:
        for name, version, _ in groups:
            model = load_version(context, models, models.get(f"{name}:{version}"))
            past = _Past(model.context(context))
            for logged in _by_sequence(context, model, since):
                for mismatch in _compared(past, model, logged):
                    wrong[f"{model} {mismatch.feature}"] += 1
                    examples.append(mismatch)
                compared += len(logged) * len(model.signature.features)
                advance(len(logged))
    return VerifiedOnline(total, compared, dict(wrong), examples[:_SHOWN])


def _start(since: int | None) -> int:
    return -(2**63) if since is None else since


def _by_sequence(context: Context, model: Model, since: int | None) -> Iterator[list[Prediction]]:
    """Yield the predictions of a version that were made at one sequence, for each sequence."""
    database = context.environment.database
    for sequence in sequences_read_at(database, model.name, model.version, since=_start(since)):
        rows = database.list(
            Prediction, where={"model": model.name, "version": model.version, "sequence": sequence}, order="at"
        )
        yield [row for row in rows if to_micros(row.at) >= _start(since)]


def _compared(past: _Past, model: Model, logged: Sequence[Prediction]) -> Iterator[Mismatch]:
    sequence = logged[0].sequence
    assert sequence is not None, "only predictions that read features are compared"
    request = read_rows(model, [row.request for row in logged])
    time = np.array([to_micros(row.at) for row in logged], np.int64)
    asked = model.training_set
    table = features_for(
        past.context,
        request,
        time,
        asked.features,
        spine_source=asked.spine,
        as_of=sequence,
        rows=lambda reader, view, keys: past.rows(reader, view, keys, sequence),
    )
    recomputed = json_rows(features_of(model, request.with_columns(*table.columns.values())))
    for row, values in zip(logged, recomputed, strict=True):
        for feature, value in values.items():
            if row.features.get(feature) != value:
                yield Mismatch(row.id, feature, row.features.get(feature), value)


class _Past:
    """The rows of views as of any sequence; a source is read once."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._newest: dict[tuple[Definitions, str], pl.DataFrame] = {}

    def rows(self, reader: Context, view: ViewSpec, keys: Sequence[pl.Series], sequence: int) -> pl.DataFrame:
        """Return the rows of a view's source that have one of these keys."""
        definitions = reader.definitions
        source = definitions.get(SourceSpec, view.source)
        if graph.origin(definitions, source).inputs:  # rebuilt: its rows are not the earlier ones plus new ones
            found = stored_rows(reader, source.name, as_of=sequence)
        else:
            name = (definitions, source.name)
            if name not in self._newest:
                self._newest[name] = stored_rows(reader, source.name)
            every = self._newest[name]
            found = every.filter(every["__sequence"] <= sequence)
        return _with_keys(found, definitions.key_columns(definitions.get(EntitySpec, view.entity), source), keys)


def _with_keys(rows: pl.DataFrame, columns: Sequence[str], keys: Sequence[pl.Series]) -> pl.DataFrame:
    """Leave out rows that no read of these keys can see, if equal keys are equal values."""
    import polars as pl

    wanted = pl.DataFrame([key.alias(column) for key, column in zip(keys, columns, strict=True)]).unique()
    if any(wanted.schema[name] != rows.schema.get(name) or wanted.schema[name].is_float() for name in columns):
        return rows
    return rows.join(wanted, on=columns, how="semi", maintain_order="left")
