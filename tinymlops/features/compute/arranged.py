"""A source's rows arranged by an entity's key, and the values of expressions over them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DataError, near
from tinymlops.features.compute.deletes import in_a_window
from tinymlops.features.compute.evaluating import TooGreatError, Values, evaluate
from tinymlops.features.compute.operands import kind_taken, not_finite, operand_values
from tinymlops.features.definitions.expressions import Aggregate, Operand, columns_of
from tinymlops.features.join.record_times import delay_micros
from tinymlops.kernels import windows
from tinymlops.kernels.records import FOREVER, NEVER, TOMBSTONE, VALUE, Records, arrange, available_from
from tinymlops.keys import encode
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["ALWAYS", "History", "arrange_rows", "available_at", "history_of", "key_columns", "numbered"]

Array = np.ndarray[Any, Any]

ALWAYS = NEVER + 1
"""The event time of rows that have none: before every spine time."""


class History:
    """A source's rows arranged by an entity's key, with the operands of expressions computed once each.

    Args:
        source: Their source, for errors.
        records: n arranged rows.
        rows: The user's columns of these rows.
        order: int64[n]: arranged row i is `rows[order[i]]`; None if they are in that order already.
        spine_key: int64[m]: the key of each spine row among those of the records, -1 for none.
    """

    def __init__(
        self, source: SourceSpec, records: Records, rows: pl.DataFrame, order: Array | None, spine_key: Array
    ) -> None:
        self.source = source
        self.records = records
        self.order = order
        self.spine_key = spine_key
        self.timeline = windows.Timeline(records)
        self.not_finite: dict[str, int] = {}
        """Feature to the number of values that are null because the result is NaN or infinite; only features with any."""
        self._rows = rows
        self._lost: dict[bytes, int] = {}
        self._series: dict[bytes, pl.Series] = {}
        self._operands: dict[bytes, windows.Operand] = {}

    @cached_property
    def is_value(self) -> Array:
        """bool[n]: False for deletes."""
        values: Array = self.records.kind == VALUE
        return values

    def require_named_deletes(self, name: str) -> None:
        """Refuse a window over deletes that name no event.

        Raises:
            DataError: If there is one, with its time.
        """
        if self.is_value.all():
            return
        nameless = np.flatnonzero(self.records.kind == TOMBSTONE)
        if nameless.size:
            moment = from_micros(int(self.records.event[nameless[0]])).isoformat()
            raise in_a_window(self.source, f"at {moment}", f"feature {name!r}")

    def require_values(self, name: str, feature: Aggregate) -> None:
        """Compute the operands of a feature.

        Raises:
            DataError: As `series` does, naming the feature.
        """
        for operand in (feature.operand, feature.where):
            if operand is not None:
                self.series(operand, feature=name)
                self.lose(name, self._lost.get(msgspec.json.encode(operand), 0))

    def lose(self, name: str, count: int) -> None:
        """Count values of a feature that are null because the result is not finite."""
        if count:
            self.not_finite[name] = self.not_finite.get(name, 0) + count

    def series(self, operand: Operand, *, feature: str | None = None) -> pl.Series:
        """Return an operand's value for each arranged row, computed once.

        Args:
            operand: The expression.
            feature: Its feature, for errors.

        Raises:
            DataError: If it names an unknown column, mixes types, or has an integer that does not fit 64 bits.
        """
        name = msgspec.json.encode(operand)
        if name not in self._series:
            unknown = columns_of(operand) - set(self._rows.columns)
            if unknown:
                column = min(unknown)
                known = [known for known in self._rows.columns if not known.startswith("__")]
                raise DataError(f"source {self.source.name!r} has no column {column!r}", hint=near(column, known))
            where = "" if feature is None else f" in feature {feature!r}"
            try:
                values = self._evaluated(operand)
            except TooGreatError as error:
                moment = from_micros(int(self.records.event[error.args[0]])).isoformat()
                raise DataError(
                    f"{operand!r} over source {self.source.name!r}{where} does not fit 64 bits in the row of {moment}",
                    hint="make one side a float, for example by * 1.0",
                ) from error
            except pl.exceptions.PolarsError as error:
                raise DataError(
                    f"an expression over source {self.source.name!r}{where} cannot be computed: {error}",
                    hint="check the types of its columns",
                ) from error
            self._series[name], self._lost[name] = values
        return self._series[name]

    def _evaluated(self, operand: Operand) -> Values:
        if self.order is None:
            return evaluate(operand, self._rows)
        try:
            values = evaluate(operand, self._rows)
        except TooGreatError:  # perhaps in a row without a key, which is never read
            return evaluate(operand, self._rows.select(columns_of(operand))[self.order])
        return values._replace(series=values.series.gather(self.order))

    def keep(self, aggregate: Aggregate) -> Array | None:
        """Return bool[n], the rows an aggregate may take; None for all."""
        parts = []
        if aggregate.where is not None:
            parts.append(self.series(aggregate.where).fill_null(value=False).to_numpy())
        if aggregate.skip_nulls and aggregate.operand is not None:
            parts.append(self.series(aggregate.operand).is_not_null().to_numpy())
        return np.logical_and.reduce(parts) if parts else None

    def operand(self, aggregate: Aggregate) -> windows.Operand:
        """Return an aggregate's values, prepared once for all windows.

        Raises:
            DataError: If its function does not accept them, or one is infinite.
        """
        kind = kind_taken(aggregate)
        name = msgspec.json.encode((kind, aggregate.operand, aggregate.where))
        if name not in self._operands:
            valid = self.is_value.copy()
            if aggregate.where is not None:
                valid &= self.series(aggregate.where).fill_null(value=False).to_numpy()
            if aggregate.operand is None:
                values = np.zeros(len(valid), np.int64)
            else:
                series = self.series(aggregate.operand)
                if series.dtype.is_float() and series.is_nan().any():
                    series = series.fill_nan(None)
                if series.null_count():
                    valid &= series.is_not_null().to_numpy()
                values = operand_values(series, aggregate, self.source.name)
            if kind == "times":
                values = self.records.event
            self._operands[name] = self._prepare(values, valid, aggregate)
        return self._operands[name]

    def _prepare(self, values: Array, valid: Array, aggregate: Aggregate) -> windows.Operand:
        try:
            return windows.Operand(self.timeline, values, valid)
        except ValueError as error:
            event = int(self.records.event[int(error.args[0])])
            raise not_finite(aggregate, self.source.name, event) from error


def history_of(
    rows: pl.DataFrame,
    source: SourceSpec,
    key: Sequence[str],
    spine_keys: Sequence[pl.Series],
    *,
    outcome: bool = False,
) -> History:
    """Arrange a source's rows for the keys of a spine.

    Args:
        rows: The user's columns, and `__event`, `__created`, `__sequence`, `__deleted`.
        source: Their source: by rule 5, rows with a created time are known only from then on; for a pushed row that is
            the time of its commit.
        key: Its key columns.
        spine_keys: The spine's key columns, m rows each.
        outcome: Read as a label does: the final version of every row, known from the start.

    Raises:
        DataError: If a key column is missing, or its type is not the spine's.
    """
    columns = key_columns(rows, source, key)
    spine_key, codes, keys = encode(spine_keys, columns, key)
    records, order = arrange_rows(rows, source, codes, keys, outcome=outcome)
    return History(source, records, rows, order, spine_key)


def key_columns(rows: pl.DataFrame, source: SourceSpec, key: Sequence[str]) -> list[pl.Series]:
    """Return a source's key columns.

    Raises:
        DataError: If one is missing.
    """
    for column in key:
        if column not in rows.columns:
            raise DataError(
                f"source {source.name!r} has no key column {column!r}",
                hint=f'{near(column, rows.columns)} If it has another name there: keys={{"{column}": "..."}}',
            )
    return [rows[column] for column in key]


def arrange_rows(
    rows: pl.DataFrame, source: SourceSpec, codes: Array, keys: int, *, outcome: bool
) -> tuple[Records, Array]:
    """Arrange a source's rows by their keys, as `tinymlops.kernels.records.arrange` does."""
    event = rows["__event"].fill_null(ALWAYS).to_numpy()
    seen = np.full(rows.height, ALWAYS, np.int64) if outcome else available_at(rows, source, event)
    created = rows["__created"]
    observed = source.knowledge == "observed" and not outcome and created.null_count() < rows.height
    return arrange(
        codes,
        event,
        seen,
        None if created.null_count() == rows.height else created.fill_null(NEVER).to_numpy(),
        rows["__sequence"].to_numpy(),
        keys=keys,
        ids=numbered(rows[source.id]) if source.id else None,
        deleted=rows["__deleted"].to_numpy() if rows["__deleted"].any() else None,
        # An observed change counts from then on, even if its event time is in the future.
        replaces=created.fill_null(pl.Series(seen)).to_numpy() if observed else None,
    )


def available_at(rows: pl.DataFrame, source: SourceSpec, event: Array) -> Array:
    """Return int64[n], when each row can first be known (rules 3 and 5)."""
    if source.timestamp is None:
        return event
    wait: int | Array = source.delay
    if source.delay_column is not None:
        wait = delay_micros(rows[source.delay_column], of=f" of source {source.name!r}")
    if source.knowledge == "latest":
        return available_from(event, wait)
    # A row without a created time was never known by event, and is not a correction where these are observed.
    unknown = FOREVER if source.knowledge == "event" else NEVER
    return available_from(event, wait, rows["__created"].fill_null(unknown).to_numpy())


def numbered(ids: pl.Series) -> Array:
    """Number event ids; -1 for null, which replaces nothing."""
    codes = ids.rank("dense").cast(pl.Int64) - 1
    return codes.fill_null(-1).to_numpy()
