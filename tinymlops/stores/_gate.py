"""A gate for the threads of one process: many pass at once, or one is alone inside."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gate"]


class Gate:
    """Keeps LMDB's map in place while any transaction uses it: moving it under one crashes the process.

    Whoever wants to be alone stops new threads at the gate and waits for those inside. A thread that is
    inside may enter again, or it would wait for the one that waits for it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._stopped = 0
        self._occupied = False
        self._mine = _Mine()

    def enter(self) -> None:
        """Come in, once nobody is or wants to be alone inside."""
        mine = self._mine
        with self._lock:  # which costs less than the condition around it
            while self._stopped and not mine.depth:
                self._changed.wait()
            self._inside += 1
        mine.depth += 1

    def leave(self) -> None:
        """Go out."""
        self._mine.depth -= 1
        with self._lock:
            self._inside -= 1
            if self._stopped:
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Come in alone.

        Raises:
            ConflictError: If this thread is inside already.
        """
        if self._mine.depth:
            raise ConflictError(
                "the online store cannot grow while the same thread is reading from it",
                hint="finish the read before writing",
            )
        with self._new_ones_stopped():
            with self._changed:
                while self._inside or self._occupied:
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
                while self._inside > self._mine.depth:
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


class _Mine(threading.local):
    depth = 0
