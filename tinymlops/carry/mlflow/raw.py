"""What the three places of MLflow have in common: a run in MLflow's words, and the run that it becomes here."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinymlops.carry.carried import (
    CarriedExperiment,
    CarriedFile,
    CarriedInput,
    CarriedModel,
    CarriedName,
    CarriedRun,
    CarriedVersion,
    instant,
    micros_of,
    run_id_of,
    unique_points,
)
from tinymlops.registry.runs.points import Points

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

__all__ = [
    "MlflowRun",
    "MlflowSource",
    "Store",
    "experiment_of",
    "input_of",
    "model_of",
    "name_of",
    "version_of",
]

_MILLI = 1_000
_ID = re.compile(r"[0-9a-f]{32}")
_NOTE, _PARENT, _COMMIT = "mlflow.note.content", "mlflow.parentRunId", "mlflow.source.git.commit"
_FIELDS = {_NOTE, _PARENT, "mlflow.runName"}
"""Tags of a run that are fields here."""
_CONTEXT = "mlflow.data.context"
_STATUSES = {
    "RUNNING": "running",
    "SCHEDULED": "running",
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "killed",
}
_CLAMPED = sys.float_info.max
"""MLflow's databases hold this in place of infinity."""

Point = tuple[str, float, int, int]
"""Name, value, milliseconds and step."""


@dataclass(kw_only=True)
class MlflowRun:
    """A run in MLflow's words; times are milliseconds."""

    id: str
    name: str
    experiment: str | None
    status: str
    started: int | None
    ended: int | None
    deleted: bool
    deleted_at: int | None = None
    user: str | None
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: Iterable[Point]
    files: Sequence[CarriedFile] = ()
    inputs: Sequence[CarriedInput] = ()
    left_out: list[str] = field(default_factory=list)


class Store(Protocol):
    """One place of MLflow."""

    remarks: list[str]

    def experiments(self) -> Sequence[CarriedExperiment]:
        """Return its experiments."""

    def keys(self) -> Sequence[str]:
        """Return the ids of its runs, the oldest first."""

    def run(self, key: str) -> MlflowRun:
        """Read one run."""

    def models(self) -> Sequence[CarriedModel]:
        """Return the logged models."""

    def registered(self) -> Sequence[CarriedName]:
        """Return the registered names."""

    def close(self) -> None:
        """Give back what it holds."""


class MlflowSource:
    """A place of MLflow as a source of runs.

    Args:
        store: The place.
    """

    origin = "mlflow"

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def remarks(self) -> list[str]:
        """What holds for all of it."""
        return self._store.remarks

    def experiments(self) -> Sequence[CarriedExperiment]:
        """Return its experiments."""
        return self._store.experiments()

    def keys(self) -> Sequence[str]:
        """Return the ids of its runs, the oldest first, so that a parent comes before its children."""
        return self._store.keys()

    def read(self, key: str) -> CarriedRun:
        """Read one run."""
        return _carried(self._store.run(key))

    def models(self) -> Sequence[CarriedModel]:
        """Return the logged models."""
        return self._store.models()

    def registered(self) -> Sequence[CarriedName]:
        """Return the registered names."""
        return self._store.registered()

    def close(self) -> None:
        """Give back what it holds."""
        self._store.close()


def experiment_of(row: Mapping[str, Any], tags: Mapping[str, str]) -> CarriedExperiment:
    """Make an experiment of MLflow's row of one.

    Args:
        row: With `name`, `lifecycle_stage`, `creation_time` and `last_update_time`.
        tags: Of the experiment.
    """
    created, updated = row.get("creation_time"), row.get("last_update_time")
    deleted = row.get("lifecycle_stage") == "deleted"
    return CarriedExperiment(
        name=str(row["name"]),
        notes=tags.get(_NOTE) or None,
        tags={name: value for name, value in tags.items() if name != _NOTE},
        created_at=instant(int(created) * _MILLI) if created else None,
        deleted_at=instant(int(updated or created or 0) * _MILLI) if deleted else None,
    )


def input_of(row: Mapping[str, Any], tags: Mapping[str, str]) -> CarriedInput:
    """Make a dataset that a run read of MLflow's words for it.

    Args:
        row: With `name`, `digest`, `source_type`, `source`, `schema` and `profile`.
        tags: Of its use by the run.
    """
    return CarriedInput(
        name=str(row["name"]),
        digest=str(row["digest"]),
        context=tags.get(_CONTEXT, ""),
        source_type=row.get("source_type") or "",
        source=row.get("source") or "",
        schema=row.get("schema") or "",
        profile=row.get("profile") or "",
        tags={name: value for name, value in tags.items() if name != _CONTEXT},
    )


