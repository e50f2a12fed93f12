"""Outcomes: logged by a user for a prediction id, or computed from the label's source once they are mature."""

from __future__ import annotations

import math
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from tinymlops._python_values import plain_value
from tinymlops._texts import is_written_as_text
from tinymlops.errors import DataError, near
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import EntitySpec, LabelSpec, SourceSpec
from tinymlops.features.history.labels import complete_until, outcomes_of
from tinymlops.features.history.stored import known_columns, state_of
from tinymlops.frames import Frame, to_polars
from tinymlops.records import Outcome
from tinymlops.registry.predictions import ids_known, ids_with_outcome, without_outcome
from tinymlops.schema import parse_dtype
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tinymlops.features.context import Context
    from tinymlops.serving.model import Model
    from tinymlops.stores.transaction import Transaction

__all__ = ["OutcomeReport", "collect_outcomes", "log_outcomes", "mature_outcomes"]

_COLUMNS = ("prediction_id", "value")


class OutcomeReport(msgspec.Struct, frozen=True):
    """The result of logging outcomes."""

    outcomes: int
    """How many were stored, one for each prediction id."""
    unknown: int
    """How many are for unknown predictions: kept, and joined once the prediction is stored."""
    replaced: int
    """How many replaced an earlier one."""


def log_outcomes(context: Context, rows: Frame) -> OutcomeReport:
    """Store outcomes; a second one for the same prediction replaces the first.

    Args:
        context: The workspace's state.
        rows: `prediction_id` (text) and `value` (a number, a boolean, text, or null where there is no outcome): any
            table, or a list of dicts. Other columns are passed over.

    Raises:
        DataError: If a column is missing or has the wrong type; then nothing is stored.
    """
    values = _read(rows)
    at = context.clock()

    def store(tx: Transaction) -> OutcomeReport:
        known = ids_known(tx, values)
        replaced = ids_with_outcome(tx, values)
        for identifier, value in values.items():
            tx.put(Outcome(prediction_id=identifier, value=value, at=at, origin="logged"))
        report = OutcomeReport(len(values), len(values) - len(known), len(replaced))
        if values:
            tx.audit("outcomes.log", "outcomes", **msgspec.structs.asdict(report))
        return report

    return context.scope.write_together(store)


def mature_outcomes(context: Context, model: Model) -> dict[str, float | str | None]:
    """Compute the label for every logged prediction of a version that has no outcome and whose window is mature.

    The definitions are those that the model was trained with. The label's entity key comes from the request, so a
    prediction that was sent without it is left alone. Nothing is stored.

    Args:
        context: The workspace's state.
        model: The model.

    Returns:
        Prediction id to outcome; None where there is none.
    """
    pinned = model.context(context)
    label = pinned.definitions.get(LabelSpec, model.training_set.label)
    waiting = _waiting(pinned, model, label)
    if not waiting.height:
        return {}
    complete = complete_until(pinned, label)
    outcome, mature = outcomes_of(pinned, label, waiting, waiting["at"].to_numpy(), complete=complete)
    found = waiting.select("id", outcome.alias("value")).filter(mature)
    return {identifier: _value(value) for identifier, value in found.iter_rows()}


def collect_outcomes(context: Context, model: Model) -> int:
    """Store the outcomes that `mature_outcomes` computes.

    Args:
        context: The workspace's state.
        model: The model.

    Returns:
        How many outcomes were stored, those without a value included.
    """
    values = mature_outcomes(context, model)
    if not values:
        return 0
    at = context.clock()
    with context.scope.write(audit="inside") as tx:
        # An outcome that was logged meanwhile takes precedence.
        for identifier in ids_with_outcome(tx, values):
            del values[identifier]
        tx.insert_many(
            Outcome(prediction_id=identifier, value=value, at=at, origin="label")
            for identifier, value in values.items()
        )
        if values:
            tx.audit("outcomes.collect", str(model), outcomes=len(values))
    return len(values)


def _read(rows: Frame) -> dict[str, Any]:
    """Return the value of each prediction id, the last one of each."""
    # A frame would give all values of a list one type: 1 beside "late" would become "1".
    listed = rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else _listed(rows)
    values = {}
    for number, row in enumerate(listed):
        for column in _COLUMNS:
            if column not in row:
                raise DataError(f"there is no column {column!r} in row {number}", hint=near(column, map(str, row)))
        identifier = row["prediction_id"]
        if not isinstance(identifier, str) or not identifier:
            raise DataError(
                f"prediction_id is {identifier!r} in row {number}", hint="send the `id` of a prediction, which is text"
            )
        values[identifier] = _checked(plain_value(row["value"]), number)
    return values


def _listed(rows: Frame) -> Iterable[Mapping[str, Any]]:
    frame = to_polars(rows)
    for column in _COLUMNS:
        if column not in frame.columns:
            raise DataError(f"there is no column {column!r}", hint=near(column, frame.columns))
    return frame.select(_COLUMNS).iter_rows(named=True)


def _checked(value: Any, row: int) -> float | str | None:
    if isinstance(value, bool | int | float | str | None) and not (isinstance(value, float) and math.isinf(value)):
        return _value(value)
    raise DataError(
        f"value is {value!r} ({type(value).__name__}) in row {row}",
        hint="send a finite number, a boolean, text, or null where there is no outcome",
    )


def _value(value: Any) -> float | str | None:
    """Return the stored form of an outcome: a boolean as 0 or 1, NaN as null."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    known: float | str | None = value
    return known


def _waiting(context: Context, model: Model, label: LabelSpec) -> pl.DataFrame:
    """Return `id`, `at` and the label's key of each prediction without an outcome whose window is over."""
    definitions = context.definitions
    entity = definitions.get(EntitySpec, label.entity)
    ended = context.now() - label.gap - label.horizon
    database = context.environment.database
    found = without_outcome(database, model.name, model.version, until=ended, fields=entity.key)
    rows = [(one.id, to_micros(one.at), *key) for one, key in found]
    columns = list(zip(*rows, strict=True)) or [()] * (2 + len(entity.key))
    dtypes = _key_dtypes(context, entity, definitions.get(SourceSpec, label.source))
    keys = [_sent_key(name, values, dtype) for name, values, dtype in zip(entity.key, columns[2:], dtypes, strict=True)]
    frame = pl.DataFrame([pl.Series("id", columns[0], pl.String), pl.Series("at", columns[1], pl.Int64), *keys])
    return frame.drop_nulls()


def _sent_key(name: str, values: Sequence[Any], dtype: pl.DataType | None) -> pl.Series:
    """Return a part of the keys of logged requests, which are JSON."""
    if dtype == pl.Binary:
        values = [None if value is None else b64decode(value) for value in values]
    if dtype is None or is_written_as_text(dtype):  # stored as text: the lookup of the key parses it
        return pl.Series(name, values, strict=False)
    return pl.Series(name, values, dtype=dtype, strict=False)


def _key_dtypes(context: Context, entity: EntitySpec, source: SourceSpec) -> list[pl.DataType | None]:
    """Return the types of an entity's key at a source; None if only the rows themselves would show them."""
    names = context.definitions.key_columns(entity, source)
    origin = graph.origin(context.definitions, source)
    known = known_columns(origin, state_of(context, origin.name))
    return [parse_dtype(known[name]) if name in known else None for name in names]
