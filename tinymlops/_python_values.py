"""Columns of Python values: one type that holds every value exactly, or an error that names column and rows.

Polars and PyArrow infer a type from the first values and lose what does not fit: a datetime beside dates loses its
hours, a Timestamp its nanoseconds, an integer beside floats its last digits, and a long decimal becomes null.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops._texts import MOST_DIGITS, decimal_scale, in_a_unit
from tinymlops.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["column_of", "columns_of_rows", "plain_value"]

_EXACT = 2**53
"""Up to here every integer is a float64."""
_MICROSECOND = timedelta(microseconds=1)
_MISSING = ("NaTType", "NAType")
"""Pandas' missing values."""
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "D": 86_400 * 10**9}
"""Nanoseconds."""
_OWN = frozenset((bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, list, dict))


def columns_of_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows into columns; a missing value is None."""
    first = rows[0].keys() if rows else ()
    names = first if all(row.keys() == first for row in rows) else dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def column_of(name: str, values: Sequence[Any]) -> pl.Series:
    """Return Python values as a column.

    Args:
        name: The column's name.
        values: Values of one kind, and None; scalars of NumPy and pandas count as their values, and UUIDs as text.

    Raises:
        DataError: If they are of several kinds, or no type holds them exactly.

    Example:
        >>> column_of("id", [2**53 + 1, None]).to_list()
        [9007199254740993, None]
    """
    import polars as pl

    if not isinstance(name, str):
        raise DataError(f"a column's name is {name!r}", hint="name columns by text")
    kinds = set(map(type, values)) - {type(None)}
    if not kinds <= _OWN:
        values = _plain_values(values)
        kinds = set(map(type, values)) - {type(None)}
    if kinds == {int, float}:
        values, kinds = _all_floats(name, values), {float}
    elif kinds == {int, Decimal}:
        kinds = {Decimal}
    elif len(kinds) > 1:
        raise _mixed(name, values)
    build = _BUILDERS.get(kinds.pop(), _objects) if kinds else _nulls
    try:
        return build(name, values)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError, ArithmeticError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"column {name!r} cannot be read: {reason}", hint="give every value of the column one type"
        ) from error


def _plain_values(values: Sequence[Any]) -> list[Any]:
    """Convert values of another library or class to Python's own, and its times to `_Finer`."""
    present = [None if type(value).__name__ in _MISSING else value for value in values]
    times = [_finer(value) for value in present]
    if all(value is None or time is not None for value, time in zip(present, times, strict=True)):
        return times
    return [plain_value(value) for value in present]


def plain_value(value: Any) -> Any:
    """Return the plain value of a value of another library or class; None if it is missing.

    Example:
        >>> import numpy as np
        >>> plain_value(np.int64(7))
        7
    """
    if type(value) in _OWN or value is None:
        return value
    if type(value).__name__ in _MISSING:
        return None
    if isinstance(value, uuid.UUID):
        return str(value)
    kinds: tuple[Callable[[Any], Any], ...] = (bool, int, float, bytes)
    for own in kinds:  # IntEnum, numpy.float64 and the like
        if isinstance(value, own):  # type: ignore[arg-type]  # they are types
            return own(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    for method in ("tolist", "to_list"):  # scalars and arrays of NumPy, series
        if hasattr(value, method):
            return getattr(value, method)()
    return value


def _nulls(name: str, values: Sequence[Any]) -> pl.Series:
    import polars as pl

    return pl.Series(name, values, dtype=pl.Null)


def _objects(name: str, values: Sequence[Any]) -> pl.Series:
    """Return what no column type has: a reader of the column reports it, and others leave it alone."""
    import polars as pl

    return pl.Series(name, values, dtype=pl.Object)


def _same(name: str, values: Sequence[Any]) -> pl.Series:
    import polars as pl

    return pl.Series(name, values, strict=True)


def _datetimes(name: str, values: Sequence[datetime | None]) -> pl.Series:
    if len({value.tzinfo is None for value in values if value is not None}) > 1:
        raise DataError(
            f"column {name!r} mixes times with a zone and times without", hint="give every value of a column a zone"
        )
    return _same(name, values)


def _integers(name: str, values: Sequence[int | None]) -> pl.Series:
    """Return a column of 64 bits where they are enough, which is nearly always."""
    import polars as pl

    for dtype in (pl.Int64, pl.UInt64, pl.Int128):
        with suppress(TypeError, OverflowError):
            return pl.Series(name, values, dtype=dtype, strict=True)
    row = next(row for row, value in enumerate(values) if value is not None and not -(2**127) <= value < 2**127)
    raise DataError(f"column {name!r} holds {values[row]} in row {row}", hint="send integers that long as text")


def _all_floats(name: str, values: Sequence[Any]) -> list[float | None]:
    if not all(-_EXACT <= value <= _EXACT for value in values if type(value) is int):
        raise _mixed(name, values)
    return [None if value is None else float(value) for value in values]


def _decimals(name: str, values: Sequence[Any]) -> pl.Series:
    import polars as pl

    decimals = [None if value is None else Decimal(value) for value in values]
    scale, wrong = decimal_scale(decimals)
    if wrong:
        raise DataError(
            f"column {name!r} holds {values[wrong[0]]} in row {wrong[0]}, which is not a decimal of at most "
            f"{MOST_DIGITS} digits",
            hint="round it, or send text",
        )
    return pl.Series(name, decimals, dtype=pl.Decimal(MOST_DIGITS, scale))


def _lists(name: str, values: Sequence[list[Any] | None]) -> pl.Series:
    import polars as pl
    import pyarrow as pa

    items = column_of(name, [item for value in values if value is not None for item in value])
    offsets = list(accumulate((len(value or ()) for value in values), initial=0))
    mask = pa.array([value is None for value in values], pa.bool_())
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), items.to_arrow(), mask=mask)
    series = pl.from_arrow(lists)
    assert isinstance(series, pl.Series)
    return series.alias(name)


