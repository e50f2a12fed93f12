"""Files of rows."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Segment"]


class Segment(Record, frozen=True, kw_only=True):
    """An immutable file of rows of one source, sorted by key, event time, created time and sequence."""

    table: ClassVar[str] = "segments"
    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True

    id: int | None = None
    source: str
    sha256: str
    base: int
    """A row of the file has the sequence `base` + its stored ordinal; 0 where compaction stored the sequence itself."""
    rows: int
    last: int
    """The greatest sequence that it took: that of its last row; for a rebuild without rows, the commit's own."""
    bytes: int
    min_event: int | None
    """Microseconds since 1970, UTC; null for a static source."""
    max_event: int | None
    corrections: int = 0
    """Rows that replace or delete an earlier one with the same key and id."""
    covers: int | None = None
    """For a derived source: the sequence that its inputs were read at."""
    until: int | None = None
    """The sequence from which on another rebuild, or a later generation of the source, replaces it."""
    created_at: datetime
    dead_at: datetime | None = None
    dated: bool = False
    """Whether its later versions have a created time; those stored before schema 3 use the time of their ingest."""
    progress: int | None = None
    """The greatest event time not later than the clock of its commit; null if unknown or there is none."""
