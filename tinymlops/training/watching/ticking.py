"""Functions that are called again and again while runs work, by one thread of the process."""

from __future__ import annotations

import atexit
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable

__all__ = ["repeat"]

Action = Callable[[], float]
"""Does a piece of work and returns the seconds until the next one."""

_IDLE = 5.0
"""Seconds without work after which the thread ends."""
_LAST = 2.0
"""Seconds that the end of the process waits for work that has begun."""


def repeat(action: Action, *, after: float) -> Callable[[], None]:
    """Call a function in the background until it is stopped; of one that raises, the next call is `after` seconds later.

    Args:
        action: What to call; never twice at once.
        after: Seconds until its first call.

    Returns:
        A function that stops it. It does not wait: a call may be under way.
    """
    return _ticker.add(action, after)


def _nothing() -> float:
    return 0.0


class _Repeated:
    def __init__(self, action: Action, after: float) -> None:
        self.action = action
        self.after = after
        self.stopped = False

    def call(self) -> float:
        try:
            return self.action()
        except Exception:  # noqa: BLE001  # what watches a training must not end with one failure; the next call may do
            return self.after


class _Ticker:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, without a thread: also in a forked child, which has none of its parent's."""
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, _Repeated]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._ends = False

    def add(self, action: Action, after: float) -> Callable[[], None]:
        repeated = _Repeated(action, after)
        with self._changed:
            self._put(repeated, after)
            is_next = self._due[0][2] is repeated
            if self._thread is None and not self._ends:
                self._thread = threading.Thread(target=self._run, name="tinymlops-watch", daemon=True)
                self._thread.start()
            elif is_next:
                self._changed.notify()

        def stop() -> None:
            repeated.stopped = True
            repeated.action = _nothing  # it may hold much, and is forgotten only when it is due

        return stop

    def end(self) -> None:
        with self._changed:
            self._ends = True
            thread = self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(_LAST)

    def _put(self, repeated: _Repeated, after: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + after, next(self._numbers), repeated))

    def _run(self) -> None:
        while (repeated := self._next()) is not None:
            after = repeated.call()
            with self._changed:
                if not repeated.stopped:
                    self._put(repeated, after)

    def _next(self) -> _Repeated | None:
        """Wait for what is due; None ends the thread."""
        idle_since = time.monotonic()
        with self._changed:
            while not self._ends:
                now = time.monotonic()
                while self._due and self._due[0][2].stopped:
                    heapq.heappop(self._due)
                if self._due and self._due[0][0] <= now:
                    return heapq.heappop(self._due)[2]
                if not self._due and now >= idle_since + _IDLE:
                    break
                self._changed.wait((self._due[0][0] if self._due else idle_since + _IDLE) - now)
            self._thread = None
            return None


_ticker = _Ticker()
os.register_at_fork(after_in_child=_ticker.reset)
atexit.register(_ticker.end)
