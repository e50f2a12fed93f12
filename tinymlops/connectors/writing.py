"""A table in a database of others that rows are written to: made or checked, then filled in batches.

A batch is one transaction of that database. It writes rows and, in the table `tinymlops_sinks` beside them, how far they
came: so a batch counts whole or not at all, and is never taken twice, however a process ends.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tinymlops.connectors.queries import quoted
from tinymlops.errors import ConflictError, DefinitionError, TinyMLOpsError, near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

__all__ = ["POSITIONS", "Batch", "Column", "Dialect", "Found", "MovedOnError", "Place", "Position", "Target", "Writing"]

POSITIONS = "tinymlops_sinks"
"""The table that says how far rows came, in the schema of the table that they are written to."""
_STAGE = "tinymlops_stage"
_FIELDS = "delivery, position, anchor, rows, reads"
_POSITION_COLUMNS = (
    "table_name text primary key, owner text not null, sink text not null, reads text not null, "
    "delivery bigint not null, position bigint not null, anchor text not null, rows bigint not null"
)


class Column(NamedTuple):
    """A column that is written."""

    name: str
    dtype: pl.DataType
    is_json: bool = False
    """Whether its text is JSON."""
    compared: bool = True
    """Whether a row that differs in this column alone is written again."""


class Target(NamedTuple):
    """What is written, and where to."""

    sink: str
    owner: str
    """The workspace that writes."""
    table: tuple[str, ...]
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    reads: str
    """What the rows are: rows of something else begin from the beginning."""
    create: bool = False


class Position(NamedTuple):
    """How far rows came, as the database itself says."""

    delivery: int = 0
    """How many batches there were: who read another number writes nothing."""
    position: int = 0
    anchor: str = ""
    """Tells which row the position is."""
    rows: int = 0
    reads: str = ""


class Place(NamedTuple):
    """Where a table is."""

    schema: str
    name: str

    @property
    def sql(self) -> str:
        """Its name in SQL."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def positions(self) -> Place:
        """The table of positions beside it."""
        return Place(self.schema, POSITIONS)


class Found(NamedTuple):
    """A table that is there."""

    types: Mapping[str, str]
    """Column to type, as the database writes it."""
    needed: frozenset[str]
    """Columns that a row must have a value for."""
    unique: tuple[frozenset[str], ...]
    """Columns that tell rows apart."""


class MovedOnError(Exception):
    """Somebody else wrote a batch meanwhile."""


class Dialect(Protocol):
    """One open connection of a kind of database."""

    where: str
    """Which connection it is, for errors."""

    def begin(self, *, alone: bool = False) -> None:
        """Begin a transaction.

        Args:
            alone: Whether nobody else may make tables of ours meanwhile.
        """

    def run(self, sql: str) -> int:
        """Run a statement; return how many rows it changed."""

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """Return the rows of a SELECT."""

    def place_of(self, table: tuple[str, ...]) -> Place:
        """Return where a table is, or would be made."""

    def found(self, place: Place) -> Found | None:
        """Return what a table is like; None if there is none."""

    def type_of(self, column: Column) -> str:
        """Return the type for a column.

        Raises:
            DataError: If there is none.
        """

    def takes(self, found: str, column: Column) -> bool:
        """Return whether a column of this type takes every value."""

    def make_stage(self, name: str, columns: Sequence[Column], keys: Sequence[str]) -> None:
        """Make an empty table that nobody else sees and that goes with the transaction."""

    def fill(self, name: str, columns: Sequence[Column], keys: Sequence[str], frame: pl.DataFrame) -> None:
        """Add rows to it."""

    def stored(self, column: Column, found: str) -> str:
        """Return what of a row of it goes into a column of this type, as SQL."""

    def differ(self, one: str, other: str, found: str) -> str:
        """Return whether two values of a column of this type differ, nulls included, as SQL."""

    lock: str
    """What follows a SELECT of a row that nobody else may change meanwhile."""


