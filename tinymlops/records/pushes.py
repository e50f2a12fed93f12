"""Rows that arrived by push."""

from __future__ import annotations

from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["MovedEvent", "PushBatch", "PushedRow"]


class PushedRow(Record, frozen=True, kw_only=True):
    """A row that arrived by push; its created time is the time of the commit."""

    table: ClassVar[str] = "pushed_rows"
    key: ClassVar[tuple[str, ...]] = ("n",)
    subjects: ClassVar[tuple[str, ...]] = ("event_id", "payload")

    n: int
    source: str
    event_id: str | None = None
    """Canonical JSON of the id column's value; null where the source has no id."""
    payload: bytes
    """msgpack of the row's values in the order of `SourceState.columns`; columns added later are not in it."""
    digest: bytes
    """The first 16 bytes of the SHA-256 of `payload`, which a later version of the event is compared with."""
    event: int | None
    """Microseconds since 1970, UTC; null for a static source."""
    created: int
    deleted: bool = False


class MovedEvent(Record, frozen=True, kw_only=True):
    """The digest of an event's latest version, kept after compaction moved its pushed rows into a segment."""

    table: ClassVar[str] = "moved_events"
    key: ClassVar[tuple[str, ...]] = ("source", "event_id")
    subjects: ClassVar[tuple[str, ...]] = ("event_id",)

    source: str
    event_id: str
    digest: bytes
    deleted: bool


class PushBatch(Record, frozen=True, kw_only=True):
    """A batch of pushed rows with an id, so that a repeated one is recognized."""

    table: ClassVar[str] = "push_batches"
    key: ClassVar[tuple[str, ...]] = ("source", "batch_id")

    source: str
    batch_id: str
    digest: bytes
    """The hash of all its rows."""
    at: int
    """Microseconds since 1970, UTC."""
