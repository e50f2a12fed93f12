"""Check what may enter history: one check of types and values for rows from anywhere.

Rows from a function, SQL, a frame, a file or a client all pass it, so that no read ever meets a value that it cannot
return. There are two conditions. A segment can hold the type, and it is the same the next time: Categorical is stored
as String. And every reader can represent each value: Python, JSON, SQL and other frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError
from tinymlops.features.history.source_times import times_of
from tinymlops.frames import has_only_finite
from tinymlops.schema import dtype_name, lasting_dtype
from tinymlops.times import ENDLESS, FIRST_MICROS, LAST_MICROS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["event_times", "require_answerable", "storable"]

_SHOWN_ROWS = 5
_DAY = 86_400_000_000
_LONGEST = 999_999_999 * _DAY
"""Microseconds of Python's longest duration."""
_PER_UNIT = {"ns": 1_000, "us": 1, "ms": 1_000}


def storable(frame: pl.DataFrame, source: SourceSpec) -> pl.DataFrame:
    """Convert columns to the types that history keeps.

    Categorical becomes String, because its categories are those of one read, and integers of 128 bits, such as DuckDB's
    sums, become Int64 where they fit. An event at infinity has not happened: its time becomes null.

    Raises:
        DataError: If a column has a type that cannot be stored; it names the column and its source.
    """
    kept = [_happened(column) if column.name == source.timestamp else _kept(column) for column in frame]
    for column in kept:
        try:
            dtype_name(column.dtype)
        except DataError as error:
            raise DataError(
                f"column {column.name!r} of source {source.name!r} is {column.dtype}, which cannot be stored",
                hint=_cure(column),
            ) from error
    return frame.with_columns(new for new, old in zip(kept, frame, strict=True) if new is not old)


def require_answerable(frame: pl.DataFrame, source: SourceSpec) -> pl.DataFrame:
    """Refuse values that a read could not return; NaN becomes null.

    Raises:
        DataError: If a number is infinite, or a time is beyond the years 1 to 9999 in UTC, naming column and rows.
    """
    answerable = []
    for column in frame:
        has_nan = False
        for flat, rows in _leaves(column):
            if flat.dtype.is_float() and not has_only_finite(flat):
                cure = "make it null, or cap it, in the source"
                _refuse(column, source, "is infinite", flat.is_infinite(), rows, cure)
                has_nan = has_nan or bool(flat.is_nan().any())
            elif flat.dtype.is_temporal():
                _refuse_times(column, source, flat, rows)
        if has_nan:
            answerable.append(_without_nan(column))
    return frame.with_columns(answerable) if answerable else frame


def event_times(frame: pl.DataFrame, column: str, source: SourceSpec) -> pl.Series:
    """Return one of a source's times in microseconds UTC, with its zone and rounding applied.

    Raises:
        DataError: If one is outside the years 1 to 9999 in UTC, and as in `times_of`.
    """
    micros = times_of(frame[column], source)
    if _within(micros, FIRST_MICROS, LAST_MICROS):
        return micros
    outside = (micros < FIRST_MICROS) | (micros > LAST_MICROS)
    _refuse(frame[column], source, _BEYOND, outside, None, _TIMES_HINT)
    return micros


_BEYOND = "is beyond the years 1 to 9999 in UTC"
_TIMES_HINT = "make it null where it means never or not known, or leave the row out, in the source"


def _kept(column: pl.Series) -> pl.Series:
    """Return a column in the type that history keeps; the same object if it is of that type."""
    import polars as pl

    dtype = column.dtype
    if dtype in (pl.Int128, pl.UInt128) or (isinstance(dtype, pl.Decimal) and dtype.scale == 0):
        narrow = column.cast(pl.Int64, strict=False)
        return narrow if narrow.null_count() == column.null_count() else column
    lasting = lasting_dtype(dtype)
    return column if lasting == dtype else column.cast(lasting)


def _happened(column: pl.Series) -> pl.Series:
    """Return event times without SQL's 'infinity'; the same object if there are none."""
    import polars as pl

    if not isinstance(column.dtype, pl.Datetime | pl.Date):
        return _kept(column)
    numbers, endless = column.to_physical(), 2**31 - 1 if column.dtype == pl.Date else ENDLESS
    if numbers.max() != endless:
        return column
    return column.set((numbers == endless).fill_null(value=False), None)


def _cure(column: pl.Series) -> str:
    """Return a hint how to make a column of an unknown type storable."""
    import polars as pl

    dtype = column.dtype
    if dtype == pl.Object:
        kinds = sorted({type(value).__name__ for value in column.to_list() if value is not None})
        return f"it holds Python objects of type {', '.join(kinds)}: give text, such as str(value), or numbers"
    if dtype in (pl.Int128, pl.UInt128):
        return "it holds integers beyond 64 bits: cast it to text or to Float64 in the source"
    return "cast it to numbers, strings, times, or lists or structs of them in the source"


