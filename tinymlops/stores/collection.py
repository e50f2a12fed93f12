"""`gc`: remove files that are no longer needed.

A file that the database never named is an orphan of a crash; its age on the disk shows whether a writer may still be
about to name it. A segment that was taken out of use stays for a grace period from that moment, which the database
records. Earlier rows of a rebuilt transformation stay as long as something that was made from them.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import ConflictError
from tinymlops.stores import row_index
from tinymlops.stores.publish import fsync_directory, remove_stale
from tinymlops.stores.references import NAMING_FILES, named_files, orphans
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tinymlops.stores.environment import Environment
    from tinymlops.stores.locks import FileLock

__all__ = ["Collected", "collect", "remove_unnamed"]

_PATIENCE = 60.0
_MOMENT = 0.5
# A rebuild is needed as long as a training set, a dataset or a logged prediction was made from it. The last segments of an
# ended generation are needed too: models that were trained on it go on reading them.
_ASKED_FOR = """until IS NOT NULL AND (
    EXISTS (SELECT 1 FROM training_sets AS t WHERE t.sequence >= segments.last AND t.sequence < segments.until)
    OR EXISTS (SELECT 1 FROM datasets AS d WHERE d.sequence >= segments.last AND d.sequence < segments.until)
    OR EXISTS (SELECT 1 FROM predictions AS p WHERE p.sequence >= segments.last AND p.sequence < segments.until)
    OR EXISTS (
        SELECT 1 FROM generations AS g WHERE g.source = segments.source AND g.ends = segments.until AND (
            EXISTS (SELECT 1 FROM training_sets AS t WHERE t.sequence >= g.begins AND t.sequence < g.ends)
            OR EXISTS (SELECT 1 FROM datasets AS d WHERE d.sequence >= g.begins AND d.sequence < g.ends)
            OR EXISTS (SELECT 1 FROM predictions AS p WHERE p.sequence >= g.begins AND p.sequence < g.ends))))"""


class Collected(msgspec.Struct, frozen=True):
    """What a collection removed."""

    orphans: int
    """Files that the database never named, or no longer does."""
    segments: int
    """Segments whose grace period was over."""
    bytes: int
    views: int = 0
    """Views of the online store that nothing read any more."""
    job_runs: int = 0
    """Runs of jobs that ended too long ago, with their logs."""
    messages: int = 0
    """Messages of the outbox that were sent too long ago."""


def collect(environment: Environment, *, now: int, grace: int, actor: str) -> Collected:
    """Remove what is no longer needed.

    Args:
        environment: The open workspace.
        now: Microseconds UTC.
        grace: Microseconds that a segment stays after it was taken out of use, and an orphan after it was written.
        actor: The actor in the audit log.

    Returns:
        How much was removed.

    Raises:
        IntegrityError: If a row that names a file is damaged; nothing is removed then.
    """
    # Writers hold this lock shared from before they publish until they have committed, readers until their files are open.
    with _alone(environment.gc_lock):
        remove_stale(environment.tmp)
        # Removal is final, so a damaged row must not cause one. A damaged sequence of a prediction may cost a rebuild that
        # was kept for it alone.
        environment.database.require_rows(*NAMING_FILES)
        dead = _forget_dead(environment, now - grace, actor)
        older_than = time.time() - grace / 1e6
        found = list(orphans(environment.path, environment.database.rows))
        removed = [_remove(path) for path in found if path in dead or path.lstat().st_mtime <= older_than]
        for source in environment.segments_dir.iterdir():
            _remove_if_empty(source)
        # At once: nobody looks up rows in a segment out of use, and an index tells of ids.
        live = environment.database.rows("SELECT source, sha256 FROM segments WHERE dead_at IS NULL")
        row_index.remove_others(environment.indexes_dir, set(live))
    segments = sum(path in dead for path in found)
    return Collected(len(removed) - segments, segments, sum(removed))


def remove_unnamed(environment: Environment, hashes: Iterable[str]) -> None:
    """Remove blobs at once, without a grace period, unless a row still names them.

    Args:
        environment: The open workspace.
        hashes: Of the blobs that were taken out of use.

    Raises:
        IntegrityError: If a row that names a file is damaged; nothing is removed then.
    """
    with _alone(environment.gc_lock):
        environment.database.require_rows(*NAMING_FILES)
        named = {file.sha256 for file in named_files(environment.database.rows)}
        environment.blobs.remove(set(hashes) - named)


@contextmanager
def _alone(lock: FileLock) -> Iterator[None]:
    """Hold a lock alone, asking for it in short attempts: readers queue behind a waiting writer."""
    until = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock.exclusive(deadline=_MOMENT))
                break
            except ConflictError:
                if time.monotonic() >= until:
                    raise
        yield


def _forget_dead(environment: Environment, until: int, actor: str) -> set[Path]:
    """Drop the rows of segments that were taken out of use by then and that no read can ask for; return their files."""
    with environment.database.write(actor=actor) as tx:
        rows = tx.execute(
            f"DELETE FROM segments WHERE dead_at <= ? AND NOT ({_ASKED_FOR}) RETURNING source, sha256", (until,)
        )
        left = set(tx.execute("SELECT source, sha256 FROM segments"))
        if rows:
            tx.audit("gc", "segments", rows=len(rows), until=from_micros(until).isoformat())
    return {environment.segments_dir / source / sha256 for source, sha256 in set(rows) - left}


def _remove(path: Path) -> int:
    size = path.lstat().st_size
    path.unlink()
    fsync_directory(path.parent)
    return size


def _remove_if_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        shutil.rmtree(directory, ignore_errors=True)
