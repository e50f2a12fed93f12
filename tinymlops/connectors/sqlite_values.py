"""SQLite's values as columns: a type is what the table declares, and times are texts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from tinymlops._python_values import column_of
from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["column_from", "declared"]

_DECLARED: tuple[tuple[str, type[pl.DataType]], ...] = (
    ("BOOL", pl.Boolean),
    ("DATETIME", pl.Datetime),
    ("TIMESTAMP", pl.Datetime),
    ("DATE", pl.Date),
    ("INT", pl.Int64),
    ("CHAR", pl.String),
    ("CLOB", pl.String),
    ("TEXT", pl.String),
    ("BLOB", pl.Binary),
    ("REAL", pl.Float64),
    ("FLOA", pl.Float64),
    ("DOUB", pl.Float64),
)
"""What a declared type holds, by a part of its name; of the others the values tell the type."""


def declared(kind: str) -> type[pl.DataType] | None:
    """Return the type that a table declares for a column; None if it says nothing.

    Example:
        >>> declared("varchar(20)")
        String
        >>> declared("numeric") is None
        True
    """
    return next((dtype for part, dtype in _DECLARED if part in kind.upper()), None)


def column_from(name: str, values: list[Any], dtype: type[pl.DataType] | None, *, is_time: bool) -> pl.Series:
    """Return the values of one column.

    Args:
        name: The column.
        values: As SQLite gives them.
        dtype: What the table declares; None if nothing.
        is_time: Whether it holds times, whatever is declared.

    Raises:
        DataError: If values are of several kinds, or a time cannot be read.
    """
    if is_time or dtype in (pl.Datetime, pl.Date):
        found = _times(name, values, dates=dtype == pl.Date)
        dtype = None if is_time and dtype not in (pl.Datetime, pl.Date) else dtype
    elif dtype == pl.Boolean and all(value in (0, 1, None) for value in values):
        return pl.Series(name, [None if value is None else bool(value) for value in values], dtype=pl.Boolean)
    else:
        found = values
    column = column_of(name, found)
    if column.dtype == pl.Null and dtype is not None:
        return column.cast(pl.Datetime("us") if dtype == pl.Datetime else dtype())
    if dtype == pl.Float64 and column.dtype == pl.Int64:  # SQLite keeps 1.0 as 1
        return column.cast(pl.Float64)
    return column


def _times(name: str, values: Sequence[Any], *, dates: bool) -> list[Any]:
    read: Callable[[str], date] = date.fromisoformat if dates else _time
    try:
        found = [None if value is None else read(value) for value in values]
    except (ValueError, TypeError):
        odd = next(value for value in values if not _is_read(read, value))
        raise DataError(
            f"column {name!r} holds {odd!r}, which is no time that can be read",
            hint="write times as 2024-01-31 12:00:00, or make them of seconds in a SELECT: datetime(at, 'unixepoch') as at",
        ) from None
    return found


def _time(text: str) -> datetime:
    """Read a time; one with an offset in UTC, so that a column has one kind."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


def _is_read(read: Callable[[str], date], value: Any) -> bool:
    if value is None:
        return True
    try:
        read(value)
    except (ValueError, TypeError):
        return False
    return True
