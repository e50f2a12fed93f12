"""Commits to history: the ingests of a source, and the segments that they named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.records import Ingestion, Segment

if TYPE_CHECKING:
    from tinymlops.stores.database import Database

__all__ = ["ingests_of", "said_complete_until", "segments_after", "was_ingested"]


def ingests_of(database: Database, place: str) -> list[Ingestion]:
    """Return the ingests of a source in the order of their sequences.

    Args:
        database: The workspace's database.
        place: The name that the source's rows are stored under.
    """
    return database.select(Ingestion, "WHERE source = ? ORDER BY sequence", (place,))


def was_ingested(database: Database, place: str, *, up_to: int) -> bool:
    """Return whether a source was ingested by a sequence."""
    return bool(database.select(Ingestion, "WHERE source = ? AND sequence <= ? LIMIT 1", (place, up_to)))


def said_complete_until(database: Database, place: str, *, up_to: int) -> int | None:
    """Return the time up to which a source was declared complete, as of a sequence, microseconds UTC; None if never."""
    where = "WHERE source = ? AND sequence <= ? AND complete_until IS NOT NULL"
    said = (one.complete_until for one in database.select(Ingestion, where, (place, up_to)))
    return max((until for until in said if until is not None), default=None)


def segments_after(database: Database, sequence: int) -> list[Segment]:
    """Return the live segments that have rows of a greater sequence."""
    return database.select(Segment, "WHERE dead_at IS NULL AND last > ?", (sequence,))
