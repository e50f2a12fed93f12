"""The schema of `meta.db`, forward only: a released step is never edited; a new one is added below.

The number of the last step is in `user_version`, which every write transaction compares first. A step that adds a
column recomputes the checksums of its table, over the columns in the order of the record's fields.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError
from tinymlops.stores._alerts_schema import TAKEN
from tinymlops.stores._connections_schema import add_connections
from tinymlops.stores._embedding_fits_schema import add_embedding_fits
from tinymlops.stores._fitted_models_schema import add_fitted_models
from tinymlops.stores._job_upstreams_schema import add_job_upstreams
from tinymlops.stores._jobs_schema import add_jobs
from tinymlops.stores._monitor_schema import add_monitor_reports
from tinymlops.stores._pages_schema import add_pages
from tinymlops.stores._saved_queries_schema import add_saved_queries
from tinymlops.stores._sinks_schema import add_sinks
from tinymlops.stores._streams_schema import add_streams
from tinymlops.stores._tracking_schema import add_tracking
from tinymlops.stores._vector_indexes_schema import add_vector_indexes
from tinymlops.stores._vectors_schema import add_vectors
from tinymlops.stores._verify import seal_schema
from tinymlops.stores.rows import CHECK, check_of, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlite_utils import Database, Migrations

__all__ = ["SCHEMA_VERSION", "migrate", "refuse_second_sqlite"]

SCHEMA_VERSION = 24


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate a database to `SCHEMA_VERSION`; the caller holds the write lock.

    Args:
        connection: In autocommit mode, outside a transaction.
    """
    from sqlite_utils import Database

    refuse_second_sqlite()
    # sqlite-utils' own transactions begin deferred; inside this one they become savepoints.
    connection.execute("BEGIN IMMEDIATE")
    try:
        _steps().apply(Database(connection))
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        seal_schema(connection)
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def refuse_second_sqlite() -> None:
    """Refuse a second SQLite library in the process: closing a file in one drops the locks of the other.

    Raises:
        ConflictError: If `pysqlite3` or `sqlean` is loaded with a version of its own.
    """
    for name in ("pysqlite3", "sqlean"):
        other = getattr(sys.modules.get(name), "sqlite_version", sqlite3.sqlite_version)
        if other != sqlite3.sqlite_version:
            raise ConflictError(
                f"{name} brings SQLite {other} beside the {sqlite3.sqlite_version} of Python's sqlite3, "
                "and two in one process break each other's locks",
                hint=f"pip uninstall {name}, or do not import it in this process",
            )


def _steps() -> Migrations:
    from sqlite_utils import Migrations

    steps = Migrations("tinymlops")

    @steps()
    def m001_first_schema(db: Database) -> None:
        _run(db, _FIRST_SCHEMA)

    @steps()
    def m002_checksum_of_every_row(db: Database) -> None:
        db.execute("INSERT INTO counters VALUES ('commits', 0)")
        db.conn.create_function(check_of.__name__, -1, lambda *values: check_of(values), deterministic=True)
        for (table,) in db.execute("SELECT name FROM pragma_table_list WHERE strict").fetchall():
            _add_checksum(db, table)

    @steps()
    def m003_generations_of_sources(db: Database) -> None:
        _run(db, _GENERATIONS)
        db.conn.create_function(check_of.__name__, -1, lambda *values: check_of(values), deterministic=True)
        for table in ("segments", "source_states", "ingestions"):
            _renew_checksum(db, table)

    @steps()
    def m004_why_and_who(db: Database) -> None:
        _run(db, _WHY_AND_WHO)
        db.conn.create_function(check_of.__name__, -1, lambda *values: check_of(values), deterministic=True)
        _renew_checksum(db, "definitions")

    @steps()
    def m005_readers(db: Database) -> None:
        db.execute(_READERS)

    @steps()
    def m006_checks_on_data(db: Database) -> None:
        _run(db, _CHECKS)

    @steps()
    def m007_datasets(db: Database) -> None:
        _run(db, _DATASETS)

    @steps()
    def m008_statistics_and_failed_ingests(db: Database) -> None:
        db.execute(_COLUMN_STATISTICS)
        db.execute(_FAILED_INGESTS)

    @steps()
    def m009_tokens_and_accesses(db: Database) -> None:
        _run(db, _TOKENS)

    @steps()
    def m010_salts(db: Database) -> None:
        db.execute(_SALTS)

    @steps()
    def m011_tracking(db: Database) -> None:
        add_tracking(db)
        db.conn.create_function(check_of.__name__, -1, lambda *values: check_of(values), deterministic=True)
        for table in ("runs", "artifacts"):
            _renew_checksum(db, table)

    steps(name="m012_streams")(add_streams)
    steps(name="m013_jobs")(add_jobs)
    steps(name="m014_connections")(add_connections)
    steps(name="m015_pages")(add_pages)
    steps(name="m016_alerts")(_add_taken)
    steps(name="m017_job_upstreams")(_add_job_upstreams)
    steps(name="m018_sinks")(add_sinks)
    steps(name="m019_vectors")(add_vectors)
    steps(name="m020_fitted_models")(add_fitted_models)
    steps(name="m021_vector_indexes")(add_vector_indexes)
    steps(name="m022_monitor_reports")(add_monitor_reports)
    steps(name="m023_embedding_fits")(add_embedding_fits)
    steps(name="m024_saved_queries")(add_saved_queries)

    return steps


