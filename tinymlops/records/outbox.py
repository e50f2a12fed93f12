"""Messages to the world outside, written in the transaction of what they tell."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record, Scalar

__all__ = ["OutboxMessage"]


class OutboxMessage(Record, frozen=True, kw_only=True):
    """A message that is sent at least once."""

    table: ClassVar[str] = "outbox"
    key: ClassVar[tuple[str, ...]] = ("id",)
    sql_name: ClassVar[str | None] = "outbox"

    id: str
    """The same each time it is sent, so that who receives it can tell."""
    kind: str
    """What happened, such as `job.failed`."""
    text: str
    """The same for people."""
    detail: dict[str, Scalar] = {}
    state: str = "waiting"
    """`waiting`, `sent` or `given up`."""
    created_at: datetime
    attempts: int = 0
    not_before: datetime
    """When it may be sent; later while somebody is sending it, or after a failure."""
    sent_at: datetime | None = None
    told: str | None = None
    """Why it could not be sent the last time."""
    taken: tuple[str, ...] = ()
    """Who has taken it: `webhook`, and the addresses of e-mail. They do not get it again while others have yet to."""
