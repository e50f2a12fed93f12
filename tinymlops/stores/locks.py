"""Locks between threads and processes on `fcntl.flock`: the kernel releases them however a process ends.

A second file, the turnstile, is held while waiting for the lock itself. A holder that releases the lock and wants it
again queues behind the one already waiting, so neither a busy writer nor a stream of shared holders can starve others.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError
from tinymlops.stores.directory import Directory
from tinymlops.stores.forked import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["FileLock", "is_held"]

_FIRST_WAIT = 0.000_05
_LONGEST_WAIT = 0.001


class FileLock:
    """One lock that any thread of any process may take, shared or exclusive.

    Exclusive is re-entrant in a thread, and so is shared; shared inside exclusive is granted at once. Shared
    first and then exclusive in one thread would wait for itself and is refused. A thread that holds it shared
    must not wait for another thread that still has to take it: an exclusive waiter may stand between the two.

    Args:
        path: The file to lock, created on first use. Its turnstile is beside it, with the suffix `.turn`.
        directory: Its directory, where that is open already.

    Example:
        >>> import pathlib, tempfile
        >>> lock = FileLock(pathlib.Path(tempfile.mkdtemp()) / "write.lock")
        >>> with lock.exclusive(deadline=5.0):
        ...     pass
    """

    def __init__(self, path: Path, directory: Directory | None = None) -> None:
        self.path = path
        self.directory = directory or Directory(path.parent)
        self._turnstile = path.with_suffix(".turn")
        self._owner = Owner(f"the lock {path}")
        self._threads = threading.Lock()
        self._held = _Held()
        self._open: set[int] = set()
        _locks.add(self)

    @contextmanager
    def exclusive(self, *, deadline: float) -> Iterator[None]:
        """Hold the lock alone.

        Args:
            deadline: The most seconds to wait.

        Raises:
            ConflictError: If another thread or process still holds it then, or this thread holds it shared.
            IntegrityError: If its directory was moved or removed: others would take another lock.
        """
        self._owner.check()
        held = self._held
        if held.mode == "shared":
            raise ConflictError(
                f"{self.path} is held shared by this thread and cannot be made exclusive",
                hint="take it exclusively from the start",
            )
        with self._entered("exclusive", deadline):
            yield

    @contextmanager
    def shared(self, *, deadline: float) -> Iterator[None]:
        """Hold the lock together with other shared holders.

        Args:
            deadline: The most seconds to wait.

        Raises:
            ConflictError: If an exclusive holder still has it then.
            IntegrityError: If its directory was moved or removed.
        """
        self._owner.check()
        with self._entered(self._held.mode or "shared", deadline):
            yield

    @contextmanager
    def _entered(self, mode: str, deadline: float) -> Iterator[None]:
        held = self._held
        if not held.depth:
            held.descriptor = self._acquire(mode, deadline)
            held.mode = mode
        held.depth += 1
        try:
            yield
        finally:
            held.depth -= 1
            if not held.depth:
                held.mode = ""
                self._release(mode, held.descriptor)

    def _acquire(self, mode: str, deadline: float) -> int:
        until = time.monotonic() + deadline
        # Threads of this process queue here, where the hand-over is immediate; only the first one polls.
        if mode == "exclusive" and not self._threads.acquire(timeout=max(0.0, deadline)):
            raise self._busy(deadline)
        try:
            turn = self._flock(self._turnstile, fcntl.LOCK_EX, until, deadline)
            try:
                operation = fcntl.LOCK_EX if mode == "exclusive" else fcntl.LOCK_SH
                return self._flock(self.path, operation, until, deadline)
            finally:
                self._close(turn)
        except BaseException:
            if mode == "exclusive":
                self._threads.release()
            raise

    def _release(self, mode: str, descriptor: int) -> None:
        if not self._owner.is_here:
            # A fork inside the `with` block: the lock is the parent's, and unlocking here would take it away.
            return
        self._close(descriptor)
        if mode == "exclusive":
            self._threads.release()

    def _flock(self, path: Path, operation: int, until: float, deadline: float) -> int:
        descriptor = self.directory.open(path.name, os.O_RDWR | os.O_CREAT)
        self._open.add(descriptor)
        wait = _FIRST_WAIT
        try:
            while True:
                try:
                    fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise self._busy(deadline) from None
                    time.sleep(wait)
                    wait = min(wait * 2, _LONGEST_WAIT)
                else:
                    self.directory.check()
                    return descriptor
        except BaseException:
            self._close(descriptor)
            raise

    def _close(self, descriptor: int) -> None:
        # Unlocked first: a child forked this very moment may hold a copy of the descriptor a little longer.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        self._open.discard(descriptor)
        os.close(descriptor)

    def _busy(self, deadline: float) -> ConflictError:
        return ConflictError(
            f"{self.path} is still held by another thread or process after {deadline:g} seconds",
            hint="wait for the other command to finish, or find it with: fuser -v " + str(self.path),
        )

    def _forget(self) -> None:
        """Drop a parent's descriptors in its fork, which would otherwise keep the lock when the parent dies."""
        for descriptor in tuple(self._open):
            with suppress(OSError):
                os.close(descriptor)
        self._open.clear()


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file alone; one that is not there is not held."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class _Held(threading.local):
    mode = ""
    depth = 0
    descriptor = -1


_locks: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in tuple(_locks):
        lock._forget()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
