"""The features of one view for spine rows: the one place where the point-in-time rule meets expressions.

Training sets, historical reads and labels come through here; every time is int64 microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from tinymlops._status import Status
from tinymlops.errors import DataError, near
from tinymlops.features.definitions.expressions import Aggregate, Operand, aggregates_in, columns_of, feature_of
from tinymlops.features.history.combining import combined
from tinymlops.features.history.deletes import in_a_window
from tinymlops.features.history.evaluating import TooGreatError, Values, evaluate
from tinymlops.features.history.gathering import gather
from tinymlops.features.history.record_times import delay_micros
from tinymlops.kernels import asof, windows
from tinymlops.kernels.records import FOREVER, NEVER, TOMBSTONE, VALUE, Records, arrange
from tinymlops.keys import encode
from tinymlops.times import format_duration, from_micros

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = [
    "ALWAYS",
    "History",
    "arrange_rows",
    "available_at",
    "cell_statuses",
    "compute",
    "history_of",
    "kept_rows",
    "key_columns",
    "not_finite",
    "operand_values",
    "statuses",
    "too_great",
    "window_statuses",
]

Array = np.ndarray[Any, Any]

ALWAYS = NEVER + 1
"""The event time of rows that have none: before every spine time."""

_STATUSES = pl.Series([status.name for status in Status], dtype=pl.Enum([status.name for status in Status]))


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
        """Feature to how many values are null because what was computed is NaN or infinite; of those that have any."""
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
        """Compute what a feature reads of the rows.

        Raises:
            DataError: As `series` does, naming the feature.
        """
        for operand in (feature.operand, feature.where):
            if operand is not None:
                self.series(operand, feature=name)
                self.lose(name, self._lost.get(msgspec.json.encode(operand), 0))

    def lose(self, name: str, count: int) -> None:
        """Count values of a feature that are null because what was computed is not finite."""
        if count:
            self.not_finite[name] = self.not_finite.get(name, 0) + count

    def series(self, operand: Operand, *, feature: str | None = None) -> pl.Series:
        """Return an operand's value for each arranged row, computed once.

        Args:
            operand: The expression.
            feature: Whose it is, for errors.

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
        except TooGreatError:  # perhaps in a row that belongs to no key, which nobody reads
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
        """Return an aggregate's values prepared for windows, once for all of them.

        Raises:
            DataError: If they are not what its function takes, or infinite.
        """
        kind = _KINDS.get(aggregate.function, "numbers")
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
        source: Their source: by rule 5, rows with a created time are known only from then on, and a pushed row's
            is the time of its commit.
        key: Its key columns.
        spine_keys: The spine's key columns, m rows each.
        outcome: Read as a label does: the final version of every row, from the beginning of time.

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
    available = np.full(rows.height, ALWAYS, np.int64) if outcome else available_at(rows, source, event)
    created = rows["__created"]
    observed = source.knowledge == "observed" and not outcome and created.null_count() < rows.height
    return arrange(
        codes,
        event,
        available,
        None if created.null_count() == rows.height else created.fill_null(NEVER).to_numpy(),
        rows["__sequence"].to_numpy(),
        keys=keys,
        ids=_codes(rows[source.id]) if source.id else None,
        deleted=rows["__deleted"].to_numpy() if rows["__deleted"].any() else None,
        # What is observed to have changed is so from then on, also if the event it has now is still to come.
        replaces=created.fill_null(pl.Series(available)).to_numpy() if observed else None,
    )


def compute(
    history: History,
    features: Mapping[str, Aggregate],
    time: Array,
    *,
    strict: bool,
    ttl: int | None,
) -> dict[str, pl.Series]:
    """Compute features for spine rows.

    Args:
        history: The rows, arranged for the spine's keys.
        features: Name to expression.
        time: int64[m] spine times.
        strict: Whether a row known at the spine time itself is left out; windows always leave it out.
        ttl: Greatest age of a value without a window.

    Returns:
        Name to m values.

    Raises:
        DataError: If a sum does not fit its type, naming key row and time, or a window has deletes without id.
    """
    aggregates = aggregates_in(features)
    for name, aggregate in aggregates.items():
        if aggregate.window is not None:
            history.require_named_deletes(feature_of(name))
        history.require_values(feature_of(name), aggregate)
    columns = _picks(history, aggregates, time, strict=strict, ttl=ttl)
    windowed = {name: aggregate for name, aggregate in aggregates.items() if name not in columns}
    if windowed:
        columns |= _reductions(history, windowed, time)
    for name, feature in features.items():
        if feature.parts is not msgspec.UNSET:
            parts = [columns[f"{name}:{place}"] for place in range(len(feature.parts))]
            values, lost = combined(name, feature, parts, time)
            columns[name] = values.alias(name)
            history.lose(name, lost)
    return {name: columns[name] for name in features}


