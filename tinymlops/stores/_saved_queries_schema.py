"""Step 24 of the schema: queries that were saved by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_saved_queries"]

_TABLE = f"""CREATE TABLE saved_queries (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    chart TEXT NOT NULL,
    x TEXT NOT NULL,
    y TEXT NOT NULL,
    author TEXT NOT NULL,
    at INTEGER NOT NULL,
    {CHECK} INTEGER NOT NULL
) STRICT"""


def add_saved_queries(db: Database) -> None:
    """Create the table."""
    db.execute(_TABLE)
