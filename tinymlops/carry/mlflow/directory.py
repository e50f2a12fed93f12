"""Runs in an `mlruns` directory, as MLflow's file store writes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymlops.carry.mlflow.artifacts import ArtifactRoots, files_in
from tinymlops.carry.mlflow.raw import MlflowRun, experiment_of, input_of, model_of, name_of, version_of
from tinymlops.errors import DataError, NotFoundError
from tinymlops.stores.publish import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinymlops.carry.carried import CarriedExperiment, CarriedInput, CarriedModel, CarriedName

__all__ = ["DirectoryStore"]

_META, _TRASH = "meta.yaml", ".trash"
_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


class DirectoryStore:
    """An `mlruns` directory.

    Args:
        path: The directory.
        artifacts: Directories of artifacts elsewhere.

    Raises:
        NotFoundError: If it holds no experiment.
    """

    def __init__(self, path: Path, artifacts: Sequence[Path] = ()) -> None:
        self._path = path
        self._roots = ArtifactRoots([path, *artifacts])
        self.remarks: list[str] = []
        self._experiments: dict[Path, dict[str, Any]] = {}
        for folder in self._with_meta(path) + self._with_meta(path / _TRASH):
            try:
                self._experiments[folder] = self._meta(folder)
            except DataError as error:
                self.remarks.append(f"experiment {folder.name} is left out with its runs: {error.message}")
        if not self._experiments and not self.remarks:
            raise NotFoundError(
                f"{path} holds no experiment of MLflow",
                hint="name the directory mlruns, mlflow.db or the address of a server",
            )
        self._runs = self._found_runs()

    def experiments(self) -> list[CarriedExperiment]:
        """Return the experiments; those of the trash are deleted."""
        return [experiment_of(meta, _texts(path / "tags")) for path, meta in self._experiments.items()]

    def keys(self) -> list[str]:
        """Return the directories of the runs, the oldest first."""
        return list(self._runs)

    def run(self, key: str) -> MlflowRun:
        """Read one run."""
        if key not in self._runs:
            raise NotFoundError(f"there is no run {key} in {self._path}")
        path = self._runs[key]
        meta, tags, left_out = self._meta(path), _texts(path / "tags"), list[str]()
        deleted = meta.get("lifecycle_stage") == "deleted"
        where, why = self._roots.find(meta.get("artifact_uri"), *path.relative_to(self._path).parts, "artifacts")
        if where is None:
            left_out.append(why or "its directory of artifacts is missing")
        return MlflowRun(
            id=str(meta.get("run_id") or meta.get("run_uuid")),
            name=str(meta.get("run_name") or ""),
            experiment=self._experiments[path.parent].get("name"),
            status=_STATUSES.get(meta.get("status"), str(meta.get("status"))),  # type: ignore[arg-type]
            started=_whole(meta.get("start_time")),
            ended=_whole(meta.get("end_time")),
            deleted=deleted,
            deleted_at=_whole(meta.get("deleted_time")),
            user=meta.get("user_id"),
            params=_texts(path / "params"),
            tags=tags,
            points=list(_points(path / "metrics")),
            files=files_in(where, left_out) if where is not None else [],
            inputs=list(self._inputs(path, left_out)),
            left_out=left_out,
        )

    def models(self) -> list[CarriedModel]:
        """Return the logged models."""
        found = []
        for folder in (folder for one in self._experiments for folder in self._with_meta(one / "models")):
            meta, left_out = self._meta(folder), list[str]()
            where, why = self._roots.find(
                meta.get("artifact_location"), *folder.relative_to(self._path).parts, "artifacts"
            )
            if where is None:
                left_out.append(why or "its directory of files is missing")
            files = files_in(where, left_out) if where is not None else []
            params, tags = _texts(folder / "params"), _texts(folder / "tags")
            found.append(model_of(meta, files, left_out, params=params, tags=tags))
        return sorted(found, key=lambda one: one.created_at)

    def registered(self) -> list[CarriedName]:
        """Return the registered names."""
        return [
            name_of(
                self._meta(folder),
                sorted(
                    (version_of(self._meta(one), _texts(one / "tags")) for one in self._with_meta(folder)),
                    key=lambda one: one.version,
                ),
                aliases={
                    alias: int(number) for alias, number in _texts(folder / "aliases").items() if number.isdecimal()
                },
                tags=_texts(folder / "tags"),
            )
            for folder in self._with_meta(self._path / "models")
        ]

    def close(self) -> None:
        """Hold nothing."""

    def _found_runs(self) -> dict[str, Path]:
        """Return the directories of runs by their path, the oldest first; a damaged one is told when it is read."""
        found = []
        for run in (run for experiment in self._experiments for run in self._with_meta(experiment)):
            try:
                meta = self._meta(run)
            except DataError:
                meta = {"run_id": run.name}
            if "run_id" in meta or "run_uuid" in meta:
                found.append((_whole(meta.get("start_time")) or 0, str(run.relative_to(self._path)), run))
        return {key: run for _, key, run in sorted(found)}

    def _with_meta(self, folder: Path) -> list[Path]:
        if not folder.is_dir():
            return []
        inside = (Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
        return sorted(one for one in inside if (one / _META).is_file() and one.name != "models")

    def _meta(self, folder: Path) -> dict[str, Any]:
        import yaml

        try:
            content = yaml.safe_load(_text(folder / _META))
        except yaml.YAMLError as error:
            raise DataError(
                f"{folder / _META} is not YAML: {error}", hint="restore it, or move its directory away"
            ) from error
        if not isinstance(content, dict):
            raise DataError(f"{folder / _META} is empty or cut off", hint="restore it, or move its directory away")
        return content

    def _inputs(self, run: Path, left_out: list[str]) -> Iterator[CarriedInput]:
        for use in self._with_meta(run / "inputs"):
            meta = self._meta(use)
            if meta.get("source_type") != "DATASET":
                continue
            dataset = run.parent / "datasets" / Path(str(meta.get("source_id"))).name
            if not (dataset / _META).is_file():
                left_out.append(f"dataset {dataset.name} that it read: its description is missing")
                continue
            tags = meta.get("tags") or {}
            yield input_of(self._meta(dataset), {str(name): str(value) for name, value in tags.items()})


def _points(folder: Path) -> Iterator[tuple[str, float, int, int]]:
    for name, path in _files(folder):
        for number, line in enumerate(_text(path).splitlines(), 1):
            words = line.split(" ")
            if not line.strip():
                continue
            try:
                milliseconds, value = int(words[0]), float(words[1])
                step = int(words[2]) if len(words) > 2 else 0
            except (ValueError, IndexError) as error:
                raise DataError(
                    f"line {number} of {path} is not a point: {line[:80]!r}", hint="repair the line, or remove it"
                ) from error
            yield name, value, milliseconds, step


def _texts(folder: Path) -> dict[str, str]:
    return {name: _text(path) for name, path in _files(folder)}


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Return the files in a directory and below it, with their names as MLflow's keys."""
    ignored: list[str] = []
    found = [(one.name, one.content) for one in files_in(folder, ignored)] if folder.is_dir() else []
    return [(name, path) for name, path in found if isinstance(path, Path)]


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return file.read().decode(errors="replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None
