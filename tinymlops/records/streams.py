"""Lines that arrive from a file that is followed."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["RefusedLine", "StreamPosition"]


class StreamPosition(Record, frozen=True, kw_only=True):
    """How far a file is read; written by the transaction that stores its rows."""

    table: ClassVar[str] = "stream_positions"
    key: ClassVar[tuple[str, ...]] = ("source", "path")
    sql_name: ClassVar[str | None] = "stream_positions"

    source: str
    path: str
    """The absolute path that is followed; after a rotation the file that is read may have another name for a while."""
    device: int
    inode: int
    offset: int
    """Bytes of it that are taken."""
    line: int
    """Lines of it that are taken."""
    edges: str
    """The SHA-256 of the first bytes of the file and of those before the offset: another file does not have them."""
    refused: int = 0
    """Lines that were left out, of this file and of those before it."""
    at: datetime


class RefusedLine(Record, frozen=True, kw_only=True):
    """A line that is no row of its source and was left out."""

    table: ClassVar[str] = "refused_lines"
    key: ClassVar[tuple[str, ...]] = ("id",)
    sql_name: ClassVar[str | None] = "refused_lines"
    subjects: ClassVar[tuple[str, ...]] = ("content", "reason")

    id: int | None = None
    source: str
    path: str
    line: int
    """From 1, in the file of that time."""
    reason: str
    content: str
    """Its first 64 KiB; bytes that are no text are written out."""
    at: datetime
