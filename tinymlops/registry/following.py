"""Runs of jobs that follow others: which successes are new to a job, and when they are enough for a run.

A job that follows one other has a run for each due time of it that succeeded. A job that follows several has a run when each
of them has succeeded anew; what that run counts, no later one counts again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tinymlops.records import JobRun, JobState, JobUpstream
from tinymlops.registry.job_rows import BACKFILL, waiting_run
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.schedules import Job
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["Query", "Success", "counted_by_next", "follow", "has_new"]

_UNFOLLOWED = """WHERE job = ? AND attempt > ? AND state = 'succeeded' AND NOT EXISTS (
        SELECT 1 FROM job_runs AS mine WHERE mine.job = ? AND mine.due = job_runs.due)
    ORDER BY due"""
_COUNTED = "SELECT upstream, counted FROM job_upstreams WHERE job = ?"
# A due time that is run again succeeds once more; only the first time counts.
_NEW = """SELECT id, due FROM job_attempts AS one WHERE job = ? AND id > ? AND state = 'succeeded' AND NOT EXISTS (
        SELECT 1 FROM job_attempts AS other
        WHERE other.job = one.job AND other.due = one.due AND other.state = 'succeeded' AND other.id < one.id)
    ORDER BY id"""
_OPEN = f"""SELECT 1 FROM job_runs
    WHERE job = ? AND due <= ? AND state IN ('waiting', 'running') AND cause <> '{BACKFILL}' LIMIT 1"""


Query = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
"""What runs a SELECT and returns its rows, of a database or a transaction."""


class Success(NamedTuple):
    """The first success of a due time."""

    attempt: int
    due: int
    """Microseconds."""


def counted_by_next(news: Mapping[str, Sequence[Success]]) -> tuple[int, dict[str, list[Success]]] | None:
    """Say which successes the next run of a job that follows several counts.

    Args:
        news: Of each job that it follows, the successes that no run has counted, in the order they came.

    Returns:
        The due time, which is the latest of the first ones, and of each job those up to the first that is due later; None
        while a job has no new one.
    """
    if not all(news.values()):
        return None
    due = max(ones[0].due for ones in news.values())
    return due, {name: _before(ones, due) for name, ones in news.items()}


def has_new(database: Database, job: Job, state: JobState) -> bool:
    """Return whether there is a run to be made, without writing."""
    if len(job.after) == 1:
        return bool(database.select(JobRun, _UNFOLLOWED, (job.after[0], state.since, job.name)))
    return _next(database.rows, job, state) is not None


def follow(tx: Transaction, job: Job, state: JobState, now: datetime) -> int:
    """Make the runs of a job that follow from what has succeeded; return how many."""
    return _follow_each(tx, job, state, now) if len(job.after) == 1 else _follow_all(tx, job, state, now)


def _follow_each(tx: Transaction, job: Job, state: JobState, now: datetime) -> int:
    """Make a run for each success of another job; attempts at one job end in the order of their numbers."""
    found = tx.select(JobRun, _UNFOLLOWED, (job.after[0], state.since, job.name))
    for one in found:
        tx.insert(_following(job, one.due, now))
    if found:
        tx.update(msgspec.structs.replace(state, since=max(one.attempt or 0 for one in found)))
    return len(found)


def _follow_all(tx: Transaction, job: Job, state: JobState, now: datetime) -> int:
    made = 0
    while (found := _next(tx.execute, job, state)) is not None:
        due, counted = from_micros(found[0]), found[1]
        while tx.has(JobRun, job=job.name, due=due):  # it has worked for this time: the next free one
            due += timedelta(microseconds=1)
        first = from_micros(min(one.due for ones in counted.values() for one in ones))
        tx.insert(msgspec.structs.replace(_following(job, due, now), first=first))
        tx.put_many(
            JobUpstream(job=job.name, upstream=name, counted=ones[-1].attempt) for name, ones in counted.items()
        )
        made += 1
    return made


def _next(query: Query, job: Job, state: JobState) -> tuple[int, dict[str, list[Success]]] | None:
    """Say what the next run counts; None also while a job that it follows is still at work on a due time up to then."""
    counted: dict[str, int] = dict(query(_COUNTED, (job.name,)))
    news = {
        name: [Success(*row) for row in query(_NEW, (name, max(state.since, counted.get(name, 0))))]
        for name in job.after
    }
    found = counted_by_next(news)
    if found is None or any(query(_OPEN, (name, found[0])) for name in job.after):
        return None
    return found


def _before(ones: Sequence[Success], due: int) -> list[Success]:
    later = next((at for at, one in enumerate(ones) if one.due > due), len(ones))
    return list(ones[:later])


def _following(job: Job, due: datetime, now: datetime) -> JobRun:
    return msgspec.structs.replace(waiting_run(job.name, due, job.when), not_before=now)
