"""`gc`: remove files that nothing needs any more.

A file that the database never named is an orphan of a crash; its age on the disk says whether a writer may still be about
to name it. A segment that was taken out of use stays for a grace period from that moment, which the database knows: its
age on the disk says nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops._time import from_micros
from tinymlops.stores.publish import fsync_directory, remove_stale
from tinymlops.stores.references import named_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.stores.environment import Environment

__all__ = ["Collected", "collect"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATIENCE = 60.0


class Collected(msgspec.Struct, frozen=True):
    """What a collection removed."""

    orphans: int
    """Files that the database never named, or no longer does."""
    segments: int
    """Segments whose grace was over."""
    bytes: int


def collect(environment: Environment, *, now: int, grace: int) -> Collected:
    """Remove what nothing needs.

    Args:
        environment: The open workspace.
        now: Microseconds UTC.
        grace: Microseconds: how long a segment stays after it was taken out of use, and an orphan after it was written.

    Returns:
        How much was removed.
    """
    # Alone: writers hold this lock shared from before they publish until they have committed, readers until their files
    # are open.
    with environment.gc_lock.exclusive(deadline=_PATIENCE):
        remove_stale(environment.tmp)
        dead = _forget_dead(environment, now - grace)
        removed = [_remove(path) for path in _unnamed(environment, older_than=time.time() - grace / 1e6, also=dead)]
        for source in environment.segments_dir.iterdir():
            _remove_if_empty(source)
    return Collected(len(removed) - len(dead), len(dead), sum(removed))


def _forget_dead(environment: Environment, until: int) -> set[Path]:
    """Drop the rows of segments that were taken out of use by then; return their files, if nothing else names them."""
    with environment.database.write(actor="local") as tx:
        rows = tx.execute("DELETE FROM segments WHERE dead_at <= ? RETURNING source, sha256", (until,))
        left = set(tx.execute("SELECT source, sha256 FROM segments"))
        if rows:
            tx.audit("gc", "segments", rows=len(rows), until=from_micros(until).isoformat())
    return {environment.segments_dir / source / sha256 for source, sha256 in set(rows) - left}


def _unnamed(environment: Environment, *, older_than: float, also: set[Path]) -> Iterator[Path]:
    named = {environment.path / file.name for file in named_files(environment.database.rows)}
    dead = environment.database.rows("SELECT source, sha256 FROM segments WHERE dead_at IS NOT NULL")
    named |= {environment.segments_dir / source / sha256 for source, sha256 in dead}
    for root in (environment.path / "blobs", environment.segments_dir):
        for folder, _, names in os.walk(root):
            for path in (Path(folder, name) for name in names if _SHA256.fullmatch(name)):
                if path in also or (path not in named and path.stat().st_mtime <= older_than):
                    yield path


def _remove(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    fsync_directory(path.parent)
    return size


def _remove_if_empty(directory: Path) -> None:
    if directory.is_dir() and not any(directory.iterdir()):
        shutil.rmtree(directory, ignore_errors=True)
