"""Compile every kernel in a background process, so that no request waits for it.

There is one such process for a machine's user at a time: it holds a lock in the cache directory. It works at low
priority, and ends with the process that started it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.kernels.cache import cache_directory
from tinymlops.progress import is_watched

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["end_with", "is_compiling", "only_one", "start_none"]

_START = (
    "import sys; sys.path[:] = {path!r}; from tinymlops_cli.warming import compile_beside; compile_beside({parent})"
)
"""What the process runs. It calls the verbs of a workspace, which are layers above; nothing here imports them."""

_LONGEST = 600.0
"""Seconds after which it ends in any case."""
_NICE = 10


class _State:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.started = False
        self.process: subprocess.Popen[bytes] | None = None

    def reset_after_fork(self) -> None:
        """Forget the process of the parent, which ends it."""
        self.lock = threading.Lock()
        if self.process is not None:
            self.process.returncode = 0  # not ours to wait for
        self.process = None


_state = _State()
os.register_at_fork(after_in_child=_state.reset_after_fork)


def is_compiling() -> bool:
    """Return whether a background process compiles the kernels; start it if there is none."""
    with _state.lock:
        if not _state.started:
            _state.started = True
            _start()
        if _state.process is not None and _state.process.poll() is None:
            return True
    with only_one() as alone:
        return not alone


def start_none() -> None:
    """Start no background process from this one, which is to leave nothing behind; another's counts as before."""
    with _state.lock:
        _state.started = True


@contextmanager
def only_one() -> Iterator[bool]:
    """Hold the lock of the process that compiles everything, if it is free; yield whether it was."""
    directory = cache_directory()
    if directory is None:
        yield True
        return
    try:
        descriptor = os.open(Path(directory, "compiling.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield True
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
            return
        yield False
    finally:
        os.close(descriptor)


def end_with(parent: int) -> None:
    """Work at low priority, and end this process when its parent has ended or it has taken too long."""
    os.nice(_NICE)
    until = time.monotonic() + _LONGEST

    def watch() -> None:
        while os.getppid() == parent and time.monotonic() < until:
            time.sleep(0.2)
        os._exit(1)  # what is in the cache is whole: files are written beside and renamed

    threading.Thread(target=watch, daemon=True).start()


def _start() -> None:
    with only_one() as alone:
        if not alone:
            return
    if cache_directory() is None or not _is_python(sys.executable):
        return
    code = _START.format(path=[entry for entry in sys.path if isinstance(entry, str)], parent=os.getpid())
    nothing = subprocess.DEVNULL
    with suppress(OSError):
        _state.process = subprocess.Popen(  # noqa: S603 - our own interpreter, with the paths it has here
            [sys.executable, "-W", "ignore", "-c", code],
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            env={**os.environ, "POLARS_MAX_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the process in the foreground
        )
        atexit.register(_stop, _state.process)
        if is_watched():
            print(
                "tinymlops: compiling its kernels beside the work, once for this machine; until then large tables wait",
                file=sys.stderr,
                flush=True,
            )


def _is_python(program: str | None) -> bool:
    """Return whether an executable is a Python interpreter; where Python is embedded or frozen it is not."""
    return Path(program or "").name.startswith("python") and not getattr(sys, "frozen", False)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process is _state.process:  # not in a forked child
        process.kill()
        process.wait()
