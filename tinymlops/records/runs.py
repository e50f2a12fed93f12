"""Experiment runs: their metrics and files."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record, Scalar

__all__ = ["Artifact", "Metric", "Run"]


class Run(Record, frozen=True, kw_only=True):
    """One experiment run."""

    table: ClassVar[str] = "runs"
    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "runs"
    search: ClassVar[tuple[str, ...]] = ("name", "params", "tags", "error")

    id: str
    name: str
    status: str
    """`running`, `finished` or `failed`."""
    params: dict[str, Scalar] = {}
    metrics: dict[str, float] = {}
    """The last value of each metric."""
    tags: dict[str, str] = {}
    training_set: str | None = None
    """Id of the training set build it used."""
    git_commit: str | None = None
    git_dirty: bool = False
    packages: dict[str, str] = {}
    started_at: datetime
    ended_at: datetime | None = None
    error: str | None = None


class Metric(Record, frozen=True, kw_only=True):
    """One value of one metric of one run."""

    table: ClassVar[str] = "metrics"
    key: ClassVar[tuple[str, ...]] = ("id",)
    sql_name: ClassVar[str | None] = "metrics"

    id: int | None = None
    run: str
    name: str
    step: int
    value: float
    at: datetime


class Artifact(Record, frozen=True, kw_only=True):
    """A file that a run keeps."""

    table: ClassVar[str] = "artifacts"
    key: ClassVar[tuple[str, ...]] = ("run", "name")
    files: ClassVar[Mapping[str, str]] = {"sha256": "artifact {name} of run {run}"}
    small: ClassVar[bool] = True
    search: ClassVar[tuple[str, ...]] = ("name",)

    run: str
    name: str
    sha256: str
    bytes: int
    at: datetime
