"""Applied definitions, and what people say about them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from tinymlops.records.record import Record

__all__ = ["Definition", "Mark", "Note"]


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
    """When a later apply no longer had it, or had another version."""
    logic: str = ""
    """SHA-256 of the content without names and prose: equal under two names, the logic is the same. "" before schema 4."""
    below: dict[str, int] = {}
    """`kind:name` to version of every definition that this one stands on."""
    author: str = ""
    """Who applied it; "" before schema 4."""
    message: str = ""
    """Why: what `apply -m` was told."""

    @property
    def variant(self) -> str:
        """The name of the variant that this version is; empty if it has none."""
        return str(self.spec.get("about", {}).get("variant", ""))


class Note(Record, frozen=True, kw_only=True):
    """What somebody wrote about a version of a definition or a model, for those who come later."""

    table: ClassVar[str] = "notes"
    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "notes"
    search: ClassVar[tuple[str, ...]] = ("text",)

    id: int | None = None
    """Assigned by the database."""
    kind: str
    """A definition's kind, or `model`."""
    name: str
    version: int
    text: str
    author: str
    at: datetime


class Mark(Record, frozen=True, kw_only=True):
    """How far a version of a definition or a model is trusted."""

    table: ClassVar[str] = "marks"
    key: ClassVar[tuple[str, ...]] = ("kind", "name", "version")
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "marks"

    kind: str
    """A definition's kind, or `model`."""
    name: str
    version: int
    mark: str
    """`golden`, `silver` or `experimental`."""
    author: str
    at: datetime
