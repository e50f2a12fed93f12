"""Values that a database has no room for: the row is named, and nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

__all__ = ["refuse_where"]


def refuse_where(frame: pl.DataFrame, odd: pl.Expr, column: str, keys: Sequence[str], what: str) -> None:
    """Refuse rows with a value that cannot be written.

    Args:
        frame: The rows.
        odd: Whether a row has one.
        column: Where.
        keys: The columns that tell rows apart.
        what: What it is.

    Raises:
        DataError: If there is such a row.
    """
    found = frame.filter(odd.fill_null(value=False)).select(keys).head(1)
    if found.height:
        row = ", ".join(f"{name}={value!r}" for name, value in zip(keys, found.row(0), strict=True))
        raise DataError(f"column {column!r} holds {what}, in the row with {row}", hint="correct it where it comes from")
