"""PostgreSQL's values in Arrow, as columns that history keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["frame_of"]

_INFINITE_TIME, _INFINITE_DATE = -(2**63) + 946_684_799_999_999, -(2**31) + 10_956
"""What the driver makes of 'infinity': it adds the years from 1970 to 2000 to the greatest number."""

_EXACT = 2.0**53
"""Below it, every whole number is a float64."""


def frame_of(table: Any) -> pl.DataFrame:
    """Return an Arrow table of the driver as a frame.

    `numeric` becomes the nearest float64, `uuid` and `json` become text.

    Raises:
        DataError: If a column has a type that nothing here can read, or a whole number that float64 cannot hold.
    """
    import polars as pl
    import pyarrow as pa

    columns = {}
    for field, column in zip(table.schema, table.columns, strict=True):
        plain = _plain(field.name, field.type, column)
        columns[field.name] = plain
    if len(columns) < table.num_columns:
        names = table.schema.names
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns are named {twice!r}", hint="give one of them another name: ... as other")
    found = pl.from_arrow(pa.table(columns))
    assert isinstance(found, pl.DataFrame), "a table"
    return found


def _plain(name: str, dtype: Any, column: Any) -> Any:
    import pyarrow as pa

    if not isinstance(dtype, pa.BaseExtensionType):
        if _has_odd_part(dtype):
            raise _odd(name, "an array or an interval")
        return _endless(column, dtype)
    kind = getattr(dtype, "type_name", None) or dtype.extension_name.rpartition(".")[2]
    storage = pa.chunked_array([chunk.storage for chunk in column.chunks], dtype.storage_type)
    if kind == "numeric":
        return _numbers(name, storage)
    if kind == "uuid":
        return _uuids(storage)
    if kind in ("json", "jsonb"):
        return storage
    raise _odd(name, kind)


def _endless(column: Any, dtype: Any) -> Any:
    """Return times with the greatest number for 'infinity', as DuckDB writes it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)):
        return column
    wide = pa.types.is_timestamp(dtype)
    numbers = column.cast(pa.int64() if wide else pa.int32())
    infinite = pc.equal(numbers, _INFINITE_TIME if wide else _INFINITE_DATE)
    if not pc.any(infinite).as_py():
        return column
    greatest = pa.scalar(2**63 - 1 if wide else 2**31 - 1, numbers.type)
    return pc.if_else(infinite, greatest, numbers).cast(dtype)


def _has_odd_part(dtype: Any) -> bool:
    import pyarrow as pa

    if isinstance(dtype, pa.BaseExtensionType):
        return True
    if pa.types.is_interval(dtype):
        return True
    return any(_has_odd_part(dtype.field(place).type) for place in range(dtype.num_fields))


def _odd(name: str, kind: str) -> DataError:
    return DataError(
        f"column {name!r} is of type {kind}, which is not read",
        hint=f'cast it in a SELECT: "{name}"::text, ::float8, or extract(epoch from ...) of an interval',
    )


def _numbers(name: str, storage: Any) -> Any:
    import pyarrow.compute as pc

    numbers = pc.cast(storage, "float64")
    beyond = pc.and_(pc.greater_equal(pc.abs(numbers), _EXACT), pc.is_finite(numbers))
    if pc.any(beyond).as_py():
        shown = storage.filter(beyond)[0].as_py()
        raise DataError(
            f"column {name!r} is numeric and holds {shown[:40]}, which is beyond what float64 holds exactly",
            hint=f'cast it in a SELECT: "{name}"::bigint, ::text, or ::float8 for the nearest number',
        )
    return numbers


def _uuids(storage: Any) -> Any:
    import polars as pl
    import pyarrow as pa

    digits = pl.Series(pl.from_arrow(storage.cast(pa.binary()))).bin.encode("hex")
    places = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
    parts = [pl.lit(digits).str.slice(start, length) for start, length in places]
    return pl.select(pl.concat_str(parts, separator="-")).to_series().to_arrow()
