"""What sinks write: predictions and outcomes in the order in which they were stored, and how far each sink is.

A row that is replaced gets a new number, behind all others; so numbers tell what is new. Of a table whose last rows were
deleted a number may come twice: whoever goes on behind a number compares the row that has it, and counts.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tinymlops.errors import TinyMLOpsError
from tinymlops.records import Outcome, Prediction, SinkState
from tinymlops.stores.rows import codec_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database
    from tinymlops.stores.rows import RowCodec

__all__ = ["Counted", "Logged", "Page", "SinkStates"]

_IDS = 100_000


class Page(NamedTuple):
    """Rows that follow each other."""

    rows: Sequence[Sequence[Any]]
    """SQLite's values in the order of the record's fields, and the checksum of each row."""
    last: int
    """The number of the last one."""


class Counted(NamedTuple):
    """How many rows there are up to a number, and behind it."""

    before: int
    after: int


class Logged:
    """Predictions of a model, or all outcomes.

    Args:
        database: The workspace's.
        model: The model; None for outcomes.
    """

    def __init__(self, database: Database, model: str | None) -> None:
        self._database = database
        self.cls: type[Prediction | Outcome] = Outcome if model is None else Prediction
        self.key = self.cls.key[0]
        self._codec: RowCodec[Any] = codec_for(self.cls)
        self._params: tuple[Any, ...] = () if model is None else (model,)
        self._behind = " WHERE rowid > ?" if model is None else " WHERE model = ? AND rowid > ?"
        self._condition = "" if model is None else " WHERE model = ?"

    def page(self, after: int, limit: int) -> Page | None:
        """Return the rows behind a number, in order; None if there is none.

        Raises:
            IntegrityError: If one is not what was written.
        """
        sql = f"SELECT rowid, {self._codec.columns} FROM {self._codec.table}{self._behind} ORDER BY rowid LIMIT ?"
        found = self._database.rows(sql, (*self._params, after, limit))
        if not found:
            return None
        numbers = [row[0] for row in found]
        return Page(self._codec.all_checked([row[1:] for row in found]), numbers[-1])

    def id_at(self, number: int) -> str | None:
        """Return the id of the row with a number; None if no row has it."""
        found = self._database.rows(f'SELECT "{self.key}" FROM {self._codec.table} WHERE rowid = ?', (number,))
        return found[0][0] if found else None

    def ids(self) -> Iterator[tuple[list[str], int]]:
        """Return the ids of all rows at one moment in order, some at a time, each time with the last one's number."""
        sql = f'SELECT rowid, "{self.key}" FROM {self._codec.table}{self._condition} ORDER BY rowid'
        with self._database.batches(sql, self._params, size=_IDS) as batches:
            for found in batches:
                yield [row[1] for row in found], found[-1][0]

    def count(self, number: int) -> Counted:
        """Return how many rows there are up to a number, and behind it, at one moment."""
        sql = f"SELECT coalesce(sum(rowid <= ?), 0), coalesce(sum(rowid > ?), 0) FROM {self._codec.table}"
        ((before, after),) = self._database.rows(sql + self._condition, (number, number, *self._params))
        return Counted(before, after)


class SinkStates:
    """How far each sink is, as this workspace knows.

    Args:
        scope: Who works on which workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database = scope.environment.database

    def get(self, sink: str) -> SinkState | None:
        """Return a sink's; None if it never ran."""
        return self._database.get(SinkState, sink=sink)

    def list(self) -> list[SinkState]:
        """Return those of all sinks that ever ran."""
        return self._database.list(SinkState)

    def of(self, sink: str) -> SinkState:
        """Return a sink's, made if it never ran: the name that it gives this workspace is durable before it is used."""
        known = self.get(sink)
        if known is not None:
            return known
        with self._scope.write(audit=None) as tx:
            known = tx.get(SinkState, sink=sink)
            return known or tx.insert(SinkState(sink=sink, owner=secrets.token_hex(16)))

    def begin(self, sink: str, number: int) -> None:
        """Record that a batch with a number is begun, before the database of the table hears of it."""
        with self._scope.write(audit=None) as tx:
            known = tx.get(SinkState, sink=sink)
            if known is not None and known.begun < number:
                tx.update(msgspec.structs.replace(known, begun=number))

    def written(
        self, sink: str, target: str, *, delivery: int, position: int, rows: int, written: int, deleted: int
    ) -> None:
        """Record that a batch was written: the database of the table has committed it."""
        with self._scope.write(audit="inside") as tx:
            known = tx.get(SinkState, sink=sink)
            if known is None or (known.target == target and known.delivery >= delivery):
                return  # another process was faster
            tx.update(
                msgspec.structs.replace(known, target=target, delivery=delivery, position=position, rows=rows, error="")
            )
            if written or deleted:
                tx.audit("sink.write", f"sink:{sink}", target=target, written=written, deleted=deleted)

    def done(self, sink: str) -> None:
        """Record that all that there was is written."""
        self._change(sink, delivered_at=self._scope.clock(), error="")

    def failed(self, sink: str, error: str) -> None:
        """Record why a run did not end, if that can be written."""
        with suppress(TinyMLOpsError):
            self._change(sink, error=error)

    def _change(self, sink: str, **fields: Any) -> None:
        with self._scope.write(audit=None) as tx:
            known = tx.get(SinkState, sink=sink)
            if known is not None:
                tx.update(msgspec.structs.replace(known, **fields))
