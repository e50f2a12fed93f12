"""Tables and times at the boundary: any frame in, Polars inside, the caller's own kind of frame out.

Columns move by the Arrow C stream interface wherever a library has it, without a copy where Arrow allows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from tinymlops._forks import require_threads
from tinymlops._python_values import column_of, columns_of_rows
from tinymlops.errors import DataError
from tinymlops.times import ENDLESS, FIRST_MICROS, LAST_MICROS, parse_zone, to_micros

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    import polars as pl

__all__ = [
    "Ambiguous",
    "DateMeans",
    "Frame",
    "Role",
    "give_back",
    "has_only_finite",
    "require_no_nulls",
    "times_to_micros",
    "to_polars",
    "twice",
]

Frame = Any
"""A table of any library that `to_polars` accepts."""
Role = Literal["feature", "spine"]
"""Whether a time is that of a fact, or that of a request: they are rounded in opposite directions."""
Ambiguous = Literal["raise", "earliest", "latest"]
"""How to read a local time that a clock change skipped or repeated."""
DateMeans = Literal["start", "end"]
"""The moment of its day that a date means: the first or the last microsecond."""

_SHOWN_ROWS = 5
_DAY = 86_400_000_000
"""Microseconds."""
_EXACT = 2**53
"""Up to here every integer is a float64."""


def to_polars(frame: Frame) -> pl.DataFrame:
    """Read any table as a Polars frame.

    Args:
        frame: Polars (eager or lazy), pandas (its index is left out; NaN becomes null), PyArrow table, batch
            or reader, DuckDB relation, anything else with an Arrow C stream, a list of dicts or a dict of
            lists. UUIDs are read as their text.

    Returns:
        The same columns and rows.

    Raises:
        DataError: If it is none of these, or its columns cannot be read.
    """
    import polars as pl

    require_threads()
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        table = _read(frame)
    except _failures() as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"a {type(frame).__name__} cannot be read as a table: {reason}",
            hint="give every column one type and a name of its own",
        ) from error
    if table is not None:
        return table
    what = f"a {type(frame).__name__}"
    if isinstance(frame, list | tuple) and frame:
        row = next(row for row, value in enumerate(frame) if not isinstance(value, Mapping))
        what = f"a {type(frame).__name__} with a {type(frame[row]).__name__} in row {row}"
    raise DataError(
        f"{what} is not a table",
        hint="give a Polars or pandas frame, a PyArrow table, a DuckDB relation, a list of dicts or a dict of lists; "
        "rows without column names are dict(zip(names, row))",
    )


def give_back(result: pl.DataFrame, like: Frame) -> Frame:
    """Return a frame in the library that the caller works with.

    Args:
        result: The rows to return.
        like: What the caller gave. Polars, lazy Polars and pandas come back as they came, anything else with
            an Arrow C stream as a PyArrow table, lists and dicts as Polars. With the same number of rows,
            pandas keeps its index, and its own columns just as they were. Integers beside nulls are float64 there, as
            pandas has them, or nullable where that would round them.

    Returns:
        The rows in that kind of frame.
    """
    import polars as pl

    if isinstance(like, pl.LazyFrame):
        return result.lazy()
    if _is_pandas(like):
        return _to_pandas(result, like)
    if isinstance(like, pl.DataFrame | list | dict):
        return result
    return result.to_arrow()


def times_to_micros(
    series: pl.Series,
    *,
    role: Role,
    tz: str | None,
    name: str,
    of: str = "",
    ambiguous: Ambiguous = "raise",
    date_means: DateMeans | None = None,
    first_row: int = 0,
) -> pl.Series:
    """Convert times to microseconds since 1970 in UTC, rounding so that no knowledge comes early.

    Finer times of features round up, those of a spine down. A date is the last microsecond of its day for a
    feature, the first for a spine. What 64 bits of microseconds cannot hold, such as the "infinity" of
    milliseconds, becomes the greatest or the least number. Beyond the years 1 to 9999 no zone is looked up.

    Args:
        series: Dates, or datetimes with or without a zone.
        role: Whether they are the times of features or of a spine.
        tz: IANA name of the zone of times that carry none; None if there must be no such times.
        name: The name of the column in an error.
        of: The text after its name in an error, such as " of source 'orders'".
        ambiguous: How to read a time that a clock change skipped or repeated in `tz`: as the earlier or the later of
            the two moments that the offsets before and after the change give; or as an error.
        date_means: The moment of its day that a date means; None to decide by the role.
        first_row: How many rows of the table came before the series, for an error.

    Returns:
        Int64, null where the input is.

    Raises:
        DataError: If the column holds no times, times without a known zone, or ambiguous ones.
    """
    import polars as pl

    column = f"{name!r}{of}"
    if series.dtype == pl.Null:
        return series.cast(pl.Int64)
    if not isinstance(series.dtype, pl.Datetime | pl.Date):
        raise DataError(
            f"{column} is a column of {series.dtype}, not of times",
            hint='convert it first, such as pl.from_epoch(column, time_unit="s") or column.str.to_datetime()',
        )
    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is not None:
        return _round(series, role)
    if tz is None:
        raise DataError(
            f"{column} holds {'dates' if series.dtype == pl.Date else 'times'} without a time zone",
            hint='name their zone, such as tz="America/New_York" or tz="UTC"',
        )
    zone = parse_zone(tz)
    if series.dtype == pl.Date:
        return _day_edge(series, date_means or ("end" if role == "feature" else "start"), zone)
    return _local_to_micros(_round(series, role), zone, column, ambiguous, first_row)


def require_no_nulls(times: pl.Series, *, name: str) -> None:
    """Refuse a spine time that is null.

    Raises:
        DataError: With the first row numbers.
    """
    if times.null_count():
        rows = times.is_null().arg_true()
        raise DataError(
            f"{name!r} is null in {len(rows)} rows of the spine, first in rows {rows.head(_SHOWN_ROWS).to_list()}",
            hint="drop these rows or fill in the moment they are asked for",
        )


def _is_pandas(frame: Frame) -> bool:
    # Looked up, not imported: without an import of pandas there is no pandas frame.
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(frame, pandas.DataFrame)


def _read(frame: Frame) -> pl.DataFrame | None:
    """Read a table of a known library; None for anything else."""
    import polars as pl

    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if _is_pandas(frame):
        return _from_pandas(frame)
    if isinstance(frame, Mapping):
        return pl.DataFrame({name: _column(name, values) for name, values in frame.items()})
    if hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    if hasattr(frame, "__arrow_c_array__"):  # a single batch
        return _from_batch(frame)
    if isinstance(frame, list | tuple) and all(isinstance(row, Mapping) for row in frame):
        columns = columns_of_rows(frame)
        if not columns:
            return pl.DataFrame([{} for _ in frame])  # rows all the same
        return pl.DataFrame([column_of(name, values) for name, values in columns.items()])
    return None


def _failures() -> tuple[type[BaseException], ...]:
    """Return the exceptions of the libraries that read tables."""
    import polars as pl

    return (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,  # of Rust, which is not an Exception
        TypeError,
        ValueError,
        ArithmeticError,
        NotImplementedError,
        OSError,
    )


def _column(name: str, values: Any) -> Any:
    """Return one column of a dict; a scalar stays one, for every row."""
    if isinstance(values, list | tuple):
        return column_of(name, values)
    if str(getattr(values, "dtype", "")) == "object":
        return column_of(name, _without_missing(values.tolist()))
    return values


def _from_pandas(frame: Frame) -> pl.DataFrame:
    """Read a pandas frame: columns of objects by their values, and all others by Arrow."""
    import pandas as pd
    import polars as pl

    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        return pl.from_pandas(frame)  # which names the column
    columns: dict[str, Any] = {}
    for place, name in enumerate(names):
        values = frame.iloc[:, place]
        if values.dtype == object and pd.api.types.infer_dtype(values, skipna=True) != "string":
            columns[name] = column_of(name, _without_missing(values.tolist()))
        else:
            columns[name] = _from_pandas_column(name, values)
    return pl.DataFrame(columns)


def _from_pandas_column(name: str, values: Any) -> pl.Series:
    import polars as pl

    try:
        return pl.DataFrame(pl.from_pandas(values.rename(name).reset_index(drop=True))).to_series()
    except _failures() as error:
        raise DataError(
            f"column {name!r} is {values.dtype} and cannot be read: {str(error).splitlines()[0]}",
            hint="give every value of the column one type",
        ) from error


def _without_missing(values: list[Any]) -> list[Any]:
    """Return values with None for NaN, which marks missing objects in pandas."""
    return [None if isinstance(value, float) and value != value else value for value in values]


def _from_batch(batch: Frame) -> pl.DataFrame:
    import polars as pl
    import pyarrow as pa

    table = pl.from_arrow(pa.record_batch(batch))
    assert isinstance(table, pl.DataFrame)
    return table


def _to_pandas(result: pl.DataFrame, like: Frame) -> Frame:
    """Convert to pandas; with as many rows as the caller's frame its columns and index are used as they are."""
    if result.height != len(like):
        import pandas as pd

        return pd.DataFrame({column.name: _pandas_column(column) for column in result})
    own = {str(column): column for column in like.columns}
    joined = like[[own[column] for column in result.columns if column in own]].copy()
    for column in result.columns:
        if column not in own:
            joined[column] = _pandas_column(result[column])  # by position: the index may repeat
    return joined[[own.get(column, column) for column in result.columns]]


