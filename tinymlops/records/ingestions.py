"""Reports of ingests."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Ingestion"]


class Ingestion(Record, frozen=True, kw_only=True):
    """One ingest of one source: rows that were new, known, or refused."""

    table: ClassVar[str] = "ingestions"
    key: ClassVar[tuple[str, ...]] = ("id",)
    sql_name: ClassVar[str | None] = "ingestions"

    id: int | None = None
    source: str
    rows_read: int
    rows_new: int
    rows_corrected: int = 0
    rows_known: int = 0
    rows_deleted: int = 0
    """No longer at the source when it was read in full; each retracts its event."""
    rows_held_back: int = 0
    """Not yet available by the workspace's clock; the next ingest takes them."""
    rows_quarantined: int = 0
    """Left out: without an event time, or kept aside by checks, now or before."""
    rows_never_known: int = 0
    """Without a created time where the source declares one: stored, and visible to labels only."""
    complete_until: int | None = None
    """Declared by the user: no row with an earlier event time is missing, microseconds UTC."""
    sequence: int = 0
    """The workspace's sequence after it."""
    seconds: float = 0.0
    at: datetime
    rows_ahead: int = 0
    """Dated later than the clock: stored, but labels and `since` ignore them."""
    rows_incomplete: int = 0
    """Known rows, stored before a column was added, for which the source has a value in it now."""
    rows_carried: int = 0
    """In a rebuild: versions taken over from the generation before."""
    rows_restarted: int = 0
    """In a rebuild: rows that count as read now, from the last correction of their id on."""
    rows_dropped: int = 0
    """In a rebuild: events of the generation before that it does not have."""
    generation: int = 0

    def __repr__(self) -> str:
        named = [name for name in self.__struct_fields__ if name.startswith("rows_") and name != "rows_read"]
        counts = {name.removeprefix("rows_").replace("_", " "): getattr(self, name) for name in named}
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "nothing new"
        begun = f"; generation {self.generation}" if self.generation else ""
        return f"<ingested {self.source}: {self.rows_read:,} read, {told}; Q={self.sequence}{begun}>"
