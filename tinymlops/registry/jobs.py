"""The jobs of a workspace: which due times there were, and what became of each.

A due time of a job is one row, whoever decides it. Runners take rows to attempt in one transaction, and each attempt has a
number that counts up: the fence, which every commit of the attempt's process looks at (`stores/fence.py`).
"""

from __future__ import annotations

import builtins
import os
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.errors import ConflictError
from tinymlops.records import JobAttempt, JobLog, JobRun, JobState
from tinymlops.registry.following import Query, follow, has_new
from tinymlops.registry.job_changes import Change, retire, see, take_over, unless_removed
from tinymlops.registry.job_rows import BACKFILL, SCHEDULE, JobRows, wait_again, waiting_run
from tinymlops.registry.outbox import backoff, put_message
from tinymlops.schedules import decide, due_times
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.schedules import Job, Missed
    from tinymlops.stores.transaction import Transaction

__all__ = ["Claimed", "Jobs"]

_PROMPT = timedelta(minutes=1)
"""How late is still in time where missed runs are skipped."""
_REWIND = timedelta(days=1)
"""A clock that shows so much less than a due time that was decided is believed: it was wrong before."""
_MOST_LOST = 5
_MANY = 100
_LOGS = 100
"""Attempts of each job whose logs are kept."""
_BEHIND = 2**61

_OPEN = "state IN ('waiting', 'running')"
"""Said beside one of the two states, so that SQLite takes the index of the few runs that are open, not all history."""
CLAIMABLE = f"""WHERE (job, due) IN (
        SELECT job, due FROM (
            -- With min(), SQLite takes the other columns from the row of the least.
            SELECT job, due, min(due + CASE cause WHEN '{BACKFILL}' THEN {_BEHIND} ELSE 0 END)
            FROM job_runs WHERE {_OPEN} AND state = 'waiting' GROUP BY job))
    AND not_before <= ?
    AND job NOT IN (SELECT job FROM job_runs WHERE {_OPEN} AND state = 'running')
    AND job NOT IN (SELECT job FROM job_states WHERE paused_at IS NOT NULL)
    ORDER BY cause = '{BACKFILL}', not_before, job"""
_TAKEN = "SELECT pool, count(*) FROM job_attempts WHERE state = 'running' AND pool IS NOT NULL GROUP BY pool"
_UNTRIED = f"""WHERE {_OPEN} AND job = ? AND state = 'waiting' AND cause = '{SCHEDULE}' AND attempt IS NULL"""


class Claimed(NamedTuple):
    """An attempt that is this process's to make."""

    run: JobRun
    attempt: JobAttempt
    number: int
    """The id of the attempt."""
    lock: int
    """The descriptor of its locked file."""


