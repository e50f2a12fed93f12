"""Tokens: who may ask the server, and for what."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Token", "TokenUse"]


class Token(Record, frozen=True, kw_only=True):
    """A token that was issued; a revoked or expired one stays, so that its name goes on saying who it was."""

    table: ClassVar[str] = "tokens"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    """The public part of the token, by which it is found."""
    name: str
    """The actor in the audit log and the access log."""
    role: str
    digest: bytes
    """The SHA-256 of the secret part, which is stored nowhere."""
    rate: float | None = None
    """The most requests a second; None without a limit of its own."""
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class TokenUse(Record, frozen=True, kw_only=True):
    """When a token was last used, and how often: written now and then, so a crash loses the last half minute."""

    table: ClassVar[str] = "token_uses"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    requests: int
    last_at: datetime