def _finer_times(name: str, values: Sequence[Any]) -> pl.Series:
    """Return times or durations, some of which have nanoseconds."""
    import polars as pl

    kinds = {value.kind for value in values if value is not None}
    if len(kinds) > 1:
        raise DataError(
            f"column {name!r} mixes {' and '.join(sorted(kinds))}", hint="give every value of a column one type"
        )
    counts, unit, wrong = in_a_unit([None if value is None else value.nanoseconds for value in values])
    if wrong:
        raise DataError(
            f"column {name!r} holds nanoseconds, and in row {wrong[0]} a time too far from 1970 for them",
            hint="round the times to microseconds",
        )
    dtypes = {"durations": pl.Duration(unit), "local times": pl.Datetime(unit), "times": pl.Datetime(unit, "UTC")}
    return pl.Series(name, counts, dtype=pl.Int64).cast(dtypes[kinds.pop()])


class _Finer(NamedTuple):
    """A time or a duration of NumPy or pandas."""

    kind: str
    nanoseconds: int


def _finer(value: Any) -> _Finer | None:
    """Return a time or duration to the nanosecond; None for anything else."""
    kind = type(value).__name__
    if isinstance(value, timedelta):
        return _Finer("durations", value // _MICROSECOND * 1000 + getattr(value, "nanoseconds", 0))
    if isinstance(value, datetime):
        start = datetime(1970, 1, 1, tzinfo=None if value.tzinfo is None else UTC)
        plain = value.to_pydatetime(warn=False) if hasattr(value, "to_pydatetime") else value
        nanoseconds = (plain - start) // _MICROSECOND * 1000 + getattr(value, "nanosecond", 0)
        return _Finer("local times" if value.tzinfo is None else "times", nanoseconds)
    if kind in ("datetime64", "timedelta64"):
        unit, count = re.fullmatch(r"<[mM]8\[(\d*)(\w+)\]", value.dtype.str).group(2, 1)  # type: ignore[union-attr]
        step = _UNITS[unit] * int(count or 1)
        return _Finer("local times" if kind == "datetime64" else "durations", int(value.astype("int64")) * step)
    return None


def _mixed(name: str, values: Sequence[Any]) -> DataError:
    first: dict[type, int] = {}
    for row, value in enumerate(values):
        if value is not None:
            first.setdefault(type(value), row)
    where = ", ".join(f"{kind.__name__} in row {row}" for kind, row in first.items())
    return DataError(f"column {name!r} mixes types: {where}", hint="give every value of a column one type")


_BUILDERS: dict[type, Callable[[str, Sequence[Any]], pl.Series]] = {
    **dict.fromkeys((bool, float, str, bytes, date, time, timedelta, dict), _same),
    datetime: _datetimes,
    int: _integers,
    Decimal: _decimals,
    list: _lists,
    _Finer: _finer_times,
}
