"""Files that jobs wait for: there, and not being written any more as far as two looks can tell."""

from __future__ import annotations

import glob
import os
import stat
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tinymlops.times import parse_zone

if TYPE_CHECKING:
    from tinymlops.records import JobRun
    from tinymlops.schedules import Job

__all__ = ["SETTLED", "FileWaits", "Found", "pattern_of"]

SETTLED = 5.0
"""Seconds between two looks that must show the same."""

Found = Literal["absent", "new", "growing", "there"]


class _Look(NamedTuple):
    files: frozenset[tuple[str, int, int, int]]
    """Name, inode, size and time of change."""
    at: float
    has_grown: bool


def pattern_of(job: Job, due: datetime) -> str:
    """Return the pattern of the files that a run waits for.

    Args:
        job: One with `wait_for`.
        due: The due time.

    Example:
        >>> from datetime import UTC
        >>> from tinymlops.schedules import Job, schedule_of
        >>> job = Job(name="orders", schedule=schedule_of(None, "0 1 * * *", "Europe/Vienna"), wait_for="data/{date}.csv")
        >>> pattern_of(job, datetime(2024, 5, 1, 23, tzinfo=UTC))
        'data/2024-05-02.csv'
    """
    assert job.wait_for is not None
    return job.wait_for.replace("{date}", f"{due.astimezone(parse_zone(job.zone)):%Y-%m-%d}")


class FileWaits:
    """What one runner has seen of the files that runs wait for.

    Args:
        root: Where patterns begin.
        settled: Seconds between two looks that must show the same.
    """

    def __init__(self, root: Path, settled: float = SETTLED) -> None:
        self._root, self._settled = root, settled
        self._looks: dict[tuple[str, datetime], _Look] = {}

    def look(self, job: Job, run: JobRun) -> Found:
        """Look for the files of a run.

        Returns:
            "there" if they were the same at an earlier look, long enough ago; "new" if they are seen for the first time or
            not long enough, "growing" if they have changed since they were first seen.
        """
        key, now = (run.job, run.due), time.monotonic()
        files = self._files(pattern_of(job, run.due))
        last = self._looks.get(key)
        if not files:
            self._looks.pop(key, None)
            return "absent"
        if last is None or last.files != files:
            last = self._looks[key] = _Look(files, now, last is not None)
        elif now - last.at >= self._settled:
            return "there"
        return "growing" if last.has_grown else "new"

    def keep(self, runs: set[tuple[str, datetime]]) -> None:
        """Forget what was seen for other runs than these."""
        self._looks = {key: look for key, look in self._looks.items() if key in runs}

    def _files(self, pattern: str) -> frozenset[tuple[str, int, int, int]]:
        found = set()
        for name in glob.glob(pattern, root_dir=self._root):
            try:
                status = os.stat(self._root / name)
            except OSError:  # it was removed meanwhile
                continue
            if stat.S_ISREG(status.st_mode):
                found.add((name, status.st_ino, status.st_size, status.st_mtime_ns))
        return frozenset(found)
