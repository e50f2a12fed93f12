"""Runs in MLflow's database, with the artifacts beside it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinymlops.carry.mlflow.artifacts import ArtifactRoots, files_in
from tinymlops.carry.mlflow.raw import MlflowRun, experiment_of, input_of, model_of, name_of, version_of
from tinymlops.errors import NotFoundError
from tinymlops.stores.mlflow_database import MlflowDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tinymlops.carry.carried import CarriedExperiment, CarriedInput, CarriedModel, CarriedName

__all__ = ["DatabaseStore"]


class DatabaseStore:
    """MLflow's database.

    Args:
        path: The file, such as mlflow.db.
        artifacts: Directories of artifacts beside `mlartifacts` and `mlruns` next to the file.
    """

    def __init__(self, path: Path, artifacts: Sequence[Path] = ()) -> None:
        self._database = MlflowDatabase(path)
        beside = path.resolve().parent
        self._roots = ArtifactRoots([beside / "mlartifacts", beside / "mlruns", *artifacts])
        self._experiments = {row["experiment_id"]: row for row in self._database.experiments()}
        self._runs = {row["run_uuid"]: row for row in self._database.runs()}
        self.remarks = self._remarks(beside)

    def experiments(self) -> list[CarriedExperiment]:
        """Return the experiments."""
        return [experiment_of(row, self._database.experiment_tags(key)) for key, row in self._experiments.items()]

    def keys(self) -> list[str]:
        """Return the ids of the runs, the oldest first."""
        return list(self._runs)

    def run(self, key: str) -> MlflowRun:
        """Read one run."""
        row = self._runs.get(key)
        if row is None:
            raise NotFoundError(f"there is no run {key} in {self._database.path}")
        tags, left_out = self._database.tags(key), list[str]()
        experiment = self._experiments.get(row["experiment_id"], {})
        where, why = self._roots.find(row["artifact_uri"], str(row["experiment_id"]), key, "artifacts")
        if why:
            left_out.append(why)
        return MlflowRun(
            id=key,
            name=row.get("name") or "",
            experiment=experiment.get("name"),
            status=row["status"] or "",
            started=row["start_time"],
            ended=row["end_time"],
            deleted=row["lifecycle_stage"] == "deleted",
            deleted_at=row.get("deleted_time"),
            user=row.get("user_id"),
            params=self._database.params(key),
            tags=tags,
            points=self._points(key),
            files=files_in(where, left_out) if where is not None else [],
            inputs=[_input(one) for one in self._database.inputs(key)],
            left_out=left_out,
        )

    def models(self) -> list[CarriedModel]:
        """Return the logged models with the files beside the database."""
        found = []
        for row in self._database.models():
            left_out = list[str]()
            place = (str(row["experiment_id"]), "models", row["model_id"], "artifacts")
            where, why = self._roots.find(row["artifact_location"], *place)
            if where is None:
                left_out.append(why or "its directory of files is missing")
            files = files_in(where, left_out) if where is not None else []
            found.append(model_of(row, files, left_out, params=row["params"], tags=row["tags"]))
        return found

    def registered(self) -> list[CarriedName]:
        """Return the registered names."""
        return [
            name_of(
                row,
                [version_of(one, one["tags"]) for one in row["versions"]],
                aliases=row["aliases"],
                tags=row["tags"],
            )
            for row in self._database.registered()
        ]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _points(self, key: str) -> Iterator[tuple[str, float, int, int]]:
        for name, value, milliseconds, step, is_nan in self._database.points(key):
            yield name, math.nan if is_nan else float(value), milliseconds, step

    def _remarks(self, beside: Path) -> list[str]:
        remarks = []
        if not self._roots.roots:
            remarks.append(f"{beside} has no mlartifacts or mlruns: name the directory of artifacts with --artifacts")
        traces = self._database.traces()
        if traces:
            remarks.append(f"traces, which have no place here, left out: {traces:,}")
        return remarks


def _input(row: dict[str, Any]) -> CarriedInput:
    named = {name.removeprefix("dataset_"): value for name, value in row.items()}
    return input_of(named, row["tags"])
