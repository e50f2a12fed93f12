"""Values of a result as text for a table: exact where that is short, and cut where it is long."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tinymlops.errors import is_fault
from tinymlops.printable import printable
from tinymlops.schema import dtype_instance, mapped_dtype
from tinymlops.times import ENDLESS

if TYPE_CHECKING:
    import polars as pl

__all__ = ["WHOLE", "cell_text", "column_texts", "is_beyond", "seconds_of", "type_name"]

WHOLE = 2**31
"""Characters of a text that is not cut."""
_BYTES = 16
"""Of a binary value that are written, where it may be cut."""
_TICKS = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
"""Of a second."""
_ENDLESS_DAY = 2**31 - 1
"""The date "infinity" in days; its negative is "-infinity"."""
_DAY = 86_400
"""Seconds."""
_CYCLE, _CYCLE_YEARS = 146_097, 400
"""Days and years after which the calendar repeats."""


def column_texts(series: pl.Series, most: int) -> list[str | None]:
    """Write the values of a column, each as `cell_text` does; moments to the last digit, whatever Python can hold.

    Args:
        series: The column.
        most: Characters of each.

    Example:
        >>> import polars as pl
        >>> column_texts(pl.Series([2**63 - 1, 1_700_000_000_123_456_789], dtype=pl.Datetime("ns")), 100)
        ['infinity', '2023-11-14 22:13:20.123456789']
    """
    import polars as pl

    if isinstance(series.dtype, pl.Datetime):
        ticks = _TICKS[series.dtype.time_unit]
        return [None if one is None else _moment_of(one, ticks) for one in series.to_physical().to_list()]
    try:
        counted = _counted(series.dtype)
        values = (series if counted == series.dtype else series.cast(counted)).to_list()
    except BaseException as error:  # Polars panics
        if not is_fault(error):
            raise
        return ["beyond what can be shown: cast it to text"] * len(series)
    return [cell_text(value, most, series.dtype) for value in values]


def _counted(dtype: pl.DataType) -> pl.DataType:
    """Return a type with the same values, but dates, times and moments as the numbers that they are stored as."""
    import polars as pl

    def counted(one: pl.DataType) -> pl.DataType:
        if isinstance(one, pl.Date):
            return pl.Int32()
        if isinstance(one, pl.Datetime | pl.Time):
            return pl.Int64()
        if _is_map(one):  # as a list of its entries, whose keys may be dates
            kinds: Any = one
            entry = {"key": dtype_instance(kinds.key), "value": dtype_instance(kinds.value)}
            return _counted(pl.List(pl.Struct(entry)))
        return one

    return mapped_dtype(dtype, counted)


def _is_map(dtype: Any) -> bool:
    return type(dtype).__name__ == "Map"  # older Polars has none


def is_beyond(series: pl.Series) -> bool:
    """Return whether a column holds what Python has no value for, such as a day after the year 9999."""
    if not series.dtype.is_temporal() and not series.dtype.is_nested():
        return False
    try:
        series.to_list()
    except BaseException as error:  # Polars panics
        if not is_fault(error):
            raise
        return True
    return False


def seconds_of(times: pl.Series) -> pl.Series:
    """Return dates or moments as seconds since 1970; null where one has no end.

    Args:
        times: A column of dates or moments.

    Example:
        >>> import polars as pl
        >>> seconds_of(pl.Series([1, 2**31 - 1], dtype=pl.Int32).cast(pl.Date)).to_list()
        [86400.0, None]
    """
    import polars as pl

    counts = times.to_physical()
    if isinstance(times.dtype, pl.Datetime):
        endless, seconds = ENDLESS, counts.cast(pl.Float64) / _TICKS[times.dtype.time_unit]
    else:
        endless, seconds = _ENDLESS_DAY, counts.cast(pl.Float64) * _DAY
    return seconds.set(counts.is_in([endless, -endless]), None)


def _day_of(value: int) -> str:
    if abs(value) == _ENDLESS_DAY:
        return "infinity" if value > 0 else "-infinity"
    cycles, days = divmod(value, _CYCLE)
    day = date(1970, 1, 1) + timedelta(days)
    return f"{day.year + _CYCLE_YEARS * cycles:04d}-{day:%m-%d}"


def _moment_of(value: int, ticks: int) -> str:
    if abs(value) == ENDLESS:
        return "infinity" if value > 0 else "-infinity"
    days, ticks_left = divmod(value, _DAY * ticks)
    return f"{_day_of(days)} {_time_of(ticks_left, ticks)}"


def _time_of(value: int, ticks: int) -> str:
    seconds, part = divmod(value, ticks)
    digits = f".{part:0{len(str(ticks)) - 1}d}".rstrip("0") if part else ""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{digits}"


def cell_text(value: Any, most: int, dtype: pl.DataType | None = None) -> str | None:
    r"""Write a value; None for null.

    Args:
        value: As Polars gives it: a scalar, a list, or a dict of a struct.
        most: Characters; of a longer text the beginning is written, and how long it is.
        dtype: Its type, where dates, times and moments are given as the numbers that they are stored as.

    Example:
        >>> cell_text(1.5, 100), cell_text(None, 100), cell_text({"a": [1, None]}, 100), cell_text(b"\x00\xff", 100)
        ('1.5', None, '{a: [1, null]}', '0x00ff')
        >>> cell_text("abcdef", 3)
        'abc … (6 characters)'
    """
    if value is None:
        return None
    if isinstance(value, str):
        shown = printable(value[:most], line=True)
        return shown if len(value) <= most else f"{shown} … ({len(value):,} characters)"
    text = _Writer(most).write(value, dtype)
    return text if len(text) <= most else f"{text[:most]} …"


class _Writer:
    """Writes nested values, and stops once it has more than is shown."""

    def __init__(self, most: int) -> None:
        self._left, self._is_whole = most, most >= WHOLE

    def write(self, value: Any, dtype: Any = None) -> str:
        if _is_map(dtype) and isinstance(value, list):
            entries = ((f"{self._key(one['key'], dtype.key)}: ", one["value"], dtype.value) for one in value)
            return self._between("{", "}", entries)
        if isinstance(value, dict):
            fields = {one.name: one.dtype for one in getattr(dtype, "fields", ())}
            return self._between(
                "{", "}", ((f"{printable(str(key), line=True)}: ", one, fields.get(key)) for key, one in value.items())
            )
        if isinstance(value, list | tuple) or type(value).__name__ in ("Series", "ndarray"):
            inner = getattr(dtype, "inner", None)
            return self._between("[", "]", (("", one, inner) for one in value))
        text = _counted_text(value, dtype) or _scalar(value, max(0, self._left), is_whole=self._is_whole)
        self._left -= len(text)
        return text

    def _key(self, value: Any, dtype: Any) -> str:
        return _Writer(WHOLE if self._is_whole else self._left).write(value, dtype)

    def _between(self, first: str, last: str, parts: Any) -> str:
        written: list[str] = []
        for before, one, dtype in parts:
            if self._left <= 0:
                written.append("…")
                break
            self._left -= len(before) + 2
            written.append(before + self.write(one, dtype))
        return first + ", ".join(written) + last


def _counted_text(value: Any, dtype: Any) -> str:
    """Write a date, a time or a moment that is given as a number; nothing for another value."""
    import polars as pl

    if isinstance(value, int) and isinstance(dtype, pl.Date):
        return _day_of(value)
    if isinstance(value, int) and isinstance(dtype, pl.Datetime):
        return _moment_of(value, _TICKS[dtype.time_unit])
    if isinstance(value, int) and isinstance(dtype, pl.Time):
        return _time_of(value, _TICKS["ns"])
    return ""


def _scalar(value: Any, most: int, *, is_whole: bool) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        if is_whole or len(value) <= _BYTES:
            return f"0x{value.hex()}"
        return f"0x{value[:_BYTES].hex()}… ({len(value):,} bytes)"
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, timedelta):
        return _span(value)
    if isinstance(value, date | time):
        return value.isoformat()
    return printable(str(value)[: most + 1], line=True)


def _float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return repr(value).removesuffix(".0")


def _moment(value: datetime) -> str:
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return value.isoformat(sep=" ")


def _span(value: timedelta) -> str:
    sign, left = ("-", -value) if value < timedelta(0) else ("", value)
    days, rest = f"{left.days} d " if left.days else "", timedelta(seconds=left.seconds, microseconds=left.microseconds)
    return f"{sign}{days}{rest}"


def type_name(dtype: pl.DataType) -> str:
    """Name a type as a heading does.

    Example:
        >>> import polars as pl
        >>> type_name(pl.Datetime("us", "UTC")), type_name(pl.List(pl.Int64())), type_name(pl.Decimal(10, 2))
        ('time, UTC', 'list of int64', 'decimal(10, 2)')
    """
    import polars as pl

    if isinstance(dtype, pl.Datetime):
        return "time, UTC" if dtype.time_zone else "time"
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision}, {dtype.scale})"
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        return f"list of {type_name(dtype_instance(inner))}"
    return {"String": "text", "Time": "time of day", "Boolean": "true or false"}.get(
        type(dtype).__name__, type(dtype).__name__.lower()
    )
