"""SIGTERM while runs go on: what they logged is written before the process ends, unless the program has a handler of its own.

The handler runs between two instructions of the main thread, which may hold any lock: it only starts a thread, which writes
and then ends the process by the same signal, with the status that it would have had. A second SIGTERM ends it at once.
"""

from __future__ import annotations

import _thread
import atexit
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


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Not by `threading`: the main thread may be starting a thread just now, and hold the lock that this needs.
    _thread.start_new_thread(_write_and_end, (os.getpid(),))


def _write_and_end(process: int) -> None:
    _write()
    os.kill(process, signal.SIGTERM)


def _write() -> None:
    for log in tuple(_logs):
        with suppress(TinyMLOpsError):  # one of a workspace that is closed, or of the parent of this process
            log.write_last()


atexit.register(_write)
