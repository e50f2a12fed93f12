"""Runs of jobs as people see them and ask for them: history, logs, again, for a span, paused."""

from __future__ import annotations

import builtins
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

import msgspec

from tinymlops.errors import ConflictError, DataError, DefinitionError, NotFoundError, near
from tinymlops.records import JobAttempt, JobLog, JobRun, JobState
from tinymlops.registry.outbox import Outbox
from tinymlops.schedules import due_times
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinymlops.registry.scope import Scope
    from tinymlops.schedules import Job
    from tinymlops.times import Clock

__all__ = ["BACKFILL", "BY_HAND", "SCHEDULE", "STATES", "JobRows", "wait_again", "waiting_run"]

SCHEDULE, BACKFILL, BY_HAND = "schedule", "backfill", "by hand"
STATES = ("waiting", "running", "succeeded", "failed", "skipped")
_LONGEST_BACKFILL = 100_000
_RECENT, _AHEAD = timedelta(minutes=10), timedelta(minutes=1)
"""Of a moment that names a start: clocks are set back a little now and then."""


class JobRows:
    """Jobs, their runs and attempts, without what a runner does with them.

    Args:
        scope: Of the open workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database, self.files = scope.environment.database, scope.environment.jobs
        self.outbox = Outbox(scope)

    @property
    def clock(self) -> Clock:
        """The workspace's clock."""
        return self._scope.clock

    @property
    def path(self) -> Path:
        """The workspace's directory."""
        return self._scope.environment.path

    def commits(self) -> int:
        """Return the number of commits so far, which tells cheaply whether anybody changed anything."""
        return self._database.commits()

    def states(self) -> dict[str, JobState]:
        """Return what is known of each job that a runner has seen."""
        return {one.job: one for one in self._database.list(JobState)}

    def page(self, *, after: str = "", limit: int) -> builtins.list[JobState]:
        """Return what is known of some jobs, by name.

        Args:
            after: The name that they come after.
            limit: At most so many.
        """
        return self._database.select(JobState, "WHERE job > ? ORDER BY job LIMIT ?", (after, limit))

    def state(self, job: str) -> JobState:
        """Return what is known of a job.

        Raises:
            NotFoundError: If no runner has ever seen it, with the near match.
        """
        found = self._database.get(JobState, job=job)
        return found if found is not None else self._unseen(job)

    def _unseen(self, job: str) -> NoReturn:
        raise NotFoundError(
            f"no runner has seen a job {job!r}", hint=near(job, self.states(), otherwise="tinymlops jobs run")
        )

    def history(
        self,
        job: str | None = None,
        *,
        state: str | None = None,
        before: datetime | None = None,
        limit: int | None = 50,
    ) -> builtins.list[JobRun]:
        """Return runs, those due last first.

        Args:
            job: Of this one; None for all.
            state: Only `waiting`, `running`, `succeeded`, `failed` or `skipped`.
            before: Only those due before this moment: the next page.
            limit: At most so many; None for all.

        Raises:
            DataError: If there is no such state, with the near match.
        """
        if state is not None and state not in STATES:
            raise DataError(f"{state!r} is not a state of a run", hint=near(state, STATES))
        said = {"job = ?": job, "state = ?": state, "due < ?": None if before is None else to_micros(before)}
        bound = {text: value for text, value in said.items() if value is not None}
        where = f"WHERE {' AND '.join(bound)}" if bound else ""
        params = [*bound.values(), -1 if limit is None else limit]
        return self._database.select(JobRun, f"{where} ORDER BY due DESC LIMIT ?", params)

    def get(self, job: str, due: datetime | None = None) -> JobRun:
        """Return a run.

        Args:
            job: Its job.
            due: Its due time; by default the last one.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        newest = () if due is not None else self.history(job, limit=1)
        found = next(iter(newest), None) if due is None else self._database.get(JobRun, job=job, due=due)
        if found is None:
            known = {name for (name,) in self._database.rows("SELECT DISTINCT job FROM job_runs")}
            when = "" if due is None else f" that was due at {due:%Y-%m-%d %H:%M:%S} UTC"
            hint = near(job, known) if job not in known else "see which there are: tinymlops jobs history"
            raise NotFoundError(f"there is no run of a job {job!r}{when}", hint=hint)
        return found

    def attempts(self, job: str, due: datetime) -> builtins.list[JobAttempt]:
        """Return the attempts at a run, in order."""
        return self._database.list(JobAttempt, where={"job": job, "due": due}, order="id")

    def attempts_at(self, runs: Sequence[JobRun]) -> builtins.list[JobAttempt]:
        """Return the attempts at runs of one job, in order."""
        if not runs:
            return []
        where = {"job": runs[0].job, "due": [one.due for one in runs]}
        return self._database.list(JobAttempt, where=where, order="id")

    def log(self, attempt: int) -> str | None:
        """Return what an attempt wrote, so far if it goes on; None where nothing is kept."""
        kept = self._database.get(JobLog, attempt=attempt)
        return kept.text if kept is not None else self.files.read_log(attempt)

    def last_success(self, job: str, before: datetime) -> datetime | None:
        """Return the due time of the last run that succeeded before another; None if there is none."""
        rest = "WHERE job = ? AND due < ? AND state = 'succeeded' ORDER BY due DESC LIMIT 1"
        found = self._database.select(JobRun, rest, (job, to_micros(before)))
        return found[0].due if found else None

    def rerun(self, job: str, due: datetime | None = None) -> JobRun:
        """Run a due time again, as soon as a runner is free.

        Args:
            job: The job.
            due: The due time; by default the last one that there was.

        Raises:
            NotFoundError: If there was no such due time.
            ConflictError: If it waits or runs already.
        """
        due = self.get(job, due).due
        with self._scope.write(audit="inside") as tx:
            run = tx.get(JobRun, job=job, due=due)
            if run is None or run.state in ("waiting", "running"):
                doing = "is not there any more" if run is None else f"is {run.state} already"
                raise ConflictError(
                    f"the run of {job!r} that was due at {due:%Y-%m-%d %H:%M:%S} UTC {doing}",
                    hint="see tinymlops jobs history",
                )
            again = wait_again(run, self._scope.clock(), BY_HAND)
            tx.update(again)
            tx.audit("job.rerun", f"job:{job}", due=due.isoformat())
            return again

    def start(self, job: str, *, due: datetime | None = None) -> JobRun:
        """Run a job once now, beside its schedule, as soon as a runner is free.

        Args:
            job: The job.
            due: A moment of the last ten minutes that names the start: the same one again starts nothing more. By default now.

        Raises:
            DataError: If `due` is in the future, or earlier than ten minutes ago.
        """
        now = self._scope.clock()
        if due is not None and not -_AHEAD <= now - due <= _RECENT:
            raise DataError(
                f"the start of {job!r} is named by {due:%Y-%m-%d %H:%M:%S} UTC, which is not of the last ten minutes",
                hint="leave due= out to start it now, or run a due time again: rerun",
            )
        with self._scope.write(audit="inside") as tx:
            known = None if due is None else tx.get(JobRun, job=job, due=due)
            if known is not None:
                return known
            run = tx.insert(waiting_run(job, due or now, BY_HAND))
            tx.audit("job.start", f"job:{job}", due=run.due.isoformat())
            return run

    def backfill(self, job: Job, start: datetime, stop: datetime) -> builtins.list[JobRun]:
        """Run the due times of a span that have not succeeded, in their order, behind what is due now.

        Args:
            job: One with a schedule.
            start: The first moment.
            stop: The last moment; not later than now.

        Returns:
            The runs that will be made.

        Raises:
            DefinitionError: If the job has no schedule of its own.
            DataError: If the span ends in the future, or is too long.
        """
        now = self._scope.clock()
        if job.schedule is None:
            raise DefinitionError(
                f"job {job.name!r} follows {', '.join(map(repr, job.after))} and has no due times",
                hint=f"backfill {' and '.join(map(repr, job.after))}",
            )
        if stop > now:
            raise DataError(f"the backfill of {job.name!r} ends in the future", hint="end it now or earlier")
        runs: builtins.list[JobRun] = []
        with self._scope.write("job.backfill", f"job:{job.name}", start=start.isoformat(), stop=stop.isoformat()) as tx:
            for due in due_times(job.schedule, start - timedelta(microseconds=1), stop):
                known = tx.get(JobRun, job=job.name, due=due)
                if known is None or known.state in ("failed", "skipped"):
                    run = wait_again(known or waiting_run(job.name, due, BACKFILL), now, BACKFILL)
                    runs.append(msgspec.structs.replace(run, first=due, count=1))
                if len(runs) > _LONGEST_BACKFILL:
                    raise DataError(
                        f"the backfill of {job.name!r} has more than {_LONGEST_BACKFILL:,} due times",
                        hint="do it in parts",
                    )
            tx.put_many(runs)
        return runs

    def pause(self, job: str, *, resume: bool = False) -> JobState:
        """Start no attempts of a job any more, or do so again; what was due meanwhile counts as missed.

        Raises:
            NotFoundError: If no runner has ever seen the job, with the near match.
        """
        with self._scope.write("job.resume" if resume else "job.pause", f"job:{job}") as tx:
            state = tx.get(JobState, job=job)
            if state is None:
                self._unseen(job)
            state = msgspec.structs.replace(state, paused_at=None if resume else self._scope.clock())
            tx.update(state)
            return state


def waiting_run(job: str, due: datetime, cause: str) -> JobRun:
    """Return a run that waits for its due time."""
    return JobRun(job=job, due=due, state="waiting", cause=cause, first=due, not_before=due)


def wait_again(run: JobRun, now: datetime, cause: str) -> JobRun:
    """Return a run that waits once more, with all its retries."""
    return msgspec.structs.replace(
        run, state="waiting", cause=cause, attempts=0, lost=0, not_before=now, ended_at=None, told=None
    )