def _reductions(history: History, features: Mapping[str, Aggregate], time: Array) -> dict[str, pl.Series]:
    """Reduce windows; features of one operand and window share what they have in common."""
    spine = windows.Spine(history.timeline, history.spine_key, time)
    found: dict[int, windows.Window] = {}
    reductions: dict[tuple[int, int], windows.Reduction] = {}
    columns = {}
    for name, feature in features.items():
        assert feature.window is not None
        if feature.window not in found:
            found[feature.window] = spine.window(feature.window)
        operand = history.operand(feature)
        reduction = windows.Reduction(operand, found[feature.window])
        reduction = reductions.setdefault((id(operand), feature.window), reduction)
        columns[name] = _reduce(reduction, name, feature, time).alias(name)
    return columns


def not_finite(aggregate: Aggregate, source: str, event: int) -> DataError:
    """Say that a window cannot take a value, in the row of an event time."""
    return DataError(
        f"{aggregate!r} of source {source!r} has an infinite value, in the row of {from_micros(event).isoformat()}",
        hint="leave the row out with where=, for example where the divisor is not 0",
    )


def too_great(name: str, feature: Aggregate, row: int, time: int) -> DataError:
    """Say that a feature has no value of its type, for a row of the spine."""
    assert feature.window is not None
    return DataError(
        f"{feature.function} {feature_of(name)!r} over {format_duration(feature.window)} does not fit 64 bits at spine row "
        f"{row}, time {from_micros(time).isoformat()}",
        hint="scale the column down, or make it a float",
    )


def kept_rows(
    records: Records,
    features: Iterable[Aggregate],
    keep_of: Callable[[Aggregate], Array | None],
    now: int,
    *,
    ttl: int | None,
) -> Array:
    """Say which arranged rows a read at `now` or later can use.

    Args:
        records: The rows of every key of interest.
        features: The expressions to be read.
        keep_of: Gives bool[n], the rows that an expression may take; None for all.
        now: Microseconds UTC; no read is earlier.
        ttl: Greatest age of a value without a window.

    Returns:
        bool[n]: rows not yet available, of a window that is still open, or the winner of an expression now; the
        last delete, for an expression that begins anew after it; and all rows of a key whose availability is not in
        order of its events.
    """
    keys = np.arange(len(records.offsets) - 1, dtype=np.int64)
    none = np.zeros(records.event.size, np.bool_)
    whole = np.repeat(~records.monotone, np.diff(records.offsets))
    keep: Array = whole | (records.visible_from > now)
    moment = np.full(len(keys), now, np.int64)
    for feature in features:
        span = feature.window if feature.window is not None else ttl if feature.function == "first" else None
        if span is not None:
            keep |= records.event >= now - span
        if feature.window is None:
            for strict in (False, True):  # a shared source reads strictly before the moment
                oldest, kept = feature.function == "first", keep_of(feature)
                winner = asof.latest(records, keys, moment, strict=strict, keep=kept, oldest=oldest)
                keep[winner[winner >= 0]] = True
                if oldest:  # what came before a delete is not the first, however late it comes
                    delete = asof.latest(records, keys, moment, strict=strict, keep=none)
                    keep[delete[delete >= 0]] = True
    return keep


def cell_statuses(
    history: History, feature: Aggregate, time: Array, *, strict: bool, ttl: int | None
) -> tuple[pl.Series, pl.Series]:
    """Return why each cell of a feature holds what it holds, and the matched event time (UTC)."""
    if feature.window is not None or feature.parts is not msgspec.UNSET:
        return window_statuses(history.spine_key)
    winner = _winner(history, feature, time, strict=strict, ttl=ttl)
    assert feature.operand is not None
    null = history.series(feature.operand).is_null().to_numpy()
    value_is_null = np.zeros(len(time), np.bool_)
    value_is_null[winner >= 0] = null[winner[winner >= 0]]
    return statuses(history.records, winner, history.spine_key, time, value_is_null, strict=strict, ttl=ttl)


def statuses(
    records: Records, winner: Array, key: Array, time: Array, value_is_null: Array, *, strict: bool, ttl: int | None
) -> tuple[pl.Series, pl.Series]:
    """Return the status and the matched event time (UTC) of each cell; the arguments are those of `asof.status`."""
    status, matched = asof.status(records, winner, key, time, strict=strict, ttl=ttl, value_is_null=value_is_null)
    missing = (matched == NEVER) | (matched == ALWAYS)
    events = pl.Series(matched).set(pl.Series(missing), None).cast(pl.Datetime("us", "UTC"))
    return _STATUSES.gather(status), events


def window_statuses(key: Array) -> tuple[pl.Series, pl.Series]:
    """Return the statuses of windows and of what is computed from aggregates, which no event time explains."""
    none = pl.Series([None], dtype=pl.Datetime("us", "UTC")).new_from_index(0, len(key))
    return _STATUSES.gather(np.where(key < 0, Status.NULL_KEY, Status.PRESENT)), none


def _winner(history: History, feature: Aggregate, time: Array, *, strict: bool, ttl: int | None) -> Array:
    return asof.latest(
        history.records,
        history.spine_key,
        time,
        strict=strict,
        ttl=ttl if feature.window is None else None,
        window=feature.window,
        keep=history.keep(feature),
        oldest=feature.function == "first",
    )


