"""Step 14 of the schema, its part for connections: how far a database was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_connections"]

_SOURCE_CURSORS = f"""CREATE TABLE source_cursors (
    source TEXT PRIMARY KEY,
    reads TEXT NOT NULL,
    greatest INTEGER,
    floor INTEGER,
    at INTEGER NOT NULL,
    {CHECK} INTEGER NOT NULL
) STRICT"""


def add_connections(db: Database) -> None:
    """Add the table that says how far each database was read."""
    db.execute(_SOURCE_CURSORS)
