"""Who reads features and models."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Reader"]


class Reader(Record, frozen=True, kw_only=True):
    """A consumer that named itself when it read a feature or asked a model."""

    table: ClassVar[str] = "readers"
    key: ClassVar[tuple[str, ...]] = ("consumer", "kind", "name")
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "readers"
    search: ClassVar[tuple[str, ...]] = ("consumer", "name")

    consumer: str
    kind: str
    """`online`, `historical` or `model`: how it read."""
    name: str
    """`view`, `view:feature`, or of a model `name:version`."""
    calls: int
    first_at: datetime
    last_at: datetime
