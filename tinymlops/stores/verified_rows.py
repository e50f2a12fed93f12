"""Rows that this process has compared with their checksums: a decision that rests on all of them reads each only once."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from tinymlops.errors import IntegrityError
from tinymlops.stores._sqlite import RESTORE
from tinymlops.stores.json_text import to_json
from tinymlops.stores.rows import CHECK, codec_for, quoted

if TYPE_CHECKING:
    from tinymlops.records import Record
    from tinymlops.stores.database import Database

__all__ = ["VerifiedRows", "verified_rows"]


class VerifiedRows:
    """The rows of a database that were found to be what was written, by key and checksum.

    A row is compared when it is first needed and after each change. One that is damaged on the disk after that is found when
    it is read itself, or by another process.

    Args:
        database: To read from.
    """

    def __init__(self, database: Database) -> None:
        self._database = weakref.ref(database)
        self._known: dict[tuple[str, str | None], tuple[int, frozenset[int]]] = {}
        self._lock = threading.Lock()

    def require(self, cls: type[Record], *, key: str, within: tuple[str, str] | None = None, index: str = "") -> int:
        """Compare rows with their checksums, each once.

        Args:
            cls: The class of the records.
            key: The column that tells the rows apart.
            within: A column of the key and its value, for only those rows.
            index: An index without that column at its head, to see that no row is hidden by a damaged value of it.

        Returns:
            The number of rows.

        Raises:
            IntegrityError: If one is not what was written.
        """
        database = self._database()
        assert database is not None, "whoever calls this holds the database"
        scope = (cls.table, within[1] if within is not None else None)
        with self._lock:
            commits = database.commits()
            before, known = self._known.get(scope, (None, frozenset[int]()))
            if before != commits:
                known = self._compare(database, cls, key, within, index, known if before is not None else None)
                self._known[scope] = commits, known
        return len(known)

    def _compare(
        self,
        database: Database,
        cls: type[Record],
        key: str,
        within: tuple[str, str] | None,
        index: str,
        known: frozenset[int] | None,
    ) -> frozenset[int]:
        codec = codec_for(cls)
        condition = f" WHERE {quoted(within[0])} = ?" if within is not None else ""
        bound = [within[1]] if within is not None else []
        if known is None:
            if within is not None and index:
                _require_all(database, cls, within, index)
            place = codec.names.index(key)
            rows = database.each(codec.select + condition, bound)
            return frozenset(hash((codec.checked(row)[place], row[-1])) for row in rows)
        pairs = {
            hash(row): row[0]
            for row in database.each(f"SELECT {quoted(key)}, {CHECK} FROM {codec.table}{condition}", bound)
        }
        new = [pairs[one] for one in pairs.keys() - known]
        if new:
            both = f"{condition or ' WHERE'}{' AND' if condition else ''} {quoted(key)} IN (SELECT value FROM json_each(?))"
            for row in database.each(codec.select + both, [*bound, to_json(new)]):
                codec.checked(row)
        return frozenset(pairs)


def _require_all(database: Database, cls: type[Record], within: tuple[str, str], index: str) -> None:
    """Compare how many rows the table and an index of it have: a damaged key hides a row from one of them."""
    column, value = within
    table = codec_for(cls).table
    ((listed, found),) = database.rows(
        f"SELECT (SELECT count(*) FROM {table} INDEXED BY {quoted(index)} WHERE {quoted(column)} = ?),"
        f" (SELECT count(*) FROM {table} WHERE {quoted(column)} = ?)",
        [value, value],
    )
    if listed != found:
        raise IntegrityError(
            f"table {cls.table} has {found} rows with {column}={value!r}, and its index {listed}", hint=RESTORE
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
