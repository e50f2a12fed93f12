"""Removal of what is known of old runs of jobs, and of messages that were sent long ago.

A due time is removed as a whole, with the runs of all jobs: a run that followed another must not be made again because it is
no longer there while the other still is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.records import JobAttempt, JobLog, JobRun
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["remove_old_runs"]

_AT_ONCE = 500
"""Due times that are removed in one transaction: other writers wait for it."""
# Of each job the last success stays, however old: `JobContext.since` tells it.
_OLD = """SELECT DISTINCT due FROM job_runs WHERE ended_at < ?1 AND due NOT IN (
        SELECT due FROM job_runs WHERE ended_at IS NULL OR ended_at >= ?1 OR state IN ('waiting', 'running')
        UNION ALL SELECT max(due) FROM job_runs WHERE state = 'succeeded' GROUP BY job
        UNION ALL SELECT due FROM job_attempts WHERE state = 'running')
    ORDER BY due LIMIT ?2"""
_SENT = "DELETE FROM outbox WHERE state = 'sent' AND sent_at < ? RETURNING id"


def remove_old_runs(scope: Scope, before: int) -> tuple[int, int]:
    """Remove runs that ended before a moment, with their attempts and logs, and messages that were sent before it.

    Args:
        scope: Of the open workspace.
        before: Microseconds UTC.

    Returns:
        How many runs and messages were removed.
    """
    runs = 0
    if before <= 0:  # longer than there have been times
        return 0, 0
    while scope.environment.database.rows(_OLD, (before, 1)):
        with scope.write(audit="inside") as tx:
            removed = _remove(tx, before)
            if removed:
                tx.audit("gc", "jobs", runs=removed, until=from_micros(before).isoformat())
        runs += removed
    with scope.write(audit="inside") as tx:
        messages = len(tx.execute(_SENT, (before,)))
        if messages:
            tx.audit("gc", "outbox", messages=messages, until=from_micros(before).isoformat())
    return runs, messages


def _remove(tx: Transaction, before: int) -> int:
    dues = [due for (due,) in tx.execute(_OLD, (before, _AT_ONCE))]
    runs = 0
    for due in dues:
        for run in tx.select(JobRun, "WHERE due = ?", (due,)):
            for attempt in tx.list(JobAttempt, where={"job": run.job, "due": run.due}):
                tx.delete(JobLog, attempt=attempt.id)
                tx.delete(JobAttempt, id=attempt.id)
            runs += tx.delete(JobRun, job=run.job, due=run.due)
    return runs
