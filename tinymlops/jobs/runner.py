"""The runner: it finds what is due, starts a process for each, and records how it ended.

Any number of runners may work on one workspace. Whatever is known is in rows and locked files, so one that is killed leaves
nothing that another does not find: what it had started goes on and records its own success, and is looked after by the next.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING

from tinymlops.errors import TinyMLOpsError
from tinymlops.jobs.delivery import Delivery
from tinymlops.jobs.file_waits import SETTLED, FileWaits, pattern_of
from tinymlops.jobs.processes import Process, end_group
from tinymlops.jobs.rereading import ProjectJobs
from tinymlops.registry.job_changes import REMOVED
from tinymlops.schedules import due_times
from tinymlops.secrets import without_secrets
from tinymlops.times import format_duration

if TYPE_CHECKING:
    from pathlib import Path

    from tinymlops.jobs.delivery import Channel
    from tinymlops.jobs.file_waits import Found
    from tinymlops.jobs.rereading import Rereader
    from tinymlops.records import JobAttempt, JobRun
    from tinymlops.registry.job_changes import Change
    from tinymlops.registry.jobs import Claimed, Jobs
    from tinymlops.schedules import Job

__all__ = ["Runner"]

_IDLE, _BUSY = 1.0, 0.02
"""Seconds between two looks: for what others did, and at running processes."""
_WAIT = 0.2
"""Seconds between two looks at what another runner does."""
_CARE = 5.0
"""Seconds between two looks for attempts whose runner is gone."""
_ALL_FOLLOWERS = 60.0
"""Seconds between two looks at all jobs that follow others, not only at those that follow what has just succeeded."""
_LATE = timedelta(seconds=30)
"""From so much on, lateness is told."""
_QUOTED = 200
_LOST = "its process ended without a word, with its runner or its machine"


class Runner:
    """Runs the jobs of one workspace.

    Args:
        rows: The workspace's.
        jobs: Those of the project.
        command: The program that does one attempt, which finds in its environment what to do.
        root: The project's directory, in which it is started.
        at_once: The most attempts of all runners together.
        grace: Seconds between the request to end and the end.
        tell: Takes a line about what happened.
        channels: The ways on which failures are told, beside `tell`.
        pools: How many jobs of a pool run at once, in all runners together.
        project: Tells what the project says of jobs when that changes; None for a project that does not.
        settled: Seconds between two looks at a file that is waited for, which must show the same.
    """

    def __init__(
        self,
        rows: Jobs,
        jobs: Sequence[Job],
        command: Sequence[str],
        *,
        root: Path,
        at_once: int = 2,
        grace: float = 10.0,
        tell: Callable[[str], object] = print,
        channels: Sequence[Channel] = (),
        pools: Mapping[str, int] | None = None,
        project: Rereader | None = None,
        settled: float = SETTLED,
    ) -> None:
        self._rows, self._files, self._clock = rows, rows.files, rows.clock
        self._jobs: dict[str, Job] = {}
        self._pools, self._project, self._files_waited_for = pools or {}, project, FileWaits(root, settled)
        self._command, self._root, self._at_once, self._grace = command, root, at_once, grace
        self._tell = _where_it_can(tell)
        self._delivery = Delivery(rows.outbox, self._tell, channels)
        self._running: list[Process] = []
        self._next: list[tuple[datetime, str]] = []
        self._seen: datetime | None = None
        self._commits = -1
        self._looked = self._cared = self._followed = -math.inf
        self._floor = 0
        self._is_stopped = False
        self._is_new = True
        self._use(jobs)

    def stop(self) -> None:
        """Start nothing any more, end what runs, and return: it will be run again by the next runner."""
        self._is_stopped = True  # a plain flag: a signal handler may call this while a lock of an event is held

    def run(self) -> None:
        """Work until `stop` is called; what a full disk refuses is tried again."""
        try:
            while not self._is_stopped:
                try:
                    self.step()
                except (TinyMLOpsError, OSError) as error:
                    self._tell(f"error: {getattr(error, 'message', error)}")
                    time.sleep(_IDLE)
                time.sleep(self._pause())
        finally:
            self._end_all()

    def run_until_idle(self) -> None:
        """Run what is due now, and what follows from it, and return when nothing of it is left to do at this time."""
        try:
            while self.step() and not self._is_stopped:
                time.sleep(_BUSY if self._running or self._settles else 0)
        finally:
            self._end_all()

    def attempt(self, job: Job, due: datetime, *, cause: str) -> JobRun | None:
        """Make one attempt at one due time, unless it has succeeded; nothing else is started.

        While somebody else works on the job, this waits: of an attempt that its runner has left behind, the end is told here.

        Args:
            job: The job.
            due: The due time.
            cause: Why it is run, where it is not known yet.

        Returns:
            The run as it is then: it waits if `stop` ended it, or if it has failed and has retries left. None if `stop` was
            called before it began.

        Raises:
            ConflictError: If the job is paused.
        """
        self._care()
        try:
            while not self._rows.has_succeeded(job.name, due):
                if self._is_stopped:
                    return None
                claimed = self._rows.take(job, due, cause=cause, pools=self._pools)
                if claimed is not None:
                    self._begin(claimed)
                    break
                time.sleep(_WAIT)
                self._care()
            while self._running and not self._is_stopped:
                time.sleep(_BUSY)
                self._running = [one for one in self._running if not self._is_over(one)]
        finally:
            self._end_all()
        return self._rows.get(job.name, due)

    def step(self) -> bool:
        """Record what ended, decide what is due, and start what may be started.

        Returns:
            Whether something runs, or was changed by anybody since the last step.
        """
        self._running = [one for one in self._running if not self._is_over(one)]
        self._reread()
        if time.monotonic() - self._cared >= _CARE:
            self._cared = time.monotonic()
            self._care()
        commits = self._rows.commits()
        changed = commits != self._commits
        due = self._due()
        if due or changed:
            self._rows.decide([*due, *self._following()])
            self._plan(due)
        if due or changed or time.monotonic() - self._looked >= _IDLE:
            self._looked = time.monotonic()
            self._delivery.begin()
            arrived, jobs = self._arrived(), list(self._jobs.values())
            for claimed in self._rows.claim(jobs, at_once=self._at_once, pools=self._pools, arrived=arrived):
                self._begin(claimed)
        self._commits = commits  # what was written in this step is looked at in the next
        return changed or bool(self._running) or self._settles

    def _use(self, jobs: Sequence[Job]) -> None:
        """Work for these jobs from now on; all are looked at in the next step."""
        self._jobs = {job.name: job for job in jobs}
        self._followers = [job for job in jobs if job.after]
        self._waits = any(job.wait_for is not None for job in jobs)
        self._settles = False
        self._seen, self._followed, self._commits = None, -math.inf, -1

    def _reread(self) -> None:
        """Follow what the project says of jobs, at first and when its files have changed."""
        gone: set[str] = set()
        found = None if self._project is None else self._project.poll()
        if isinstance(found, str):
            self._tell(f"error: the project cannot be read, and its jobs stay as they were: {found}")
        elif found is not None:
            gone = self._jobs.keys() - {job.name for job in found.jobs}
            self._pools = found.pools
            self._use(found.jobs)
        if self._is_new or isinstance(found, ProjectJobs):
            for change in self._rows.follow_project(list(self._jobs.values()), gone):
                self._tell(_changed(change))
            self._is_new = False

    def _arrived(self) -> set[tuple[str, datetime]]:
        """Return the runs whose files are there, after giving up those that waited too long."""
        arrived: set[tuple[str, datetime]] = set()
        looked_at: set[tuple[str, datetime]] = set()
        self._settles = False
        for run in self._rows.ready() if self._waits else ():
            job = self._jobs.get(run.job)
            if job is None or job.wait_for is None:
                continue
            found = self._files_waited_for.look(job, run)
            looked_at.add((run.job, run.due))
            if found == "there":
                arrived.add((run.job, run.due))
            elif found == "new":
                self._settles = True
            else:
                self._wait(job, run, found)
        self._files_waited_for.keep(looked_at)
        return arrived

    def _wait(self, job: Job, run: JobRun, found: Found) -> None:
        what = pattern_of(job, run.due)
        limit = job.wait_limit or 0
        if self._clock() - run.not_before < timedelta(microseconds=limit):
            self._rows.wait(run, f"waits for {what}")
            return
        why = "was not there" if found == "absent" else "was still being written"
        told = f"{what} {why} within {format_duration(limit)}"
        if self._rows.give_up(run, told):
            self._tell(f"{_title(run)}: failed, {told}")

    def _pause(self) -> float:
        wait = _BUSY if self._running else _IDLE
        for due, _ in self._next[:1]:
            wait = min(wait, max(0.001, (due - self._clock()).total_seconds()))
        return wait

    def _due(self) -> list[Job]:
        """Return the jobs whose next due time has passed; all at first, and when the clock was set back."""
        now = self._clock()
        is_back = self._seen is None or now < self._seen
        self._seen = now
        if is_back:
            self._next = []
            return [job for job in self._jobs.values() if not job.after]
        due = []
        while self._next and self._next[0][0] <= now:
            due.append(self._jobs[heappop(self._next)[1]])
        return due

    def _following(self) -> list[Job]:
        """Return the jobs that follow one that has succeeded; now and then all, since one may have been paused then.

        One that follows several is always among them: it may have waited for another to fail.
        """
        succeeded, self._floor = self._rows.succeeded_since(self._floor)
        if time.monotonic() - self._followed < _ALL_FOLLOWERS:
            return [job for job in self._followers if len(job.after) > 1 or job.after[0] in succeeded]
        self._followed = time.monotonic()
        return self._followers

    def _plan(self, jobs: Sequence[Job]) -> None:
        assert self._seen is not None
        for job in jobs:
            if job.schedule is not None:
                for due in islice(due_times(job.schedule, self._seen), 1):
                    heappush(self._next, (due, job.name))

    def _begin(self, claimed: Claimed) -> None:
        job, late = self._jobs[claimed.run.job], timedelta(microseconds=claimed.attempt.late_us)
        said = f", {format_duration(late // timedelta(seconds=1) * 1_000_000)} late" if late >= _LATE else ""
        stands = f", for {claimed.run.count:,} due times" if claimed.run.count > 1 else ""
        self._tell(f"{_title(claimed.run)}: attempt {claimed.attempt.number} begins{said}{stands}")
        process = Process(claimed, job, self._command, root=self._root, rows=self._rows, grace=self._grace)
        self._running.append(process)

    def _is_over(self, process: Process) -> bool:
        """Record the end of a process that has ended; where that fails, it is tried again with the next step."""
        if not process.is_over:
            return False
        code = process.poll()
        state = "succeeded" if code == 0 else process.why or "failed"
        self._record(process.claimed, state, code, _told(process, code), process.job.retries)
        return True

    def _record(self, claimed: Claimed, state: str, code: int | None, told: str | None, retries: int) -> None:
        log = self._log(claimed.number)
        last = _last_line(log or "")
        if told is not None and last:
            told = f"{told}: {last}"
        run = self._rows.finish(claimed.number, state, retries=retries, exit_code=code, told=told, log=log)
        os.close(claimed.lock)
        self._files.remove(claimed.number)
        if run is None:  # it has recorded its success itself, or was given up by another runner
            run = self._rows.get(claimed.run.job, claimed.run.due)
            state, told = run.state, None
        again = f"; again at {run.not_before:%Y-%m-%d %H:%M:%S} UTC" if run.state == "waiting" else ""
        self._tell(f"{_title(run)}: {state}{f', it {told}' if told else ''}{again}")

    def _log(self, number: int) -> str | None:
        log = self._files.read_log(number)
        return None if log is None else without_secrets(log)

    def _care(self) -> None:
        """Look after what runners that are gone have started, and keep logs short."""
        mine = {process.claimed.number for process in self._running}
        for attempt in self._rows.open_attempts():
            assert attempt.id is not None
            self._files.trim_log(attempt.id)
            if attempt.id not in mine:
                self._care_for(attempt, attempt.id)
        for number in self._files.attempts():
            if number not in mine and self._rows.has_ended(number) and not self._files.is_held(number):
                self._rows.finish(number, "lost", log=self._log(number))  # it has ended: only the log is kept
                self._files.remove(number)

    def _care_for(self, attempt: JobAttempt, number: int) -> None:
        job = self._jobs.get(attempt.job)
        retries = 0 if job is None else job.retries
        if not self._files.is_held(number):
            run = self._rows.finish(number, "lost", retries=retries, told=_LOST)
        elif attempt.deadline is not None and self._clock() > attempt.deadline + timedelta(seconds=self._grace):
            group = self._files.process_of(number)
            if group is not None:
                end_group(group, signal.SIGKILL)
            run = self._rows.finish(number, "late", retries=retries, told="it passed its deadline without a runner")
        else:
            return
        if run is not None:
            self._tell(f"{_title(run)}: {run.told}; it is {run.state}")

    def _end_all(self) -> None:
        for process in self._running:
            process.end("stopped")
        while not all(process.is_over for process in self._running):
            time.sleep(_BUSY)
        try:
            self._running = [one for one in self._running if not self._is_over(one)]
        finally:
            if self._project is not None:
                self._project.close()
            self._delivery.end()


def _where_it_can(tell: Callable[[str], object]) -> Callable[[str], object]:
    """Return what tells a line unless nobody can be told: a disk may be full, or a pipe closed."""

    def told(line: str) -> None:
        with suppress(OSError):
            tell(line)

    return told


def _title(run: JobRun) -> str:
    return f"{run.job} of {run.due:%Y-%m-%d %H:%M:%S} UTC"


def _changed(change: Change) -> str:
    if change.now == REMOVED:
        waited = f"; {change.runs:,} that waited are skipped" if change.runs else ""
        return f"{change.job}: removed from the project{waited}"
    still = f"; {change.runs:,} that were due by then are run" if change.runs else ""
    return f"{change.job}: {change.now} from now on, {change.was} until now{still}"


def _last_line(log: str) -> str:
    """Return the last line that says something: of our own errors the message, not the hint behind it."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines[-3:] if line.startswith("error: ")]
    return (errors or lines or [""])[-1][:_QUOTED]


def _told(process: Process, code: int | None) -> str | None:
    if code is None or code == 0:
        return process.failure
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    if process.why == "late" and process.job.deadline is not None:
        return f"{how}, past its deadline of {format_duration(process.job.deadline)}"
    return how
