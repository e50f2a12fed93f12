"""A gate for the threads of one process: many pass at once, or one is alone inside."""

from __future__ import annotations

import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gate"]


class Gate:
    """Keeps LMDB's map in place while any transaction uses it: moving it under one crashes the process.

    A thread that wants to be alone stops new threads at the gate and waits for those inside. A thread that is inside
    may enter again; otherwise the two would wait for each other.

    Coming and going takes no lock, which would cost as much as a read. Each thread has a count of its own: it counts
    first and then checks whether a thread wants to be alone, which announces itself first and then checks the counts.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stopped = 0
        self._occupied = False
        self._depths: weakref.WeakSet[_Depth] = weakref.WeakSet()
        self._mine = _Mine(self._depths, self._changed)

    def enter(self) -> None:
        """Come in, once no thread is or wants to be alone inside."""
        mine = self._mine.depth
        mine.count += 1
        if self._stopped and mine.count == 1:
            with self._changed:
                mine.count = 0
                self._changed.notify_all()
                while self._stopped:
                    self._changed.wait()
                mine.count = 1

    def leave(self) -> None:
        """Go out."""
        self._mine.depth.count -= 1
        if self._stopped:
            with self._changed:
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Come in alone.

        Raises:
            ConflictError: If this thread is inside already.
        """
        if self._mine.depth.count:
            raise ConflictError(
                "the online store cannot grow while the same thread is reading from it",
                hint="finish the read before writing",
            )
        with self._new_ones_stopped():
            with self._changed:
                while self._inside() or self._occupied:
                    self._changed.wait()
                self._occupied = True
            try:
                yield
            finally:
                self._occupied = False

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Wait inside until all others have left; for one thread at a time."""
        with self._new_ones_stopped():
            with self._changed:
                while self._inside() > self._mine.depth.count:
                    self._changed.wait()
            yield

    @contextmanager
    def _new_ones_stopped(self) -> Iterator[None]:
        with self._changed:
            self._stopped += 1
        try:
            yield
        finally:
            with self._changed:
                self._stopped -= 1
                self._changed.notify_all()

    def _inside(self) -> int:
        """Return how often all threads are inside."""
        return sum(depth.count for depth in self._depths)


class _Depth:
    """How often one thread is inside."""

    __slots__ = ("__weakref__", "count")

    def __init__(self) -> None:
        self.count = 0


class _Mine(threading.local):
    """This thread's depth, which goes when the thread does."""

    def __init__(self, depths: weakref.WeakSet[_Depth], lock: threading.Condition) -> None:
        self.depth = _Depth()
        with lock:
            depths.add(self.depth)
