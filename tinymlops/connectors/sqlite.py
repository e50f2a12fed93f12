"""SQLite: a file of others, opened to read, in one snapshot."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing, contextmanager
from datetime import UTC, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote
from zoneinfo import ZoneInfo

import polars as pl

from tinymlops.connectors.connector import Read, Server
from tinymlops.connectors.queries import quoted, relation, table_of
from tinymlops.connectors.sqlite_values import column_from, declared
from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError, UnavailableError, near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinymlops.connectors.addresses import Address
    from tinymlops.connectors.connector import Asked

__all__ = ["SQLite"]

_BUSY = 30.0
"""Seconds to wait for a writer that keeps readers out."""
_STEPS = 10_000
"""Virtual-machine steps between two looks at the clock."""


class SQLite:
    """One file.

    Args:
        address: Where it is.
        timeout: Microseconds after which a read is given up.
    """

    def __init__(self, address: Address, *, timeout: int) -> None:
        assert address.path is not None, "a file has a path"
        self._name, self._path, self._timeout = address.name, address.path, timeout

    def read(self, asked: Asked) -> Read:
        """Read rows in one snapshot; see `Connector`.

        One transaction writes at a time, so every row that the snapshot lacks is written after it was taken.
        """
        floor = time.time_ns() // 1_000
        with self._connection(asked.text) as connection:
            columns = self._columns(connection, asked.text)
            self._require(asked, list(columns))
            where, values = "", []
            if asked.cursor is not None and asked.since is not None:
                moment = f"julianday({quoted(asked.cursor)})"
                where, values = f" where {moment} >= julianday(?) or {moment} is null", [_moment(asked)]
                if asked.ids is not None and asked.also:
                    where += f" or {quoted(asked.ids)} in (select value from json_each(?))"
                    values.append(json.dumps(asked.also))
            sql = f"select * from {relation(asked.text)}{where}"
            frame = _frame(connection, sql, values, columns, asked.times)
            ids = None
            if asked.ids is not None:
                sql = f"select {quoted(asked.ids)} from {relation(asked.text)}"
                ids = _frame(connection, sql, [], columns, asked.times).to_series()
        return Read(frame, ids, floor)

    def columns(self, text: str, times: Sequence[str] = ()) -> Mapping[str, pl.DataType | None]:
        """Return the columns of a table or a SELECT; see `Connector`."""
        with self._connection(text) as connection:
            found = self._columns(connection, text)
        dated = (pl.Datetime, pl.Date)
        return {
            name: None if kind is None or (name in times and kind not in dated) else kind()
            for name, kind in found.items()
        }

    def server(self) -> Server:
        """Open the file; see `Connector`."""
        with self._connection("") as connection:
            connection.execute("select count(*) from sqlite_schema").fetchone()
        return Server(f"SQLite {sqlite3.sqlite_version}")

    @contextmanager
    def _connection(self, text: str) -> Iterator[sqlite3.Connection]:
        """Open the file for one snapshot, and turn SQLite's errors into ours."""
        if not self._path.is_file():
            raise NotFoundError(
                f"connection {self._name!r} reads {self._path}, which is not there",
                hint="paths start at the directory of tinymlops.toml: correct its url",
            )
        address = f"file:{quote(str(self._path.resolve()))}?mode=ro"
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=_BUSY, isolation_level=None)) as connection:
                end = time.monotonic() + self._timeout / 1_000_000
                connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
                connection.execute("begin")
                yield connection
        except sqlite3.Error as error:
            raise self._refused(error, text) from error

    def _columns(self, connection: sqlite3.Connection, text: str) -> dict[str, type[pl.DataType] | None]:
        """Return the columns and their declared types; a SELECT declares none."""
        names = _names(connection.execute(f"select * from {relation(text)} limit 0"))
        table = table_of(text)
        if table is None:
            return dict.fromkeys(names)
        schema = f"{quoted(table[-2])}." if len(table) > 1 else ""
        told = connection.execute(f"pragma {schema}table_xinfo({quoted(table[-1])})").fetchall()
        kinds = {str(row[1]): declared(str(row[2])) for row in told}
        return {name: kinds.get(name) for name in names}

    def _require(self, asked: Asked, columns: Sequence[str]) -> None:
        # SQLite takes "name" for a text where there is no such column.
        for name in (asked.cursor, asked.ids):
            if name is not None and name not in columns:
                raise DefinitionError(
                    f"{asked.text.strip()[:80]!r} of connection {self._name!r} has no column {name!r}",
                    hint=near(name, columns),
                )

    def _refused(self, error: sqlite3.Error, text: str) -> Exception:
        said, where = str(error), f"connection {self._name!r}"
        if said.startswith("no such table: "):
            missing = said.removeprefix("no such table: ").removeprefix("main.")
            return DefinitionError(f"{where} has no table {missing!r}", hint=near(missing, self._tables()))
        if said == "interrupted":
            return DataError(
                f"{where} took longer than the limit and was ended",
                hint="set ingest_timeout in the table [sql] of tinymlops.toml",
            )
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_IOERR")):
            return UnavailableError(f"{where}: {self._path} cannot be read now: {said}", hint="try again")
        if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return AccessError(
                f"{where}: {self._path} cannot be read: {said}", hint="a source only reads; see who may read the file"
            )
        if code.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return DataError(f"{where}: {self._path} is no SQLite database, or is damaged: {said}", hint="see its url")
        if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError) and text:
            return DefinitionError(f"{where}: {said}", hint="correct the table or the SELECT")
        return DataError(f"{where}: {said}", hint="correct the SELECT, or the values that it reads")

    def _tables(self) -> list[str]:
        try:
            with self._connection("") as connection:
                found = connection.execute("select name from sqlite_schema where type in ('table', 'view')").fetchall()
        except (AccessError, DataError, DefinitionError, UnavailableError):
            return []
        return [str(name) for (name,) in found]


def _moment(asked: Asked) -> str:
    """Return `since` as SQLite compares it with the cursor; a second early, for its rounding.

    Texts without an offset are of the source's zone, and SQLite takes them for UTC: of both readings the earlier.
    """
    assert asked.since is not None, "asked where rows are left out"
    early = asked.since - timedelta(seconds=1)
    return min(early.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S") for zone in (UTC, ZoneInfo(asked.zone)))


def _names(cursor: sqlite3.Cursor) -> list[str]:
    return [str(one[0]) for one in cursor.description or ()]


def _frame(
    connection: sqlite3.Connection,
    sql: str,
    values: Sequence[str],
    columns: Mapping[str, type[pl.DataType] | None],
    times: Sequence[str],
) -> pl.DataFrame:
    cursor = connection.execute(sql, values)
    names = _names(cursor)
    rows = cursor.fetchall()
    found = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        [
            column_from(name, list(one), columns.get(name), is_time=name in times)
            for name, one in zip(names, found, strict=True)
        ]
    )
