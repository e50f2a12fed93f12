"""Step 13 of the schema: jobs, their runs and attempts, and messages that tell of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_jobs"]

_TABLES = (
    f"""CREATE TABLE job_states (
        job TEXT PRIMARY KEY,
        schedule TEXT NOT NULL,
        through INTEGER NOT NULL,
        since INTEGER NOT NULL,
        paused_at INTEGER,
        seen_at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    f"""CREATE TABLE job_runs (
        job TEXT NOT NULL,
        due INTEGER NOT NULL,
        state TEXT NOT NULL,
        cause TEXT NOT NULL,
        first INTEGER NOT NULL,
        count INTEGER NOT NULL,
        attempt INTEGER,
        attempts INTEGER NOT NULL,
        lost INTEGER NOT NULL,
        not_before INTEGER NOT NULL,
        ended_at INTEGER,
        told TEXT,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (job, due)
    ) STRICT""",
    # What waits and what runs are few rows beside all that have ended.
    "CREATE INDEX job_runs_open ON job_runs (state, job, due) WHERE state IN ('waiting', 'running')",
    "CREATE INDEX job_runs_attempt ON job_runs (job, attempt)",
    "CREATE INDEX job_runs_due ON job_runs (due)",
    f"""CREATE TABLE job_attempts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        job TEXT NOT NULL,
        due INTEGER NOT NULL,
        number INTEGER NOT NULL,
        state TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        late_us INTEGER NOT NULL,
        deadline INTEGER,
        ended_at INTEGER,
        exit_code INTEGER,
        told TEXT,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX job_attempts_run ON job_attempts (job, due)",
    "CREATE INDEX job_attempts_open ON job_attempts (state) WHERE state = 'running'",
    f"""CREATE TABLE job_logs (
        attempt INTEGER PRIMARY KEY,
        text TEXT NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    f"""CREATE TABLE outbox (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        text TEXT NOT NULL,
        detail TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        not_before INTEGER NOT NULL,
        sent_at INTEGER,
        told TEXT,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX outbox_waiting ON outbox (not_before) WHERE state = 'waiting'",
)


def add_jobs(db: Database) -> None:
    """Create the tables."""
    for statement in _TABLES:
        db.execute(statement)
