"""One write transaction of the workspace's database, as the code inside it sees it."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from itertools import chain, count
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tinymlops.errors import ConflictError, DataError, NotFoundError
from tinymlops.records import AuditEntry, Counter, Record
from tinymlops.stores._sqlite import translated
from tinymlops.stores._verify import GENESIS, audit_hash, read_counter
from tinymlops.stores.pseudonyms import Person, pseudonymous
from tinymlops.stores.rows import RowCodec, codec_for, quoted
from tinymlops.times import from_micros, system_clock, to_micros

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Transaction", "read_one"]

T = TypeVar("T", bound=Record)


class Transaction:
    """The operations between BEGIN and COMMIT; made by `Database.write`, and invalid after its block.

    Args:
        connection: Inside a write transaction.
        path: The database's file, for errors.
        actor: The actor in the audit log; None to write no entry.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, actor: str | None) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._path = path
        self._actor = actor

    @contextmanager
    def part(self, actor: str | None) -> Iterator[Transaction]:
        """Yield a part of the transaction that is undone if the block raises.

        Args:
            actor: As for the whole.
        """
        connection = self._open()
        connection.execute("SAVEPOINT part")
        part = Transaction(connection, self._path, actor=actor)
        try:
            yield part
        except BaseException:
            if connection.in_transaction:  # a full disk may have rolled all of it back
                connection.execute("ROLLBACK TO part")
                connection.execute("RELEASE part")
            raise
        else:
            connection.execute("RELEASE part")
        finally:
            part.close()

    @property
    def is_open(self) -> bool:
        """Whether it is still open: after some errors SQLite has rolled it back."""
        return self._connection is not None and self._connection.in_transaction

    def insert(self, record: T) -> T:
        """Add a record.

        Returns:
            The record, with its `id` filled where the database assigns it.

        Raises:
            ConflictError: If its key exists.
        """
        codec = codec_for(type(record))
        if codec.assigned_id and getattr(record, codec.cls.key[0]) is None:
            record = msgspec.structs.replace(record, **{codec.cls.key[0]: self._next_id(codec)})
        self._change(codec, codec.insert, record)
        return record

    def insert_many(self, records: Iterable[Record]) -> None:
        """Add records of one class; assigned ids are not returned.

        Raises:
            ConflictError: If a key exists; then the transaction must be left.
        """
        self._change_many(records, lambda codec: codec.insert)

    def insert_new(self, records: Iterable[Record]) -> None:
        """Add records of one class, except those whose key exists."""
        self._change_many(records, lambda codec: codec.insert_new)

    def put(self, record: Record) -> None:
        """Add a record, or replace the one with its key."""
        codec = codec_for(type(record))
        self._change(codec, codec.put, record)

    def put_many(self, records: Iterable[Record]) -> None:
        """Add records of one class, or replace those with their keys; of two with the same key the later one stays."""
        self._change_many(records, lambda codec: codec.put)

    def update(self, record: Record) -> None:
        """Replace the record with this key.

        Raises:
            NotFoundError: If there is none.
        """
        codec = codec_for(type(record))
        if not self._change(codec, codec.update, record).rowcount:
            key = [getattr(record, name) for name in codec.cls.key]
            raise NotFoundError(f"{codec.cls.table} has no {_spelled(codec, key)}")

    def delete(self, cls: type[Record], **key: object) -> int:
        """Remove the records whose columns equal these; None is IS NULL and a list is IN.

        Returns:
            How many there were.
        """
        if not key:
            raise DataError(f"deleting from {cls.table} needs at least one column")
        codec = codec_for(cls)
        condition, bound = codec.condition(key)
        with translated(self._path, cls.table):
            return self._open().execute(f"DELETE FROM {codec.table}{condition}", bound).rowcount

    def get(self, cls: type[T], **key: object) -> T | None:
        """Read one record inside the transaction, which sees its own writes."""
        with translated(self._path, cls.table):
            return read_one(self._open(), cls, key)

    def has(self, cls: type[Record], **key: object) -> bool:
        """Whether there is a record whose columns equal these; its content is neither read nor checked."""
        codec = codec_for(cls)
        condition, bound = codec.condition(key)
        return bool(self.execute(f"SELECT 1 FROM {codec.table}{condition} LIMIT 1", bound))

    def select(self, cls: type[T], rest: str, params: Sequence[Any] = ()) -> builtins.list[T]:
        """Return the records that a SELECT finds; `rest` is its text after the table's name."""
        codec = codec_for(cls)
        return [codec.decode(row) for row in self.execute(f"{codec.select} {rest}", params)]

    def list(
        self,
        cls: type[T],
        *,
        where: Mapping[str, object] | None = None,
        order: str | None = None,
        limit: int | None = None,
    ) -> builtins.list[T]:
        """Return records, as `Database.list` does."""
        return self.select(cls, *codec_for(cls).listing(where, order, limit))

    def execute(self, sql: str, params: Sequence[Any] = ()) -> builtins.list[tuple[Any, ...]]:
        """Run one statement and return its rows; a change returns the rows it touched by RETURNING."""
        with translated(self._path, "the database"):
            return self._open().execute(sql, params).fetchall()

    def take_sequence(self, rows: int) -> int:
        """Take the workspace's next sequence numbers.

        Args:
            rows: How many need one.

        Returns:
            The base: row i has `n = base + i` with ordinals i from 1 to `rows`. The first `n` ever is 1.
        """
        if rows < 0:
            raise DataError(f"cannot take {rows} sequence numbers")
        before = self.sequence()
        if rows:
            self._set_counter("sequence", before + rows)
        return before

    def sequence(self) -> int:
        """Return the last sequence number taken, by this transaction too; 0 if none ever was."""
        return self._counter("sequence")

    def count_commit(self) -> int:
        """Number the commit that ends this transaction; return the number."""
        number = self._counter("commits") + 1
        self._set_counter("commits", number)
        return number

    def count_quiet(self) -> None:
        """Number the commit that ends this transaction among those that change nothing that anybody looks at."""
        known = self.get(Counter, name="quiet")
        self.put(Counter(name="quiet", value=(0 if known is None else known.value) + 1))

    def audit(self, action: str, subject: str | Person, **detail: object) -> AuditEntry:
        """Append an entry to the audit log, chained to the one before by its hash.

        The time is the machine's, also where the workspace runs on a replay clock.

        Args:
            action: What is done, such as "run.start".
            subject: What it is done to.
            detail: More about it: never a value of a row, and what callers write only as `FreeText` or `Person`.
        """
        assert self._actor is not None, "a write that is not audited says nothing in the audit log"
        last = self.list(AuditEntry, order="-n", limit=1)
        entry = AuditEntry(
            n=last[0].n + 1 if last else 1,
            at=from_micros(to_micros(system_clock())),
            actor=self._actor,
            action=action,
            subject=pseudonymous(self, subject),
            detail={name: pseudonymous(self, value) for name, value in detail.items()},
            previous=last[0].hash if last else GENESIS,
            hash="",
        )
        *values, _, _ = codec_for(AuditEntry).encode(entry)
        entry = self.insert(msgspec.structs.replace(entry, hash=audit_hash(values)))
        self._set_counter("audit", entry.n)
        return entry

    def close(self) -> None:
        """End it: a transaction object that is kept after its block must not write into the next one."""
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ConflictError("this write transaction has ended", hint="begin a new one")
        return self._connection

    def _change(self, codec: RowCodec[Any], sql: str, record: Record) -> sqlite3.Cursor:
        with translated(self._path, codec.cls.table):
            return self._open().execute(sql, codec.encode(record))

    def _change_many(self, records: Iterable[Record], statement: Callable[[RowCodec[Any]], str]) -> None:
        remaining = iter(records)
        first = next(remaining, None)
        if first is None:
            return
        codec = codec_for(type(first))
        records = chain((first,), remaining)
        if codec.assigned_id:
            records = self._with_ids(codec, records)
        with translated(self._path, codec.cls.table):
            self._open().executemany(statement(codec), map(codec.encode, records))

    def _with_ids(self, codec: RowCodec[Any], records: Iterable[Record]) -> Iterator[Record]:
        key = codec.cls.key[0]
        ids = count(self._next_id(codec))
        return (
            msgspec.structs.replace(one, **{key: next(ids)}) if getattr(one, key) is None else one for one in records
        )

    def _next_id(self, codec: RowCodec[Any]) -> int:
        """Return the next id, as SQLite would assign it: one that no record ever had.

        It is needed before the record is written, so that the checksum covers it.
        """
        name = quoted(codec.cls.key[0])
        ((greatest, used),) = self.execute(
            f"SELECT (SELECT max({name}) FROM {codec.table}), (SELECT seq FROM sqlite_sequence WHERE name = ?)",
            (codec.cls.table,),
        )
        return max(greatest or 0, used or 0) + 1

    def _counter(self, name: str) -> int:
        with translated(self._path, "counters"):
            return read_counter(self._open(), name)

    def _set_counter(self, name: str, value: int) -> None:
        self.update(Counter(name=name, value=value))


def read_one(connection: sqlite3.Connection, cls: type[T], key: Mapping[str, object]) -> T | None:
    """Read the record whose columns equal these, or None."""
    codec = codec_for(cls)
    condition, bound = codec.condition(key)
    row = connection.execute(f"{codec.select}{condition} LIMIT 1", bound).fetchone()
    return None if row is None else codec.decode(row)


def _spelled(codec: RowCodec[Any], key: Sequence[Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(codec.cls.key, key, strict=True))