def _add_job_upstreams(db: Database) -> None:
    add_job_upstreams(db)
    db.conn.create_function(check_of.__name__, -1, lambda *values: check_of(values), deterministic=True)
    _renew_checksum(db, "job_attempts")


def _add_taken(db: Database) -> None:
    db.execute(TAKEN)
    db.conn.create_function(check_of.__name__, -1, lambda *values: check_of(values), deterministic=True)
    _renew_checksum(db, "outbox")


def _run(db: Database, statements: Iterable[str]) -> None:
    for statement in statements:
        db.execute(statement)


def _add_checksum(db: Database, table: str) -> None:
    columns = ", ".join(quoted(name) for (name,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,)))
    # The audit log refuses every change, this one too.
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
    triggers = db.execute(sql, (table,)).fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {quoted(name)}")
    db.execute(f"ALTER TABLE {quoted(table)} ADD COLUMN {CHECK} INTEGER NOT NULL DEFAULT 0")
    db.execute(f"UPDATE {quoted(table)} SET {CHECK} = {check_of.__name__}({columns})")
    for _, definition in triggers:
        db.execute(definition)


def _renew_checksum(db: Database, table: str) -> None:
    """Recompute the checksums: new columns follow the checksum's column, and count as the last fields."""
    columns = db.execute("SELECT name FROM pragma_table_info(?) WHERE name <> ?", (table, CHECK))
    names = ", ".join(quoted(name) for (name,) in columns)
    db.execute(f"UPDATE {quoted(table)} SET {CHECK} = {check_of.__name__}({names})")


_GENERATIONS = (
    "ALTER TABLE segments ADD COLUMN dated INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE segments ADD COLUMN progress INTEGER",
    "ALTER TABLE source_states ADD COLUMN schemas TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE ingestions ADD COLUMN rows_ahead INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE ingestions ADD COLUMN rows_incomplete INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE ingestions ADD COLUMN rows_carried INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE ingestions ADD COLUMN rows_restarted INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE ingestions ADD COLUMN rows_dropped INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE ingestions ADD COLUMN generation INTEGER NOT NULL DEFAULT 0",
    f"""CREATE TABLE generations (
        source TEXT NOT NULL,
        number INTEGER NOT NULL,
        dating TEXT NOT NULL,
        queries TEXT NOT NULL,
        begins INTEGER NOT NULL,
        ends INTEGER,
        at INTEGER NOT NULL,
        inputs TEXT NOT NULL DEFAULT '',
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (source, number)
    ) STRICT""",
    f"""CREATE TABLE renamed_sources (
        name TEXT PRIMARY KEY,
        place TEXT NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
)

_COLUMN_STATISTICS = f"""CREATE TABLE column_statistics (
    source TEXT NOT NULL,
    name TEXT NOT NULL,
    dtype TEXT NOT NULL,
    rows INTEGER NOT NULL,
    nulls INTEGER NOT NULL,
    "distinct" INTEGER,
    minimum ANY,
    maximum ANY,
    mean ANY,
    quantiles TEXT NOT NULL,
    histogram TEXT NOT NULL,
    top TEXT NOT NULL,
    sampled INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    {CHECK} INTEGER NOT NULL,
    PRIMARY KEY (source, name)
) STRICT"""

_FAILED_INGESTS = f"""CREATE TABLE failed_ingests (
    source TEXT PRIMARY KEY,
    error TEXT NOT NULL,
    at INTEGER NOT NULL,
    {CHECK} INTEGER NOT NULL
) STRICT"""

_SALTS = f"""CREATE TABLE salts (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    {CHECK} INTEGER NOT NULL
) STRICT"""

_WHY_AND_WHO = (
    "ALTER TABLE definitions ADD COLUMN logic TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE definitions ADD COLUMN below TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE definitions ADD COLUMN author TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE definitions ADD COLUMN message TEXT NOT NULL DEFAULT ''",
    f"""CREATE TABLE notes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        text TEXT NOT NULL,
        author TEXT NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    f"""CREATE TABLE marks (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        mark TEXT NOT NULL,
        author TEXT NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (kind, name, version)
    ) STRICT""",
)
_READERS = f"""CREATE TABLE readers (
    consumer TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    calls INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    {CHECK} INTEGER NOT NULL,
    PRIMARY KEY (consumer, kind, name)
) STRICT"""

