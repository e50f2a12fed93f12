"""Queries that somebody saved by name."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["SavedQuery"]


class SavedQuery(Record, frozen=True, kw_only=True):
    """A SELECT with the picture of its result."""

    table: ClassVar[str] = "saved_queries"
    key: ClassVar[tuple[str, ...]] = ("name",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "saved_queries"

    name: str
    text: str
    chart: str = ""
    """`line`, `bar` or "" for none."""
    x: str = ""
    """The column that the picture goes along; "" for the first that will do."""
    y: str = ""
    """The column of its numbers."""
    author: str
    """Who saved it last."""
    at: datetime
    """When, by the workspace's clock."""
