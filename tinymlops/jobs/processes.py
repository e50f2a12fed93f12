"""The process of one attempt: started in a group of its own, ended with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import TinyMLOpsError
from tinymlops.stores.fence import fenced
from tinymlops.times import system_clock, to_micros

if TYPE_CHECKING:
    from tinymlops.registry.jobs import Claimed, Jobs
    from tinymlops.schedules import Job
    from tinymlops.stores.job_files import JobFiles

__all__ = ["WORK", "Order", "Process", "end_group", "order_of"]

WORK = "TINYMLOPS_JOB"
"""The variable of the environment that tells a process what it is started for."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is started for."""

    job: str
    due: int
    attempt: int
    root: str
    workspace: str
    lock: int
    """The descriptor that shows that it lives."""
    limit: float | None
    """Seconds after which it ends itself, should its runner be gone."""
    now: int | None
    """The time that it works at; None for the machine's."""


class Process:
    """The process of an attempt; one that could not be started says why in `failure`.

    Args:
        claimed: The attempt.
        job: Its job.
        command: The program to start.
        root: The project's directory.
        rows: The workspace's jobs.
        grace: Seconds between the request to end and the end.
    """

    def __init__(
        self,
        claimed: Claimed,
        job: Job,
        command: Sequence[str],
        *,
        root: Path,
        rows: Jobs,
        grace: float,
    ) -> None:
        self.claimed, self.job = claimed, job
        self.why: str | None = None
        self._grace = grace
        limit = None if job.deadline is None else job.deadline / 1e6
        self._end = None if limit is None else time.monotonic() + limit
        self._kill: float | None = None
        order = Order(
            job=job.name,
            due=to_micros(claimed.run.due),
            attempt=claimed.number,
            root=str(root),
            workspace=str(rows.path),
            lock=claimed.lock,
            limit=None if limit is None else limit + 2 * grace,
            now=None if rows.clock is system_clock else to_micros(rows.clock()),
        )
        self.failure: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = _started(order, command, rows.files, claimed.lock)
        except (OSError, TinyMLOpsError) as error:
            self.failure = f"could not be started: {error}"

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and all that it started; it is ended if its time is over."""
        return self.failure is not None or self.poll() is not None

    def poll(self) -> int | None:
        """End it if its time is over, and return its exit code once it has ended, and all that it started."""
        if self._process is None or self._process.returncode is not None:
            return None if self._process is None else self._process.returncode
        now = time.monotonic()
        if self._kill is not None and now >= self._kill:
            end_group(self._process.pid, signal.SIGKILL)
        elif self._end is not None and now >= self._end:
            self.end("late")
        if not _has_ended(self._process):
            return None
        end_group(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def end(self, why: str) -> None:
        """Ask it to end, and have it killed after the grace."""
        if self._process is not None and self._kill is None:
            self.why, self._kill = why, time.monotonic() + self._grace
            end_group(self._process.pid, signal.SIGTERM)


def order_of(environment: Mapping[str, str] = os.environ) -> Order:
    """Return what this process was started for."""
    return msgspec.json.decode(environment[WORK], type=Order)


def end_group(process: int, number: int) -> None:
    """Send a signal to a process group, if it is there."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses it for a group of the dead
        os.killpg(process, number)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return whether it has ended; where the system can, its number stays taken until its group is ended too."""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None  # macOS before Python 3.13


def _started(order: Order, command: Sequence[str], files: JobFiles, lock: int) -> subprocess.Popen[bytes]:
    log = files.open_log(order.attempt)
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            cwd=order.root,
            env={
                **os.environ,
                **fenced(order.attempt, Path(order.workspace)),
                WORK: msgspec.json.encode(order).decode(),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(order.lock,),
            start_new_session=True,
        )
    finally:
        os.close(log)
    try:
        files.note(lock, process.pid)
    except OSError:  # a full disk: nobody could end it should this runner be gone
        end_group(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process
