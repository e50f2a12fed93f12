"""What `monitor` found, kept to be looked at."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["KeptMonitorReport"]


class KeptMonitorReport(Record, frozen=True, kw_only=True):
    """The last report of a day on a model version."""

    table: ClassVar[str] = "monitor_reports"
    key: ClassVar[tuple[str, ...]] = ("model", "version", "day")
    small: ClassVar[bool] = True

    model: str
    version: int
    day: str
    """Of the report, in UTC, such as "2026-03-01"."""
    at: datetime
    content: bytes
    """The report as JSON."""
