"""Step 15 of the schema, its part for pages: who signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_pages"]

_PAGE_SESSIONS = f"""CREATE TABLE page_sessions (
    digest BLOB PRIMARY KEY,
    token TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    {CHECK} INTEGER NOT NULL
) STRICT"""


def add_pages(db: Database) -> None:
    """Add the table of those who signed in."""
    db.execute(_PAGE_SESSIONS)
