"""Step 12 of the schema: how far files are read that are followed, lines that were left out, and how late rows come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_streams"]

_TABLES = (
    f"""CREATE TABLE stream_positions (
        source TEXT NOT NULL,
        path TEXT NOT NULL,
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        line INTEGER NOT NULL,
        edges TEXT NOT NULL,
        refused INTEGER NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (source, path)
    ) STRICT, WITHOUT ROWID""",
    f"""CREATE TABLE refused_lines (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,
        path TEXT NOT NULL,
        line INTEGER NOT NULL,
        reason TEXT NOT NULL,
        content TEXT NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX refused_lines_source ON refused_lines (source, path)",
    f"""CREATE TABLE arrival_lags (
        source TEXT NOT NULL,
        day INTEGER NOT NULL,
        counts TEXT NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (source, day)
    ) STRICT, WITHOUT ROWID""",
)


def add_streams(db: Database) -> None:
    """Create the tables."""
    for statement in _TABLES:
        db.execute(statement)