_CHECKS = (
    f"""CREATE TABLE check_results (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        target TEXT NOT NULL,
        definition TEXT NOT NULL,
        rule TEXT NOT NULL,
        action TEXT NOT NULL,
        moment TEXT NOT NULL,
        rows INTEGER NOT NULL,
        failed INTEGER NOT NULL,
        passed INTEGER,
        detail TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX check_results_target ON check_results (target, id)",
    f"""CREATE TABLE quarantines (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,
        status TEXT NOT NULL,
        rows INTEGER NOT NULL,
        rows_sha256 TEXT NOT NULL,
        columns TEXT NOT NULL,
        rules TEXT NOT NULL,
        at INTEGER NOT NULL,
        settled_at INTEGER,
        settled_by TEXT,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX quarantines_source ON quarantines (source, status)",
)

_DATASETS = (
    f"""CREATE TABLE datasets (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        manifest_sha256 TEXT NOT NULL,
        rows INTEGER NOT NULL,
        features INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX datasets_name ON datasets (name, created_at)",
    "CREATE INDEX datasets_sequence ON datasets (sequence)",
    f"""CREATE TABLE dataset_parts (
        dataset TEXT NOT NULL,
        number INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        rows INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (dataset, number)
    ) STRICT""",
)

_TOKENS = (
    f"""CREATE TABLE tokens (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        digest BLOB NOT NULL,
        rate ANY,
        created_at INTEGER NOT NULL,
        created_by TEXT NOT NULL,
        expires_at INTEGER,
        revoked_at INTEGER,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX tokens_name ON tokens (name)",
    f"""CREATE TABLE token_uses (
        id TEXT PRIMARY KEY,
        requests INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL
    ) STRICT""",
    f"""CREATE TABLE accesses (
        minute INTEGER NOT NULL,
        actor TEXT NOT NULL,
        consumer TEXT NOT NULL,
        kind TEXT NOT NULL,
        names TEXT NOT NULL,
        calls INTEGER NOT NULL,
        {CHECK} INTEGER NOT NULL,
        PRIMARY KEY (minute, actor, consumer, kind, names)
    ) STRICT""",
)

# Floats are ANY: STRICT REAL refuses the text that stands for NaN and the infinities.
_FIRST_SCHEMA = (
    """CREATE TABLE counters (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "INSERT INTO counters VALUES ('sequence', 0), ('audit', 0)",
    """CREATE TABLE definitions (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        spec TEXT NOT NULL,
        project TEXT NOT NULL,
        applied_at INTEGER NOT NULL,
        removed_at INTEGER,
        PRIMARY KEY (kind, name, version)
    ) STRICT""",
    "CREATE INDEX definitions_project ON definitions (project, removed_at)",
    """CREATE TABLE segments (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        base INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        last INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        min_event INTEGER,
        max_event INTEGER,
        corrections INTEGER NOT NULL,
        covers INTEGER,
        until INTEGER,
        created_at INTEGER NOT NULL,
        dead_at INTEGER
    ) STRICT""",
    "CREATE INDEX segments_source ON segments (source, dead_at, base)",
    "CREATE INDEX segments_sha256 ON segments (sha256)",
    """CREATE TABLE source_states (
        source TEXT PRIMARY KEY,
        definition TEXT NOT NULL,
        columns TEXT NOT NULL,
        rows INTEGER NOT NULL,
        max_event INTEGER,
        complete_until INTEGER,
        quarantined INTEGER NOT NULL,
        ingested_at INTEGER
    ) STRICT""",
    """CREATE TABLE ingestions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,
        rows_read INTEGER NOT NULL,
        rows_new INTEGER NOT NULL,
        rows_corrected INTEGER NOT NULL,
        rows_known INTEGER NOT NULL,
        rows_deleted INTEGER NOT NULL,
        rows_held_back INTEGER NOT NULL,
        rows_quarantined INTEGER NOT NULL,
        rows_never_known INTEGER NOT NULL,
        complete_until INTEGER,
        sequence INTEGER NOT NULL,
        seconds ANY NOT NULL,
        at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX ingestions_source ON ingestions (source, at)",
    """CREATE TABLE pushed_rows (
        n INTEGER PRIMARY KEY,
        source TEXT NOT NULL,
        event_id TEXT,
        payload BLOB NOT NULL,
        digest BLOB NOT NULL,
        event INTEGER,
        created INTEGER NOT NULL,
        deleted INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX pushed_rows_source ON pushed_rows (source, n)",
    "CREATE INDEX pushed_rows_event ON pushed_rows (source, event_id) WHERE event_id IS NOT NULL",
    """CREATE TABLE moved_events (
        source TEXT NOT NULL,
        event_id TEXT NOT NULL,
        digest BLOB NOT NULL,
        deleted INTEGER NOT NULL,
        PRIMARY KEY (source, event_id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE push_batches (
        source TEXT NOT NULL,
        batch_id TEXT NOT NULL,
        digest BLOB NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (source, batch_id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX push_batches_at ON push_batches (at)",
    """CREATE TABLE training_sets (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        manifest_sha256 TEXT NOT NULL,
        rows INTEGER NOT NULL,
        features INTEGER NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX training_sets_name ON training_sets (name, created_at)",
    """CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        status TEXT NOT NULL,
        params TEXT NOT NULL,
        metrics TEXT NOT NULL,
        tags TEXT NOT NULL,
        training_set TEXT,
        git_commit TEXT,
        git_dirty INTEGER NOT NULL,
        packages TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER,
        error TEXT
    ) STRICT""",
    "CREATE INDEX runs_started ON runs (started_at)",
    "CREATE INDEX runs_name ON runs (name, started_at)",
    "CREATE INDEX runs_training_set ON runs (training_set)",
    """CREATE TABLE metrics (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        step INTEGER NOT NULL,
        value ANY NOT NULL,
        at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX metrics_run ON metrics (run, name, step)",
    """CREATE TABLE artifacts (
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (run, name)
    ) STRICT""",
    """CREATE TABLE logged_models (
        run TEXT NOT NULL,
        name TEXT NOT NULL,
        flavor TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        model_class TEXT NOT NULL,
        signature TEXT NOT NULL,
        training_set TEXT,
        definitions TEXT NOT NULL,
        evaluation TEXT,
        baseline_sha256 TEXT,
        trusted_types TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (run, name)
    ) STRICT""",
    """CREATE TABLE model_versions (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        run TEXT NOT NULL,
        logged_name TEXT NOT NULL,
        manifest_sha256 TEXT NOT NULL,
        registered_at INTEGER NOT NULL,
        PRIMARY KEY (name, version)
    ) STRICT""",
    "CREATE INDEX model_versions_run ON model_versions (run, logged_name)",
    """CREATE TABLE model_aliases (
        name TEXT NOT NULL,
        alias TEXT NOT NULL,
        version INTEGER NOT NULL,
        previous INTEGER,
        changed_at INTEGER NOT NULL,
        PRIMARY KEY (name, alias),
        FOREIGN KEY (name, version) REFERENCES model_versions (name, version)
    ) STRICT""",
    """CREATE TABLE predictions (
        id TEXT PRIMARY KEY,
        model TEXT NOT NULL,
        version INTEGER NOT NULL,
        at INTEGER NOT NULL,
        sequence INTEGER,
        request TEXT NOT NULL,
        features TEXT NOT NULL,
        output TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX predictions_model ON predictions (model, version, at)",
    "CREATE INDEX predictions_sequence ON predictions (sequence)",
    """CREATE TABLE outcomes (
        prediction_id TEXT PRIMARY KEY,
        value ANY,
        at INTEGER NOT NULL,
        origin TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX outcomes_at ON outcomes (at)",
    """CREATE TABLE audit (
        n INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX audit_subject ON audit (subject)",
    """CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END""",
    """CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END""",
    # REPLACE deletes without firing a delete trigger, so the next number is enforced as well.
    """CREATE TRIGGER audit_has_no_gap BEFORE INSERT ON audit
    WHEN NEW.n <> (SELECT coalesce(max(n), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append only'); END""",
)
