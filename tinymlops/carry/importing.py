"""Bring the runs of a source into a workspace: each all at once or not at all, and none twice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tinymlops.carry.fitting import fitted, fitting_name
from tinymlops.carry.models import import_models
from tinymlops.carry.report import ImportLine, ImportReport
from tinymlops.errors import ConflictError, DataError, IntegrityError, NotFoundError, TinyMLOpsError
from tinymlops.progress import progress
from tinymlops.records import Artifact, Experiment, RunInput, RunRow
from tinymlops.registry.runs.experiments import DEFAULT
from tinymlops.registry.runs.merging import experiment_for, merge, tombstone_of
from tinymlops.registry.runs.whole import WholeRun, count_points
from tinymlops.stores.pseudonyms import FreeText
from tinymlops.stores.publish import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.carry.carried import CarriedExperiment, CarriedFile, CarriedRun, Source
    from tinymlops.registry.runs import Runs
    from tinymlops.registry.runs.merging import Merge
    from tinymlops.registry.scope import Scope

__all__ = ["import_runs"]

_CHUNK = 1 << 20
_UNREADABLE = (DataError, NotFoundError, IntegrityError)


def import_runs(scope: Scope, runs: Runs, source: Source) -> ImportReport:
    """Import what a source has and this workspace lacks.

    A run is stored in one transaction, and known again by its id: an import that was cut off goes on where it was, and one
    that is repeated adds what has grown.

    Args:
        scope: The workspace and the actor.
        runs: The workspace's runs.
        source: Where they come from.
    """
    importer = _Importer(scope, runs, source.origin)
    experiments = {one.name: _experiment(one, scope) for one in source.experiments()}
    created = sum(importer.create(one) for one in experiments.values())
    lines, keys = [], source.keys()
    with progress(f"importing from {source.origin}", len(keys)) as advance:
        for key in keys:
            lines.append(_one(importer, source, key, experiments))
            advance(1)
    models = import_models(scope, source, lambda file: importer.stored(file, None))
    return ImportReport(origin=source.origin, lines=lines, remarks=[*source.remarks, *models], experiments=created)


def _one(importer: _Importer, source: Source, key: str, experiments: dict[str, Experiment]) -> ImportLine:
    try:
        run = fitted(source.read(key))
    except TinyMLOpsError as error:
        return ImportLine(outcome="not read", experiment="", name="", run=key, left_out=(error.message,))
    experiment = experiments.get(run.experiment or "", DEFAULT)
    return importer.take(run, experiment)


@dataclass(frozen=True)
class _Importer:
    scope: Scope
    runs: Runs
    origin: str

    def create(self, experiment: Experiment) -> bool:
        """Create an experiment unless there is one of its name."""
        if any(one.name == experiment.name for one in self.runs.experiments(deleted=None)):
            return False
        with self.scope.write("experiment.create", "", name=FreeText(experiment.name)) as tx:
            experiment_for(tx, experiment)
        return True

    def take(self, run: CarriedRun, experiment: Experiment) -> ImportLine:
        """Store a run, or what is new of it."""
        database = self.scope.environment.database
        if (gone := tombstone_of(database, run.id)) is not None:
            why = f"it was deleted at {gone.deleted_at:%Y-%m-%d %H:%M} UTC by {gone.actor}"
            return self._line(run, "deleted here", left_out=(why,))
        if self._goes_on(run.id):
            return self._line(
                run, "goes on here", left_out=("it was resumed here and goes on: import again when it ended",)
            )
        with self.scope.publishing():
            whole = self._whole(run, experiment)
            try:
                merged = merge(self.scope, whole, update=True, origin=self.origin)
            except ConflictError as error:  # deleted by another process just now
                return self._line(run, "deleted here", left_out=(error.message,))
        return self._told(run, whole, merged)

    def _told(self, run: CarriedRun, whole: WholeRun, merged: Merge) -> ImportLine:
        run.remarks += merged.differences
        if merged.here is not None and merged.here.row.deleted_at is not None and run.deleted_at is None:
            run.remarks.append("it is in the trash here")
        database = self.scope.environment.database
        points_here = count_points(database, run.id)
        artifacts_here = len(self.runs.artifacts(run.id))
        outcome = "new" if merged.here is None else "grown" if merged.changes else "unchanged"
        if points_here < whole.count or artifacts_here < len(whole.artifacts):
            outcome = "incomplete"
        return self._line(run, outcome, points_here=points_here, artifacts_here=artifacts_here)

    def _line(self, run: CarriedRun, outcome: str, *, left_out: tuple[str, ...] = (), **here: int) -> ImportLine:
        return ImportLine(
            outcome=outcome,
            experiment=run.experiment or DEFAULT.name,
            name=run.name,
            run=run.id,
            params=len(run.params),
            metrics=len(run.points),
            points=sum(points.size for points in run.points.values()),
            tags=len(run.tags),
            inputs=len(run.inputs),
            artifacts=len(run.files),
            left_out=(*run.left_out, *left_out),
            remarks=tuple(run.remarks),
            **here,
        )

    def _goes_on(self, run: str) -> bool:
        try:
            return self.runs.get(run).status == "running"
        except NotFoundError:
            return False

    def _whole(self, run: CarriedRun, experiment: Experiment) -> WholeRun:
        known = {one.name: one for one in self.runs.artifacts(run.id)}
        row = RunRow(
            id=run.id,
            name=run.name,
            status=run.status,
            params=run.params,
            tags=run.tags,
            git_commit=run.git_commit,
            started_at=run.started_at,
            ended_at=run.ended_at,
            error=run.error,
            group=run.group,
            parent=run.parent,
            notes=run.notes,
            user=run.user,
            session=max((int(one.sessions.max()) for one in run.points.values()), default=0),
            origin=self.origin,
            deleted_at=run.deleted_at,
        )
        return WholeRun(
            row=row,
            experiment=experiment,
            points=run.points,
            artifacts=list(self._artifacts(run, known)),
            inputs=[_input(run, one) for one in run.inputs],
        )

    def _artifacts(self, run: CarriedRun, known: dict[str, Artifact]) -> Iterator[Artifact]:
        for file in run.files:
            try:
                sha256, size = self.stored(file, known.get(file.name))
            except _UNREADABLE as error:
                run.left_out.append(f"artifact {file.name}: {error.message}")
                continue
            yield Artifact(
                run=run.id,
                name=file.name,
                sha256=sha256,
                bytes=size,
                at=file.at or run.ended_at or run.started_at,
                kind=file.kind,
                series=file.series,
                step=file.step,
            )

    def stored(self, file: CarriedFile, known: Artifact | None) -> tuple[str, int]:
        """Return the hash and the size of a file, which is published unless it is known."""
        if known is not None and _is_same(file, known):
            return known.sha256, known.bytes
        published = self.scope.environment.blobs.put_written(lambda stream: _write(file, stream))
        return published.sha256, published.bytes


def _is_same(file: CarriedFile, known: Artifact) -> bool:
    """Whether a file is the known one: by its content, or by its size where it would have to be fetched."""
    if not isinstance(file.content, bytes | Path) and file.content.is_far:
        return file.content.bytes == known.bytes
    digest = _Digest()
    _write(file, digest)  # type: ignore[arg-type]  # only written to
    return digest.sha256.hexdigest() == known.sha256


class _Digest:
    """A stream that keeps nothing but the hash."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return len(data)


def _write(file: CarriedFile, stream: BinaryIO) -> None:
    """Write a file's content; what cannot be read is its own fault, not that of the disk that is written to."""
    if isinstance(file.content, bytes):
        stream.write(file.content)
    elif isinstance(file.content, Path):
        for piece in _pieces(file.content):  # noqa: FURB122 - the stream of a file that is published has no `writelines`
            stream.write(piece)
    else:
        file.content.write_to(stream)


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        source = open_regular(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    with source:
        while True:
            try:
                piece = source.read(_CHUNK)
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error.strerror}") from error
            if not piece:
                return
            yield piece


def _input(run: CarriedRun, one: object) -> RunInput:
    return RunInput(run=run.id, at=run.started_at, **vars(one))


def _experiment(one: CarriedExperiment, scope: Scope) -> Experiment:
    return Experiment(
        name=fitting_name(one.name, 500),
        notes=one.notes,
        tags={fitting_name(name): text for name, text in one.tags.items()},
        created_at=one.created_at or scope.clock(),
        deleted_at=one.deleted_at,
    )
