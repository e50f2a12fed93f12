"""Step 23 of the schema: every TF-IDF that an embedding was fitted to, so that the past is searched by the one of then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_embedding_fits"]

_STATEMENTS = (
    f"""CREATE TABLE embedding_fits (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        embedding TEXT NOT NULL,
        reads TEXT NOT NULL,
        model TEXT NOT NULL,
        fitted TEXT NOT NULL,
        fitted_at INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        dimension INTEGER NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX embedding_fits_embedding ON embedding_fits (embedding)",
)


def add_embedding_fits(db: Database) -> None:
    """Create the table. What was fitted before is named by the states of embeddings."""
    for statement in _STATEMENTS:
        db.execute(statement)
