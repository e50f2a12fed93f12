"""The runner of jobs beside a server: a process of its own, started again when it dies, that ends when the server does."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["SupervisedRunner"]

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_PATIENCE = 30.0
"""Seconds that the runner has to end its jobs."""


class SupervisedRunner:
    """A context manager that keeps `tinymlops jobs run` going.

    The runner ends when its standard input does: also where the server is killed.

    Args:
        project: The project's directory.
        workspace: The workspace's.
    """

    def __init__(self, project: Path, workspace: Path) -> None:
        self._command = [sys.executable, "-m", "tinymlops_cli.main", "jobs", "run", "--with-input"]
        self._command += ["--project", str(project), "--workspace", str(workspace)]
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_going, daemon=True, name="jobs")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ends.set()
            process = self._process
        if process is not None:
            _end(process)
        self._thread.join()

    def _keep_going(self) -> None:
        wait = _FIRST_WAIT
        while not self._ends.is_set():
            with self._lock:
                if self._ends.is_set():
                    return
                process = self._process = subprocess.Popen(  # noqa: S603 - our own program
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
                )
            code = process.wait()
            if not self._ends.is_set():
                print(f"the runner of jobs ended with {code}; it starts again in {wait:.0f} s", file=sys.stderr)
                self._ends.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
