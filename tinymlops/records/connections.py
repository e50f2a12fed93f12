"""How far the rows of a source with a connection were read."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["SourceCursor"]


class SourceCursor(Record, frozen=True, kw_only=True):
    """What the last read of a database saw; the next one begins at the lesser of both times, less the overlap."""

    table: ClassVar[str] = "source_cursors"
    key: ClassVar[tuple[str, ...]] = ("source",)
    small: ClassVar[bool] = True

    source: str
    reads: str
    """SHA-256 of what was read and by which cursor: another one begins from the beginning."""
    greatest: int | None = None
    """The greatest cursor that was read, microseconds UTC; null if there was none."""
    floor: int | None = None
    """Rows that the read did not see have cursors from this time on, by the database's clock; null if nobody can say."""
    at: datetime
