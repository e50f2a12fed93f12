"""Tables that runs keep as files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError
from tinymlops.frames import to_polars

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_table"]


def read_table(name: str, content: bytes) -> pl.DataFrame:
    """Return the table that a file holds.

    Args:
        name: Its name, which tells the format.
        content: Parquet, or JSON: a list of rows, or columns and rows apart, as MLflow writes them.

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


def _from_json(content: bytes) -> pl.DataFrame:
    document: Any = msgspec.json.decode(content)
    if isinstance(document, dict) and {"columns", "data"} <= document.keys():
        names = [str(name) for name in document["columns"]]
        if any(len(row) != len(names) for row in document["data"]):
            raise ValueError("its rows have other lengths than its columns")
        columns = list(zip(*document["data"], strict=True)) or [()] * len(names)
        return to_polars({name: list(column) for name, column in zip(names, columns, strict=True)})
    return to_polars(document)
