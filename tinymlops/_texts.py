"""Read values that JSON and CSV have no type for from text: exactly, or refuse them with their rows.

Dates and times are ISO 8601, down to the nanosecond; durations are ISO 8601 without years and months, which have no
fixed length; decimals have digits and a point.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Literal

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import polars as pl

__all__ = ["MOST_DIGITS", "decimal_scale", "from_text", "in_a_unit", "is_written_as_text"]

MOST_DIGITS = 38
"""The most digits of a decimal, before and after its point."""
_SHOWN_ROWS = 5
_CLOCK = re.compile(r"(.*?)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
"""A time without its fraction of a second, of which Python would drop the nanoseconds; the fraction; and an offset."""
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
    """Return whether values of a type are text in JSON, and `from_text` reads them."""
    import polars as pl

    return isinstance(dtype, pl.Date | pl.Datetime | pl.Time | pl.Duration | pl.Decimal)


def from_text(texts: pl.Series, dtype: pl.DataType, *, name: str) -> pl.Series:
    """Read a column of text as values of a type's kind.

    Args:
        texts: Text, or null.
        dtype: A type that `is_written_as_text`; times with a zone need an offset, others must have none.
        name: The name of the column in an error.

    Returns:
        The same values, in a unit or scale that holds all of them; not necessarily that of `dtype`.

    Raises:
        DataError: If one cannot be read, with its rows.

    Example:
        >>> import polars as pl
        >>> from_text(pl.Series(["1.50", None]), pl.Decimal(10, 2), name="price").to_list()
        [Decimal('1.5'), None]
    """
    import polars as pl

    if isinstance(dtype, pl.Date):
        return pl.Series(texts.name, _each(texts, date.fromisoformat, "Date", name), dtype=pl.Date)
    if isinstance(dtype, pl.Decimal):
        decimals = _each(texts, _decimal, "Decimal", name)
        scale, wrong = decimal_scale(decimals)
        _require(texts, wrong, "Decimal", name)
        return pl.Series(texts.name, decimals, dtype=pl.Decimal(MOST_DIGITS, scale))
    if isinstance(dtype, pl.Time):
        return pl.Series(texts.name, _each(texts, _time, "Time", name), dtype=pl.Int64).cast(pl.Time)
    if isinstance(dtype, pl.Duration):
        return _counts(texts, _each(texts, _duration, "Duration", name), "Duration", name, pl.Duration)
    kind, zone = ("local time", None) if getattr(dtype, "time_zone", None) is None else ("Datetime", "UTC")
    read = _moment if zone else _local_moment
    return _counts(texts, _each(texts, read, kind, name), kind, name, lambda unit: pl.Datetime(unit, zone))


def _each(texts: pl.Series, read: Callable[[str], Any], kind: str, name: str) -> list[Any]:
    values, wrong = [], []
    for row, text in enumerate(texts):
        try:
            values.append(None if text is None else read(text))
        except (ValueError, OverflowError):
            wrong.append(row)
    _require(texts, wrong, kind, name)
    return values


def _counts(
    texts: pl.Series, nanoseconds: Sequence[int | None], kind: str, name: str, dtype: Callable[[Any], pl.DataType]
) -> pl.Series:
    import polars as pl

    counts, unit, wrong = in_a_unit(nanoseconds)
    _require(texts, wrong, kind, name)
    return pl.Series(texts.name, counts, dtype=pl.Int64).cast(dtype(unit))


def _require(texts: pl.Series, rows: Sequence[int], kind: str, name: str) -> None:
    """Refuse rows, if there are any."""
    if not rows:
        return
    shown = [text if len(text) <= 60 else f"{text[:60]}..." for text in texts.gather(list(rows[:_SHOWN_ROWS]))]
    more = f" and {len(rows) - _SHOWN_ROWS:,} more" if len(rows) > _SHOWN_ROWS else ""
    raise DataError(
        f"{name} holds text that is not a {kind}, in rows {list(rows[:_SHOWN_ROWS])}{more}: {shown}", hint=_HINTS[kind]
    )


def in_a_unit(nanoseconds: Sequence[int | None]) -> tuple[list[int | None], Literal["us", "ns"], list[int]]:
    """Count in microseconds, or in nanoseconds where one value needs them.

    Returns:
        The counts, the unit, and the rows whose count is beyond 64 bits.
    """
    fine = any(value % 1000 for value in nanoseconds if value is not None)
    counts = list(nanoseconds) if fine else [None if value is None else value // 1000 for value in nanoseconds]
    wrong = [row for row, count in enumerate(counts) if count is not None and not -(2**63) <= count < 2**63]
    return counts, "ns" if fine else "us", wrong


def decimal_scale(values: Sequence[Decimal | None]) -> tuple[int, list[int]]:
    """Return the least scale that holds all decimals, and the rows whose value is not finite or has too many digits."""
    infinite = {row for row, value in enumerate(values) if value is not None and not value.is_finite()}
    places = [0 if not value or row in infinite else max(0, -_exponent(value)) for row, value in enumerate(values)]
    scale = max((count for count in places if count <= MOST_DIGITS), default=0)
    wrong = [
        row
        for row, value in enumerate(values)
        if row in infinite or (value and (places[row] > MOST_DIGITS or value.adjusted() + 1 + scale > MOST_DIGITS))
    ]
    return scale, wrong


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int), "it has digits"
    return exponent


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
    seconds, fraction, offset = _split(text)
    return datetime.fromisoformat(seconds + offset), _fraction(fraction)


def _time(text: str) -> int:
    seconds, fraction, offset = _split(text)
    clock = time.fromisoformat(seconds)
    if offset or clock.tzinfo is not None:
        raise ValueError
    return ((clock.hour * 60 + clock.minute) * 60 + clock.second) * _SECOND + _fraction(fraction)


def _split(text: str) -> tuple[str, str, str]:
    match = _CLOCK.fullmatch(text)
    if match is None or not {".", ","}.isdisjoint(match[1]):  # finer than a nanosecond
        raise ValueError
    seconds, fraction, offset = match.groups("")
    return seconds, fraction, offset


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
