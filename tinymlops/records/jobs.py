"""Jobs: what is known of each, its runs by due time, and the attempts at them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["JobAttempt", "JobLog", "JobRun", "JobState", "JobUpstream"]


class JobState(Record, frozen=True, kw_only=True):
    """A job that a runner has seen."""

    table: ClassVar[str] = "job_states"
    key: ClassVar[tuple[str, ...]] = ("job",)
    small: ClassVar[bool] = True

    job: str
    schedule: str
    """As people read it; when it changes, due times count from that moment."""
    through: datetime
    """The last due time that was decided; before the first, when the schedule was first seen."""
    since: int = 0
    """The last attempt of any job when its schedule was first seen: runs before it are followed by none."""
    paused_at: datetime | None = None
    seen_at: datetime


class JobRun(Record, frozen=True, kw_only=True):
    """One due time of a job, and what became of it."""

    table: ClassVar[str] = "job_runs"
    key: ClassVar[tuple[str, ...]] = ("job", "due")
    sql_name: ClassVar[str | None] = "job_runs"

    job: str
    due: datetime
    state: str
    """`waiting`, `running`, `succeeded`, `failed` or `skipped`."""
    cause: str
    """Why it is there: `schedule`, `changed from <schedule>`, `after <jobs>`, `backfill` or `by hand`."""
    first: datetime
    """The first due time that it stands for, where several were missed."""
    count: int = 1
    """How many due times it stands for."""
    attempt: int | None = None
    """Id of its last attempt: the fence that a commit of the job must hold."""
    attempts: int = 0
    """Attempts since it was made or asked for again; lost ones are not counted."""
    lost: int = 0
    """Attempts that ended with their machine or were killed with their runner."""
    not_before: datetime
    """When it may be attempted; later than its due time after a failure."""
    ended_at: datetime | None = None
    told: str | None = None
    """What there is to say of it: the last error, or why it was skipped."""


class JobAttempt(Record, frozen=True, kw_only=True):
    """One process that was started for a run."""

    table: ClassVar[str] = "job_attempts"
    key: ClassVar[tuple[str, ...]] = ("id",)
    sql_name: ClassVar[str | None] = "job_attempts"

    id: int | None = None
    """Counts up over all jobs, and is never used again."""
    job: str
    due: datetime
    number: int
    state: str
    """`running`, `succeeded`, `failed`, `late` (it passed its deadline), `stopped` (with its runner) or `lost`."""
    started_at: datetime
    late_us: int = 0
    """Microseconds from when it could have begun until it began."""
    deadline: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    """Negative: the signal that ended it."""
    told: str | None = None
    pool: str | None = None
    """The pool that it takes a place of while it runs."""


class JobUpstream(Record, frozen=True, kw_only=True):
    """How far a job that follows several others has counted the successes of one of them."""

    table: ClassVar[str] = "job_upstreams"
    key: ClassVar[tuple[str, ...]] = ("job", "upstream")
    small: ClassVar[bool] = True

    job: str
    upstream: str
    counted: int
    """The id of the last attempt that one of its runs counted."""


class JobLog(Record, frozen=True, kw_only=True):
    """What an attempt wrote to its console; of much, the beginning and the end."""

    table: ClassVar[str] = "job_logs"
    key: ClassVar[tuple[str, ...]] = ("attempt",)

    attempt: int
    text: str
