"""Jobs as lists show them: the failed ones first, and those that no runner looks at."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.registry.job_changes import REMOVED
from tinymlops.schedules import next_due

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.records import JobRun, JobState
    from tinymlops.registry.jobs import Jobs

__all__ = ["ListedJob", "listed_job", "listed_jobs"]

_PATIENCE = timedelta(minutes=2)
"""A due time that nobody has decided for so long has no runner."""
_ORDER = ("failed", "overdue", "running", "waiting", "paused")


class ListedJob(NamedTuple):
    """A job as a list shows it."""

    state: JobState
    next: datetime | None
    """When it is due next; None of one that is paused or removed, or comes after another."""
    last: JobRun | None
    overdue: datetime | None
    """The due time that no runner has looked at."""

    @property
    def word(self) -> str:
        """Where it stands, in a word."""
        if self.state.schedule == REMOVED:
            return "removed"
        if self.state.paused_at is not None:
            return "paused"
        if self.last is not None and self.last.state == "failed":
            return "failed"
        return "overdue" if self.overdue is not None else self.last.state if self.last is not None else "new"


def listed_jobs(jobs: Jobs) -> list[ListedJob]:
    """Return every job that a runner has seen, what needs a look first, then by when it is due."""
    found = [listed_job(jobs, state) for state in jobs.states().values()]
    words = {word: place for place, word in enumerate(_ORDER)}
    last = jobs.clock() + timedelta(days=36_500)
    return sorted(
        found,
        key=lambda one: (
            one.word == "removed",
            words.get(one.word, len(words)),
            one.next or last,
            one.state.job,
        ),
    )


def listed_job(jobs: Jobs, state: JobState) -> ListedJob:
    """Return a job as a list shows it.

    Args:
        jobs: Those of the workspace.
        state: What is stored of it.
    """
    now = jobs.clock()
    last = next(iter(jobs.history(state.job, limit=1)), None)
    is_paused = state.paused_at is not None
    undecided = None if is_paused else next_due(state.schedule, state.through)
    overdue = undecided if undecided is not None and now - undecided > _PATIENCE else None
    return ListedJob(state, None if is_paused else next_due(state.schedule, now), last, overdue)
