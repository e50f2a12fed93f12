"""Step 11 of the schema: experiments, and metrics as chunks, sealed series and sums in place of a row a point."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tinymlops.goals import goal_of
from tinymlops.stores.rows import CHECK, check_of

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_tracking"]

_TABLES = (
    f"""CREATE TABLE experiments (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        notes TEXT,
        tags TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        deleted_at INTEGER,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "ALTER TABLE runs DROP COLUMN metrics",
    "ALTER TABLE runs ADD COLUMN experiment INTEGER NOT NULL DEFAULT 0",
    'ALTER TABLE runs ADD COLUMN "group" TEXT',
    "ALTER TABLE runs ADD COLUMN parent TEXT",
    "ALTER TABLE runs ADD COLUMN notes TEXT",
    "ALTER TABLE runs ADD COLUMN user TEXT",
    "ALTER TABLE runs ADD COLUMN session INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN origin TEXT",
    "ALTER TABLE runs ADD COLUMN machine TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE runs ADD COLUMN patch_sha256 TEXT",
    "ALTER TABLE runs ADD COLUMN seen_at INTEGER",
    "ALTER TABLE runs ADD COLUMN deleted_at INTEGER",
    "CREATE INDEX runs_experiment ON runs (experiment, started_at)",
    "CREATE INDEX runs_parent ON runs (parent)",
    'CREATE INDEX runs_group ON runs ("group")',
    "CREATE INDEX runs_status ON runs (status)",
    f"""CREATE TABLE deleted_runs (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        experiment INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        deleted_at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    f"""CREATE TABLE run_inputs (
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        digest TEXT NOT NULL,
        context TEXT NOT NULL,
        source_type TEXT NOT NULL,
        source TEXT NOT NULL,
        schema TEXT NOT NULL,
        profile TEXT NOT NULL,
        tags TEXT NOT NULL,
        training_set TEXT,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (run, name, digest)
    ) STRICT""",
    "CREATE INDEX run_inputs_training_set ON run_inputs (training_set)",
    "ALTER TABLE artifacts ADD COLUMN kind TEXT NOT NULL DEFAULT 'file'",
    "ALTER TABLE artifacts ADD COLUMN series TEXT",
    "ALTER TABLE artifacts ADD COLUMN step ANY",
    f"""CREATE TABLE console_texts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        session INTEGER NOT NULL,
        start INTEGER NOT NULL,
        stop INTEGER NOT NULL,
        text TEXT NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX console_texts_run ON console_texts (run, session, start)",
    f"""CREATE TABLE metric_chunks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        session INTEGER NOT NULL,
        count INTEGER NOT NULL,
        step ANY NOT NULL,
        value ANY NOT NULL,
        at INTEGER NOT NULL,
        content BLOB NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX metric_chunks_run ON metric_chunks (run, name, id)",
    f"""CREATE TABLE metric_series (
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        superseded INTEGER NOT NULL,
        block INTEGER NOT NULL,
        count INTEGER NOT NULL,
        first_step ANY NOT NULL,
        last_step ANY NOT NULL,
        content BLOB NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (run, name, superseded, block)
    ) STRICT""",
    f"""CREATE TABLE metric_pyramids (
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        count INTEGER NOT NULL,
        content BLOB NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (run, name)
    ) STRICT""",
    f"""CREATE TABLE metric_summaries (
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        count INTEGER NOT NULL,
        step ANY NOT NULL,
        last ANY NOT NULL,
        at INTEGER NOT NULL,
        min ANY,
        min_step ANY,
        max ANY,
        max_step ANY,
        best ANY,
        best_step ANY,
        goal TEXT NOT NULL,
        nans INTEGER NOT NULL,
        session INTEGER NOT NULL,
        chunks INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (name, run)
    ) STRICT, WITHOUT ROWID""",
    # A search reads a metric of all runs, which stand side by side; a run's own are found by the index.
    "CREATE INDEX metric_summaries_run ON metric_summaries (run)",
    f"""CREATE TABLE opaque_models (
        id TEXT PRIMARY KEY,
        experiment INTEGER NOT NULL,
        name TEXT NOT NULL,
        run TEXT,
        model_type TEXT NOT NULL,
        status TEXT NOT NULL,
        params TEXT NOT NULL,
        tags TEXT NOT NULL,
        metrics TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        deleted_at INTEGER,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX opaque_models_experiment ON opaque_models (experiment, created_at)",
    "CREATE INDEX opaque_models_run ON opaque_models (run)",
    f"""CREATE TABLE opaque_files (
        model TEXT NOT NULL,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (model, name)
    ) STRICT""",
    f"""CREATE TABLE registered_models (
        name TEXT PRIMARY KEY,
        title TEXT NOT NULL UNIQUE,
        description TEXT NOT NULL,
        tags TEXT NOT NULL,
        aliases TEXT NOT NULL,
        newest INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    f"""CREATE TABLE opaque_versions (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        model TEXT NOT NULL,
        source TEXT NOT NULL,
        run TEXT,
        run_link TEXT NOT NULL,
        description TEXT NOT NULL,
        tags TEXT NOT NULL,
        stage TEXT NOT NULL,
        actor TEXT NOT NULL,
        registered_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (name, version)
    ) STRICT""",
    "CREATE INDEX opaque_versions_model ON opaque_versions (model)",
    f"""CREATE TABLE run_models (
        run TEXT NOT NULL,
        model TEXT NOT NULL,
        direction TEXT NOT NULL,
        step INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (run, model, direction)
    ) STRICT""",
)

_Point = tuple[int, str, str, int, Any, int]
"""id, run, name, step, value and time of a row of the old table; NaN and the infinities are text."""


def add_tracking(db: Database) -> None:
    """Create the tables and move the points of the old one; the caller renews the checksums of `runs` and `artifacts`."""
    for statement in _TABLES:
        db.execute(statement)
    points: list[_Point] = db.execute(
        "SELECT id, run, name, step, value, at FROM metrics ORDER BY run, name, id"
    ).fetchall()
    _insert(db, "metric_chunks", (_chunk(point) for point in points))
    series = groupby(points, key=lambda point: point[1:3])
    _insert(db, "metric_summaries", (_summary(list(group)) for _, group in series))
    db.execute("DROP TABLE metrics")


def _insert(db: Database, table: str, rows: Any) -> None:
    for row in rows:
        values = (*row, check_of(row))
        db.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


def _chunk(point: _Point) -> tuple[Any, ...]:
    identifier, run, name, step, value, at = point
    return identifier, run, name, 0, 1, float(step), value, at, b""


def _summary(points: list[_Point]) -> tuple[Any, ...]:
    _, run, name, step, last, at = max(points, key=lambda point: (point[3], point[5], point[0]))
    numbers = [(float(point[4]), point[4], float(point[3])) for point in points if not math.isnan(float(point[4]))]
    least, greatest = (min(numbers), max(numbers, key=lambda one: one[0])) if numbers else ((), ())
    goal = goal_of(name)
    best = least if goal == "min" else greatest
    extremes = [field for one in (least, greatest, best) for field in (one[1:] or (None, None))]
    return run, name, len(points), float(step), last, at, *extremes, goal, len(points) - len(numbers), 0, len(points)
