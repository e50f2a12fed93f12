"""Where predictions are made: beside the event loop, and those that take no time one after the other.

Threads that run Python take turns at the interpreter. For an answer of half a millisecond the turns cost more than they
gain, so quick answers share one thread. Slow ones get a thread each: what makes them slow may leave the interpreter to
others.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, TypeVar

from tinymlops.server.threads import done

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lanes"]

T = TypeVar("T")

_QUICK_SECONDS = 0.005
_MOST = 1_000
"""Names whose last time is kept."""


class Lanes:
    """One thread for quick work, and the event loop's own threads for the rest."""

    def __init__(self) -> None:
        self._one = ThreadPoolExecutor(1, thread_name_prefix="tinymlops-predict")
        self._spent: dict[str, float] = {}

    async def run(self, name: str, work: Callable[[], T]) -> T:
        """Do some work in a thread.

        Args:
            name: Of the kind of work: it is quick if it was quick the last time.
            work: What to do.

        Returns:
            What the work returned.
        """
        is_quick = self._spent.get(name, _QUICK_SECONDS) < _QUICK_SECONDS
        return await asyncio.get_running_loop().run_in_executor(
            self._one if is_quick else None, copy_context().run, self._timed, name, work
        )

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        begun = time.perf_counter()
        answer = done(work)
        if len(self._spent) >= _MOST:
            self._spent.clear()
        self._spent[name] = time.perf_counter() - begun
        return answer
