"""Verify that the rows of `meta.db`, its schema and its audit log are what was written."""

from __future__ import annotations

import hashlib
import sqlite3
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import IntegrityError
from tinymlops.records import TABLES, AuditHead, Counter, Record
from tinymlops.stores._sqlite import RESTORE, translated
from tinymlops.stores.rows import check_of, codec_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "GENESIS",
    "audit_hash",
    "audit_head",
    "audit_problems",
    "read_counter",
    "require_indexes",
    "require_schema",
    "row_problems",
    "seal_schema",
]

GENESIS = "0" * 64
"""The hash that the first entry of the audit log follows."""


def read_counter(connection: sqlite3.Connection, name: str) -> int:
    """Read one of the workspace's counters.

    Raises:
        IntegrityError: If it is damaged or gone.
    """
    codec = codec_for(Counter)
    row = connection.execute(f"{codec.select} WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise IntegrityError(f"counter {name!r} is missing", hint=RESTORE)
    value: int = codec.decode(row).value
    return value


def row_problems(connection: sqlite3.Connection, path: Path, classes: Iterable[type[Record]]) -> list[str]:
    """Compare every row of these records with its checksum; return which are damaged."""
    problems: list[str] = []
    for cls in classes:
        codec = codec_for(cls)
        try:
            with translated(path, cls.table):
                for row in connection.execute(codec.select):
                    try:
                        codec.checked(row)
                    except IntegrityError as error:
                        problems.append(error.message)
        except IntegrityError as error:  # of SQLite, which reads no further
            problems.append(f"table {cls.table}: {error.message}")
    return problems


def seal_schema(connection: sqlite3.Connection) -> None:
    """Store the checksum of the schema, for `require_schema`."""
    codec = codec_for(Counter)
    connection.execute(codec.put, codec.encode(Counter(name="schema", value=_schema_check(connection))))


def require_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Compare the tables, indexes and triggers with those created: a flipped bit in their SQL changes what a read means.

    Raises:
        IntegrityError: If one differs.
    """
    if read_counter(connection, "schema") != _schema_check(connection):
        raise IntegrityError(
            f"the schema of {path} is not what was written",
            hint=f"drop what another program has added to it, or {RESTORE}",
        )


def require_indexes(connection: sqlite3.Connection, path: Path) -> None:
    """Compare the tables that do not grow with traffic with their indexes: a damaged index hides a whole row.

    Raises:
        IntegrityError: If one does not match.
    """
    for cls in (one for one in TABLES if one.small):
        for (problem,) in connection.execute(f"PRAGMA integrity_check({cls.table})"):
            if problem != "ok":
                raise IntegrityError(f"{path} is damaged: {problem}", hint=RESTORE)


def _schema_check(connection: sqlite3.Connection) -> int:
    rows = connection.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master ORDER BY type, name")
    return check_of(list(chain.from_iterable(rows)))


def audit_hash(row: Sequence[Any]) -> str:
    """Return the hash of an audit entry's stored values, which begin with its number and end with the hash before."""
    return hashlib.sha256(msgspec.json.encode(row)).hexdigest()


def audit_head(connection: sqlite3.Connection) -> AuditHead:
    """Return the last entry of the audit log."""
    row = connection.execute("SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1").fetchone()
    return AuditHead(0, GENESIS) if row is None else AuditHead(*row)


def audit_problems(connection: sqlite3.Connection, since: AuditHead | None = None) -> list[str]:
    """Walk the audit log's chain; return what was removed or edited.

    Args:
        connection: Of the database.
        since: The head that the log had once. A log that was written anew, or cut at its end together with its counter,
            follows from itself, but not from a head that was kept elsewhere.
    """
    problems: list[str] = []
    expected, previous = 1, GENESIS
    connection.execute("BEGIN")
    try:
        for row in connection.execute(
            "SELECT n, at, actor, action, subject, detail, previous, hash FROM audit ORDER BY n"
        ):
            n = row[0]
            if n != expected:
                problems.append(f"audit entries {expected} to {n - 1} were removed")
            elif row[6] != previous:
                problems.append(f"audit entry {n} does not follow the entry before it")
            if audit_hash(row[:7]) != row[7]:
                problems.append(f"audit entry {n} was changed")
            if since is not None and n == since.n and row[7] != since.hash:
                problems.append(f"audit entry {n} is not the one that was there: it or an entry before it was replaced")
            expected, previous = n + 1, row[7]
        written = read_counter(connection, "audit")
    finally:
        connection.execute("COMMIT")
    written = max(written, 0 if since is None else since.n)
    if written >= expected:
        problems.append(f"audit entries {expected} to {written} were removed")
    return problems
