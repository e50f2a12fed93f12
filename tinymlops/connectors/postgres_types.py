"""What PostgreSQL calls the types of Polars, and columns as its binary `COPY` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tinymlops.connectors.odd_values import refuse_where
from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.connectors.writing import Column

__all__ = ["for_copy", "takes", "type_of"]

_PLAIN: dict[type[pl.DataType], type[pl.DataType] | pl.DataType] = {
    pl.Int8: pl.Int16,
    pl.UInt8: pl.Int16,
    pl.UInt16: pl.Int32,
    pl.UInt32: pl.Int64,
    pl.UInt64: pl.Decimal(20, 0),
    pl.Enum: pl.String,
    pl.Categorical: pl.String,
}
"""Types that PostgreSQL lacks, to those that hold all their values."""
_NAMES: dict[type[pl.DataType], str] = {
    pl.Boolean: "boolean",
    pl.Int16: "smallint",
    pl.Int32: "integer",
    pl.Int64: "bigint",
    pl.Float32: "real",
    pl.Float64: "double precision",
    pl.String: "text",
    pl.Binary: "bytea",
    pl.Date: "date",
    pl.Time: "time without time zone",
    pl.Duration: "interval",
}
_WIDER = {
    "smallint": ("integer", "bigint", "numeric"),
    "integer": ("bigint", "numeric"),
    "bigint": ("numeric",),
    "real": ("double precision",),
    "text": ("character varying",),
    "json": ("jsonb", "text"),
}
"""Types that take every value of another one."""


def type_of(column: Column) -> str:
    """Return the type for a column, as PostgreSQL writes it.

    Raises:
        DataError: If there is none.

    Example:
        >>> from tinymlops.connectors.writing import Column
        >>> type_of(Column("ids", pl.List(pl.UInt64())))
        'numeric(20,0)[]'
    """
    return "json" if column.is_json else _type(column.name, column.dtype)


def takes(found: str, column: Column) -> bool:
    """Return whether a column of a type takes every value that is written."""
    wanted = type_of(column)
    return found in (wanted, *_WIDER.get(wanted, ())) or (found == "numeric" and wanted.startswith("numeric("))


def for_copy(columns: Sequence[Column], keys: Sequence[str], frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame in the types of its columns.

    Raises:
        DataError: If a text has a character of number 0, which PostgreSQL does not store.
    """
    for column in columns:
        dtype = frame.schema[column.name]
        texts = pl.col(column.name).cast(_plain(column.name, dtype))
        if isinstance(dtype, pl.List | pl.Array) and _plain(column.name, dtype) == pl.List(pl.String):
            refuse_where(
                frame,
                texts.list.eval(pl.element().str.contains("\0", literal=True)).list.any(),
                column.name,
                keys,
                _NUL,
            )
        elif _plain(column.name, dtype) == pl.String:
            refuse_where(frame, texts.str.contains("\0", literal=True), column.name, keys, _NUL)
    return frame.select(pl.col(one.name).cast(_plain(one.name, one.dtype)) for one in columns)


_NUL = "a text with a character of number 0, which PostgreSQL does not store"


def _type(name: str, dtype: pl.DataType) -> str:
    plain = _plain(name, dtype)
    if isinstance(plain, pl.List):
        return f"{_type(name, plain.inner)}[]"  # type: ignore[arg-type]  # a type, not a class of one
    if isinstance(plain, pl.Decimal):
        return f"numeric({plain.precision},{plain.scale})"
    if isinstance(plain, pl.Datetime):
        return f"timestamp {'with' if plain.time_zone else 'without'} time zone"
    return _NAMES[type(plain)]


def _plain(name: str, dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.List | pl.Array):
        inner = _plain(name, dtype.inner)  # type: ignore[arg-type]  # a type, not a class of one
        if isinstance(inner, pl.List):
            raise DataError(f"column {name!r} has lists of lists, which no array holds", hint=_HINT)
        return pl.List(inner)
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", dtype.time_zone)
    if isinstance(dtype, pl.Duration):
        return pl.Duration("us")
    if type(dtype) in _PLAIN:
        plain = _PLAIN[type(dtype)]
        return plain if isinstance(plain, pl.DataType) else plain()
    if isinstance(dtype, pl.Decimal) or type(dtype) in _NAMES:
        return dtype
    said = "no type yet, because its source has no rows" if dtype == pl.Null else f"the type {dtype}"
    raise DataError(f"column {name!r} has {said}: there is none for it in PostgreSQL", hint=_HINT)


_HINT = "ingest rows first, or make another feature of it, such as text"
