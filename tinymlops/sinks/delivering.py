"""One run of a sink: batches until the table has all that the workspace has, and nothing else.

Where to go on is what the table's own database says, so a batch is neither lost nor taken twice. Where a run reads one
state of the table and somebody else writes meanwhile, its batch changes nothing, and it begins again from the new state.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import polars as pl

from tinymlops.connectors.addresses import address_of
from tinymlops.connectors.opening import writing_to
from tinymlops.connectors.writing import Column, MovedOnError, Position, Target
from tinymlops.errors import ConflictError, NotFoundError, near
from tinymlops.features.definitions.sinks import COMPUTED_AT
from tinymlops.features.definitions.specs import EntitySpec, ViewSpec
from tinymlops.features.history.newest_values import newest_values
from tinymlops.registry.record_frames import frame_of
from tinymlops.registry.sinks import Logged, SinkStates
from tinymlops.times import from_micros, parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.connectors.writing import Writing
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SinkSpec
    from tinymlops.registry.models import Models
    from tinymlops.registry.sinks import Page

__all__ = ["Delivered", "deliver"]

_PAGE = 20_000
"""Rows of one transaction."""
_ATTEMPTS = 10
"""How often a run begins again because somebody else wrote meanwhile."""
_JSON = ("request", "features", "output")


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What one run of a sink wrote."""

    sink: str
    target: str
    """Such as "shop: ml.churn_scores"."""
    written: int
    """Rows that were new or other than before."""
    deleted: int
    """Rows that the workspace does not have any more."""
    rows: int
    """In the table now."""
    batches: int


def deliver(context: Context, models: Models, spec: SinkSpec, *, full: bool = False) -> Delivered:
    """Bring a sink's table up to date.

    Args:
        context: The workspace's state.
        models: Registered ones.
        spec: The sink.
        full: Compare every row with the table, and not only what is new.

    Raises:
        NotFoundError: If there is no such model or connection.
        DefinitionError: If the table is not there, or is not like what is written: no row is written then.
        DataError: If the database has no room for a value, with the row.
        AccessError: If it refuses to be written to.
        UnavailableError: If it cannot be reached, or goes away: batches before stay.
        ConflictError: If the table is somebody else's, or others write to it without end.
    """
    states = SinkStates(context.scope)
    run = _Run(context, states, spec)
    if spec.writes == "predictions":
        names = {one.name for one in models.list()}
        if spec.of not in names:
            raise NotFoundError(
                f"there is no model {spec.of!r}, whose predictions sink {spec.name!r} writes",
                hint=near(spec.of, names, otherwise="register it first"),
            )
    address = address_of(spec.connection, context.config.connections, context.root)
    timeout = parse_duration(context.config.sql.ingest_timeout, name="ingest_timeout")
    sample = _values(context, spec) if spec.writes == "features" else frame_of(run.log.cls, [])
    target = _target(spec, states.of(spec.name).owner, context, sample)
    with writing_to(address, target, timeout=timeout) as writing:
        for _ in range(_ATTEMPTS):
            try:
                if spec.writes == "features":
                    run.write_values(writing)
                else:
                    run.write_log(writing, full=full)
            except MovedOnError:
                continue
            states.done(spec.name)
            return run.report()
    raise ConflictError(
        f"others write to the table of sink {spec.name!r} all the time", hint="run the sink in one place"
    )


def _target(spec: SinkSpec, owner: str, context: Context, sample: pl.DataFrame) -> Target:
    columns = [
        Column(
            spec.columns.get(name, name),
            dtype,
            is_json=spec.writes == "predictions" and name in _JSON,
            compared=not (spec.writes == "features" and name == COMPUTED_AT),
        )
        for name, dtype in sample.schema.items()
    ]
    if spec.writes == "features":
        view = context.definitions.get(ViewSpec, spec.of)
        keys: Sequence[str] = context.definitions.get(EntitySpec, view.entity).key
    else:
        keys = ["id" if spec.writes == "predictions" else "prediction_id"]
    return Target(
        sink=spec.name,
        owner=owner,
        table=_parts(spec.table),
        columns=tuple(columns),
        keys=tuple(spec.columns.get(name, name) for name in keys),
        reads=f"{spec.writes} {spec.of}".strip(),
        create=spec.create,
    )


def _parts(table: str) -> tuple[str, ...]:
    from tinymlops.connectors.queries import table_of

    parts = table_of(table)
    assert parts is not None, "checked where it is declared"
    return parts


def _values(context: Context, spec: SinkSpec) -> pl.DataFrame:
    """Return the values of a view as of now, and when that is."""
    at = pl.lit(from_micros(context.now())).cast(pl.Datetime("us", "UTC")).alias(COMPUTED_AT)
    return newest_values(context, context.definitions.get(ViewSpec, spec.of)).with_columns(at)


class _Tally(NamedTuple):
    written: int = 0
    deleted: int = 0
    batches: int = 0
    rows: int = 0


