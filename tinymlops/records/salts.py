"""Random bytes that stand between a value and what the audit log calls it."""

from __future__ import annotations

from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Salt"]


class Salt(Record, frozen=True, kw_only=True):
    """The workspace's key, or the salt of one person; without the salt nothing links the person to a pseudonym."""

    table: ClassVar[str] = "salts"
    key: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    """`workspace`, or a keyed hash of the person."""
    value: bytes
