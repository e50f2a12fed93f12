"""Values that JSON and CSV have no type for, read from text: exactly, or refused with their rows.

Dates and times are ISO 8601, down to the nanosecond; durations are ISO 8601 without years and months, which have no
fixed length; decimals have digits and a point.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

__all__ = ["from_text", "is_written_as_text"]

_SHOWN_ROWS = 5
_MOST_DIGITS = 38
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:[.,](\d{1,9}))?)?", re.ASCII)
_DURATION = re.compile(
    r"([+-]?)P(?=.)(?:(\d+)W)?(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,](\d{1,9}))?S)?)?", re.ASCII
)
_DECIMAL = re.compile(r"[+-]?(\d{1,1000}\.?\d{0,1000}|\.\d{1,1000})([eE][+-]?\d{1,3})?", re.ASCII)
_UNROUNDED = Context(prec=10_000)
_SECOND = 1_000_000_000
_HINTS = {
    "Date": 'write dates as ISO 8601 text, such as "2024-05-01"',
    "Time": 'write times of day as ISO 8601 text without an offset, such as "12:30:00"',
    "Datetime": 'write times as ISO 8601 text with an offset, such as "2024-05-01T12:00:00Z"',
    "local time": 'write times as ISO 8601 text without an offset, such as "2024-05-01T12:00:00"',
    "Duration": 'write durations as ISO 8601 text in days, hours, minutes and seconds, such as "P1DT2H" or "PT0.5S"',
    "Decimal": 'write decimals as text of at most 38 digits, such as "1.50"',
}


def is_written_as_text(dtype: pl.DataType) -> bool:
    """Say whether values of a type are text in JSON, and `from_text` reads them."""
    import polars as pl

    return isinstance(dtype, pl.Date | pl.Datetime | pl.Time | pl.Duration | pl.Decimal)


def from_text(texts: pl.Series, dtype: pl.DataType, *, name: str) -> pl.Series:
    """Read a column of text as values of a type's kind.

    Args:
        texts: Text, or null.
        dtype: A type that `is_written_as_text`; times with a zone need an offset, others must have none.
        name: What to call the column in an error.

    Returns:
        The same values, in a unit or scale that holds all of them; not necessarily that of `dtype`.

    Raises:
        DataError: If one cannot be read, with its rows.

    Example:
        >>> import polars as pl
        >>> from_text(pl.Series(["1.50", None]), pl.Decimal(10, 2), name="price").to_list()
        [Decimal('1.50'), None]
    """
    import polars as pl

    if isinstance(dtype, pl.Date):
        return pl.Series(texts.name, _each(texts, _date, "Date", name), dtype=pl.Date)
    if isinstance(dtype, pl.Decimal):
        return _decimals(texts, _each(texts, _decimal, "Decimal", name), name)
    if isinstance(dtype, pl.Time):
        return pl.Series(texts.name, _each(texts, _time, "Time", name), dtype=pl.Int64).cast(pl.Time)
    if isinstance(dtype, pl.Duration):
        values, unit = _in_a_unit(texts, _each(texts, _duration, "Duration", name), "Duration", name)
        return values.cast(pl.Duration(unit))
    kind, zone = ("local time", None) if getattr(dtype, "time_zone", None) is None else ("Datetime", "UTC")
    read = _moment if zone else _local_moment
    values, unit = _in_a_unit(texts, _each(texts, read, kind, name), kind, name)
    return values.cast(pl.Datetime(unit, zone))


def _each(texts: pl.Series, read: Callable[[str], Any], kind: str, name: str) -> list[Any]:
    values, wrong = [], []
    for row, text in enumerate(texts):
        try:
            values.append(None if text is None else read(text))
        except (ValueError, OverflowError):
            wrong.append(row)
    if wrong:
        raise _refused(texts, wrong, kind, name)
    return values


def _refused(texts: pl.Series, rows: Sequence[int], kind: str, name: str) -> DataError:
    shown = [text if len(text) <= 60 else f"{text[:60]}..." for text in texts.gather(rows[:_SHOWN_ROWS])]
    more = f" and {len(rows) - _SHOWN_ROWS:,} more" if len(rows) > _SHOWN_ROWS else ""
    return DataError(
        f"{name} holds text that is not a {kind}, in rows {list(rows[:_SHOWN_ROWS])}{more}: {shown}", hint=_HINTS[kind]
    )


def _in_a_unit(texts: pl.Series, nanoseconds: Sequence[int | None], kind: str, name: str) -> tuple[pl.Series, Any]:
    """Return counts of microseconds, or of nanoseconds where one needs them, and the unit's name."""
    import polars as pl

    fine = any(value % 1000 for value in nanoseconds if value is not None)
    counts = nanoseconds if fine else [None if value is None else value // 1000 for value in nanoseconds]
    wrong = [row for row, count in enumerate(counts) if count is not None and not -(2**63) <= count < 2**63]
    if wrong:
        raise _refused(texts, wrong, kind, name)
    return pl.Series(texts.name, counts, dtype=pl.Int64), "ns" if fine else "us"


def _decimals(texts: pl.Series, values: Sequence[Decimal | None], name: str) -> pl.Series:
    """Return decimals in the least scale that holds all of them."""
    import polars as pl

    places = [0 if value is None else max(0, -_exponent(value)) for value in values]
    scale = max(places, default=0)
    wrong = [
        row
        for row, value in enumerate(values)
        if value and (places[row] > _MOST_DIGITS or value.adjusted() + 1 + scale > _MOST_DIGITS)
    ]
    if wrong:
        raise _refused(texts, wrong, "Decimal", name)
    return pl.Series(texts.name, values, dtype=pl.Decimal(_MOST_DIGITS, scale))


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int), "it has digits"
    return exponent


def _date(text: str) -> date:
    if not _DATE.fullmatch(text):
        raise ValueError
    return date.fromisoformat(text)


def _moment(text: str) -> int:
    """Return nanoseconds since 1970, UTC."""
    moment, nanoseconds = _parsed(text)
    if moment.tzinfo is None:
        raise ValueError
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000 + nanoseconds


def _local_moment(text: str) -> int:
    """Return nanoseconds since 1970 on the same clock."""
    moment, nanoseconds = _parsed(text)
    if moment.tzinfo is not None:
        raise ValueError
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000 + nanoseconds  # noqa: DTZ001


def _parsed(text: str) -> tuple[datetime, int]:
    """Return whole seconds, and the nanoseconds after them, of which a datetime would drop some."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise ValueError
    minute, seconds, fraction, offset = match.groups()
    return datetime.fromisoformat(f"{minute}:{seconds or '00'}{offset or ''}"), _fraction(fraction)


def _time(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError
    hours, minutes, seconds, fraction = match.groups()
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds or 0)) * _SECOND + _fraction(fraction)


def _duration(text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError
    sign, *counts, fraction = match.groups()
    weeks, days, hours, minutes, seconds = (int(count or 0) for count in counts)
    total = (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds
    return (total * _SECOND + _fraction(fraction)) * (-1 if sign == "-" else 1)


def _fraction(digits: str | None) -> int:
    return int((digits or "").ljust(9, "0"))


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text):
        raise ValueError
    return _UNROUNDED.normalize(Decimal(text))
