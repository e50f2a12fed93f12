"""Run kernels over chunks of rows on a pool of plain threads: they hold no GIL, so threads are enough.

Numba's own parallel loops are not used: their pool dies in a forked child and is not safe to enter from many
threads.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_chunks", "set_threads", "thread_count"]

_CHUNKS_PER_THREAD = 4
"""More chunks than threads, so that one slow chunk does not leave the others idle."""


class _State:
    """The pool and its size. A forked child makes its own: the parent's threads do not exist there."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pool: ThreadPoolExecutor | None = None
        self.threads: int | None = None

    def reset_after_fork(self) -> None:
        self.lock = threading.Lock()
        self.pool = None


_state = _State()
os.register_at_fork(after_in_child=_state.reset_after_fork)


def thread_count() -> int:
    """Return how many threads a kernel uses: what was set, else the CPUs this process may run on."""
    if _state.threads is not None:
        return _state.threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def set_threads(threads: int | None) -> None:
    """Set how many threads the kernels use from now on; no result depends on it.

    Args:
        threads: At least 1; None goes back to the CPUs this process may run on.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads={threads} must be at least 1")
    with _state.lock:
        _state.threads = threads
        # Running work keeps the old pool alive until it is done; its idle threads then end by themselves.
        _state.pool = None


def in_chunks(count: int, work: Callable[[int, int], object], *, threads: int | None = None, least: int = 4096) -> None:
    """Call `work(start, stop)` until `0 <= start < stop <= count` is covered, each row exactly once.

    The calling thread works too, and waits only for chunks that have started: any number of threads may call this at
    once, and work may call it again, without a deadlock.

    Args:
        count: How many rows there are.
        work: Does rows `start` to `stop`; writes only to what belongs to those rows.
        threads: How many threads may work; None for `thread_count()`.
        least: Rows below which a chunk is not worth a thread.

    Raises:
        Exception: The first that `work` raised; chunks not begun by then are left out.
    """
    workers = 1 if count <= least else min(threads or thread_count(), -(-count // least))
    if workers == 1:
        if count > 0:
            work(0, count)
        return
    size = max(least, -(-count // (workers * _CHUNKS_PER_THREAD)))
    chunks = _Chunks(count, size, work)
    helpers: list[Future[None]] = [_submit(chunks.run) for _ in range(workers - 1)]
    chunks.run()
    for helper in helpers:
        if not helper.cancel():
            helper.result()
    if chunks.error is not None:
        raise chunks.error


class _Chunks:
    """The chunks of one call, handed out one at a time to whichever thread is free."""

    def __init__(self, count: int, size: int, work: Callable[[int, int], object]) -> None:
        self._lock = threading.Lock()
        self._next = 0
        self._count = count
        self._size = size
        self._work = work
        self.error: BaseException | None = None

    def run(self) -> None:
        while (start := self._take()) is not None:
            try:
                self._work(start, min(start + self._size, self._count))
            except BaseException as error:  # noqa: BLE001 - kept for the caller, who raises it
                with self._lock:
                    self.error = self.error or error

    def _take(self) -> int | None:
        with self._lock:
            if self.error is not None or self._next >= self._count:
                return None
            start = self._next
            self._next += self._size
            return start


def _submit(work: Callable[[], None]) -> Future[None]:
    with _state.lock:
        if _state.pool is None:
            _state.pool = ThreadPoolExecutor(max(1, thread_count() - 1), thread_name_prefix="tinymlops-kernel")
        return _state.pool.submit(work)
