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

    Whoever wants to be alone stops new threads at the gate and waits for those inside. A thread
    that is inside may enter again, or it would wait for the one that waits for it.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._inside = 0
        self._closing = False
        self._mine = _Mine()

    def enter(self) -> None:
        """Come in, once nobody is alone inside."""
        with self._condition:
            while self._closing and not self._mine.depth:
                self._condition.wait()
            self._inside += 1
        self._mine.depth += 1

    def leave(self) -> None:
        """Go out."""
        self._mine.depth -= 1
        with self._condition:
            self._inside -= 1
            if not self._inside and self._closing:
                self._condition.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be alone inside.

        Raises:
            ConflictError: If this thread is inside already.
        """
        if self._mine.depth:
            raise ConflictError(
                "the online store cannot grow while the same thread is reading from it",
                hint="finish the read before writing",
            )
        with self._condition:
            while self._closing:
                self._condition.wait()
            self._closing = True
            while self._inside:
                self._condition.wait()
        try:
            yield
        finally:
            with self._condition:
                self._closing = False
                self._condition.notify_all()


class _Mine(threading.local):
    depth = 0
