"""Tables of any library, as Parquet or JSON, and back."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError
from tinymlops.frames import Frame, to_polars
from tinymlops.training.contents.content import Content, with_suffix

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_table", "table_content"]

SUFFIXES = (".parquet", ".json")


def table_content(name: str, table: Frame) -> Content:
    """Return a table as a file: Parquet, which keeps every type, or JSON if the name ends so.

    Args:
        name: Such as "errors", which is kept as `errors.parquet`.
        table: Polars, pandas, Arrow, a dict of columns or a list of dicts.

    Raises:
        DataError: If it cannot be read as a table, or a column holds what the format cannot.
    """
    import polars as pl

    name, suffix = with_suffix(name, SUFFIXES, "a table")
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


def read_table(name: str, content: bytes) -> pl.DataFrame:
    """Return the table that a file holds.

    Args:
        name: Its name, which tells the format.
        content: What `table_content` made, or JSON as MLflow writes it.

    Raises:
        DataError: If it does not hold a table.
    """
    import polars as pl

    try:
        if name.lower().endswith(".json"):
            return _from_json(content)
        return pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, msgspec.MsgspecError, DataError, ValueError, TypeError) as error:
        reason = error.message if isinstance(error, DataError) else str(error)
        raise DataError(f"{name!r} does not hold a table: {reason}", hint="read it with read_artifact") from error


def _parquet(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


def _json(frame: pl.DataFrame) -> bytes:
    # The layout of pandas' "split", which MLflow's tables have; NaN and infinity are null, which JSON has no word for.
    return msgspec.json.encode({"columns": frame.columns, "data": frame.rows()}, enc_hook=str)


def _from_json(content: bytes) -> pl.DataFrame:
    document: Any = msgspec.json.decode(content)
    if isinstance(document, dict) and {"columns", "data"} <= document.keys():
        names = [str(name) for name in document["columns"]]
        if any(len(row) != len(names) for row in document["data"]):
            raise ValueError("its rows have other lengths than its columns")
        columns = list(zip(*document["data"], strict=True)) or [()] * len(names)
        return to_polars({name: list(column) for name, column in zip(names, columns, strict=True)})
    return to_polars(document)