class Jobs(JobRows):
    """Jobs, their runs and attempts.

    Args:
        scope: Of the open workspace.
    """

    def decide(self, jobs: Sequence[Job]) -> int:
        """Make the runs that are due by now, none twice; where nothing is due, nothing is written.

        One whose stored schedule differs is left alone: `follow_project` takes a new one over.

        Returns:
            How many were made.
        """
        now = self._scope.clock()
        known = self.states() if len(jobs) > _MANY else {}
        due = [
            job
            for job in jobs
            if self._may_be_due(job, known.get(job.name) or self._database.get(JobState, job=job.name), now)
        ]
        if not due:
            return 0
        with self._scope.write(audit=None) as tx:
            return sum(self._decide(tx, job, now) for job in due)

    def follow_project(self, jobs: Sequence[Job], gone: Collection[str] = ()) -> builtins.list[Change]:
        """Take over what the project says of jobs now: changed schedules count from now on.

        What was due by an earlier schedule until now is decided by that one. Of jobs that are gone what waits is skipped.

        Args:
            jobs: Those of the project.
            gone: Names that it had before.

        Returns:
            What changed.
        """
        now, known = self._scope.clock(), self.states()
        changed = [job for job in jobs if job.name in known and known[job.name].schedule != job.when]
        if not changed and not any(name in known for name in gone):
            return []
        with self._scope.write(audit="inside") as tx:
            return take_over(tx, changed, now, self._make) + retire(tx, gone, now, self._make)

    def succeeded_since(self, floor: int) -> tuple[set[str], int]:
        """Return the jobs of which an attempt has succeeded, and from where on to look the next time.

        Args:
            floor: What this returned before; 0 at first.
        """
        sql = """SELECT coalesce((SELECT min(id) - 1 FROM job_attempts WHERE state = 'running'),
            (SELECT max(id) FROM job_attempts), 0)"""
        ((later,),) = self._database.rows(sql)  # before the others are read: what ends in between is seen twice
        found = self._database.rows(
            "SELECT DISTINCT job FROM job_attempts WHERE id > ? AND state = 'succeeded'", (floor,)
        )
        return {job for (job,) in found}, int(later)

    def ready(self) -> builtins.list[JobRun]:
        """Return the runs that may be attempted now, in their order: of each job the one that is due first."""
        return self._database.select(JobRun, CLAIMABLE, (to_micros(self._scope.clock()),))

    def claim(
        self,
        jobs: Sequence[Job],
        *,
        at_once: int,
        pools: Mapping[str, int] | None = None,
        arrived: Collection[tuple[str, datetime]] = (),
    ) -> builtins.list[Claimed]:
        """Take runs to attempt: of each job the one that is due first, and backfills behind all others.

        Args:
            jobs: Those that this runner knows.
            at_once: The most attempts of all runners together.
            pools: The most attempts of all runners together at jobs of a pool, by its name; 1 where nothing is said.
            arrived: Runs, by job and due time, whose files are there; others of jobs that wait for files are left.
        """
        known, now = {job.name: job for job in jobs}, self._scope.clock()

        def chosen(query: Query, ready: builtins.list[JobRun]) -> builtins.list[JobRun]:
            ready = [run for run in ready if run.job in known]
            ready = [run for run in ready if known[run.job].wait_for is None or (run.job, run.due) in arrived]
            return _with_a_place(query, ready, known, at_once, pools or {}) if ready else []

        if not chosen(self._database.rows, self.ready()):
            return []
        claimed: builtins.list[Claimed] = []
        try:
            with self._scope.write(audit=None) as tx:
                for run in chosen(tx.execute, tx.select(JobRun, CLAIMABLE, (to_micros(now),))):
                    claimed.append(self._begin(tx, run, known[run.job], now))  # noqa: PERF401 - kept if one fails
        except BaseException:
            for one in claimed:
                os.close(one.lock)  # the file stays: its number is another's by now
            raise
        return claimed

    def take(self, job: Job, due: datetime, *, cause: str, pools: Mapping[str, int]) -> Claimed | None:
        """Take one due time to attempt, for a program that keeps time itself: whether it waits, failed or is not known yet.

        Args:
            job: The job.
            due: The due time.
            cause: Why it is run, where it is not known yet.
            pools: How many jobs of each pool may run at once.

        Returns:
            None if it has succeeded, an attempt at any due time of the job is in force, or its pool is full.

        Raises:
            ConflictError: If the job is paused.
        """
        now = self._scope.clock()
        claimed = None
        try:
            with self._scope.write(audit=None) as tx:
                run = _to_take(tx, job.name, due, cause, now) if _has_a_place(tx, job, pools) else None
                claimed = None if run is None else self._begin(tx, run, job, now)
        except BaseException:
            if claimed is not None:
                os.close(claimed.lock)
            raise
        return claimed

    def finish(
        self,
        number: int,
        state: str,
        *,
        retries: int = 0,
        exit_code: int | None = None,
        told: str | None = None,
        log: str | None = None,
    ) -> JobRun | None:
        """Record how an attempt ended; one that has recorded so itself, or was given up, only gets its log.

        Args:
            number: The attempt's id.
            state: `succeeded`, `failed`, `late`, `stopped` or `lost`.
            retries: How often a failure is tried again.
            exit_code: Of its process.
            told: Why it failed.
            log: What it wrote.

        Returns:
            Its run as it is now; None if the attempt was not in force.
        """
        now = self._scope.clock()
        with self._scope.write(audit=None) as tx:
            attempt = tx.get(JobAttempt, id=number)
            if attempt is not None and log is not None:
                tx.put(JobLog(attempt=number, text=log))
                _keep_few_logs(tx, attempt.job)
            if attempt is None or attempt.state != "running":
                return None
            tx.update(msgspec.structs.replace(attempt, state=state, ended_at=now, exit_code=exit_code, told=told))
            run = tx.get(JobRun, job=attempt.job, due=attempt.due)
            if run is None or run.attempt != number or run.state != "running":
                return None
            run = unless_removed(tx, _after_attempt(run, state, retries=retries, told=told, now=now), now)
            tx.update(run)
            if run.state == "failed":
                _alert(tx, run, number, now)
            return run

    def wait(self, run: JobRun, told: str) -> None:
        """Have history tell what a run waits for.

        Args:
            run: As it was read.
            told: What it waits for.
        """
        if run.told != told:
            with self._scope.write(audit=None) as tx:
                if tx.get(JobRun, job=run.job, due=run.due) == run:
                    tx.update(msgspec.structs.replace(run, told=told))

    def give_up(self, run: JobRun, told: str) -> bool:
        """Let a run that waits fail without an attempt, and alert.

        Args:
            run: As it was read.
            told: Why.

        Returns:
            Whether it still waited.
        """
        now = self._scope.clock()
        with self._scope.write(audit=None) as tx:
            if tx.get(JobRun, job=run.job, due=run.due) != run:
                return False
            run = msgspec.structs.replace(run, state="failed", ended_at=now, told=told)
            tx.update(run)
            _alert(tx, run, run.attempt, now)
            return True

    def open_attempts(self) -> builtins.list[JobAttempt]:
        """Return the attempts that are stored as running."""
        return self._database.select(JobAttempt, "WHERE state = 'running' ORDER BY id")

    def has_ended(self, attempt: int) -> bool:
        """Return whether an attempt is stored, and stored as ended."""
        found = self._database.get(JobAttempt, id=attempt)
        return found is not None and found.state != "running"

    def has_succeeded(self, job: str, due: datetime) -> bool:
        """Return whether a due time of a job has succeeded."""
        run = self._database.get(JobRun, job=job, due=due)
        return run is not None and run.state == "succeeded"

    def _may_be_due(self, job: Job, state: JobState | None, now: datetime) -> bool:
        if state is None:
            return True
        if state.paused_at is not None or state.schedule != job.when:
            return False
        if job.schedule is None:
            return has_new(self._database, job, state)
        is_due = next(due_times(job.schedule, state.through, now), None) is not None
        return is_due or state.through - now > _REWIND

    def _decide(self, tx: Transaction, job: Job, now: datetime) -> int:
        state = tx.get(JobState, job=job.name)
        if state is None:
            see(tx, job, now)
            return 0
        if state.paused_at is not None or state.schedule != job.when:
            return 0
        return self._make(tx, job, state, now, SCHEDULE)

    def _make(self, tx: Transaction, job: Job, state: JobState, now: datetime, cause: str) -> int:
        if job.schedule is None:
            return follow(tx, job, state, now)
        through = now if state.through - now > _REWIND else state.through
        decided = decide(job.schedule, through, now, missed=job.missed, prompt=_PROMPT)
        runs = [
            msgspec.structs.replace(
                waiting_run(job.name, one.due, cause),
                first=one.first,
                count=one.count,
                state="waiting" if one.runs else "skipped",
                told=None if one.runs else "no runner was there when it was due",
                ended_at=None if one.runs else now,
            )
            for one in decided
            if not tx.has(JobRun, job=job.name, due=one.due)
        ]
        # A run that waits for a file is not taken over: its file would never be missed.
        if runs and runs[-1].state == "waiting" and job.missed != "all" and job.wait_for is None:
            runs[-1] = _taking_over(tx, runs[-1], job.missed, now)
        tx.insert_many(runs)
        if decided or through != state.through:
            tx.update(msgspec.structs.replace(state, through=decided[-1].due if decided else through))
        return len(runs)

    def _begin(self, tx: Transaction, run: JobRun, job: Job, now: datetime) -> Claimed:
        late = now - max(run.due, run.not_before)
        attempt = tx.insert(
            JobAttempt(
                job=run.job,
                due=run.due,
                number=run.attempts + run.lost + 1,
                state="running",
                started_at=now,
                late_us=max(0, late // timedelta(microseconds=1)),
                deadline=None if job.deadline is None else now + timedelta(microseconds=job.deadline),
                pool=job.pool,
            )
        )
        assert attempt.id is not None
        run = msgspec.structs.replace(run, state="running", attempt=attempt.id, ended_at=None, told=None)
        tx.update(run)
        return Claimed(run, attempt, attempt.id, self.files.hold(attempt.id))


def _has_a_place(tx: Transaction, job: Job, pools: Mapping[str, int]) -> bool:
    return job.pool is None or dict(tx.execute(_TAKEN)).get(job.pool, 0) < pools.get(job.pool, 1)


def _to_take(tx: Transaction, job: str, due: datetime, cause: str, now: datetime) -> JobRun | None:
    run, state = tx.get(JobRun, job=job, due=due), tx.get(JobState, job=job)
    if run is not None and run.state == "succeeded":
        return None
    if state is not None and state.paused_at is not None:
        raise ConflictError(f"job {job!r} is paused", hint=f"tinymlops jobs resume {job}")
    ((running,),) = tx.execute(f"SELECT count(*) FROM job_runs WHERE {_OPEN} AND job = ? AND state = 'running'", (job,))
    if running:
        return None
    if run is None:
        return tx.insert(msgspec.structs.replace(waiting_run(job, due, cause), not_before=now))
    return run if run.state == "waiting" else wait_again(run, now, run.cause)


def _with_a_place(
    query: Query, ready: Sequence[JobRun], known: Mapping[str, Job], at_once: int, pools: Mapping[str, int]
) -> list[JobRun]:
    """Return those for which there is a place, in all and in their pools."""
    ((running,),) = query(f"SELECT count(*) FROM job_runs WHERE {_OPEN} AND state = 'running'", ())
    taken = Counter({pool: int(count) for pool, count in query(_TAKEN, ())})
    found: list[JobRun] = []
    for run in ready:
        pool = known[run.job].pool
        if running + len(found) >= at_once:
            break
        if pool is None or taken[pool] < pools.get(pool, 1):
            taken[pool] += pool is not None
            found.append(run)
    return found


def _alert(tx: Transaction, run: JobRun, attempt: int | None, now: datetime) -> None:
    text = f"job {run.job!r} of {run.due:%Y-%m-%d %H:%M:%S} UTC failed: {run.told or 'it did not say why'}"
    put_message(tx, "job.failed", text, now, job=run.job, due=run.due.isoformat(), attempt=attempt, told=run.told)


def _taking_over(tx: Transaction, run: JobRun, missed: Missed, now: datetime) -> JobRun:
    """Return a run in place of those that still waited, as for a job that takes longer than the time between its due times."""
    for old in tx.select(JobRun, _UNTRIED, (run.job,)):
        tx.update(
            msgspec.structs.replace(
                old,
                state="skipped",
                ended_at=now,
                told=f"it still waited when the one of {run.due:%Y-%m-%d %H:%M:%S} UTC was due",
            )
        )
        if missed == "coalesce":
            run = msgspec.structs.replace(run, first=min(run.first, old.first), count=run.count + old.count)
    return run


def _keep_few_logs(tx: Transaction, job: str) -> None:
    sql = "SELECT id FROM job_attempts WHERE job = ? ORDER BY id DESC LIMIT 10 OFFSET ?"
    for (old,) in tx.execute(sql, (job, _LOGS)):
        tx.delete(JobLog, attempt=old)


def _after_attempt(run: JobRun, state: str, *, retries: int, told: str | None, now: datetime) -> JobRun:
    if state == "stopped":
        return msgspec.structs.replace(run, state="waiting", not_before=max(run.not_before, now), told=told)
    if state == "lost":
        ends = run.lost + 1 >= _MOST_LOST
        again = "failed" if ends else "waiting"
        return msgspec.structs.replace(
            run, state=again, lost=run.lost + 1, not_before=now, ended_at=now if ends else None, told=told
        )
    run = msgspec.structs.replace(run, attempts=run.attempts + 1, told=told)
    if state == "succeeded" or run.attempts > retries:
        ended = "succeeded" if state == "succeeded" else "failed"
        return msgspec.structs.replace(run, state=ended, ended_at=now)
    return msgspec.structs.replace(run, state="waiting", not_before=now + backoff(run.attempts))
