"""How long after their events the rows of a source became known."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["SourceDelay"]


class SourceDelay(Record, frozen=True, kw_only=True):
    """Counts of measured delays, in bins that are an eighth wide at most."""

    table: ClassVar[str] = "source_delays"
    key: ClassVar[tuple[str, ...]] = ("source",)
    small: ClassVar[bool] = True

    source: str
    bins: dict[str, int]
    """Bin to the number of rows; `tinymlops.features.history.freshness` says what a bin is."""
    at: datetime
