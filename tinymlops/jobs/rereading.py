"""What the project says of jobs, read again by a process of its own whenever one of its files changes.

A process of its own, because code of Python that is loaded once more in the same process keeps parts of what it was.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import IO

import msgspec

from tinymlops.schedules import Job

__all__ = ["ProjectJobs", "Rereader"]

_EVERY = 2.0
"""Seconds between two looks at the files."""
_PATIENCE = 60.0
_QUOTED = 300

State = tuple[int, int, int] | None
"""Inode, size and time of change of a file; None where there is none."""


class ProjectJobs(msgspec.Struct, frozen=True, kw_only=True):
    """What a project says of jobs."""

    jobs: tuple[Job, ...]
    pools: dict[str, int]
    files: tuple[str, ...]
    """The files that say so."""


class Rereader:
    """Notices that the files of a project have changed, and has them read.

    Args:
        command: The program that reads the project and writes a `ProjectJobs` as JSON to the descriptor that is its last word.
        files: Those of the project when the runner read it.
        since: When it began to read them, in seconds since 1970: what changed later is read again.
        every: Seconds between two looks.
    """

    def __init__(self, command: Sequence[str], files: Iterable[str], *, since: float, every: float = _EVERY) -> None:
        self._command, self._every, self._since = command, every, since
        self._known = {name: _state(name, since) for name in files}
        self._looked = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def poll(self) -> ProjectJobs | str | None:
        """Return what the project says now if its files have changed and were read; a text if they cannot be read."""
        if self._process is not None:
            return self._ended()
        if time.monotonic() - self._looked < self._every:
            return None
        self._looked = time.monotonic()
        now = {name: _state(name) for name in self._known}
        if now != self._known:
            try:
                self._start()
            except OSError as error:  # a full disk: tried again at the next look
                self.close()
                return f"it cannot be read again: {error}"
            self._known = now
        return None

    def close(self) -> None:
        """End what is being read."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for file in (self._output, self._errors):
            if file is not None:
                file.close()
        self._output = self._errors = None

    def _start(self) -> None:
        self._since = time.time()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - until it has ended
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        number = self._output.fileno()
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*self._command, str(number)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            pass_fds=(number,),
        )

    def _ended(self) -> ProjectJobs | str | None:
        assert self._process is not None
        code = self._process.poll()
        if code is None and time.monotonic() - self._looked < _PATIENCE:
            return None
        try:
            return self._read(code)
        finally:
            self.close()

    def _read(self, code: int | None) -> ProjectJobs | str:
        assert self._output is not None
        assert self._errors is not None
        if code is None:
            return f"it was not read within {_PATIENCE:g} s"
        self._output.seek(0)
        self._errors.seek(0)
        if code != 0:
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            said = [line for line in lines if line.startswith("error: ")] or lines
            return (said or [f"its code ended with {code}"])[-1].removeprefix("error: ")[:_QUOTED]
        found = msgspec.json.decode(self._output.read(), type=ProjectJobs)
        # What changed while it was read differs from what is known, and is read again.
        self._known = {
            name: self._known[name] if name in self._known else _state(name, self._since) for name in found.files
        }
        return found


def _state(name: str, since: float | None = None) -> State:
    """Return the state of a file; None if it changed after a moment, but not in the future."""
    try:
        status = os.stat(name)
    except OSError:
        return None
    if since is not None and since < status.st_mtime <= time.time():
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
