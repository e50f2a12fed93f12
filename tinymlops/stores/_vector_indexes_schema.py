"""Step 21 of the schema: the indexes of embeddings, one generation each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_vector_indexes"]

_TABLE = f"""CREATE TABLE vector_indexes (
    embedding TEXT PRIMARY KEY,
    generation TEXT,
    refused TEXT,
    image TEXT NOT NULL,
    covered INTEGER NOT NULL,
    metric TEXT NOT NULL,
    rows INTEGER NOT NULL,
    probes INTEGER NOT NULL,
    recall REAL NOT NULL,
    lancedb TEXT NOT NULL,
    hashes TEXT NOT NULL,
    at INTEGER NOT NULL,
    {CHECK} INTEGER NOT NULL
) STRICT"""


def add_vector_indexes(db: Database) -> None:
    """Create the table."""
    db.execute(_TABLE)
