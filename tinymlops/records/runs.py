"""Experiment runs: what they are, what they read, and the files they keep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record, Scalar

__all__ = ["Artifact", "ConsoleText", "DeletedRun", "Experiment", "Run", "RunInput", "RunRow"]


class Experiment(Record, frozen=True, kw_only=True):
    """A question that runs belong to; a run of none belongs to the experiment 0, "Default", which needs no row."""

    table: ClassVar[str] = "experiments"
    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "experiments"
    search: ClassVar[tuple[str, ...]] = ("name", "notes", "tags")

    id: int | None = None
    name: str
    """Unique, trash included."""
    notes: str | None = None
    tags: dict[str, str] = {}
    created_at: datetime
    deleted_at: datetime | None = None
    """Since when it is in the trash."""


class RunRow(Record, frozen=True, kw_only=True):
    """One experiment run as it is stored; its metrics stand in tables of their own."""

    table: ClassVar[str] = "runs"
    key: ClassVar[tuple[str, ...]] = ("id",)
    files: ClassVar[Mapping[str, str]] = {"patch_sha256": "the uncommitted changes of run {id}"}
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "runs"
    search: ClassVar[tuple[str, ...]] = ("name", "params", "tags", "notes", "error")

    id: str
    name: str
    status: str
    """`running`, `finished`, `failed` or `killed`; one that is read as `lost` is stored as `running`."""
    params: dict[str, Scalar] = {}
    tags: dict[str, str] = {}
    training_set: str | None = None
    """Id of the training set build it used."""
    git_commit: str | None = None
    git_dirty: bool = False
    packages: dict[str, str] = {}
    started_at: datetime
    ended_at: datetime | None = None
    error: str | None = None
    experiment: int = 0
    """Id of its experiment."""
    group: str | None = None
    """What it is one of, such as the seeds or folds of one configuration."""
    parent: str | None = None
    """Id of the run that started it."""
    notes: str | None = None
    user: str | None = None
    session: int = 0
    """How often it was resumed."""
    origin: str | None = None
    """Where it came from: None from this package, `http` by a client, else what it was imported from."""
    machine: dict[str, Scalar] = {}
    patch_sha256: str | None = None
    """File of the uncommitted changes of the code."""
    seen_at: datetime | None = None
    """When a client over HTTP last wrote to it; kept to the minute."""
    deleted_at: datetime | None = None
    """Since when it is in the trash."""


class Run(RunRow, frozen=True, kw_only=True):
    """One experiment run with the last value of each metric."""

    metrics: dict[str, float] = {}


class DeletedRun(Record, frozen=True, kw_only=True):
    """What is left of a run that was deleted for good."""

    table: ClassVar[str] = "deleted_runs"
    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True

    id: str
    name: str
    experiment: int = 0
    started_at: datetime
    deleted_at: datetime
    actor: str


class RunInput(Record, frozen=True, kw_only=True):
    """A dataset that a run read."""

    table: ClassVar[str] = "run_inputs"
    key: ClassVar[tuple[str, ...]] = ("run", "name", "digest")
    small: ClassVar[bool] = True

    run: str
    name: str
    digest: str
    context: str = ""
    """What it was read for, such as "training"."""
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: dict[str, str] = {}
    training_set: str | None = None
    """Id of the training set build that the digest is."""
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
    """Such as `plots/roc.png`: a label, never a path."""
    sha256: str
    bytes: int
    at: datetime
    kind: str = "file"
    """`file`, `text`, `table`, `figure` or `image`."""
    series: str | None = None
    """What it is one step of, such as `samples`."""
    step: float | None = None


class ConsoleText(Record, frozen=True, kw_only=True):
    """Some of what a run wrote to its console."""

    table: ClassVar[str] = "console_texts"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: int | None = None
    run: str
    session: int
    start: int = 0
    """Characters of output of its session before it; what is missing since the piece before was left out."""
    stop: int = 0
    """Characters of output up to its end."""
    text: str
    at: datetime
