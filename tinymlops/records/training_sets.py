"""Builds of training sets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.kept_table import KeptTable

__all__ = ["TrainingSetBuild"]


class TrainingSetBuild(KeptTable, frozen=True, kw_only=True):
    """One build of a training set: enough to tell what it held, and to build it again."""

    table: ClassVar[str] = "training_sets"
    files: ClassVar[Mapping[str, str]] = {"manifest_sha256": "manifest of training set {id}"}
    sql_name: ClassVar[str | None] = "training_sets"

    created_at: datetime