def _leaves(values: pl.Series, rows: pl.Series | None = None) -> Iterator[tuple[pl.Series, pl.Series | None]]:
    """Give the numbers and times within lists and structs, and the row of each; of other columns the column, and None."""
    import polars as pl

    dtype = values.dtype
    if not dtype.is_nested():
        yield values, rows
        return
    if not _has_numbers_or_times(dtype):
        return  # strings and the like need no look, and lists of them may be long
    rows = pl.int_range(len(values), eager=True) if rows is None else rows
    if isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from _leaves(values.struct.field(field.name), rows)
        return
    lists = values.arr.to_list() if isinstance(dtype, pl.Array) else values
    full = (lists.list.len() > 0).fill_null(value=False)
    parts = pl.DataFrame({"value": lists.filter(full), "row": rows.filter(full)}).explode("value")
    yield from _leaves(parts["value"], parts["row"])


def _has_numbers_or_times(dtype: Any) -> bool:
    import polars as pl

    if isinstance(dtype, pl.List | pl.Array):
        return _has_numbers_or_times(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return any(_has_numbers_or_times(field.dtype) for field in dtype.fields)
    return bool(dtype.is_float() or dtype.is_temporal())


def _without_nan(column: pl.Series) -> pl.Series:
    import polars as pl

    def cured(dtype: Any, values: pl.Expr) -> pl.Expr:
        if not _has_numbers_or_times(dtype):
            return values
        if isinstance(dtype, pl.List):
            return values.list.eval(cured(dtype.inner, pl.element()))
        if isinstance(dtype, pl.Array):
            return values.arr.eval(cured(dtype.inner, pl.element()), as_list=False)
        if isinstance(dtype, pl.Struct):
            fields = [cured(field.dtype, values.struct.field(field.name)).alias(field.name) for field in dtype.fields]
            return pl.when(values.is_not_null()).then(pl.struct(fields))
        return values.fill_nan(None) if dtype.is_float() else values

    return column.to_frame().select(cured(column.dtype, pl.col(column.name)).alias(column.name)).to_series()


def _refuse_times(column: pl.Series, source: SourceSpec, flat: pl.Series, rows: pl.Series | None) -> None:
    """Refuse times that Python and JSON cannot represent."""
    import polars as pl

    dtype, numbers = flat.dtype, flat.to_physical()
    if isinstance(dtype, pl.Time):
        _refuse(
            column, source, "is beyond a day", (numbers < 0) | (numbers >= _DAY * 1_000), rows, "keep it below 24:00"
        )
        return
    low, high = _bounds(dtype)
    if _within(numbers, low, high):
        return
    outside = (numbers < low) | (numbers > high)
    what = {pl.Duration: "is longer than 999,999,999 days", pl.Time: "is beyond a day"}.get(type(dtype), _BEYOND)
    _refuse(column, source, what, outside, rows, _TIMES_HINT)


def _within(numbers: pl.Series, low: int, high: int) -> bool:
    least, greatest = numbers.min(), numbers.max()
    return not isinstance(least, int) or not isinstance(greatest, int) or low <= least <= greatest <= high


def _bounds(dtype: pl.DataType) -> tuple[int, int]:
    """Return the least and the greatest number of a type's unit that every reader can represent."""
    import polars as pl

    if dtype == pl.Time:
        return 0, _DAY * 1_000 - 1
    if dtype == pl.Date:
        return FIRST_MICROS // _DAY, LAST_MICROS // _DAY
    assert isinstance(dtype, pl.Datetime | pl.Duration)
    low, high = (-_LONGEST, _LONGEST) if isinstance(dtype, pl.Duration) else (FIRST_MICROS, LAST_MICROS)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone not in (None, "UTC", "Etc/UTC"):
        low, high = low + _DAY, high - _DAY  # local days extend this far beyond those of UTC
    if dtype.time_unit == "ms":
        return low // _PER_UNIT["ms"], high // _PER_UNIT["ms"]
    scale = _PER_UNIT[dtype.time_unit]
    return max(low * scale, -ENDLESS), min(high * scale, ENDLESS - 1)


def _refuse(
    column: pl.Series, source: SourceSpec, what: str, wrong: pl.Series, rows: pl.Series | None, hint: str
) -> None:
    """Raise an error that names the rows, if there are any."""
    if not wrong.any():
        return
    found = wrong.arg_true() if rows is None else rows.filter(wrong).unique(maintain_order=True)
    more = f" and {len(found) - _SHOWN_ROWS} more" if len(found) > _SHOWN_ROWS else ""
    raise DataError(
        f"column {column.name!r} of source {source.name!r} {what} in rows {found.head(_SHOWN_ROWS).to_list()}{more}",
        hint=hint,
    )
