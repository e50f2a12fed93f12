"""The hash of a table's content: its schema and values in row order, whatever file or engine they come from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.schema import dtype_name

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["table_hash"]


def table_hash(frame: pl.DataFrame) -> str:
    """Return the SHA-256 over a frame's schema and values, in row order; the value behind a null does not count.

    Raises:
        DataError: If a column holds Python objects.
    """
    digest = hashlib.sha256()
    for column in frame.get_columns():
        digest.update(f"{column.name}\0{dtype_name(column.dtype)}\0{len(column)}\0".encode())
        _add_values(column, digest.update)
    return digest.hexdigest()


def _add_values(column: pl.Series, update: Callable[[bytes], None]) -> None:
    dtype = column.dtype
    update(np.packbits(column.is_null().to_numpy()).tobytes())
    if isinstance(dtype, pl.Array):
        column, dtype = column.arr.to_list(), pl.List(dtype.inner)
    if isinstance(dtype, pl.List):
        update(column.list.len().fill_null(0).to_numpy().tobytes())
        _add_values(column.filter(column.list.len() > 0).explode(), update)
    elif isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            _add_values(column.struct.field(field.name), update)
    elif dtype == pl.Object:
        raise DataError(f"column {column.name!r} holds Python objects", hint="leave it out, or turn it into text")
    elif dtype == pl.Binary:
        update(column.bin.size().fill_null(0).to_numpy().tobytes())
        update(b"".join(column.drop_nulls().to_list()))
    elif dtype == pl.Boolean or (dtype.is_numeric() and not dtype.is_decimal()):
        update(column.fill_null(strategy="zero").to_numpy().tobytes())
    elif dtype.is_temporal():
        update(column.to_physical().fill_null(0).to_numpy().tobytes())
    else:
        text = column.cast(pl.String).fill_null("")
        update(text.str.len_bytes().to_numpy().tobytes())
        update("".join(text.to_list()).encode())
