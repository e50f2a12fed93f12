"""Applied definitions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from tinymlops.records.record import Record

__all__ = ["Definition"]


class Definition(Record, frozen=True, kw_only=True):
    """One version of one applied definition: a new version is written only when its content changes."""

    table: ClassVar[str] = "definitions"
    key: ClassVar[tuple[str, ...]] = ("kind", "name", "version")
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "definitions"
    search: ClassVar[tuple[str, ...]] = ("name", "spec")

    kind: str
    name: str
    version: int
    fingerprint: str
    """SHA-256 of the canonical JSON of `spec`."""
    spec: dict[str, Any]
    project: str
    applied_at: datetime
    removed_at: datetime | None = None
    """The time of the apply that removed or replaced it."""
