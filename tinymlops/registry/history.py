"""Commits to history: the ingests of a source, and the segments that they named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.records import FailedIngest, Ingestion, Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database

__all__ = [
    "failed_ingests",
    "ingests_of",
    "newest_ingests",
    "remember_attempts",
    "said_complete_until",
    "segments_after",
    "was_ingested",
]


def ingests_of(database: Database, place: str) -> list[Ingestion]:
    """Return the ingests of a source in the order of their sequences.

    Args:
        database: The workspace's database.
        place: The name that the source's rows are stored under.
    """
    return database.select(Ingestion, "WHERE source = ? ORDER BY sequence", (place,))


def newest_ingests(database: Database, names: list[str], *, limit: int) -> list[Ingestion]:
    """Return the last ingests of a source, the newest first.

    Args:
        database: The workspace's.
        names: Every name that the source has had.
        limit: At most so many.
    """
    return database.list(Ingestion, where={"source": names}, order="-at", limit=limit)


def failed_ingests(database: Database, source: str) -> list[FailedIngest]:
    """Return the last attempt to ingest a source, if it failed."""
    return database.list(FailedIngest, where={"source": source})


def remember_attempts(scope: Scope, failed: Mapping[str, BaseException], ingested: Iterable[str]) -> None:
    """Remember which sources could not be ingested, and forget that of those that were.

    Args:
        scope: Who works on which workspace.
        failed: Source to error, of which only the class is kept: a message may quote values.
        ingested: The sources that were ingested.
    """
    known = {one.source for one in scope.environment.database.list(FailedIngest)}
    healed, at = [name for name in ingested if name in known], scope.clock()
    if not failed and not healed:
        return
    with scope.write(audit=None) as tx:
        if healed:
            tx.delete(FailedIngest, source=healed)
        tx.put_many(FailedIngest(source=name, error=type(error).__name__, at=at) for name, error in failed.items())


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
