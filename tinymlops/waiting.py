"""Wait for other threads in such a way that Ctrl-C is noticed."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["result_of"]

T = TypeVar("T")

_SECONDS = 0.1
"""The longest time until Ctrl-C is noticed, in seconds."""


def result_of(future: Future[T], *, timeout: float | None = None) -> T:
    """Return the result of a future, waiting in short steps.

    Polars handles SIGINT so that the system call of a wait goes on after it, and Python sees Ctrl-C only when the wait ends.

    Args:
        future: What to wait for.
        timeout: Seconds; None for as long as it takes.

    Raises:
        TimeoutError: If the time is over and the future is not done.
        Exception: What the future ended with.
    """
    until = None if timeout is None else time.monotonic() + timeout
    while not future.done() and (until is None or time.monotonic() < until):
        left = _SECONDS if until is None else min(_SECONDS, max(0.0, until - time.monotonic()))
        try:
            return future.result(left)
        except TimeoutError:
            continue  # the future's own, or that of a step; if it is its own, the future is done
    return future.result(0)
