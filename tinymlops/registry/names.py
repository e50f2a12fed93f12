"""Names for shell completion, read from `meta.db` by sqlite3 alone: it imports nothing heavy and locks nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Literal

from tinymlops.records import (
    AuditEntry,
    Dataset,
    Definition,
    Experiment,
    JobRun,
    JobState,
    ModelAlias,
    ModelVersion,
    RunRow,
)
from tinymlops.stores.rows import quoted

if TYPE_CHECKING:
    from pathlib import Path

    from tinymlops.records import Record

__all__ = [
    "audited_names",
    "dataset_names",
    "definition_names",
    "definition_references",
    "experiment_names",
    "job_names",
    "model_references",
    "names_of",
    "run_names",
]


_OFFERED = 1000
"""The most names of a table that grows with traffic."""


def audited_names(database: Path, column: Literal["actor", "action", "subject"]) -> list[str]:
    """Return what is in a column of the audit log, each once, in order; raises as `names_of` does."""
    return _read(database, f"SELECT DISTINCT {column} FROM {AuditEntry.table} LIMIT {_OFFERED}")


def dataset_names(database: Path) -> list[str]:
    """Return the names under which datasets were saved, each once, in order; raises as `names_of` does."""
    return _read(database, f"SELECT DISTINCT name FROM {quoted(Dataset.table)} ORDER BY name")


def experiment_names(database: Path) -> list[str]:
    """Return the names of experiments, in order; raises as `names_of` does."""
    return _read(database, f"SELECT name FROM {quoted(Experiment.table)}")


def job_names(database: Path) -> list[str]:
    """Return the jobs that a runner has seen or that were run, each once, in order; raises as `names_of` does."""
    return _read(database, f"SELECT job FROM {JobState.table} UNION SELECT job FROM {JobRun.table}")


def run_names(database: Path) -> list[str]:
    """Return the names of the newest runs, each once, in order; raises as `names_of` does."""
    sql = f"SELECT name FROM {quoted(RunRow.table)} GROUP BY name ORDER BY max(started_at) DESC LIMIT {_OFFERED}"
    return _read(database, sql)


def names_of(database: Path, cls: type[Record]) -> list[str]:
    """Return the names of records: the values of the first column of their key, each once, in order.

    Args:
        database: The file; it is opened for reading only.
        cls: The class of the records.

    Raises:
        sqlite3.Error: If it cannot be read.
    """
    return _read(database, f"SELECT DISTINCT {quoted(cls.key[0])} FROM {quoted(cls.table)}")


def definition_names(database: Path, kind: str) -> list[str]:
    """Return the names of the definitions of a kind that are in force, as `names_of` does."""
    sql = f"SELECT DISTINCT name FROM {Definition.table} WHERE kind = ? AND removed_at IS NULL"
    return _read(database, sql, kind)


def definition_references(database: Path, kind: str) -> list[str]:
    """Return every way to name a version of the definitions of a kind that are in force: by name, number or variant."""
    table = Definition.table
    sql = f"""SELECT name FROM {table} WHERE kind = ?1 AND removed_at IS NULL
        UNION SELECT name || '@v' || version FROM {table} WHERE kind = ?1
        UNION SELECT name || '@' || json_extract(spec, '$.about.variant') FROM {table}
            WHERE kind = ?1 AND json_extract(spec, '$.about.variant') <> ''"""
    return _read(database, sql, kind)


def model_references(database: Path) -> list[str]:
    """Return every reference to a model version: its name alone, with an alias, or with a number."""
    versions, aliases = ModelVersion.table, ModelAlias.table
    sql = f"""SELECT name FROM {versions} UNION SELECT name || '@latest' FROM {versions}
        UNION SELECT name || '@v' || version FROM {versions} UNION SELECT name || '@' || alias FROM {aliases}"""
    return _read(database, sql)


def _read(database: Path, sql: str, *bound: str) -> list[str]:
    # Opened read-only, so that closing it never runs the checkpoint that `write.lock` guards.
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return sorted(name for (name,) in connection.execute(sql, bound))
