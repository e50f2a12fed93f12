"""Sessions: who signed in to the pages."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["PageSession"]


class PageSession(Record, frozen=True, kw_only=True):
    """Somebody who signed in with a token; it ends with the token, at its own end, or by signing out."""

    table: ClassVar[str] = "page_sessions"
    key: ClassVar[tuple[str, ...]] = ("digest",)

    digest: bytes
    """The SHA-256 of the cookie's secret, which is stored nowhere."""
    token: str
    """The id of the token that it stands for."""
    created_at: datetime
    expires_at: datetime
