"""Which runs go on: each run of this process holds the lock of a file, which the kernel releases however the process ends.

The files lie in `live/`. A run that is stored as running, and whose file nobody holds, is lost. A run that a client logs
over HTTP has no such file: it is lost when the client has been silent for a day.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import ConflictError
from tinymlops.stores.locks import is_held
from tinymlops.stores.publish import unwritable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinymlops.records import Run
    from tinymlops.times import Clock

__all__ = ["HTTP", "LiveRuns"]

HTTP = "http"
"""The origin of a run that a client logs over HTTP."""
_SILENCE = timedelta(days=1)
_ATTEMPTS = 40
_WAIT = 0.005


class LiveRuns:
    """The runs of one workspace that this process keeps going.

    Args:
        directory: Where the files lie; made when it is needed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        _all.add(self)

    def begin(self, run: str) -> None:
        """Hold the file of a run.

        Raises:
            ConflictError: If this process or another one holds it.
        """
        with self._lock:
            if run in self._held:
                raise _goes_on(run, os.getpid())
            self._held[run] = self._acquire(run)

    def end(self, run: str) -> None:
        """Let go of the file of a run, and remove it; do nothing if this process does not hold it."""
        with self._lock:
            descriptor = self._held.pop(run, None)
            if descriptor is not None:
                with suppress(OSError):
                    os.unlink(self._directory / run)
                os.close(descriptor)

    def close(self) -> None:
        """Let go of every file; the runs are lost then, and can be resumed."""
        with self._lock:
            for descriptor in self._held.values():
                os.close(descriptor)
            self._held.clear()

    def forget(self, run: str) -> None:
        """Remove the file of a run that has ended elsewhere."""
        if run not in self._held:
            with suppress(OSError):
                os.unlink(self._directory / run)

    def judged(self, runs: Sequence[Run], clock: Clock) -> list[Run]:
        """Return runs with the status of those that are stored as running, and go on no more, as `lost`."""
        return [
            msgspec.structs.replace(run, status="lost")
            if run.status == "running" and self._is_lost(run, clock)
            else run
            for run in runs
        ]

    def _is_lost(self, run: Run, clock: Clock) -> bool:
        if run.origin == HTTP and run.session == 0:
            return clock() - (run.seen_at or run.started_at) > _SILENCE
        return run.id not in self._held and not is_held(self._directory / run.id)

    def _acquire(self, run: str) -> int:
        path, holder = self._directory / run, ""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            for _ in range(_ATTEMPTS):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
                try:
                    if self._take(descriptor, path):
                        return descriptor
                    holder = ""
                except BlockingIOError:  # a holder, or for a moment one that looks whether there is a holder
                    holder = os.pread(descriptor, 20, 0).decode(errors="replace")
                    time.sleep(_WAIT)
                os.close(descriptor)
        except OSError as error:
            raise unwritable(path, error) from error
        raise _goes_on(run, int(holder) if holder.isdigit() else None)

    def _take(self, descriptor: int, path: Path) -> bool:
        """Lock a file; return false if another process, which ended the run just now, has removed it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return False
        if (found.st_dev, found.st_ino) != _identity(descriptor):
            return False
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return True

    def _drop(self) -> None:
        """Close a parent's descriptors in its fork, which would otherwise keep the locks when the parent dies."""
        self._lock = threading.Lock()
        for descriptor in self._held.values():
            with suppress(OSError):
                os.close(descriptor)
        self._held.clear()


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _goes_on(run: str, process: int | None) -> ConflictError:
    where = f"in process {process}" if process is not None else "in another process"
    return ConflictError(
        f"run {run} goes on {where}", hint="finish it there, or wait until that process has ended, then resume it"
    )


_all: weakref.WeakSet[LiveRuns] = weakref.WeakSet()


def _after_fork() -> None:
    for live in tuple(_all):
        live._drop()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