def model_of(
    row: Mapping[str, Any],
    files: Sequence[CarriedFile],
    left_out: list[str],
    *,
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> CarriedModel:
    """Make a logged model of MLflow's row of one.

    Args:
        row: With `model_id`, `name`, `source_run_id`, `status` and times in milliseconds.
        files: Of the model.
        left_out: What could not come of them.
        params: Of the model.
        tags: Of the model.
    """
    created = row.get("creation_timestamp_ms") or row.get("creation_timestamp") or 0
    updated = row.get("last_updated_timestamp_ms") or row.get("last_updated_timestamp") or created
    run = row.get("source_run_id")
    return CarriedModel(
        id=str(row["model_id"]),
        name=str(row["name"]),
        run=_id(run) if run else None,
        model_type=row.get("model_type") or "",
        status={1: "PENDING", 2: "READY", 3: "UPLOAD_FAILED"}.get(row.get("status") or 2, "READY"),
        params=dict(params),
        tags=dict(tags),
        created_at=instant(int(created) * _MILLI),
        updated_at=instant(int(updated) * _MILLI),
        files=list(files),
        left_out=left_out,
    )


def name_of(
    row: Mapping[str, Any], versions: Sequence[CarriedVersion], *, aliases: Mapping[str, int], tags: Mapping[str, str]
) -> CarriedName:
    """Make a registered name of MLflow's row of one."""
    created, updated = _times(row)
    return CarriedName(
        title=str(row["name"]),
        description=row.get("description") or "",
        tags=dict(tags),
        aliases=dict(aliases),
        versions=list(versions),
        created_at=created,
        updated_at=updated,
    )


def version_of(row: Mapping[str, Any], tags: Mapping[str, str]) -> CarriedVersion:
    """Make a version of MLflow's row of one."""
    created, updated = _times(row)
    run = row.get("run_id")
    return CarriedVersion(
        version=int(row["version"]),
        source=row.get("source") or "",
        run=_id(run) if run else None,
        description=row.get("description") or "",
        tags=dict(tags),
        stage=row.get("current_stage") or "None",
        run_link=row.get("run_link") or "",
        created_at=created,
        updated_at=updated,
    )


def _times(row: Mapping[str, Any]) -> tuple[datetime, datetime]:
    created = row.get("creation_time") or row.get("creation_timestamp") or 0
    updated = row.get("last_updated_time") or row.get("last_updated_timestamp") or created
    return instant(int(created) * _MILLI), instant(int(updated) * _MILLI)


def _carried(run: MlflowRun) -> CarriedRun:
    started = instant((run.started or 0) * _MILLI)
    ended = instant(run.ended * _MILLI) if run.ended is not None else None
    parent = run.tags.get(_PARENT)
    carried = CarriedRun(
        id=_id(run.id),
        foreign=run.id,
        name=run.name or run.tags.get("mlflow.runName") or run.id,
        experiment=run.experiment,
        status=_STATUSES.get(run.status, "running"),
        started_at=started,
        ended_at=ended,
        deleted_at=_deleted_at(run),
        params=dict(run.params),
        tags={name: value for name, value in run.tags.items() if name not in _FIELDS},
        files=list(run.files),
        inputs=list(run.inputs),
        parent=_id(parent) if parent else None,
        notes=run.tags.get(_NOTE) or None,
        user=run.user or run.tags.get("mlflow.user") or None,
        git_commit=run.tags.get(_COMMIT) or None,
        left_out=run.left_out,
    )
    _add_points(carried, run.points)
    if run.status not in _STATUSES:
        carried.remarks.append(f"its status {run.status!r} is none of MLflow's; it is kept as running")
    if run.started is None:
        carried.remarks.append("it has no start time; it starts in 1970")
    return carried


def _deleted_at(run: MlflowRun) -> Any:
    if not run.deleted:
        return None
    return instant((run.deleted_at or run.ended or run.started or 0) * _MILLI)


def _add_points(carried: CarriedRun, points: Iterable[Point]) -> None:
    columns: dict[str, tuple[list[float], list[float], list[int]]] = {}
    for name, value, milliseconds, step in points:
        steps, values, times = columns.setdefault(name, ([], [], []))
        steps.append(float(step))
        values.append(math.copysign(math.inf, value) if abs(value) == _CLAMPED else value)
        times.append(milliseconds)
    moved = repeated = 0
    for name, (steps, values, times) in columns.items():
        at, outside = micros_of(times, _MILLI)
        series = Points(np.array(steps), np.array(values), at, np.zeros(len(steps), dtype=np.int32))
        carried.points[name], twice = unique_points(series)
        moved, repeated = moved + outside, repeated + twice
    if moved:
        carried.remarks.append(f"points with times outside the years 1 to 9999, moved into these: {moved:,}")
    if repeated:
        carried.remarks.append(f"points that repeat another in step, time and value, counted once: {repeated:,}")


def _id(foreign: str) -> str:
    return foreign if _ID.fullmatch(foreign) else run_id_of("mlflow", foreign)
