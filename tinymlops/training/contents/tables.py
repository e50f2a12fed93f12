"""Tables of any library, as Parquet or JSON."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DataError
from tinymlops.frames import Frame, to_polars
from tinymlops.training.contents.content import Content, with_suffix

if TYPE_CHECKING:
    import polars as pl

__all__ = ["table_content"]

_SUFFIXES = (".parquet", ".json")


def table_content(name: str, table: Frame) -> Content:
    """Return a table as a file: Parquet, which keeps every type, or JSON if the name ends so.

    Args:
        name: Such as "errors", which is kept as `errors.parquet`.
        table: Polars, pandas, Arrow, a dict of columns or a list of dicts.

    Raises:
        DataError: If it cannot be read as a table, or a column holds what the format cannot.
    """
    import polars as pl

    name, suffix = with_suffix(name, _SUFFIXES, "a table")
    frame = to_polars(table)
    if not frame.width:
        raise DataError(f"the table {name!r} has no columns", hint="pass a dict of columns or a frame")
    objects = [column for column, dtype in frame.schema.items() if dtype == pl.Object]
    if objects:
        raise DataError(
            f"column {objects[0]!r} of the table {name!r} holds Python objects", hint="convert them to text or numbers"
        )
    try:
        return Content(name, _parquet(frame) if suffix == ".parquet" else _json(frame), "table")
    except (pl.exceptions.PolarsError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"the table {name!r} cannot be kept as {suffix[1:]}: {error}") from error


def _parquet(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


def _json(frame: pl.DataFrame) -> bytes:
    # The layout of pandas' "split", which MLflow's tables have; NaN and infinity are null, which JSON has no word for.
    return msgspec.json.encode({"columns": frame.columns, "data": frame.rows()}, enc_hook=str)