def _pandas_column(column: pl.Series) -> Any:
    """Return a column's values: integers beside nulls as float64 where that is exact, else as pandas' nullable ones."""
    import pandas as pd
    import polars as pl

    wide = isinstance(column.dtype, pl.Int128 | pl.UInt128)
    if not wide and _is_exact(column.explode() if isinstance(column.dtype, pl.List) else column):
        return column.to_pandas().array
    if wide or isinstance(column.dtype, pl.List):
        return pd.Series(column.to_list(), dtype=object).array
    numbers = column.fill_null(0).to_numpy(writable=True)
    return pd.arrays.IntegerArray(numbers, column.is_null().to_numpy(writable=True))


def _is_exact(column: pl.Series) -> bool:
    """Return whether a column has the same values in pandas, which makes floats of integers beside nulls."""
    if not column.dtype.is_integer() or not column.null_count():
        return True
    low, high = column.min(), column.max()
    return not isinstance(low, int) or not isinstance(high, int) or max(-low, high) <= _EXACT


def _round(series: pl.Series, role: Role) -> pl.Series:
    """Return microseconds as Int64, rounded up for features and down for spines."""
    import polars as pl

    assert isinstance(series.dtype, pl.Datetime)
    unit, numbers = series.dtype.time_unit, series.to_physical()
    if unit == "us":
        return numbers
    if unit == "ms":
        most = ENDLESS // 1000
        return _saturated(numbers.clip(-most, most) * 1000, numbers, -most, most)
    # Floor division, so the times before 1970 round the same way; up is down of the negative.
    micros = -(-numbers // 1000) if role == "feature" else numbers // 1000
    return _saturated(micros, numbers, -ENDLESS, ENDLESS - 1)


def _saturated(micros: pl.Series, numbers: pl.Series, low: int, high: int) -> pl.Series:
    """Put the least or the greatest microsecond where the given numbers are out of its range."""
    if _is_within(numbers, low, high):
        return micros
    for beyond, value in ((numbers < low, -ENDLESS), (numbers > high, ENDLESS)):
        micros = micros.set(beyond.fill_null(value=False), value)
    return micros


def _is_within(numbers: pl.Series, low: int, high: int) -> bool:
    least, greatest = numbers.min(), numbers.max()
    return not isinstance(least, int) or not isinstance(greatest, int) or low <= least <= greatest <= high


def _local_to_micros(numbers: pl.Series, zone: ZoneInfo, name: str, ambiguous: Ambiguous, first_row: int) -> pl.Series:
    """Convert microseconds of local time to microseconds UTC."""
    if _is_within(numbers, FIRST_MICROS, LAST_MICROS):
        return _in_calendar(numbers, zone, name, ambiguous, first_row)
    outside = ((numbers < FIRST_MICROS) | (numbers > LAST_MICROS)).fill_null(value=False)
    inside = _in_calendar(numbers.set(outside, None), zone, name, ambiguous, first_row)
    return numbers.zip_with(outside, inside)


def _in_calendar(numbers: pl.Series, zone: ZoneInfo, name: str, ambiguous: Ambiguous, first_row: int) -> pl.Series:
    """Convert microseconds of local time in the years 1 to 9999; beyond them, the zone lookup panics."""
    import polars as pl

    local = numbers.cast(pl.Datetime("us"))
    aware = local.dt.replace_time_zone(zone.key, ambiguous="null", non_existent="null")
    micros = aware.to_physical()
    open_rows = (aware.is_null() & local.is_not_null()).arg_true()
    if not len(open_rows):
        return micros
    if ambiguous == "raise":
        first = open_rows.head(_SHOWN_ROWS)
        raise DataError(
            f"{name} holds {len(open_rows)} times that a clock change in {zone.key} skipped or repeated, the first in "
            f"rows {[first_row + row for row in first]}: {[str(moment) for moment in local.gather(first)]}",
            hint='give the column in UTC, or where a source is declared say ambiguous="earliest" or ambiguous="latest"',
        )
    pick = min if ambiguous == "earliest" else max
    return _replace_rows(micros, open_rows, [pick(_both_readings(moment, zone)) for moment in local.gather(open_rows)])


def _day_edge(series: pl.Series, edge: DateMeans, zone: ZoneInfo) -> pl.Series:
    """Return the first microsecond of each day in a zone, or the last."""
    days = series.to_physical()
    low, high = FIRST_MICROS // _DAY, LAST_MICROS // _DAY
    if _is_within(days, low, high):
        return _edge_in_calendar(series, edge, zone)
    outside = ((days < low) | (days > high)).fill_null(value=False)
    inside = _edge_in_calendar(series.set(outside, None), edge, zone)
    return _saturated(inside, days, low, high)


def _edge_in_calendar(series: pl.Series, edge: DateMeans, zone: ZoneInfo) -> pl.Series:
    """Return the edge of days in the years 1 to 9999."""
    import polars as pl

    days = series.dt.offset_by("1d") if edge == "end" else series
    midnight = days.cast(pl.Datetime("us"))
    aware = midnight.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    skipped = (aware.is_null() & midnight.is_not_null()).arg_true()
    # Where a clock change skips midnight, the day begins at the change: midnight read with the offset before
    # it.
    first = _replace_rows(
        aware.to_physical(), skipped, [_both_readings(moment, zone)[0] for moment in midnight.gather(skipped)]
    )
    return first - 1 if edge == "end" else first


def _both_readings(moment: datetime, zone: ZoneInfo) -> tuple[int, int]:
    """Read a local time with the offset before the clock change, and with the one after it (PEP 495)."""
    before, after = (moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return to_micros(before), to_micros(after)


def _replace_rows(numbers: pl.Series, rows: pl.Series, values: list[int]) -> pl.Series:
    import polars as pl

    return numbers.clone().scatter(rows, pl.Series(values, dtype=pl.Int64)) if len(rows) else numbers


def has_only_finite(series: pl.Series) -> bool:
    """Return whether no value of a column of floats is NaN or infinite, by one addition; False may be a false alarm.

    NaN and infinities stay in a sum, and nulls are left out of it; a sum of great numbers may overflow.
    """
    return math.isfinite(series.sum())


def twice(frame: pl.DataFrame) -> pl.DataFrame:
    """Return all rows of a frame, and all of them again below, so that a single row is computed as one among others is.

    Polars divides a single float by a constant, and multiplies more of them by its reciprocal: the last digits differ, and
    with them the whole numbers of `//` and `%`. Two equal frames of one row, put together, would be a single value again.
    """
    import polars as pl

    return pl.DataFrame([pl.concat([column, column], rechunk=True) for column in frame])
