"""How far rows were written to the table of a sink."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["SinkState"]


class SinkState(Record, frozen=True, kw_only=True):
    """What this workspace knows of a sink's table; where the next run goes on stands in the table's own database."""

    table: ClassVar[str] = "sink_states"
    key: ClassVar[tuple[str, ...]] = ("sink",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "sink_states"

    sink: str
    owner: str
    """Names this workspace to the database, so that no other one writes to the same table."""
    target: str = ""
    """Connection and table of the last run that wrote."""
    begun: int = 0
    """The number of the last batch that was begun: a table that has taken more has them from a later state of the workspace."""
    delivery: int = 0
    """The number of the last batch that is known to be in the table."""
    position: int = 0
    """Of predictions and outcomes the last row that is written; of features the sequence that they were computed at."""
    rows: int = 0
    """How many rows are in the table."""
    delivered_at: datetime | None = None
    """When all that there was had been written."""
    error: str = ""
    """Why the last run did not end; empty if it did."""
