"""A run on its way into a workspace: what every reader makes of its source, and what the writer stores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from tinymlops.registry.runs.points import Points, in_order
from tinymlops.times import FIRST_MICROS, LAST_MICROS, from_micros

if TYPE_CHECKING:
    from tinymlops.records import Scalar

__all__ = [
    "CarriedExperiment",
    "CarriedFile",
    "CarriedInput",
    "CarriedModel",
    "CarriedName",
    "CarriedRun",
    "CarriedVersion",
    "Remote",
    "Source",
    "instant",
    "micros_of",
    "run_id_of",
    "unique_points",
]


class Remote(Protocol):
    """The content of a file that is fetched when it is wanted."""

    @property
    def is_far(self) -> bool:
        """Whether it comes over a network, so that a file of the same name and size need not be fetched again."""

    @property
    def bytes(self) -> int | None:
        """Its size, if it is known."""

    def write_to(self, stream: BinaryIO) -> None:
        """Write it to a stream, front to back."""


@dataclass(frozen=True, kw_only=True)
class CarriedFile:
    """A file of a run."""

    name: str
    content: Path | bytes | Remote
    kind: str = "file"
    series: str | None = None
    step: float | None = None
    at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class CarriedInput:
    """A dataset that a run read."""

    name: str
    digest: str
    context: str = ""
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CarriedExperiment:
    """An experiment; one without runs comes over too."""

    name: str
    notes: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    deleted_at: datetime | None = None


@dataclass(kw_only=True)
class CarriedRun:
    """One run with everything that belongs to it."""

    id: str
    """Its id here: 32 hexadecimal digits, the same whenever the same run is read."""
    foreign: str
    """What the source calls it, such as "SAN-1"."""
    name: str
    experiment: str | None
    """The name of its experiment."""
    status: str
    """`running`, `finished`, `failed` or `killed`."""
    started_at: datetime
    ended_at: datetime | None = None
    deleted_at: datetime | None = None
    params: dict[str, Scalar] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: dict[str, Points] = field(default_factory=dict)
    files: list[CarriedFile] = field(default_factory=list)
    inputs: list[CarriedInput] = field(default_factory=list)
    group: str | None = None
    parent: str | None = None
    """The id here of the run that started it."""
    notes: str | None = None
    user: str | None = None
    error: str | None = None
    git_commit: str | None = None
    left_out: list[str] = field(default_factory=list)
    """What could not come, and why."""
    remarks: list[str] = field(default_factory=list)
    """What came otherwise than it was."""


@dataclass(frozen=True, kw_only=True)
class CarriedModel:
    """A model that MLflow logged: its files are kept as they came, and never opened."""

    id: str
    name: str
    run: str | None
    """The id here of the run that logged it."""
    model_type: str = ""
    status: str = "READY"
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime
    files: list[CarriedFile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class CarriedVersion:
    """A registered version of a model of MLflow."""

    version: int
    source: str
    run: str | None = None
    """The id here of its run."""
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    stage: str = "None"
    run_link: str = ""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class CarriedName:
    """A registered name of MLflow."""

    title: str
    description: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    versions: list[CarriedVersion] = field(default_factory=list)
    created_at: datetime
    updated_at: datetime


class Source(Protocol):
    """A place that runs come from."""

    @property
    def origin(self) -> str:
        """Such as "mlflow"."""

    @property
    def remarks(self) -> Sequence[str]:
        """What holds for all of it."""

    def experiments(self) -> Sequence[CarriedExperiment]:
        """Return its experiments."""

    def keys(self) -> Sequence[str]:
        """Return what it calls its runs; parents come before their children where that is known."""

    def read(self, key: str) -> CarriedRun:
        """Read one run.

        Raises:
            TinyMLOpsError: If it cannot be read.
        """

    def models(self) -> Sequence[CarriedModel]:
        """Return the logged models that are kept beside the runs."""

    def registered(self) -> Sequence[CarriedName]:
        """Return the registered names."""

    def close(self) -> None:
        """Give back what it holds."""


def run_id_of(origin: str, *parts: str) -> str:
    """Return the id of a foreign run: the same for the same parts, whatever they hold.

    Args:
        origin: Such as "neptune".
        parts: What names it there.

    Example:
        >>> run_id_of("neptune", "team/project", "SAN-1")
        'c98500ebb2eb0d1f384ba3fba4519e53'
    """
    text = "".join(f"{len(part.encode(errors='replace'))}:{part}" for part in (origin, *parts))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def micros_of(times: Sequence[int] | np.ndarray, unit: int) -> tuple[np.ndarray, int]:
    """Return foreign times as microseconds, and how many had to be moved into the years 1 to 9999.

    Args:
        times: Whole numbers.
        unit: Microseconds of one.
    """
    plain = [int(time) * unit for time in times]
    moved = sum(not FIRST_MICROS <= time <= LAST_MICROS for time in plain)
    return np.array([min(max(time, FIRST_MICROS), LAST_MICROS) for time in plain], dtype=np.int64), moved


def instant(micros: int) -> datetime:
    """Return a time, moved into the years 1 to 9999 if need be."""
    return from_micros(min(max(micros, FIRST_MICROS), LAST_MICROS))


def unique_points(points: Points) -> tuple[Points, int]:
    """Return points in their order, each once, and how many repeated another in session, step, time and value."""
    found = in_order(points)
    return found, points.size - found.size
