"""`runs export`: some runs with everything that belongs to them, in one file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from tinymlops.carry.archive import ArchiveWriter, Carried, blob_entry
from tinymlops.carry.whole_runs import entries_of
from tinymlops.errors import DataError, NotFoundError
from tinymlops.progress import progress
from tinymlops.registry.runs.whole import WholeRun, read_run
from tinymlops.stores.publish import fsync, fsync_directory, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.blobs import Blobs

__all__ = ["ExportReport", "export_runs"]

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written."""

    path: Path
    bytes: int
    runs: list[Carried]


def export_runs(
    scope: Scope, runs: Sequence[str], path: Path, *, console: bool = False, patch: bool = False
) -> ExportReport:
    """Write runs to a file, complete or not at all.

    Args:
        scope: The workspace.
        runs: Their ids.
        path: The file; one that is there is replaced.
        console: Whether with what they wrote to their consoles.
        patch: Whether with the uncommitted changes of their code.

    Raises:
        NotFoundError: If there is no such run.
        DataError: If the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with open(unfinished, "wb") as stream:
            with scope.publishing():
                told = _write(scope, runs, ArchiveWriter(stream, _version()), console=console, patch=patch)
            stream.flush()
            fsync(stream.fileno())
        size = unfinished.stat().st_size
        unfinished.replace(path)
        fsync_directory(path.resolve().parent)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}", hint="name a file in a directory that exists"
        ) from error
    finally:
        if os.path.lexists(unfinished):
            os.unlink(unfinished)
    return ExportReport(path=path, bytes=size, runs=told)


def _write(scope: Scope, runs: Sequence[str], archive: ArchiveWriter, *, console: bool, patch: bool) -> list[Carried]:
    database, blobs = scope.environment.database, scope.environment.blobs
    told = []
    with progress("exporting runs", len(runs)) as advance:
        for run in sorted(set(runs)):
            whole = read_run(database, run, console=console)
            if whole is None:
                raise NotFoundError(f"there is no run {run!r}", hint="list them: tinymlops runs list")
            kept = whole if patch else _without_patch(whole)
            for name, content in entries_of(kept):
                archive.add(name, [content])
            for sha256 in sorted(kept.files):
                archive.add(blob_entry(sha256), _pieces(blobs, sha256))
            told.append(Carried(run, whole.row.name, whole.experiment.name, whole.count, len(whole.artifacts)))
            advance(1)
    archive.close(told)
    return told


def _without_patch(whole: WholeRun) -> WholeRun:
    return replace(whole, row=msgspec.structs.replace(whole.row, patch_sha256=None))


def _pieces(blobs: Blobs, sha256: str) -> Iterator[bytes]:
    with open_regular(blobs.path(sha256)) as file:
        while piece := file.read(_CHUNK):
            yield piece


def _version() -> str:
    from importlib.metadata import version

    return version("tinymlops")
