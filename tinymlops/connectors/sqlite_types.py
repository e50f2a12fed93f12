"""What SQLite's tables declare for the types of Polars, and columns as the values that it stores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from tinymlops.connectors.odd_values import refuse_where
from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.connectors.writing import Column

__all__ = ["takes", "type_of", "values_of"]

_NAMES: dict[type[pl.DataType], str] = {
    pl.Boolean: "boolean",
    pl.Int8: "integer",
    pl.Int16: "integer",
    pl.Int32: "integer",
    pl.Int64: "integer",
    pl.UInt8: "integer",
    pl.UInt16: "integer",
    pl.UInt32: "integer",
    pl.UInt64: "text",
    pl.Float32: "real",
    pl.Float64: "real",
    pl.String: "text",
    pl.Enum: "text",
    pl.Categorical: "text",
    pl.Decimal: "text",
    pl.Binary: "blob",
    pl.Date: "date",
    pl.Datetime: "datetime",
    pl.Time: "text",
    pl.Duration: "integer",
}
_TAKEN = {
    "boolean": ("BOOL", "INT"),
    "integer": ("INT",),
    "real": ("REAL", "FLOA", "DOUB"),
    "text": ("CHAR", "CLOB", "TEXT"),
    "blob": ("BLOB",),
    "date": ("DATE", "TEXT"),
    "datetime": ("DATETIME", "TIMESTAMP", "TEXT"),
}
"""Parts of declared types that keep a value as it is written."""


def type_of(column: Column) -> str:
    """Return the type to declare for a column.

    Raises:
        DataError: If SQLite has no form for its values.

    Example:
        >>> from tinymlops.connectors.writing import Column
        >>> type_of(Column("at", pl.Datetime("us", "UTC")))
        'datetime'
    """
    dtype = column.dtype
    if isinstance(dtype, pl.List | pl.Array):
        if not (dtype.inner.is_numeric() or dtype.inner in (pl.String, pl.Boolean)):
            raise DataError(
                f"column {column.name!r} has the type {dtype}: SQLite takes lists of numbers, texts and booleans as JSON",
                hint="make another feature of it, such as text",
            )
        return "text"
    if type(dtype) not in _NAMES:
        said = "no type yet, because its source has no rows" if dtype == pl.Null else f"the type {dtype}"
        raise DataError(
            f"column {column.name!r} has {said}: there is none for it in SQLite",
            hint="ingest rows first, or make another feature of it, such as text",
        )
    return _NAMES[type(dtype)]


def takes(found: str, column: Column) -> bool:
    """Return whether a column of a declared type keeps every value as it is written."""
    return any(part in found.upper() for part in _TAKEN[type_of(column)])


def values_of(columns: Sequence[Column], keys: Sequence[str], frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Return rows as SQLite stores them.

    Raises:
        DataError: If there is a NaN, of which SQLite makes a null.
    """
    for column in columns:
        one, dtype = pl.col(column.name), frame.schema[column.name]
        if dtype.is_float():
            refuse_where(frame, one.is_nan(), column.name, keys, _NAN)
        elif isinstance(dtype, pl.List | pl.Array) and dtype.inner.is_float():
            items = one.cast(pl.List(dtype.inner)).list.eval(pl.element().is_finite().not_()).list.any()
            refuse_where(frame, items, column.name, keys, "a list with NaN or an infinity, which JSON does not have")
    return frame.select(_stored(one) for one in columns).rows()


_NAN = "NaN, of which SQLite makes a null"


def _stored(column: Column) -> pl.Expr:
    one, dtype = pl.col(column.name), column.dtype
    if isinstance(dtype, pl.Datetime):
        zone = "+00:00" if dtype.time_zone else ""
        utc = one.dt.convert_time_zone("UTC") if dtype.time_zone else one
        return utc.cast(pl.Datetime("us", "UTC" if zone else None)).dt.strftime(f"%Y-%m-%d %H:%M:%S%.6f{zone}")
    if isinstance(dtype, pl.Time):
        return one.dt.strftime("%H:%M:%S%.6f")
    if isinstance(dtype, pl.Date | pl.Enum | pl.Categorical | pl.Decimal | pl.UInt64):
        return one.cast(pl.String)
    if isinstance(dtype, pl.Duration):
        return one.cast(pl.Duration("us")).cast(pl.Int64)
    if isinstance(dtype, pl.List | pl.Array):
        as_list = one.cast(pl.List(dtype.inner))
        return as_list.map_elements(_json, return_dtype=pl.String, skip_nulls=True)
    return one


def _json(values: pl.Series) -> str:
    items = values.cast(pl.String) if isinstance(values.dtype, pl.Decimal) else values
    return json.dumps(items.to_list(), ensure_ascii=False, allow_nan=False)
