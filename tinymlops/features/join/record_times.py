"""Read when each feature row happened, when it was known and when it was created, from a table's columns."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.errors import DataError, DefinitionError
from tinymlops.frames import times_to_micros
from tinymlops.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import polars as pl

    from tinymlops.frames import Ambiguous, DateMeans, Role

    Array = np.ndarray[Any, Any]

__all__ = ["Delay", "Names", "RecordRows", "Rule", "Zone", "delay_micros", "read_delay", "read_rows"]

_SHOWN_ROWS = 5
_LONGEST_DELAY = 2**62
"""Microseconds; an event time plus a longer one might not fit into 64 bits."""


class Delay(NamedTuple):
    """The delay from a row's event time until it is known: one duration, or one per row."""

    micros: int = 0
    column: str | None = None


class Names(NamedTuple):
    """The features' columns that hold the key and the times of a row."""

    key: list[str]
    event: str
    created: str | None
    delay: Delay

    def used(self) -> list[str]:
        """List them, each once."""
        return list(dict.fromkeys(name for name in (*self.key, self.event, self.created, self.delay.column) if name))


class Zone(NamedTuple):
    """How to read times without a zone, and dates of features."""

    tz: str | None
    ambiguous: Ambiguous = "raise"
    date_means: DateMeans | None = None

    def micros(self, times: pl.Series, *, role: Role, first_row: int = 0) -> pl.Series:
        """Return times as `tinymlops.frames.times_to_micros` does; a spine's date is always the start of its day."""
        dates = self.date_means if role == "feature" else None
        return times_to_micros(
            times,
            role=role,
            tz=self.tz,
            name=times.name,
            ambiguous=self.ambiguous,
            date_means=dates,
            first_row=first_row,
        )


class Rule(NamedTuple):
    """The rule for which rows count."""

    strict: bool
    ttl: int | None
    zone: Zone
    by_event: bool


class RecordRows(NamedTuple):
    """The features' times in microseconds, UTC, one per row; available is None where it is the event plus one delay."""

    event: Array
    available: Array | None
    created: Array | None


def read_delay(delay: str | timedelta | None, schema: Mapping[str, pl.DataType], ttl: int | None) -> Delay:
    """Read a delay that is a duration or the name of a column; a column's values are checked when they are read."""
    if delay is None or delay == timedelta(0):
        return Delay()
    if isinstance(delay, str) and delay in schema:
        return Delay(column=delay)
    micros = parse_duration(delay, name="delay")
    if ttl is not None and micros >= ttl:
        raise DefinitionError(
            f"delay={delay!r} is not shorter than the ttl: a row would expire before it is known",
            hint="raise ttl above the delay",
        )
    return Delay(micros)


def read_rows(batch: pl.DataFrame, names: Names, rule: Rule, first_row: int) -> RecordRows:
    """Read when each feature row happened, when it was known, and when it was created."""
    from tinymlops.kernels.records import FOREVER, NEVER, available_from

    def times(name: str) -> pl.Series:
        return rule.zone.micros(batch[name], role="feature", first_row=first_row)

    happened = _filled(times(names.event), FOREVER)
    created = None if names.created is None else times(names.created)
    made = None if created is None else _filled(created, NEVER)
    if names.delay.column is None and not rule.by_event:
        return RecordRows(happened, None, made)
    wait = (
        names.delay.micros
        if names.delay.column is None
        else delay_micros(batch[names.delay.column], first_row=first_row)
    )
    # A row without a created time is never known.
    known = None if created is None or not rule.by_event else _filled(created, FOREVER)
    return RecordRows(happened, available_from(happened, wait, known), made)


def _filled(values: pl.Series, null: int) -> Array:
    return (values.fill_null(null) if values.null_count() else values).to_numpy()


def delay_micros(values: pl.Series, *, of: str = "", first_row: int = 0) -> Array:
    """Return each row's delay in microseconds, rounded up.

    Args:
        values: The column.
        of: The text after its name in an error.
        first_row: How many rows of the table came before it, for an error.

    Raises:
        DataError: If one is negative or null, or the column holds neither durations nor integers.
    """
    import polars as pl

    if isinstance(values.dtype, pl.Duration):
        unit, numbers = values.dtype.time_unit, values.to_physical()
        if unit == "ms":  # a delay that would not fit counts as endless
            numbers = numbers.clip(-1, _LONGEST_DELAY // 1000 + 1) * 1000
        micros = -(-numbers // 1000) if unit == "ns" else numbers
    elif values.dtype.is_integer():
        micros = values.cast(pl.Int64, strict=False)  # a delay that does not fit is null, which is refused
    else:
        raise DataError(
            f"delay column {values.name!r}{of} is {values.dtype}",
            hint="give durations, or integers of microseconds",
        )
    wrong = ((micros < 0) | (micros >= _LONGEST_DELAY)).fill_null(value=True)
    if wrong.any():
        rows = [first_row + row for row in wrong.arg_true().head(_SHOWN_ROWS)]
        raise DataError(
            f"delay column {values.name!r}{of} is negative, null or endless in rows {rows}",
            hint="a row cannot be known before it happened; use 0 where there is no delay",
        )
    return micros.to_numpy()
