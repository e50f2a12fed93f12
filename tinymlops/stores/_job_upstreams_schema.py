"""Step 17 of the schema: how far a job has counted the successes of jobs that it follows, and the pools of attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_job_upstreams"]

_STATEMENTS = (
    f"""CREATE TABLE job_upstreams (
        job TEXT NOT NULL,
        upstream TEXT NOT NULL,
        counted INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (job, upstream)
    ) STRICT""",
    "ALTER TABLE job_attempts ADD COLUMN pool TEXT",
    "CREATE INDEX job_attempts_succeeded ON job_attempts (job, id) WHERE state = 'succeeded'",
    "CREATE INDEX job_runs_ended ON job_runs (ended_at) WHERE ended_at IS NOT NULL",
)


def add_job_upstreams(db: Database) -> None:
    """Add the table and the column; the checksums of `job_attempts` must be made anew."""
    for statement in _STATEMENTS:
        db.execute(statement)
