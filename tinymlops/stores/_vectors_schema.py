"""Step 19 of the schema: files of vectors, how far embeddings have come, and rows without a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_vectors"]

_TABLES = (
    f"""CREATE TABLE vector_files (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        model TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        dimension INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX vector_files_model ON vector_files (model)",
    f"""CREATE TABLE embedding_states (
        embedding TEXT PRIMARY KEY,
        reads TEXT NOT NULL,
        model TEXT NOT NULL,
        fitted TEXT,
        fitted_at INTEGER,
        dimension INTEGER NOT NULL,
        covered INTEGER NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    f"""CREATE TABLE vector_failures (
        embedding TEXT NOT NULL,
        n INTEGER NOT NULL,
        reason TEXT NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (embedding, n)
    ) STRICT""",
)


def add_vectors(db: Database) -> None:
    """Create the tables."""
    for statement in _TABLES:
        db.execute(statement)
