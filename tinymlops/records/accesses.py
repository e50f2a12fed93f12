"""The access log: who read which features and asked which models."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Access"]


class Access(Record, frozen=True, kw_only=True):
    """The reads of one actor in one minute that asked for the same."""

    table: ClassVar[str] = "accesses"
    key: ClassVar[tuple[str, ...]] = ("minute", "actor", "consumer", "kind", "names")
    sql_name: ClassVar[str | None] = "access"

    minute: datetime
    """The beginning of the minute, by the machine's clock."""
    actor: str
    """The user of the system, or the name of a token."""
    consumer: str
    """What the reader called itself; "" where it did not."""
    kind: str
    """`online`, `historical` or `model`: how it read; `not recorded` counts reads that did not fit in the log."""
    names: str
    """What: `view`, `view:feature`, or of a model `name:version`, with commas between."""
    calls: int
