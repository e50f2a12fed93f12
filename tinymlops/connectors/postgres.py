"""PostgreSQL over ADBC: columns come as Arrow by `COPY`, in one transaction that only reads."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from tinymlops.connectors.connector import Read, Server
from tinymlops.connectors.open_transactions import floor_of
from tinymlops.connectors.postgres_errors import refused
from tinymlops.connectors.postgres_session import Session, driver, rows_of
from tinymlops.connectors.postgres_values import frame_of
from tinymlops.connectors.queries import quoted, relation, table_of
from tinymlops.errors import DefinitionError, near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from tinymlops.connectors.addresses import Address
    from tinymlops.connectors.connector import Asked

__all__ = ["PostgreSQL"]

_TABLES = (
    "select table_schema, table_name from information_schema.tables where table_schema not in ('pg_catalog', "
    "'information_schema') order by 1, 2 limit 10000"
)


class PostgreSQL:
    """One database of a server.

    Args:
        address: Where it is.
        timeout: Microseconds after which the server gives up a statement.
    """

    def __init__(self, address: Address, *, timeout: int) -> None:
        self._address, self._timeout = address, timeout
        self._session = Session(address)

    def read(self, asked: Asked) -> Read:
        """Read rows in one snapshot; see `Connector`."""
        return self._session.aside(partial(self._read, asked))

    def columns(self, text: str, times: Sequence[str] = ()) -> Mapping[str, pl.DataType | None]:
        """Return the columns of a table or a SELECT; see `Connector`."""
        del times  # it has types for them
        return self._session.aside(partial(self._columns, text))

    def server(self) -> Server:
        """Reach the server; see `Connector`."""
        return self._session.aside(self._server)

    def _read(self, asked: Asked) -> Read:
        from_clause = relation(asked.text)
        with self._session.cursor() as cursor:
            # Before the snapshot: what is open now and not in it, or begins later, has a later start than the floor.
            with self._telling(cursor, "", []):
                floor = None if asked.cursor is None else floor_of(lambda sql: rows_of(cursor, sql))
            with self._telling(cursor, asked.text, [asked.cursor, asked.ids]):
                self._begin(cursor, asked.zone)
                frame = _frame(cursor, f"select * from {from_clause}{_where(asked)}")
                ids = None
                if asked.ids is not None:
                    ids = _frame(cursor, f"select {quoted(asked.ids)} from {from_clause}").to_series()
                cursor.execute("commit")
        if floor is None:
            return Read(frame, ids, None)
        return Read(frame, ids, floor.micros, floor.unknown, floor.hint)

    def _columns(self, text: str) -> Mapping[str, pl.DataType | None]:
        with self._session.cursor() as cursor, self._telling(cursor, text, []):
            self._begin(cursor, "UTC")
            return dict(_frame(cursor, f"select * from {relation(text)} limit 0").schema)

    def _server(self) -> Server:
        with self._session.cursor() as cursor, self._telling(cursor, "", []):
            ((version, user),) = rows_of(cursor, "select current_setting('server_version'), current_user::text")
            floor = floor_of(lambda sql: rows_of(cursor, sql))
            notes = (f"{floor.unknown}: {floor.hint}",) if floor.unknown else ()
            return Server(f"PostgreSQL {version}, as {user}", notes)

    def _begin(self, cursor: Any, zone: str) -> None:
        """Begin the one transaction of a read; its settings are its own, for a pooler may share the session."""
        cursor.execute("begin isolation level repeatable read read only")
        cursor.execute(f"set local statement_timeout = {min(self._timeout // 1_000, 2**31 - 1)}")
        cursor.execute("set local timezone = '{}'".format(zone.replace("'", "''")))

    @contextmanager
    def _telling(self, cursor: Any, text: str, names: list[str | None]) -> Iterator[None]:
        """Turn what the server refuses into our errors, with the name that was most likely meant.

        Args:
            cursor: An open one.
            text: The table or SELECT.
            names: Columns that it must have.
        """
        dbapi = driver()
        try:
            yield
        except dbapi.Error as error:
            state, said = error.sqlstate, str(error)
        else:
            return
        if state == "42P01" and text:
            raise self._no_table(cursor, text, said)
        if state == "42703":
            missing = self._no_column(cursor, text, names)
            if missing is not None:
                raise missing
        raise refused(self._address, state, said)

    def _no_table(self, cursor: Any, text: str, said: str) -> DefinitionError:
        known = [tuple(map(str, row)) for row in self._after_error(cursor, _TABLES)]
        names = {table for _, table in known} | {f"{schema}.{table}" for schema, table in known}
        table = table_of(text)
        missing = ".".join(table) if table is not None else said.partition('"')[2].partition('"')[0]
        return DefinitionError(
            f"connection {self._address.name!r} has no table {missing!r}",
            hint=near(missing, names - {missing}, otherwise="see that its user may use the schema that it is in"),
        )

    def _no_column(self, cursor: Any, text: str, names: list[str | None]) -> DefinitionError | None:
        """Return the error for one of our own columns; None if the user's SELECT names one that is not there."""
        dbapi = driver()
        with suppress(dbapi.Error):
            cursor.execute("rollback")
            known = _frame(cursor, f"select * from {relation(text)} limit 0").columns
            for name in names:
                if name is not None and name not in known:
                    what = f"{text.strip()!r}" if table_of(text) is not None else "the SELECT"
                    return DefinitionError(
                        f"{what} of connection {self._address.name!r} has no column {name!r}", hint=near(name, known)
                    )
        return None

    def _after_error(self, cursor: Any, sql: str) -> list[tuple[Any, ...]]:
        dbapi = driver()
        with suppress(dbapi.Error):
            cursor.execute("rollback")
            return rows_of(cursor, sql)
        return []


def _where(asked: Asked) -> str:
    """Return the condition on new rows; one without a cursor may always be new."""
    if asked.cursor is None or asked.since is None:
        return ""
    name = quoted(asked.cursor)
    found = f" where {name} >= timestamptz '{asked.since.isoformat()}' or {name} is null"
    if asked.ids is None or not asked.also:
        return found
    return f"{found} or {quoted(asked.ids)} in ({', '.join(map(_literal, asked.also))})"


def _literal(value: int | str) -> str:
    return str(value) if isinstance(value, int) else "'{}'".format(value.replace("'", "''"))


def _frame(cursor: Any, sql: str) -> pl.DataFrame:
    cursor.execute(sql)
    return frame_of(cursor.fetch_arrow_table())
