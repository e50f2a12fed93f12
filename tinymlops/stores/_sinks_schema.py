"""Step 18 of the schema: how far rows were written to databases of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_sinks"]

_SINK_STATES = f"""CREATE TABLE sink_states (
    sink TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    target TEXT NOT NULL,
    begun INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    position INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    delivered_at INTEGER,
    error TEXT NOT NULL,
    {CHECK} INTEGER NOT NULL
) STRICT"""


def add_sinks(db: Database) -> None:
    """Add the table."""
    db.execute(_SINK_STATES)
