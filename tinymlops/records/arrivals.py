"""How long after their events the rows of a source come."""

from __future__ import annotations

from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["ArrivalLag"]


class ArrivalLag(Record, frozen=True, kw_only=True):
    """How long after their events the rows of one source came on one day."""

    table: ClassVar[str] = "arrival_lags"
    key: ClassVar[tuple[str, ...]] = ("source", "day")

    source: str
    day: int
    """Days since 1970, UTC, by the clock of the commit."""
    counts: dict[str, int]
    """The number of a span to the rows whose lag is in it: span 0 has no lag, and the spans after it grow by a ninth each."""