class Writing:
    """A table, ready to be written to.

    Args:
        dialect: An open connection.
        target: What is written.

    Attributes:
        is_empty: Whether the table had no row when it was opened.

    Raises:
        DefinitionError: If the table is not there, or is not like what is written: no row is written then.
        ConflictError: If it belongs to another sink, or has rows that no sink wrote.
        AccessError: If the user may not write to it.
    """

    def __init__(self, dialect: Dialect, target: Target) -> None:
        self._dialect, self._target = dialect, target
        self._place = dialect.place_of(target.table)
        self._table = self._place.sql
        with self._transaction(alone=True):
            self._found = self._prepared()
            self.is_empty = self._claim()

    def position(self) -> Position:
        """Return how far rows came."""
        with self._transaction():
            return self._position()

    @contextmanager
    def batch(self, before: Position, *, keys_only: bool = False) -> Iterator[Batch]:
        """Write in one transaction, unless somebody else has meanwhile.

        Args:
            before: Where the batch goes on, as `position` or the batch before said.
            keys_only: Whether only keys are staged: of rows that are to stay.

        Raises:
            MovedOnError: If somebody else wrote: nothing is changed.
        """
        with self._transaction():
            if self._position(self._dialect.lock).delivery != before.delivery:
                raise MovedOnError
            target = self._target
            columns = [one for one in target.columns if not keys_only or one.name in target.keys]
            self._dialect.make_stage(_STAGE, columns, target.keys)
            yield Batch(self._dialect, target, columns, self._place, self._found, before)
            self._dialect.run(f"drop table {_STAGE}")

    @contextmanager
    def _transaction(self, *, alone: bool = False) -> Iterator[None]:
        self._dialect.begin(alone=alone)
        try:
            yield
            self._dialect.run("commit")
        except BaseException:
            with suppress(TinyMLOpsError):  # the connection may be gone, and the transaction with it
                self._dialect.run("rollback")
            raise

    def _prepared(self) -> Found:
        dialect, target = self._dialect, self._target
        found = dialect.found(self._place)
        if found is None:
            made = self._statement()
            if not target.create:
                raise DefinitionError(
                    f"{dialect.where} has no table {self._name!r}, which sink {target.sink!r} writes to",
                    hint=f"say create=True at the sink, or make it: {made}",
                )
            dialect.run(made)
            found = dialect.found(self._place)
            assert found is not None, "it was made"
        _require_fit(dialect, target, found, self._name)
        return found

    def _statement(self) -> str:
        columns = [f"{quoted(one.name)} {self._dialect.type_of(one)}" for one in self._target.columns]
        keys = ", ".join(map(quoted, self._target.keys))
        return f"create table {self._table} ({', '.join(columns)}, primary key ({keys}))"

    def _claim(self) -> bool:
        """Make the table this sink's, if it is nobody's and empty; return whether it is empty."""
        dialect, target, positions = self._dialect, self._target, self._place.positions.sql
        if dialect.found(self._place.positions) is None:
            dialect.run(f"create table {positions} ({_POSITION_COLUMNS})")
        is_empty = not dialect.ask(f"select 1 from {self._table} limit 1")
        known = dialect.ask(f"select owner, sink from {positions} where {self._mine}")
        if not known:
            if not is_empty:
                raise ConflictError(
                    f"table {self._name!r} of {dialect.where} has rows that no sink wrote",
                    hint="a sink's table is its alone, and deletes what the workspace does not have: empty it, or name another",
                )
            values = ", ".join(map(_literal, (self._place.name, target.owner, target.sink, target.reads)))
            dialect.run(f"insert into {positions} values ({values}, 0, 0, '', 0)")
            return True
        if known[0] != (target.owner, target.sink):
            whose = "another workspace" if known[0][0] != target.owner else "this workspace"
            raise ConflictError(
                f"table {self._name!r} of {dialect.where} is written by sink {known[0][1]!r} of {whose}",
                hint="name another table; if that sink is no more, empty the table and "
                f"delete from {positions} where {self._mine}",
            )
        return is_empty

    @property
    def _mine(self) -> str:
        return f"table_name = {_literal(self._place.name)}"

    @property
    def _name(self) -> str:
        return ".".join(self._target.table)

    def _position(self, lock: str = "") -> Position:
        rows = self._dialect.ask(f"select {_FIELDS} from {self._place.positions.sql} where {self._mine}{lock}")
        if not rows:
            raise ConflictError(f"somebody removed table {self._name!r} from {POSITIONS}", hint="run the sink again")
        return Position(*rows[0])  # type: ignore[arg-type]  # as the table declares them


