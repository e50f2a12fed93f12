"""One write transaction of the workspace's database, as the code inside it sees it."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tinymlops._time import from_micros, system_clock, to_micros
from tinymlops.errors import ConflictError, DataError, IntegrityError, NotFoundError, TinyMLOpsError
from tinymlops.records import AuditEntry, Record
from tinymlops.stores._rows import Plan, plan_for, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Transaction", "audit_problems", "translated"]

T = TypeVar("T", bound=Record)
_GENESIS = "0" * 64
_LARGEST_INT = 2**63 - 1
_ROW_EXISTS = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)


class Transaction:
    """What may be done between BEGIN and COMMIT; made by `Database.write`, of no use after its block.

    Args:
        connection: Inside a write transaction.
        path: The database's file, for errors.
        actor: Who is written into the audit log.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, actor: str) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._path = path
        self._actor = actor

    def insert(self, record: T) -> T:
        """Add a record.

        Returns:
            The record, with its `id` filled where the database assigns it.

        Raises:
            ConflictError: If its key exists.
        """
        plan = plan_for(type(record))
        cursor = self._run(plan, plan.insert, plan.encode(record))
        if plan.assigned_id and getattr(record, plan.cls.key[0]) is None:
            return msgspec.structs.replace(record, **{plan.cls.key[0]: cursor.lastrowid})
        return record

    def insert_many(self, records: Iterable[Record]) -> None:
        """Add records of one class; assigned ids are not returned.

        Raises:
            ConflictError: If a key exists; then the transaction must be left.
        """
        remaining = iter(records)
        first = next(remaining, None)
        if first is None:
            return
        plan = plan_for(type(first))
        rows = (plan.encode(record) for record in chain((first,), remaining))
        with translated(self._path, plan.cls.table):
            self._open().executemany(plan.insert, rows)

    def put(self, record: Record) -> None:
        """Add a record, or replace the one with its key."""
        plan = plan_for(type(record))
        self._run(plan, plan.put, plan.encode(record))

    def update(self, record: Record) -> None:
        """Replace the record with this key.

        Raises:
            NotFoundError: If there is none.
        """
        plan = plan_for(type(record))
        values = plan.encode(record)
        key = [values[position] for position in plan.key_positions]
        if not self._run(plan, plan.update, [*values, *key]).rowcount:
            raise NotFoundError(f"{plan.cls.table} has no {_spelled(plan, key)}")

    def delete(self, cls: type[Record], **key: object) -> int:
        """Remove the records whose columns equal these; None is IS NULL and a list is IN.

        Returns:
            How many there were.
        """
        if not key:
            raise DataError(f"deleting from {cls.table} needs at least one column")
        plan = plan_for(cls)
        condition, bound = plan.condition(key)
        return self._run(plan, f"DELETE FROM {plan.table}{condition}", bound).rowcount

    def get(self, cls: type[T], **key: object) -> T | None:
        """Read one record inside the transaction, which sees its own writes."""
        return read_one(self._open(), cls, key)

    def execute(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; a change says what it touched with RETURNING."""
        with translated(self._path, "the database"):
            return self._open().execute(sql, params).fetchall()

    def take_sequence(self, count: int) -> int:
        """Take the workspace's next sequence numbers.

        Args:
            count: How many rows need one.

        Returns:
            The base: row i has `n = base + i` with ordinals i from 1 to `count`. The first `n` ever is 1.
        """
        if count < 0:
            raise DataError(f"cannot take {count} sequence numbers")
        sql = "UPDATE counters SET value = value + ? WHERE name = 'sequence' RETURNING value"
        ((after,),) = self.execute(sql, (count,))
        return int(after) - count

    def sequence(self) -> int:
        """Return the last sequence number taken, by this transaction too; 0 if none ever was."""
        return read_counter(self._open(), "sequence")

    def audit(self, action: str, subject: str, **detail: object) -> AuditEntry:
        """Append an entry to the audit log, chained to the one before by its hash.

        The time is the machine's, also where the workspace runs on a replay clock.
        """
        last = self.execute("SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1")
        n, previous = (last[0][0] + 1, last[0][1]) if last else (1, _GENESIS)
        at, text = to_micros(system_clock()), to_json(detail)
        row = (n, at, self._actor, action, subject, text, previous)
        digest = _audit_hash(row)
        self.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, digest))
        self.execute("UPDATE counters SET value = ? WHERE name = 'audit'", (n,))
        return AuditEntry(
            n=n,
            at=from_micros(at),
            actor=self._actor,
            action=action,
            subject=subject,
            detail=detail,
            previous=previous,
            hash=digest,
        )

    def close(self) -> None:
        """End it: a transaction object kept beyond its block must not write into the next one."""
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ConflictError("this write transaction has ended", hint="begin a new one")
        return self._connection

    def _run(self, plan: Plan[Any], sql: str, bound: Sequence[Any]) -> sqlite3.Cursor:
        with translated(self._path, plan.cls.table):
            return self._open().execute(sql, bound)


def read_one(connection: sqlite3.Connection, cls: type[T], key: Mapping[str, object]) -> T | None:
    """Read the record whose columns equal these, or None."""
    plan = plan_for(cls)
    condition, bound = plan.condition(key)
    row = connection.execute(f"{plan.select}{condition} LIMIT 1", bound).fetchone()
    return None if row is None else plan.decode(row)


def read_counter(connection: sqlite3.Connection, name: str) -> int:
    """Read one of the workspace's counters."""
    ((value,),) = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchall()
    return int(value)


def audit_problems(connection: sqlite3.Connection) -> list[str]:
    """Walk the audit log's chain and say what was removed or edited."""
    problems: list[str] = []
    expected, previous = 1, _GENESIS
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
            if _audit_hash(row[:7]) != row[7]:
                problems.append(f"audit entry {n} was changed")
            expected, previous = n + 1, row[7]
        written = read_counter(connection, "audit")
    finally:
        connection.execute("COMMIT")
    if written >= expected:
        problems.append(f"audit entries {expected} to {written} were removed")
    return problems


@contextmanager
def translated(path: Path, subject: str) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise _constraint(error, subject) from error
    except OverflowError as error:
        raise DataError(
            f"a whole number for {subject} is outside -2^63 to {_LARGEST_INT}", hint="store it as text"
        ) from error
    except UnicodeEncodeError as error:
        raise DataError(f"a text for {subject} is no valid Unicode: {error.reason}") from error
    except sqlite3.OperationalError as error:
        raise _operational(error, path) from error
    except sqlite3.DatabaseError as error:
        if _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise IntegrityError(f"{path} is damaged: {error}", hint="restore the workspace from a backup") from error
        raise


def _constraint(error: sqlite3.IntegrityError, subject: str) -> TinyMLOpsError:
    if error.sqlite_errorcode in _ROW_EXISTS:
        return ConflictError(f"{subject} already has such a row: {error}")
    if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
        return ConflictError(str(error))
    return DataError(f"{subject} does not take this row: {error}")


def _operational(error: sqlite3.OperationalError, path: Path) -> Exception:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return TinyMLOpsError(
            f"the disk of {path} is full; nothing was stored", hint="free some space and run it again"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ConflictError(
            f"{path} is locked by a program that does not take part in the workspace's write.lock",
            hint="close other SQLite tools that have it open",
        )
    if code == sqlite3.SQLITE_IOERR:
        return IntegrityError(f"{path} cannot be read or written: {error}", hint="check the disk")
    return error


def _code(error: sqlite3.Error) -> int:
    # Python raises a few of these itself, without a code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _audit_hash(row: Sequence[Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(row)).hexdigest()


def _spelled(plan: Plan[Any], key: Sequence[Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(plan.cls.key, key, strict=True))
