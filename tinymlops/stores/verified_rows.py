"""Rows that this process has compared with their checksums: a decision that rests on all of them reads each only once."""

from __future__ import annotations

import threading
import weakref
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.errors import IntegrityError
from tinymlops.stores._sqlite import RESTORE
from tinymlops.stores.json_text import to_json
from tinymlops.stores.rows import CHECK, codec_for, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.records import Record
    from tinymlops.stores.database import Database

__all__ = ["VerifiedRows", "verified_rows"]

_MOST_SCOPES = 1_000


class VerifiedRows:
    """The rows of a database that were found to be what was written, by key and checksum.

    A row is compared when it is first needed and after each change. One that is damaged on the disk after that is found when
    it is read itself, or by another process.

    Args:
        database: To read from.
    """

    def __init__(self, database: Database) -> None:
        self._database = weakref.ref(database)
        self._known: dict[_Scope, tuple[int, frozenset[int]]] = {}
        self._lock = threading.Lock()

    def require(self, cls: type[Record], *, key: str) -> int:
        """Compare the rows of a table with their checksums, each once; return how many there are.

        Args:
            cls: The class of the records.
            key: The only column of its key.

        Raises:
            IntegrityError: If one is not what was written.
        """
        return self._require(_Scope(cls, key), lambda _: None)

    def require_within(self, cls: type[Record], *, key: str, column: str, value: str, index: str, complete: int) -> int:
        """Compare the rows with one value in a column of the key, as `require` does.

        A damaged value hides a row. So where there are fewer than expected, an index is asked how many there should be.

        Args:
            cls: The class of the records.
            key: The other column of its key.
            column: The column.
            value: Its value.
            index: An index that has the column, but not at its head: it says nothing of the order of the table.
            complete: The number of rows when every possible key is there.

        Raises:
            IntegrityError: If one is not what was written, or is missing.
        """
        scope = _Scope(cls, key, column, value)

        def require_all(found: int) -> None:
            if found != complete:
                _require_all(self._open(), scope, index)

        return self._require(scope, require_all)

    def _require(self, scope: _Scope, require_all: Callable[[int], None]) -> int:
        database = self._open()
        with self._lock:
            commits = database.commits()
            before, known = self._known.get(scope, (None, frozenset[int]()))
            if before != commits:
                if before is None:
                    known = _compared(database, scope)
                    require_all(len(known))
                else:
                    known = _compared_again(database, scope, known)
                self._known[scope] = commits, known
                if len(self._known) > _MOST_SCOPES:  # clients may ask for any name
                    del self._known[next(iter(self._known))]
        return len(known)

    def _open(self) -> Database:
        database = self._database()
        assert database is not None, "whoever calls this holds the database"
        return database


class _Scope(NamedTuple):
    """Rows of one table: all of them, or those with one value in a column."""

    cls: type[Record]
    key: str
    column: str | None = None
    value: str | None = None

    @property
    def condition(self) -> tuple[str, list[str]]:
        """What follows the name of the table."""
        if self.column is None or self.value is None:
            return " WHERE 1", []
        return f" WHERE {quoted(self.column)} = ?", [self.value]


def _compared(database: Database, scope: _Scope) -> frozenset[int]:
    codec = codec_for(scope.cls)
    condition, bound = scope.condition
    of_pair = itemgetter(codec.names.index(scope.key), -1)
    with database.batches(codec.select + condition, bound) as batches:
        return frozenset(chain.from_iterable(map(hash, map(of_pair, codec.all_checked(one))) for one in batches))


def _compared_again(database: Database, scope: _Scope, known: frozenset[int]) -> frozenset[int]:
    codec = codec_for(scope.cls)
    condition, bound = scope.condition
    key = quoted(scope.key)
    pairs = {hash(row): row[0] for row in database.rows(f"SELECT {key}, {CHECK} FROM {codec.table}{condition}", bound)}
    new = [pairs[one] for one in pairs.keys() - known]
    if new:
        rest = f"{condition} AND {key} IN (SELECT value FROM json_each(?))"
        with database.batches(codec.select + rest, [*bound, to_json(new)]) as batches:
            for batch in batches:
                codec.all_checked(batch)
    return frozenset(pairs)


def _require_all(database: Database, scope: _Scope, index: str) -> None:
    table = codec_for(scope.cls).table
    condition, bound = scope.condition
    ((listed, found),) = database.rows(
        f"SELECT (SELECT count(*) FROM {table} INDEXED BY {quoted(index)}{condition}),"
        f" (SELECT count(*) FROM {table}{condition})",
        bound * 2,
    )
    if listed != found:
        raise IntegrityError(
            f"table {scope.cls.table} has {found} rows with {scope.column}={scope.value!r}, and its index {listed}",
            hint=RESTORE,
        )


def verified_rows(database: Database) -> VerifiedRows:
    """Return the rows of a database that this process has compared."""
    with _LOCK:
        found = _OF.get(database)
        if found is None:
            found = _OF[database] = VerifiedRows(database)
        return found


_OF: weakref.WeakKeyDictionary[Database, VerifiedRows] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()