def _picks(
    history: History, features: Mapping[str, Aggregate], time: Array, *, strict: bool, ttl: int | None
) -> dict[str, pl.Series]:
    """Gather the values of all `first` and `last`, of any type: features with one winner are copied together."""
    winners: dict[bytes, Array] = {}
    tables: dict[bytes, list[pl.Series]] = {}
    for name, feature in features.items():
        if feature.function not in ("first", "last"):
            continue
        assert feature.operand is not None
        apart = feature.operand if feature.skip_nulls else None
        which = msgspec.json.encode((feature.function, feature.window, feature.where, apart))
        if which not in winners:
            winners[which] = _values_only(history, _winner(history, feature, time, strict=strict, ttl=ttl))
        tables.setdefault(which, []).append(history.series(feature.operand).alias(name))
    return {
        values.name: values for which, table in tables.items() for values in gather(pl.DataFrame(table), winners[which])
    }


def _values_only(history: History, winner: Array) -> Array:
    """Leave out the winners that are deletes: they give null."""
    found = winner >= 0
    if found.any() and not history.is_value.all():
        found[found] = history.is_value[winner[found]]
        return np.where(found, winner, -1)
    return winner


def _reduce(reduction: windows.Reduction, name: str, feature: Aggregate, time: Array) -> pl.Series:
    function = "max" if feature.function == "time_since_last" else feature.function
    try:
        values, valid = reduction.compute(function, None if feature.q is msgspec.UNSET else feature.q)
    except OverflowError as error:
        row = int(error.args[0])
        raise too_great(name, feature, row, int(time[row])) from error
    if feature.function == "time_since_last":
        values = (time - values) / 1_000_000
    series = pl.Series(values)
    return series if valid.all() else series.set(pl.Series(~valid), None)


_KINDS = {"count": "any", "any": "flags", "all": "flags", "n_unique": "codes", "time_since_last": "times"}
"""What a function takes of an operand, where that is not its numbers."""


def operand_values(series: pl.Series, aggregate: Aggregate, source: str) -> Array:
    """Return an aggregate's operand as int64 or float64, the types that the kernels know; null as anything.

    Raises:
        DataError: If its function takes no such values.
    """
    kind = _KINDS.get(aggregate.function, "numbers")
    if kind == "codes":
        return _codes_of(series)
    if kind in ("any", "times"):
        return np.zeros(len(series), np.int64)
    if kind == "flags" and series.dtype not in (pl.Boolean, pl.Null):
        raise DataError(
            f"{aggregate!r} of source {source!r} needs true or false and got {series.dtype}",
            hint='compare it in the expression, for example (rows["amount"] > 0).any(...)',
        )
    return _numbers(series, aggregate, source)


def _codes_of(series: pl.Series) -> Array:
    """Return int64, alike for equal values of any type; -0.0 equals 0.0."""
    if series.dtype.is_integer() and series.dtype != pl.UInt64:
        return series.cast(pl.Int64).fill_null(0).to_numpy()
    rows = pl.DataFrame({"value": series}).with_row_index("__row")
    return rows.select(pl.col("__row").min().over("value").cast(pl.Int64)).to_series().to_numpy()


def _numbers(series: pl.Series, aggregate: Aggregate, source: str) -> Array:
    """Return an operand as int64 or float64 (null as 0), the types that the kernels know."""
    dtype = series.dtype
    if dtype == pl.Boolean or dtype.is_integer():
        try:
            return series.cast(pl.Int64).fill_null(0).to_numpy()
        except pl.exceptions.InvalidOperationError as error:
            raise DataError(
                f"a column of source {source!r} has integers beyond 64 signed bits", hint="make it a float"
            ) from error
    if dtype.is_numeric():
        return series.cast(pl.Float64).fill_null(0.0).to_numpy()
    if dtype == pl.Null:
        return np.zeros(len(series), np.int64)
    raise DataError(
        f"{aggregate!r} of source {source!r} needs numbers and got {dtype}",
        hint="compare or convert it in the expression, or use count, n_unique, first or last",
    )


def available_at(rows: pl.DataFrame, source: SourceSpec, event: Array) -> Array:
    """Return int64[n], when each row can first be known (rules 3 and 5)."""
    if source.timestamp is None:
        return event
    if source.delay_column is not None:
        available = event + delay_micros(rows[source.delay_column], of=f" of source {source.name!r}")
    else:
        available = event + source.delay if source.delay else event
    if source.knowledge == "latest":
        return available
    # A row without a created time was never known by event, and is no correction where these are observed.
    unknown = FOREVER if source.knowledge == "event" else NEVER
    known: Array = np.maximum(available, rows["__created"].fill_null(unknown).to_numpy())
    return known


def _codes(ids: pl.Series) -> Array:
    """Number event ids; -1 for null, which replaces nothing."""
    codes = ids.rank("dense").cast(pl.Int64) - 1
    return codes.fill_null(-1).to_numpy()
