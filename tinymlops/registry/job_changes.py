"""Definitions of jobs that changed while there were due times of the earlier ones: none is missed and none done twice.

What was due by an earlier schedule up to the moment at which a runner takes the new one over is decided by the earlier one.
From that moment on due times are those of the new one. Both are told in history, and the change in the audit log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.records import JobRun, JobState, JobUpstream
from tinymlops.schedules import Job, job_that_was

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.stores.transaction import Transaction

    Decide = Callable[[Transaction, Job, JobState, datetime, str], int]

__all__ = ["REMOVED", "Change", "retire", "see", "take_over", "unless_removed"]

REMOVED = "removed"
"""In place of a schedule, of a job that the project has no more."""


class Change(NamedTuple):
    """A job whose definition changed."""

    job: str
    was: str
    now: str
    runs: int
    """Those that were still due by the earlier one; of a job that was removed, those that are not done any more."""


def see(tx: Transaction, job: Job, now: datetime, state: JobState | None = None) -> None:
    """Have a job's due times, and the successes that it follows, count from now."""
    ((last,),) = tx.execute("SELECT coalesce(max(id), 0) FROM job_attempts")
    tx.delete(JobUpstream, job=job.name)
    paused = None if state is None else state.paused_at
    tx.put(JobState(job=job.name, schedule=job.when, through=now, since=last, paused_at=paused, seen_at=now))


def take_over(tx: Transaction, jobs: Sequence[Job], now: datetime, decide: Decide) -> list[Change]:
    """Take over the schedules of jobs that changed; a job that was not seen yet is left alone."""
    changes = []
    for job in jobs:
        state = tx.get(JobState, job=job.name)
        if state is None or state.schedule == job.when:
            continue
        before = job_that_was(job.name, state.schedule, missed=job.missed)
        runs = 0
        if before is not None:
            before = msgspec.structs.replace(before, wait_for=job.wait_for)
            runs = decide(tx, before, state, now, f"changed from {state.schedule}")
        see(tx, job, now, state)
        tx.audit("job.change", f"job:{job.name}", was=state.schedule, now=job.when, runs=runs)
        changes.append(Change(job.name, state.schedule, job.when, runs))
    return changes


def retire(tx: Transaction, names: Iterable[str], now: datetime, decide: Decide) -> list[Change]:
    """Skip what waits of jobs that were removed; what runs goes on."""
    changes = []
    for name in names:
        state = tx.get(JobState, job=name)
        if state is None or state.schedule == REMOVED:
            continue
        before = job_that_was(name, state.schedule, missed="coalesce")
        if before is not None:
            decide(tx, before, state, now, f"changed from {state.schedule}")
        waiting = tx.list(JobRun, where={"job": name, "state": "waiting"})
        for run in waiting:
            tx.update(_skipped(run, now))
        tx.put(msgspec.structs.replace(state, schedule=REMOVED, through=now))
        tx.audit("job.remove", f"job:{name}", was=state.schedule, runs=len(waiting))
        changes.append(Change(name, state.schedule, REMOVED, len(waiting)))
    return changes


def unless_removed(tx: Transaction, run: JobRun, now: datetime) -> JobRun:
    """Return a run as it is; skipped if it would be tried again and its job was removed meanwhile."""
    if run.state != "waiting":
        return run
    state = tx.get(JobState, job=run.job)
    return _skipped(run, now) if state is not None and state.schedule == REMOVED else run


def _skipped(run: JobRun, now: datetime) -> JobRun:
    return msgspec.structs.replace(run, state="skipped", ended_at=now, told="the job was removed from the project")
