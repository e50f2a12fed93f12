"""DuckDB's result as a Polars frame: Arrow has types and values that Polars does not have, and would panic at."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError
from tinymlops.times import ENDLESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import polars as pl
    import pyarrow as pa

__all__ = ["as_polars", "require_exact_types"]

_SHOWN_ROWS = 5
_MIDNIGHT, _TOO_LONG = "holds the time of day 24:00:00", "holds integers of more than 38 digits"
_GREATEST = Decimal("9" * 38)
_NANOS_A_DAY = 86_400_000_000_000
_MOST_DAYS = 106_600_000
"""Of an interval, whose microseconds fit into 64 bits whatever time of day is added."""
_AS_TEXT = "cast it to text, as in value::text: what DuckDB gives of it are the bytes that it keeps inside"
_CHANGED = {
    "TIME WITH TIME ZONE": "select it as a time or as text: a time of day has no offset",
    "UHUGEINT": "cast it to UBIGINT, HUGEINT or text: what DuckDB gives of it is of another sign beyond 2 ** 127",
    "BIT": _AS_TEXT,
    "BIGNUM": _AS_TEXT,
    "VARIANT": _AS_TEXT,
}
"""Types whose values DuckDB changes on their way to Arrow, and what to do about them."""
_NESTED = ("list", "array", "struct", "map")


def require_exact_types(names: Iterable[str], types: Iterable[Any]) -> None:
    """Refuse columns of DuckDB whose values would change in Arrow.

    Args:
        names: The names of the columns.
        types: Their types in DuckDB.

    Raises:
        DataError: If there is one; it names the first.
    """
    for name, kind in zip(names, types, strict=True):
        for plain in _plain(kind):
            if plain in _CHANGED:
                raise DataError(
                    f"column {name!r} of the SQL is {kind}, which cannot be read exactly", hint=_CHANGED[plain]
                )


def _plain(kind: Any) -> Iterator[str]:
    """Yield the names of the types in a type of DuckDB that have no others in them."""
    if kind.id not in _NESTED:
        yield str(kind)
        return
    for _, part in kind.children:
        if not isinstance(part, int):  # the size of an array
            yield from _plain(part)


def as_polars(table: pa.Table) -> pl.DataFrame:
    """Convert a table without losing or wrapping a value.

    Intervals become durations in microseconds, with days of 24 hours; seconds become milliseconds, which keep "infinity".

    Args:
        table: What DuckDB returned.

    Raises:
        DataError: If a column holds what Polars cannot: its name, and the rows where it is single values.
    """
    import polars as pl

    columns = [_convertible(table.column(i), name) for i, name in enumerate(table.column_names)]
    try:
        frame = pl.from_arrow(type(table).from_arrays(columns, names=table.column_names), rechunk=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, NotImplementedError, ValueError) as error:
        raise _unknown_type(columns, table, error) from error
    assert isinstance(frame, pl.DataFrame), "a table is a frame"
    return frame


def _convertible(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_interval(kind):
        return _durations(column, name)
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return _milliseconds(column)
    if pa.types.is_time(kind):
        _require_times_of_day(column, name)
    if pa.types.is_decimal128(kind) and kind.precision == 38:
        _require_38_digits(column, name)
    if _holds_interval(kind):
        raise DataError(
            f"column {name!r} of the SQL holds intervals within {kind}",
            hint="give each interval a column of its own, or epoch_us(...) of it, which is a number",
        )
    if pa.types.is_nested(kind):
        _require_exact_parts(column, name)
    return column


def _durations(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Read intervals (months, days and nanoseconds) as microseconds."""
    import numpy as np
    import pyarrow as pa

    parts = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanos", "<i8")])
    made, first = [], 0
    for chunk in column.chunks:
        data = chunk.buffers()[1]
        raw = np.frombuffer(data, parts, len(chunk), chunk.offset * parts.itemsize) if data else np.empty(0, parts)
        null = np.asarray(chunk.is_null())
        _refuse(name, "holds intervals of months, whose length is not fixed,", (raw["months"] != 0) & ~null, first)
        days = raw["days"].astype(np.int64)
        _refuse(name, f"holds intervals of more than {_MOST_DAYS:,} days", (abs(days) > _MOST_DAYS) & ~null, first)
        micros = days * (_NANOS_A_DAY // 1_000) + raw["nanos"] // 1_000
        made.append(pa.array(micros, pa.int64(), mask=null).cast(pa.duration("us")))
        first += len(chunk)
    return pa.chunked_array(made, type=pa.duration("us"))


def _milliseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read seconds as milliseconds; what 64 bits cannot hold is clipped, not wrapped."""
    import pyarrow as pa
    import pyarrow.compute as pc

    seconds, most = column.cast(pa.int64()), ENDLESS // 1_000
    compute: Any = pc  # made as it is imported, which its types do not tell
    inside = compute.min_element_wise(
        compute.max_element_wise(seconds, -most, skip_nulls=False), most, skip_nulls=False
    )
    millis = compute.multiply(inside, 1_000)
    millis = compute.if_else(compute.greater(seconds, most), ENDLESS, millis)
    millis = compute.if_else(compute.less(seconds, -most), -ENDLESS, millis)
    return millis.cast(pa.timestamp("ms", column.type.tz))


def _require_times_of_day(column: pa.ChunkedArray, name: str) -> None:
    _refuse(name, _MIDNIGHT, _are_midnight(column), 0)


def _require_38_digits(column: pa.ChunkedArray, name: str) -> None:
    _refuse(name, _TOO_LONG, _are_too_long(column), 0)


def _require_exact_parts(column: pa.ChunkedArray, name: str) -> None:
    """Refuse in lists, maps and structs what is refused in a column of its own."""
    import pyarrow as pa

    for chunk in column.chunks:
        for part in _parts(chunk):
            is_long = pa.types.is_decimal128(part.type) and part.type.precision == 38
            for what, test, find in (
                (_MIDNIGHT, pa.types.is_time(part.type), _are_midnight),
                (_TOO_LONG, is_long, _are_too_long),
            ):
                if test and find(part).any():
                    raise DataError(
                        f"column {name!r} of the SQL {what} within {column.type}",
                        hint="cast it in the SELECT, such as to text",
                    )


def _parts(array: Any) -> Iterator[Any]:
    """Yield the arrays of values within an array of lists, maps or structs."""
    import pyarrow as pa

    if pa.types.is_struct(array.type) or pa.types.is_map(array.type):
        for part in (array.keys, array.items) if pa.types.is_map(array.type) else array.flatten():
            yield from _parts(part)
    elif pa.types.is_nested(array.type) and not pa.types.is_union(array.type):
        yield from _parts(array.flatten())
    else:
        yield array


def _are_midnight(times: Any) -> Any:
    """Return which times are the end of a day, which DuckDB has as a time and Polars would make null."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    compute: Any = pc
    day = _NANOS_A_DAY if times.type.unit == "ns" else _NANOS_A_DAY // 1_000
    return np.asarray(compute.greater_equal(times.cast(pa.int64()), day).fill_null(fill_value=False))


def _are_too_long(values: Any) -> Any:
    """Return which integers of 128 bits no decimal of 38 digits holds."""
    import numpy as np
    import pyarrow.compute as pc

    compute: Any = pc
    bounds = compute.min_max(values).as_py()
    if bounds["max"] is None or -_GREATEST <= bounds["min"] <= bounds["max"] <= _GREATEST:
        return np.zeros(len(values), np.bool_)
    return np.array([value is not None and not -_GREATEST <= value <= _GREATEST for value in values.to_pylist()])


def _refuse(name: str, what: str, wrong: Any, first: int) -> None:
    import numpy as np

    rows = np.flatnonzero(wrong)
    if len(rows):
        shown = [first + int(row) for row in rows[:_SHOWN_ROWS]]
        raise DataError(
            f"column {name!r} of the SQL {what} in rows {shown}", hint="cast it in the SELECT, such as to text"
        )


def _holds_interval(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_interval(kind) or any(_holds_interval(kind.field(i).type) for i in range(kind.num_fields))


def _unknown_type(columns: list[pa.ChunkedArray], table: pa.Table, error: BaseException) -> DataError:
    """Return the error that names the column that Polars does not take."""
    import polars as pl

    for name, column in zip(table.column_names, columns, strict=True):
        try:
            pl.from_arrow(column)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, NotImplementedError, ValueError):
            return DataError(
                f"column {name!r} of the SQL is {column.type}, which Polars does not have", hint="cast it in the SELECT"
            )
    return DataError(f"the rows of the SQL cannot be read: {error}", hint="cast its columns in the SELECT")
