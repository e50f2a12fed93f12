"""The trash, and what deletes a run for good: its disk is freed, and a tombstone says that it was there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import ConflictError
from tinymlops.records import (
    Artifact,
    ConsoleText,
    DeletedRun,
    LoggedModel,
    MetricChunk,
    MetricPyramid,
    MetricSeries,
    MetricSummary,
    ModelVersion,
    OpaqueFile,
    OpaqueModel,
    OpaqueVersion,
    Run,
    RunInput,
    RunModel,
    RunRow,
)
from tinymlops.registry.runs.changing import row_of
from tinymlops.stores.references import named_files

if TYPE_CHECKING:
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["delete_run", "restore_run", "trash_run"]

_PATIENCE = 60.0


def trash_run(scope: Scope, run: str) -> None:
    """Put a run into the trash: searches leave it out, and it can be restored."""
    with scope.write("run.trash", run) as tx:
        record = row_of(tx, run)
        if record.deleted_at is None:
            tx.update(msgspec.structs.replace(record, deleted_at=scope.clock()))


def restore_run(scope: Scope, run: str) -> None:
    """Take a run out of the trash."""
    with scope.write("run.restore", run) as tx:
        tx.update(msgspec.structs.replace(row_of(tx, run), deleted_at=None))


def delete_run(scope: Scope, run: Run) -> None:
    """Delete a run for good, with its points, files and logged models, and free the disk that they took.

    Raises:
        ConflictError: If it goes on, a registered model version comes from it, or it is the parent of other runs.
    """
    if run.status == "running":
        raise ConflictError(f"run {run.name!r} goes on", hint="finish it first: ws.runs.finish(run)")
    with scope.write("run.delete", run.id) as tx:
        row_of(tx, run.id)
        _require_unpinned(tx, run)
        freed = _hashes_of(tx, run.id)
        _remove_points(tx, run.id)
        for model in _opaque_of(tx, run.id):
            tx.delete(OpaqueFile, model=model)
            tx.delete(OpaqueModel, id=model)
        for cls in (Artifact, LoggedModel, RunInput, RunModel, ConsoleText):
            tx.delete(cls, run=run.id)
        tx.delete(RunRow, id=run.id)
        tx.put(
            DeletedRun(
                id=run.id,
                name=run.name,
                experiment=run.experiment,
                started_at=run.started_at,
                deleted_at=scope.clock(),
                actor=scope.actor,
            )
        )
    scope.environment.live.forget(run.id)
    _free(scope, freed)


def _require_unpinned(tx: Transaction, run: Run) -> None:
    versions = tx.list(ModelVersion, where={"run": run.id})
    if versions:
        names = ", ".join(f"{one.name}:{one.version}" for one in versions[:5])
        raise ConflictError(
            f"run {run.name!r} cannot be deleted: {names} was registered from it", hint="put it into the trash instead"
        )
    opaque = tx.list(OpaqueVersion, where={"model": _opaque_of(tx, run.id)})
    if opaque:
        names = ", ".join(f"{one.name}:{one.version}" for one in opaque[:5])
        raise ConflictError(
            f"run {run.name!r} cannot be deleted: {names} was registered from it", hint="put it into the trash instead"
        )
    children = tx.list(RunRow, where={"parent": run.id}, limit=5)
    if children:
        names = ", ".join(f"{one.name} ({one.id[:8]})" for one in children)
        raise ConflictError(
            f"run {run.name!r} cannot be deleted: it is the parent of {names}", hint="delete those first"
        )


def _hashes_of(tx: Transaction, run: str) -> set[str]:
    row = row_of(tx, run)
    hashes = {one.sha256 for one in tx.list(Artifact, where={"run": run})}
    for model in tx.list(LoggedModel, where={"run": run}):
        hashes |= {one for one in (model.sha256, model.baseline_sha256) if one is not None}
    hashes |= {one.sha256 for one in tx.list(OpaqueFile, where={"model": _opaque_of(tx, run)})}
    return hashes | ({row.patch_sha256} if row.patch_sha256 is not None else set())


def _opaque_of(tx: Transaction, run: str) -> list[str]:
    """Return the ids of the models that a client of MLflow logged in a run."""
    return [one.id for one in tx.list(OpaqueModel, where={"run": run})]


def _free(scope: Scope, hashes: set[str]) -> None:
    """Remove files that no row names any more; a crash before leaves them to `gc`."""
    environment = scope.environment
    with environment.gc_lock.exclusive(deadline=_PATIENCE):
        named = {file.sha256 for file in named_files(environment.database.rows)}
        environment.blobs.remove(hashes - named)


def _remove_points(tx: Transaction, run: str) -> None:
    """Remove every point of a run."""
    for cls in (MetricChunk, MetricSeries, MetricPyramid, MetricSummary):
        tx.delete(cls, run=run)