class Batch:
    """One transaction that writes; made by `Writing.batch`."""

    def __init__(
        self,
        dialect: Dialect,
        target: Target,
        columns: Sequence[Column],
        place: Place,
        found: Found,
        before: Position,
    ) -> None:
        self._dialect, self._target, self._columns, self._place = dialect, target, columns, place
        self._found, self._before = found, before
        self._table = place.sql
        self._same_key = " and ".join(f"t.{quoted(key)} = {self._stored(key)}" for key in target.keys)

    def stage(self, frame: pl.DataFrame) -> None:
        """Add rows to those that the batch is about.

        Raises:
            DataError: If the database has no such value; nothing is written then.
        """
        if frame.height:
            self._dialect.fill(_STAGE, self._columns, self._target.keys, frame)

    def known(self) -> int:
        """Return how many of these rows the table has already, whatever is in them."""
        return self._count(f"{_STAGE} as s where exists (select 1 from {self._table} as t where {self._same_key})")

    def count(self) -> int:
        """Return how many rows the table has."""
        return self._count(self._table)

    def upsert(self) -> int:
        """Write these rows; return how many were new or other than before."""
        target, types = self._target, self._found.types
        names = ", ".join(quoted(one.name) for one in self._columns)
        values = ", ".join(self._stored(one.name) for one in self._columns)
        keys = ", ".join(map(quoted, target.keys))
        rest = [one for one in self._columns if one.name not in target.keys]
        changed = [
            self._dialect.differ(f"t.{quoted(one.name)}", f"excluded.{quoted(one.name)}", types[one.name])
            for one in rest
            if one.compared
        ]
        sets = ", ".join(f"{quoted(one.name)} = excluded.{quoted(one.name)}" for one in rest)
        does = f"update set {sets} where {' or '.join(changed)}" if changed else "nothing"
        return self._dialect.run(
            f"insert into {self._table} as t ({names}) select {values} from {_STAGE} as s where true "
            f"order by {keys} on conflict ({keys}) do {does}"
        )

    def delete_others(self) -> int:
        """Delete all rows but these; return how many."""
        return self._dialect.run(
            f"delete from {self._table} as t where not exists (select 1 from {_STAGE} as s where {self._same_key})"
        )

    def note(self, position: int, anchor: str, rows: int) -> Position:
        """Write how far rows came."""
        after = Position(self._before.delivery + 1, position, anchor, rows, self._target.reads)
        sets = (
            f"delivery = {after.delivery}, position = {position}, anchor = {_literal(anchor)}, rows = {rows}, "
            f"reads = {_literal(after.reads)}"
        )
        self._dialect.run(
            f"update {self._place.positions.sql} set {sets} where table_name = {_literal(self._place.name)}"
        )
        return after

    def _stored(self, name: str) -> str:
        column = next(one for one in self._target.columns if one.name == name)
        return self._dialect.stored(column, self._found.types[name])

    def _count(self, what: str) -> int:
        ((count,),) = self._dialect.ask(f"select count(*) from {what}")
        assert isinstance(count, int), "a count"
        return count


def _literal(value: str) -> str:
    return "'{}'".format(value.replace("'", "''"))


def _require_fit(dialect: Dialect, target: Target, found: Found, name: str) -> None:
    where, written = f"table {name!r} of {dialect.where}", [one.name for one in target.columns]
    for column in target.columns:
        wanted = dialect.type_of(column)
        if column.name not in found.types:
            raise DefinitionError(
                f"{where} has no column {column.name!r}, which sink {target.sink!r} writes",
                hint=near(column.name, set(found.types) - set(written))
                or f"add it: alter table {name} add column {quoted(column.name)} {wanted}",
            )
        if not dialect.takes(found.types[column.name], column):
            raise DefinitionError(
                f"column {column.name!r} of {where} is of type {found.types[column.name]}, and sink {target.sink!r} "
                f"writes {wanted}",
                hint="change the column's type, or write to another table",
            )
    others = sorted(found.needed - set(written))
    if others:
        raise DefinitionError(
            f"{where} needs a value for {', '.join(map(repr, others))}, which sink {target.sink!r} does not write",
            hint="let the column be null, or give it a default",
        )
    if frozenset(target.keys) not in found.unique:
        keys = ", ".join(map(quoted, target.keys))
        raise DefinitionError(
            f"{where} has no primary key or unique index on {keys}, by which sink {target.sink!r} knows its rows",
            hint=f"make one: create unique index on {name} ({keys})",
        )
