"""`runs import`: the runs of a file of `runs export`, merged into a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.carry.archive import ArchiveReader, blob_entry
from tinymlops.carry.report import ImportLine, ImportReport
from tinymlops.carry.whole_runs import whole_run
from tinymlops.errors import ConflictError, IntegrityError
from tinymlops.progress import progress
from tinymlops.registry.runs.merging import Merge, compared, merge, tombstone_of
from tinymlops.registry.runs.whole import WholeRun, count_points

if TYPE_CHECKING:
    from pathlib import Path

    from tinymlops.registry.scope import Scope

__all__ = ["import_archive"]

_SHOWN = 5


def import_archive(scope: Scope, path: Path, *, skip: bool = False) -> ImportReport:
    """Import the runs of a file; all of it is checked before anything is written.

    Args:
        scope: The workspace and the actor.
        path: The file.
        skip: Leave out runs that differ here or were deleted here, and say so, in place of refusing the file.

    Raises:
        NotFoundError: If there is no such file.
        IntegrityError: If it is damaged, cut off, or not an archive of runs.
        ConflictError: If a run is here with other content, or was deleted here.
    """
    with progress("checking the file", path.stat().st_size if path.is_file() else 0) as advance:
        archive = ArchiveReader(path, advance)
    with archive:
        ids = [one.id for one in archive.manifest.runs]
        refused = _refused(scope, archive, ids)
        if refused and not skip:
            raise _conflict(refused)
        lines = []
        with progress("importing runs", len(ids)) as advance:
            for run in ids:
                lines.append(_one(scope, archive, whole_run(archive, run), refused.get(run)))
                advance(1)
    return ImportReport(origin="tinymlops", lines=lines)


def _refused(scope: Scope, archive: ArchiveReader, ids: list[str]) -> dict[str, str]:
    """Return which runs cannot come, and why; every run is read, so that a damaged one is found before one is written."""
    refused, named = {}, set()
    for run in ids:
        whole = whole_run(archive, run)
        named |= {f"runs/{run}.json", f"points/{run}.parquet", f"console/{run}.json", *map(blob_entry, whole.files)}
        missing = [sha256 for sha256 in whole.files if blob_entry(sha256) not in archive]
        if missing:
            raise IntegrityError(
                f"run {whole.row.name!r} names the file {missing[0][:12]}, which is not in the archive"
            )
        if why := _difference(scope, whole):
            refused[run] = why
    others = set(archive.manifest.entries) - named
    if others:
        raise IntegrityError(f"{min(others)} belongs to no run of the archive")
    return refused


def _difference(scope: Scope, whole: WholeRun) -> str:
    database = scope.environment.database
    gone = tombstone_of(database, whole.row.id)
    label = f"run {whole.row.name!r} ({whole.row.id[:12]})"
    if gone is not None:
        return f"{label} was deleted here at {gone.deleted_at:%Y-%m-%d %H:%M} UTC by {gone.actor}"
    found = compared(database, whole, update=False)
    if not found.differences:
        return ""
    more = len(found.differences) - _SHOWN
    shown = "; ".join(found.differences[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    return f"{label} is here with other content: {shown}"


def _conflict(refused: dict[str, str]) -> ConflictError:
    whys = list(refused.values())
    others = f"; so {'is' if len(whys) == 2 else 'are'} {len(whys) - 1} more" if len(whys) > 1 else ""
    return ConflictError(f"nothing is imported: {whys[0]}{others}", hint="to import the others: add --skip")


def _one(scope: Scope, archive: ArchiveReader, whole: WholeRun, why: str | None) -> ImportLine:
    if why is not None:
        return _line(whole, "refused", left_out=(why,))
    with scope.publishing():
        for sha256 in sorted(whole.files):
            if not scope.environment.blobs.exists(sha256):
                name = blob_entry(sha256)
                scope.environment.blobs.put_written(lambda stream, name=name: archive.write_to(name, stream.write))  # type: ignore[misc]
        prepared = WholeRun(**{**vars(whole), "row": msgspec.structs.replace(whole.row, seen_at=None)})
        merged: Merge = merge(scope, prepared, update=False, origin="tinymlops")
    here = count_points(scope.environment.database, whole.row.id)
    outcome = "new" if merged.here is None else "grown" if merged.changes else "unchanged"
    in_trash = merged.here is not None and merged.here.row.deleted_at is not None and whole.row.deleted_at is None
    remarks = ("it is in the trash here",) if in_trash else ()
    return _line(whole, "incomplete" if here < whole.count else outcome, here=here, remarks=remarks)


def _line(
    whole: WholeRun, outcome: str, *, here: int = 0, left_out: tuple[str, ...] = (), remarks: tuple[str, ...] = ()
) -> ImportLine:
    return ImportLine(
        outcome=outcome,
        experiment=whole.experiment.name,
        name=whole.row.name,
        run=whole.row.id,
        params=len(whole.row.params),
        metrics=len(whole.points),
        points=whole.count,
        points_here=here,
        tags=len(whole.row.tags),
        inputs=len(whole.inputs),
        artifacts=len(whole.artifacts),
        artifacts_here=len(whole.artifacts) if here or outcome != "refused" else 0,
        left_out=left_out,
        remarks=remarks,
    )
