"""PostgreSQL, to be written to: rows come by `COPY` into a temporary table, and from there by one statement."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from tinymlops.connectors import postgres_types
from tinymlops.connectors.postgres_errors import not_written
from tinymlops.connectors.postgres_session import Session, driver, rows_of
from tinymlops.connectors.queries import quoted
from tinymlops.connectors.writing import Found, Place
from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tinymlops.connectors.addresses import Address
    from tinymlops.connectors.writing import Column

__all__ = ["PostgreSQLDialect", "open_postgres"]

R = TypeVar("R")
_LOCK_TIMEOUT = "30s"
_LOCK_NUMBER = 7_146_655_116_812
"""Of the advisory lock that whoever makes tables of ours takes."""
_PARTS = 2


@contextmanager
def open_postgres(address: Address, *, timeout: int) -> Iterator[PostgreSQLDialect]:
    """Connect.

    Args:
        address: Where to.
        timeout: Microseconds after which the server gives up a statement.

    Raises:
        UnavailableError: If it cannot be reached.
        AccessError: If it refuses the login.
    """
    session = Session(address)
    with session.cursor() as cursor:
        yield PostgreSQLDialect(session, cursor, address, timeout)


class PostgreSQLDialect:
    """One connection; see `Dialect`."""

    lock = " for update"
    type_of = staticmethod(postgres_types.type_of)
    takes = staticmethod(postgres_types.takes)

    def __init__(self, session: Session, cursor: Any, address: Address, timeout: int) -> None:
        self._session, self._cursor, self._address = session, cursor, address
        self._timeout = min(timeout // 1_000, 2**31 - 1)
        self.where = f"connection {address.name!r}"

    def begin(self, *, alone: bool = False) -> None:
        """Begin a transaction; its settings are its own, for a pooler may share the session."""
        self.run("begin isolation level read committed read write")
        self.run(f"set local statement_timeout = {self._timeout}")
        self.run(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
        self.run("set local timezone = 'UTC'")
        if alone:
            self.ask(f"select pg_advisory_xact_lock({_LOCK_NUMBER})::text")

    def run(self, sql: str) -> int:
        """Run a statement; return how many rows it changed."""

        def work() -> int:
            self._cursor.execute(sql)
            return int(self._cursor.rowcount)

        return self._telling(work)

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a SELECT."""
        return self._telling(partial(rows_of, self._cursor, sql))

    def place_of(self, table: tuple[str, ...]) -> Place:
        """Return where a table is, or would be made: a name without a schema is looked for as the user's SQL does."""
        if len(table) > _PARTS:
            raise DefinitionError(f"{'.'.join(table)!r} names a database", hint='write table="schema.table"')
        if len(table) == _PARTS:
            return Place(*table)
        name = _literal(quoted(table[0]))
        found = self.ask(
            "select coalesce((select relnamespace::regnamespace::text from pg_class "
            f"where oid = to_regclass({name})), quote_ident(current_schema()))"
        )
        if found[0][0] is None:
            raise DefinitionError(f"{self.where} has no schema for {table[0]!r}", hint="write table with its schema")
        schema = str(found[0][0])
        return Place(schema[1:-1].replace('""', '"') if schema.startswith('"') else schema, table[0])

    def found(self, place: Place) -> Found | None:
        """Return what a table is like; None if there is none."""
        oid = f"to_regclass({_literal(place.sql)})"
        if self.ask(f"select {oid}::oid::bigint") == [(None,)]:
            return None
        columns = self.ask(
            "select attname::text, format_type(atttypid, atttypmod), attnotnull and not atthasdef and attidentity = '' "
            f"and attgenerated = '' from pg_attribute where attrelid = {oid} and attnum > 0 and not attisdropped"
        )
        indexes = self.ask(
            "select array_agg(a.attname::text) from pg_index i cross join unnest(i.indkey) as k "
            "join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k "
            f"where i.indrelid = {oid} and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null "
            "and i.indexprs is null and i.indnkeyatts = i.indnatts group by i.indexrelid"
        )
        return Found(
            {str(name): str(kind) for name, kind, _ in columns},
            frozenset(str(name) for name, _, needed in columns if needed),
            tuple(frozenset(map(str, names)) for (names,) in indexes if isinstance(names, list)),
        )

    def make_stage(self, name: str, columns: Sequence[Column], keys: Sequence[str]) -> None:
        """Make an empty table that nobody else sees and that goes with the transaction."""
        del keys
        typed = ", ".join(f"{quoted(one.name)} {'text' if one.is_json else self.type_of(one)}" for one in columns)
        self.run(f"create temp table {name} ({typed}) on commit drop")

    def fill(self, name: str, columns: Sequence[Column], keys: Sequence[str], frame: pl.DataFrame) -> None:
        """Add rows to it."""
        table = postgres_types.for_copy(columns, keys, frame).to_arrow(compat_level=pl.CompatLevel.oldest())
        self._telling(lambda: self._cursor.adbc_ingest(name, table, mode="append", temporary=True))

    def stored(self, column: Column, found: str) -> str:
        """Return what of a row of the stage goes into a column of this type."""
        return f"s.{quoted(column.name)}" + (f"::{found}" if column.is_json else "")

    def differ(self, one: str, other: str, found: str) -> str:
        """Return whether two values differ; `json` has no equality of its own."""
        cast = "::text" if found == "json" else ""
        return f"{one}{cast} is distinct from {other}{cast}"

    def _telling(self, work: Callable[[], R]) -> R:
        """Do something, and turn what the server refuses into our errors."""
        dbapi = driver()
        try:
            return self._session.aside(work)
        except dbapi.Error as error:
            failed = not_written(self._address, error.sqlstate, str(error))
        raise failed  # outside, so that a traceback does not show the driver's own words


def _literal(value: str) -> str:
    return "'{}'".format(value.replace("'", "''"))
