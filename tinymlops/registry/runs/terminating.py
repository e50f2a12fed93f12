"""SIGTERM while runs go on: what they logged is written before the process ends, unless the program has a handler of its own.

Python runs a handler in its main thread, which may be inside a long call of C, or just have entered one. So a thread reads of
the signal from a pipe, to which Python writes at once; it writes what is pending and ends the process by the same signal.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import os
import signal
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from tinymlops.errors import TinyMLOpsError

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["write_before_termination"]


class Writing(Protocol):
    """What has something to write."""

    def write_last(self) -> None:
        """Write it, in the thread that calls."""


_logs: weakref.WeakSet[Writing] = weakref.WeakSet()


def write_before_termination(log: Writing) -> None:
    """Have a log write its last when the process ends: by itself, or by SIGTERM if nobody else handles that signal.

    Only the main thread can ask for the signal.
    """
    _logs.add(log)
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        _watch()


def _watch() -> None:
    """Have Python write signals to a pipe that a thread reads; where a program has such a pipe, only the handler is left."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
        return
    _pipes.append(writing)
    threading.Thread(target=_read, args=(reading,), name="tinymlops-signals", daemon=True).start()


def _read(pipe: int) -> None:
    while numbers := os.read(pipe, 64):
        # Whoever took the signal over since, as a server does while it runs, ends the process in its own way.
        if signal.SIGTERM in numbers and signal.getsignal(signal.SIGTERM) is _terminate:
            _write_and_end(os.getpid())


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
    # Not by `threading`: the main thread may be starting a thread just now, and hold the lock that this needs.
    _thread.start_new_thread(_write_and_end, (os.getpid(),))


def _write_and_end(process: int) -> None:
    if not _first.acquire(blocking=False):
        return
    _write()
    ctypes.CDLL(None).signal(int(signal.SIGTERM), None)  # Python's own function is for the main thread alone
    os.kill(process, signal.SIGTERM)


def _write() -> None:
    for log in tuple(_logs):
        with suppress(TinyMLOpsError):  # one of a workspace that is closed, or of the parent of this process
            log.write_last()


atexit.register(_write)
_first = threading.Lock()
_pipes: list[int] = []


def _after_fork() -> None:
    for pipe in _pipes:  # it is the parent's
        before = signal.set_wakeup_fd(-1)
        if before not in (-1, pipe):
            signal.set_wakeup_fd(before)
    _pipes.clear()


os.register_at_fork(after_in_child=_after_fork)
