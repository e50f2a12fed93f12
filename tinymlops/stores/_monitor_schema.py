"""Step 22 of the schema: the reports of `monitor` that are kept, the last of each day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_monitor_reports"]

_MONITOR_REPORTS = f"""CREATE TABLE monitor_reports (
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    day TEXT NOT NULL,
    at INTEGER NOT NULL,
    content BLOB NOT NULL,
    {CHECK} INTEGER NOT NULL,
    PRIMARY KEY (model, version, day)
) STRICT"""


def add_monitor_reports(db: Database) -> None:
    """Add the table of kept reports."""
    db.execute(_MONITOR_REPORTS)