class _Run:
    """A run of a sink, and what it wrote so far."""

    def __init__(self, context: Context, states: SinkStates, spec: SinkSpec) -> None:
        self._context, self._states, self._spec = context, states, spec
        database = context.environment.database
        self.log = Logged(database, spec.of if spec.writes == "predictions" else None)
        self._tally = _Tally()
        self._checked_all = False

    def report(self) -> Delivered:
        return Delivered(sink=self._spec.name, target=self._name, **self._tally._asdict())

    def write_values(self, writing: Writing) -> None:
        """Write the values of a view: all of them are one batch."""
        before = writing.position()
        sequence = self._context.environment.database.sequence()
        values = self._renamed(_values(self._context, self._spec))
        with writing.batch(before) as batch:
            batch.stage(values)
            written, deleted = batch.upsert(), batch.delete_others()
            after = batch.note(sequence, "", values.height)
        self._count(after, written, deleted)

    def write_log(self, writing: Writing, *, full: bool) -> None:
        """Write the rows that are new, then look whether the table has as many as the workspace."""
        at = writing.position()
        if not self._goes_on(at, writing) or (full and not self._checked_all):
            at = self._drop_what_is_gone(writing, at, again=True)
        elif at.delivery:
            self._know(at, 0, 0)  # a process that wrote the last batch may have died before it could say so
        at = self._write_new(writing, at)
        for _ in range(_ATTEMPTS):
            counted = self.log.count(at.position)
            if counted.before == at.rows:
                self._tally = self._tally._replace(rows=at.rows)
                return
            # Rows were deleted; or, while the table was read, replaced, and are among the new ones.
            if not counted.after:
                at = self._drop_what_is_gone(writing, at, again=at.rows < counted.before)
            at = self._write_new(writing, at)
        raise MovedOnError

    def _goes_on(self, at: Position, writing: Writing) -> bool:
        """Return whether the rows up to a position are those that were written, but for some that are gone.

        Else something else was written, or the workspace was restored from a backup, or somebody emptied the table, or a
        deleted row's number was given out again.
        """
        if at.reads != self._reads or at.delivery > self._states.of(self._spec.name).begun:
            return False
        if writing.is_empty and at.rows and not self._tally.batches:
            return False
        there = self.log.id_at(at.position)
        return there is None or _digest(there) == at.anchor

    def _write_new(self, writing: Writing, at: Position) -> Position:
        """Write page after page; the next one is read while the database takes one."""
        page = self.log.page(at.position, _PAGE)
        with ThreadPoolExecutor(1) as ahead:
            while page is not None:
                coming = ahead.submit(self.log.page, page.last, _PAGE)
                at = self._write_page(writing, at, page)
                page = coming.result()
        return at

    def _write_page(self, writing: Writing, at: Position, page: Page) -> Position:
        frame = frame_of(self.log.cls, page.rows)
        self._states.begin(self._spec.name, at.delivery + 1)
        with writing.batch(at) as batch:
            batch.stage(self._renamed(frame))
            known = batch.known()
            written = batch.upsert()
            anchor = _digest(frame[self.log.key][-1])
            after = batch.note(page.last, anchor, at.rows + frame.height - known)
        self._count(after, written, 0)
        return after

    def _drop_what_is_gone(self, writing: Writing, at: Position, *, again: bool) -> Position:
        """Delete what the workspace does not have.

        Args:
            writing: The table.
            at: How far it is.
            again: Whether all rows are written again, too.
        """
        self._checked_all = True
        self._states.begin(self._spec.name, at.delivery + 1)
        with writing.batch(at, keys_only=True) as batch:
            last, anchor = 0, ""
            for ids, number in self.log.ids():
                batch.stage(self._renamed(pl.DataFrame({self.log.key: ids}, schema={self.log.key: pl.String})))
                if number <= at.position:
                    last, anchor = number, _digest(ids[-1])
            deleted = batch.delete_others()
            # What is behind the last whole page of ids is written again, which changes nothing.
            after = batch.note(0 if again else last, "" if again else anchor, batch.count())
        self._count(after, 0, deleted)
        return after

    def _count(self, after: Position, written: int, deleted: int) -> None:
        tally = self._tally
        self._tally = _Tally(tally.written + written, tally.deleted + deleted, tally.batches + 1, after.rows)
        self._know(after, written, deleted)

    def _know(self, after: Position, written: int, deleted: int) -> None:
        self._states.written(
            self._spec.name,
            self._name,
            delivery=after.delivery,
            position=after.position,
            rows=after.rows,
            written=written,
            deleted=deleted,
        )

    def _renamed(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.rename({old: new for old, new in self._spec.columns.items() if old in frame.columns})

    @property
    def _name(self) -> str:
        return f"{self._spec.connection}: {self._spec.table}"

    @property
    def _reads(self) -> str:
        return f"{self._spec.writes} {self._spec.of}".strip()


def _digest(identifier: str) -> str:
    return hashlib.sha256(identifier.encode()).hexdigest()
