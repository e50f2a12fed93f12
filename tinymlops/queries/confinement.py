"""What a process may still do once it has a query: its limits are the kernel's, and no code in it can lift them."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

__all__ = ["confine", "end_at_end_of", "end_with", "step_back"]

_PR_SET_PDEATHSIG = 1
_NICE = 5
_FIRST_TO_GO = "900"
"""Where the machine is out of memory, this process is ended and not the server."""


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even if that is killed; Linux alone can.

    Args:
        parent: Its process id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before it was asked for
        os._exit(1)


def step_back() -> None:
    """Let the server go first: it answers predictions."""
    with suppress(OSError):
        os.nice(_NICE)


def end_at_end_of(pipe: int) -> None:
    """Have this process end when nobody can write to a pipe any more.

    Args:
        pipe: Reads what the parent alone can write.
    """
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()


def _watch(pipe: int) -> None:
    os.read(pipe, 1)
    os._exit(1)


def confine(*, seconds: float, memory: int) -> None:
    """Limit time, memory and files for good: beyond the time it is killed, and no file can be written.

    Args:
        seconds: From now, by the clock and of the processor.
        memory: Bytes of addresses beyond those that it has now.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _limit(resource.RLIMIT_CPU, math.ceil(seconds) + 1, more=1)  # a signal of its own first, and then SIGKILL
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    if (used := _addresses()) is not None:
        _limit(resource.RLIMIT_AS, used + memory)


def _limit(kind: int, value: int, *, more: int = 0) -> None:
    """Set a limit; `more` is what the hard one is above the soft one."""
    _, hard = resource.getrlimit(kind)
    soft, most = (one if hard == resource.RLIM_INFINITY else min(one, hard) for one in (value, value + more))
    with suppress(ValueError, OSError):  # macOS refuses some
        resource.setrlimit(kind, (soft, most))


def _addresses() -> int | None:
    """Return the size of what this process has mapped, in bytes; None where that is not told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
