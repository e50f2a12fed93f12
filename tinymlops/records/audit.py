"""The audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from tinymlops.records.record import Record

__all__ = ["AuditEntry", "AuditHead"]


class AuditEntry(Record, frozen=True, kw_only=True):
    """One change, chained to the one before it by hash."""

    table: ClassVar[str] = "audit"
    key: ClassVar[tuple[str, ...]] = ("n",)
    sql_name: ClassVar[str | None] = "audit"

    n: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str


class AuditHead(msgspec.Struct, frozen=True):
    """The last entry of an audit log: its hash stands for all entries before it; as text, `n:hash`."""

    n: int
    hash: str

    def __str__(self) -> str:
        return f"{self.n}:{self.hash}"
