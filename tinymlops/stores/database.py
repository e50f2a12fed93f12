"""`meta.db`: the workspace's only commit point.

Writing goes through `Database.write` alone, one transaction at a time over all processes (`write.lock`);
reading never waits for it. SQLite 3.7.0 to 3.51.2 can lose a WAL when a checkpoint meets another connection's
write, so every write, every checkpoint, opening and closing hold that lock.

Every record is compared with its checksum when it is read (`rows.py`); the schema, small tables with their indexes and
the number of the last commit when the file is opened (`_opening.py`).
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from tinymlops.errors import ConflictError, IntegrityError, NotFoundError
from tinymlops.records import TABLES, AuditHead, Record
from tinymlops.stores._commits import LastCommit
from tinymlops.stores._opening import build, upgrade, version_of
from tinymlops.stores._sqlite import RESTORE, connected, prepare, translated
from tinymlops.stores._verify import audit_head, audit_problems, read_counter, row_problems
from tinymlops.stores.fence import fence_of
from tinymlops.stores.forked import Owner
from tinymlops.stores.migrations import SCHEMA_VERSION, refuse_second_sqlite
from tinymlops.stores.publish import fsync
from tinymlops.stores.rows import codec_for
from tinymlops.stores.shared_commit import SharedCommit
from tinymlops.stores.transaction import Transaction, read_one

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tinymlops.stores.locks import FileLock

__all__ = ["Database", "Transaction"]

T = TypeVar("T", bound=Record)
R = TypeVar("R")
_PATIENCE = 60.0
"""Seconds to wait for earlier writers: each holds the lock for milliseconds."""
_WAL_LIMIT = 8 * 2**20


class Database:
    """The SQLite database of a workspace, shared by the threads of one process.

    Args:
        path: The file, `meta.db`.
        write_lock: Serialises every write transaction and checkpoint over all processes.
    """

    def __init__(self, path: Path, write_lock: FileLock) -> None:
        self.path = path
        self._lock = write_lock
        self._directory = write_lock.directory
        self._last = LastCommit(path, self._directory)
        self._fence = fence_of(path.parent)
        self._owner = Owner(f"the database {path}")
        self._writer: sqlite3.Connection | None = None
        self._only_reads = False
        self._readers = threading.local()
        self._retirements: builtins.list[weakref.finalize[Any, Any]] = []
        self._retiring = threading.Lock()
        self._writing: int | None = None
        self._shared = SharedCommit(lambda actor: self.write(actor=actor), _PATIENCE)

    def create(self, first: Callable[[Transaction], object]) -> None:
        """Create the file, complete or not at all, and open it; an existing one is only opened.

        Args:
            first: Writes what must be in it from the beginning.
        """
        with self._lock.exclusive(deadline=_PATIENCE):
            if not self.path.exists():
                build(self.path, self._last, first)
            self.open()

    def open(self) -> None:
        """Open the file, after migrating an older schema.

        Raises:
            NotFoundError: If there is no such file.
            IntegrityError: If it is damaged, has lost commits, or was written by a newer tinymlops.
        """
        self._owner.check()
        refuse_second_sqlite()
        if not self.path.exists():
            raise NotFoundError(f"there is no database {self.path}")
        with self._lock.exclusive(deadline=_PATIENCE), translated(self.path, "the database"):
            connection = connected(self.path)
            try:
                upgrade(connection, self.path, self._last)
            except BaseException:
                connection.close()
                raise
            self._writer = connection
        self._directory.check()

    def open_to_read(self) -> None:
        """Open the file for reads alone, while another process has it open: no lock is taken, and nothing is migrated.

        All that a thread reads is of one commit.

        Raises:
            IntegrityError: If its schema is not the one that this tinymlops reads.
        """
        self._owner.check()
        self._only_reads = True
        with translated(self.path, "the database"):
            version = version_of(self._reader(), self.path)
        if version != SCHEMA_VERSION:
            raise IntegrityError(
                f"{self.path} has schema {version}, and not {SCHEMA_VERSION}", hint="restart what serves the workspace"
            )

    def close(self) -> None:
        """Close every connection of this process; in a fork of it, do nothing."""
        if self._only_reads and self._owner.is_here:
            self._retire()
        if not self._owner.is_here or self._writer is None:
            return
        with ExitStack() as stack:
            # A file that was moved or removed is closed all the same.
            with suppress(IntegrityError):
                stack.enter_context(self._lock.exclusive(deadline=_PATIENCE))
            writer, self._writer = self._writer, None
            self._retire()
            # A reader in another process may hold the WAL; then its own close empties it.
            writer.execute("PRAGMA busy_timeout = 0")
            with suppress(sqlite3.OperationalError):
                writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            writer.close()

    def _retire(self) -> None:
        """Close the readers of all threads."""
        for retire in self._retirements:
            retire()
        self._readers = threading.local()

    def get(self, cls: type[T], **key: object) -> T | None:
        """Return the record whose columns equal these, or None.

        Raises:
            DefinitionError: If a column does not exist.
        """
        with translated(self.path, cls.table):
            return read_one(self._reader(), cls, key)

    def newest(self, cls: type[T], **key: object) -> T | None:
        """Return the record whose columns equal these and that was added last, by row number, not by the clock, or None.

        Raises:
            DefinitionError: If a column does not exist.
        """
        codec = codec_for(cls)
        condition, bound = codec.condition(key)
        rows = self.rows(f"{codec.select}{condition} ORDER BY rowid DESC LIMIT 1", bound)
        return codec.decode(rows[0]) if rows else None

    def list(
        self,
        cls: type[T],
        *,
        where: Mapping[str, object] | None = None,
        order: str | None = None,
        limit: int | None = None,
    ) -> builtins.list[T]:
        """Return records.

        Args:
            cls: The class of the records.
            where: Column to value: a scalar is equality, None is IS NULL, a list is IN.
            order: A column, descending with a leading minus ("-started_at"); ties, and a listing without it, are in the
                order of the key.
            limit: The most records to return.

        Raises:
            DefinitionError: If a column does not exist.
        """
        return self.select(cls, *codec_for(cls).listing(where, order, limit))

    def select(self, cls: type[T], rest: str, params: Sequence[Any] = ()) -> builtins.list[T]:
        """Return the records that a SELECT finds; `rest` is its text after the table's name."""
        codec = codec_for(cls)
        return [codec.decode(row) for row in self.rows(f"{codec.select} {rest}", params)]

    def stored(self, cls: type[Record], rest: str, params: Sequence[Any] = ()) -> builtins.list[builtins.list[Any]]:
        """Return the rows that `select` finds as SQLite's values in the order of the record's fields: fast for many rows."""
        codec = codec_for(cls)
        return [codec.checked(row) for row in self.rows(f"{codec.select} {rest}", params)]

    def rows(self, sql: str, params: Sequence[Any] = ()) -> builtins.list[tuple[Any, ...]]:
        """Return the rows of one SELECT, without checking their checksums; the connection refuses to write."""
        with translated(self.path, "the database"):
            return self._reader().execute(sql, params).fetchall()

    @contextmanager
    def batches(
        self, sql: str, params: Sequence[Any] = (), *, size: int = 256
    ) -> Iterator[Iterator[builtins.list[tuple[Any, ...]]]]:
        """Read the rows of one SELECT as `rows` returns them, some at a time: fast for many of which none is kept."""
        with translated(self.path, "the database"), closing(self._reader().cursor()) as cursor:
            cursor.execute(sql, params)
            # An open cursor would keep this thread's reader at one commit.
            yield iter(lambda: cursor.fetchmany(size), [])

    def count(self, cls: type[Record], where: Mapping[str, object] | None = None) -> int:
        """Return how many records there are; `where` as in `list`."""
        codec = codec_for(cls)
        condition, bound = codec.condition(where or {})
        ((count,),) = self.rows(f"SELECT count(*) FROM {codec.table}{condition}", bound)
        return int(count)

    def sequence(self) -> int:
        """Return the last committed sequence number of the workspace; 0 if there is none."""
        with translated(self.path, "the database"):
            return read_counter(self._reader(), "sequence")

    def commits(self) -> int:
        """Return the number of commits so far."""
        with translated(self.path, "the database"):
            return read_counter(self._reader(), "commits")

    def changes(self) -> int:
        """Return the number of commits so far without those that change nothing that anybody looks at."""
        sql = "SELECT sum(iif(name = 'quiet', -value, value)) FROM counters WHERE name IN ('commits', 'quiet')"
        ((changes,),) = self.rows(sql)
        return int(changes)

    def copy_to(self, target: Path) -> None:
        """Write a copy as of one commit, durably and into one file, while others write."""
        with translated(target, "the copy"):
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                self._reader().backup(copy)
            finally:
                copy.close()
        with target.open("rb") as file:
            fsync(file.fileno())

    def audit_head(self) -> AuditHead:
        """Return the last entry of the audit log."""
        with translated(self.path, "the audit log"):
            return audit_head(self._reader())

    def verify_audit(self, since: AuditHead | None = None) -> builtins.list[str]:
        """Check the audit log's chain of hashes.

        Args:
            since: A head that it had once, kept elsewhere: the log must go on from it.

        Returns:
            What was removed or edited, one sentence each; empty if nothing was.
        """
        with translated(self.path, "the audit log"):
            return audit_problems(self._reader(), since)

    def damaged_rows(self, *classes: type[Record]) -> builtins.list[str]:
        """Compare every row with its checksum.

        Args:
            *classes: The classes of records to check; none for all.

        Returns:
            The rows that are not what was written, one sentence each.
        """
        return row_problems(self._reader(), self.path, classes or TABLES)

    def require_rows(self, *classes: type[Record]) -> None:
        """Compare every row of some records with its checksum, before a decision that rests on records *not* found.

        Raises:
            IntegrityError: If one is not what was written.
        """
        for problem in self.damaged_rows(*classes):
            raise IntegrityError(problem, hint=RESTORE)

    @contextmanager
    def write(self, *, actor: str | None) -> Iterator[Transaction]:
        """Write in one transaction: durable when the block ends, rolled back if it raises.

        Keep it short and run no user code inside: all writers of all processes wait for it.

        Args:
            actor: The actor in the audit log; None to write no entry.

        Raises:
            ConflictError: If other writers held the lock for a minute, or this thread is writing already.
            IntegrityError: If a newer tinymlops has changed the schema meanwhile, or the workspace was moved, removed
                or replaced.
        """
        self._require_outside()
        with self._lock.exclusive(deadline=_PATIENCE):
            connection = self._open_writer()
            self._writing = threading.get_ident()
            before, number = connection.total_changes, None
            try:
                with self._transaction(connection):
                    transaction = Transaction(connection, self.path, actor=actor)
                    try:
                        yield transaction
                        self._owner.check()
                        self._directory.check()
                        if connection.total_changes != before:
                            number = transaction.count_commit()
                    finally:
                        transaction.close()
                if number is not None:
                    self._last.write(number)
                self._checkpoint(connection)
            finally:
                self._writing = None

    def write_together(self, work: Callable[[Transaction], R], *, actor: str | None) -> R:
        """Do some work in a transaction that threads of this process may share: durable when this returns.

        Args:
            work: As for the block of `write`, and called more than once where a commit of several fails: `SharedCommit.run`.
            actor: As for `write`.

        Returns:
            What the work returned.

        Raises:
            ConflictError: As `write` does.
            IntegrityError: As `write` does.
        """
        self._require_outside()
        return self._shared.run(actor, work)

    def _require_outside(self) -> None:
        self._owner.check()
        if self._writing == threading.get_ident():
            raise ConflictError(
                "this thread is inside a write transaction already", hint="use that transaction's methods"
            )

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        with translated(self.path, "the database"):
            connection.execute("BEGIN IMMEDIATE")
        try:
            version_of(connection, self.path)
            if self._fence is not None:
                self._fence.check(connection)
            yield
            with translated(self.path, "the database"):
                connection.execute("COMMIT")
        except BaseException:
            # A full disk may have rolled back already. In a fork, the transaction is the parent's to end.
            if self._owner.is_here and connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        if self._directory.size(self.path.name + "-wal") > _WAL_LIMIT:
            # The commit stands even if this fails; the next writer tries again.
            with suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _open_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            raise self._not_open()
        return self._writer

    def _reader(self) -> sqlite3.Connection:
        self._owner.check()
        reader: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        if reader is None:
            reader = self._readers.connection = self._new_reader()
        return reader

    def _new_reader(self) -> sqlite3.Connection:
        if self._writer is None and not self._only_reads:
            raise self._not_open()
        # No write.lock here: while the writer's connection is open this one is neither first nor last.
        reader = connected(self.path, only_reads=self._only_reads)
        prepare(reader)
        reader.execute("PRAGMA query_only = ON")
        if self._only_reads:
            reader.execute("BEGIN")
        # It opened the file by its path, and opens the log with the first read.
        reader.execute("PRAGMA user_version").fetchall()
        self._directory.check()
        retire = weakref.finalize(threading.current_thread(), reader.close)
        retire.atexit = False
        with self._retiring:
            self._retirements = [other for other in self._retirements if other.alive] + [retire]
        return reader

    def _not_open(self) -> ConflictError:
        return ConflictError(f"the database {self.path} is closed", hint="connect to the workspace again")
