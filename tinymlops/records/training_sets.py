"""Builds of training sets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["TrainingSetBuild"]


class TrainingSetBuild(Record, frozen=True, kw_only=True):
    """One build of a training set: enough to tell what it held, and to build it again."""

    table: ClassVar[str] = "training_sets"
    key: ClassVar[tuple[str, ...]] = ("id",)
    files: ClassVar[Mapping[str, str]] = {"manifest_sha256": "manifest of training set {id}"}
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "training_sets"
    search: ClassVar[tuple[str, ...]] = ("name",)

    id: str
    name: str
    sequence: int
    """`Q`: the build read only rows with a sequence up to this one."""
    fingerprint: str
    """SHA-256 over schema and values in row order."""
    manifest_sha256: str
    rows: int
    features: int
    created_at: datetime
