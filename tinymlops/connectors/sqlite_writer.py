"""SQLite, to be written to: a file of others, which is never made here."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from tinymlops.connectors import sqlite_types
from tinymlops.connectors.queries import quoted
from tinymlops.connectors.writing import Found, Place
from tinymlops.errors import (
    AccessError,
    DataError,
    DefinitionError,
    NotFoundError,
    TinyMLOpsError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from tinymlops.connectors.addresses import Address
    from tinymlops.connectors.writing import Column

__all__ = ["SQLiteDialect", "open_sqlite"]

_BUSY = 30.0
"""Seconds to wait for another writer."""
_SCHEMA = "main"


@contextmanager
def open_sqlite(address: Address, *, busy: float = _BUSY) -> Iterator[SQLiteDialect]:
    """Open the file.

    Args:
        address: Where it is.
        busy: Seconds to wait for another writer.

    Raises:
        NotFoundError: If it is not there.
        AccessError: If it may not be written.
    """
    assert address.path is not None, "a file has a path"
    if not address.path.is_file():
        raise NotFoundError(
            f"connection {address.name!r} writes to {address.path}, which is not there",
            hint="paths start at the directory of tinymlops.toml: correct its url, or make the database first",
        )
    uri = f"file:{quote(str(address.path.resolve()))}?mode=rw"
    failed: TinyMLOpsError
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=busy, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        failed = _not_written(address, error)
    else:
        with closing(connection):
            connection.execute("pragma temp_store = memory")
            yield SQLiteDialect(connection, address)
        return
    raise failed


class SQLiteDialect:
    """One open file; see `Dialect`."""

    lock = ""
    type_of = staticmethod(sqlite_types.type_of)
    takes = staticmethod(sqlite_types.takes)

    def __init__(self, connection: sqlite3.Connection, address: Address) -> None:
        self._connection, self._address = connection, address
        self.where = f"connection {address.name!r}"

    def begin(self, *, alone: bool = False) -> None:
        """Begin a transaction: one at a time writes."""
        del alone
        self.run("begin immediate")

    def run(self, sql: str) -> int:
        """Run a statement; return how many rows it changed."""
        try:
            return self._connection.execute(sql).rowcount
        except sqlite3.Error as error:
            raise _not_written(self._address, error) from error

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a SELECT."""
        try:
            return self._connection.execute(sql).fetchall()
        except sqlite3.Error as error:
            raise _not_written(self._address, error) from error

    def place_of(self, table: tuple[str, ...]) -> Place:
        """Return where a table is, or would be made; SQLite does not tell upper and lower case apart."""
        if len(table) > 1 and [part.lower() for part in table[:-1]] != [_SCHEMA]:
            raise DefinitionError(
                f"{'.'.join(table)!r} names a schema, and a file of SQLite has none", hint=f"write table={table[-1]!r}"
            )
        return Place(_SCHEMA, table[-1].lower())

    def found(self, place: Place) -> Found | None:
        """Return what a table is like; None if there is none."""
        name = _literal(place.name)
        kinds = self.ask(f"select type from sqlite_schema where lower(name) = {name} and type in ('table', 'view')")
        if not kinds:
            return None
        columns = self.ask(
            f'select name, type, "notnull" and dflt_value is null and not hidden, pk from pragma_table_xinfo({name})'
        )
        indexes = self.ask(
            "select l.name, i.name from pragma_index_list("
            f'{name}) as l join pragma_index_info(l.name) as i where l."unique" and not l.partial'
        )
        unique: dict[object, set[str]] = {}
        for index, column in indexes:
            unique.setdefault(index, set()).add(str(column))
        keys = frozenset(str(column) for column, _, _, place_in_key in columns if place_in_key)
        return Found(
            {str(column): str(kind) for column, kind, _, _ in columns},
            frozenset(str(column) for column, _, needed, _ in columns if needed),
            (keys, *map(frozenset, unique.values())),
        )

    def make_stage(self, name: str, columns: Sequence[Column], keys: Sequence[str]) -> None:
        """Make an empty table that nobody else sees and that goes with the transaction."""
        typed = ", ".join(f"{quoted(one.name)} {self.type_of(one)}" for one in columns)
        self.run(f"create temp table {name} ({typed}, primary key ({', '.join(map(quoted, keys))})) without rowid")

    def fill(self, name: str, columns: Sequence[Column], keys: Sequence[str], frame: pl.DataFrame) -> None:
        """Add rows to it."""
        rows = sqlite_types.values_of(columns, keys, frame)
        marks = ", ".join("?" * len(columns))
        try:
            self._connection.executemany(f"insert into {name} values ({marks})", rows)
        except sqlite3.Error as error:
            raise _not_written(self._address, error) from error

    def stored(self, column: Column, found: str) -> str:
        """Return what of a row of the stage goes into a column."""
        del found
        return f"s.{quoted(column.name)}"

    def differ(self, one: str, other: str, found: str) -> str:
        """Return whether two values differ, nulls included."""
        del found
        return f"{one} is not {other}"


def _literal(value: str) -> str:
    return "'{}'".format(value.replace("'", "''"))


def _not_written(address: Address, error: sqlite3.Error) -> TinyMLOpsError:
    said, where, path = str(error), f"connection {address.name!r}", address.path
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR", "SQLITE_FULL")):
        return UnavailableError(
            f"{where}: {path} did not take the rows: {said}",
            hint="whole batches before this one stay: see its disk and who else writes, and run the sink again",
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return AccessError(
            f"{where}: {path} cannot be written: {said}", hint="a sink writes to the file and to its directory"
        )
    if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return DataError(f"{where}: {path} is no SQLite database, or is damaged: {said}", hint="see its url")
    if isinstance(error, sqlite3.OperationalError):
        return DefinitionError(f"{where}: {said}", hint="correct the table of the sink")
    return DataError(f"{where}: {said}", hint="correct the values, or the constraints of the table")
