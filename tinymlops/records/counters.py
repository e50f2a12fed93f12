"""The workspace's own numbers."""

from __future__ import annotations

from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Counter"]


class Counter(Record, frozen=True, kw_only=True):
    """A number of the workspace: its last `sequence` and `audit` entry, how many `commits` there were, how many of these `quiet`,
    and the checksum of its `schema`.
    """

    table: ClassVar[str] = "counters"
    key: ClassVar[tuple[str, ...]] = ("name",)
    small: ClassVar[bool] = True

    name: str
    value: int
