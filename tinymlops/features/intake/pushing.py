"""`push`: rows that clients send, durable in one transaction, and in the online store right after it."""

from __future__ import annotations

import secrets
from contextlib import nullcontext
from itertools import starmap
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from tinymlops.errors import ConflictError, DataError
from tinymlops.features.compute.deletes import refuse_deletes
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.specs import EntitySpec, LabelSpec, SourceSpec, ViewSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.payloads import digest_of, to_ids, to_payloads
from tinymlops.features.history.sources import with_times
from tinymlops.features.history.stored import known_columns
from tinymlops.features.intake.accepting import accepted
from tinymlops.features.intake.changes import require_clock
from tinymlops.features.intake.committing import schemas_after
from tinymlops.features.intake.computable import require_computable
from tinymlops.features.intake.fitting import grown
from tinymlops.features.intake.followers import follow
from tinymlops.features.intake.latest_events import Event, LatestEvents
from tinymlops.features.intake.looking import look
from tinymlops.features.intake.row_wise import check_row_wise
from tinymlops.features.intake.taking_in import entity_keys, judged_now, refuse_other_dating
from tinymlops.records import PushBatch, PushedRow, SourceState
from tinymlops.registry.arrivals import note_arrivals
from tinymlops.schema import parse_dtype
from tinymlops.stores.pseudonyms import FreeText
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.intake.looking import Decision, Looked
    from tinymlops.features.intake.quarantine import Settling
    from tinymlops.frames import Frame
    from tinymlops.stores.database import Transaction

__all__ = ["Pushed", "push", "pushed_source", "require_batch_id", "sound"]


class Pushed(msgspec.Struct, frozen=True):
    """The result of a push."""

    source: str
    rows_new: int
    rows_corrected: int
    """New versions of known events, deletes included."""
    rows_known: int
    """Rows that were stored before: nothing was stored for them."""
    sequence: int
    """The workspace's sequence after it."""
    online: Literal["current", "behind"]
    """Whether the online store has followed; if not, it will with the next push, ingest or materialize."""
    batch_id: str | None = None
    """The id of the batch: sending the same rows with it again changes nothing. None if none was given or needed."""
    rows_quarantined: int = 0
    """Kept aside by checks, now or before."""

    def __repr__(self) -> str:
        batch = f", batch {self.batch_id}" if self.batch_id is not None else ""
        kept = f", {self.rows_quarantined:,} in quarantine" if self.rows_quarantined else ""
        return (
            f"<pushed to {self.source}: {self.rows_new:,} new, {self.rows_corrected:,} corrected, "
            f"{self.rows_known:,} known{kept}; Q={self.sequence}, online {self.online}{batch}>"
        )


class _Row(NamedTuple):
    """One row as it will be stored, before the commit sets its time."""

    event_id: str | None
    payload: bytes
    digest: bytes
    event: int | None
    deleted: bool
    created: int = 0
    """The time of the commit, from which it counts."""
    moved: bool = False
    """Whether it takes an event back under a key that the event no longer has."""
    later: bool = False
    """Whether the event is known, so that this corrects it."""


def push(
    context: Context,
    name: str,
    rows: Frame,
    *,
    batch_id: str | None = None,
    settling: Settling | None = None,
    beside: Callable[[Transaction], None] | None = None,
) -> Pushed:
    """Add rows to a source that takes pushes, all or none.

    Where the source has an id, a row whose id and content are known is not stored again, and a known id with other
    content is a new version. A batch id that was pushed before makes the whole push a replay, which stores nothing.

    Args:
        context: The workspace's state.
        name: The source's name.
        rows: Any table, or a list of dicts; a boolean column `deleted` marks deletes.
        batch_id: The id of the batch; None to generate one if the source has no id, which the result then holds.
        settling: The quarantine that they come from: they are not checked again.
        beside: Writes in the same transaction what tells that these rows were taken; then no batch id is generated.

    Raises:
        NotFoundError: If there is no such source, with the near match.
        DataError: If the source takes no pushes, a row does not fit its schema, an integer computed from it does not
            fit 64 bits, or a check refuses the rows.
        DefinitionError: If a transformation over it is declared row-wise and the first rows show that it is not.
        ConflictError: If the batch id was used for other rows.
    """
    source = pushed_source(context, name)
    if source.id is None and batch_id is None and beside is None:
        batch_id = secrets.token_hex(16)
    frame = sound(context, source, rows)
    database = context.environment.database
    place = place_of(database, name)
    columns = _columns(context, source, database.get(SourceState, source=place))
    keys = None if graph.row_wise_over(context.definitions, source.name) else entity_keys(context, source)

    looked = None if settling is not None or not frame.height else look(context, source, frame, moment="push")
    decided: list[Decision] = []
    actor = context.scope.actor  # here, because another thread may commit for this one

    def store(tx: Transaction) -> tuple[tuple[int, int, int, int], int]:
        decided.clear()  # this may be done more than once
        state = tx.get(SourceState, source=place)
        changed = state is not None and state.columns != columns
        own = _columns(context, source, state) if changed else columns
        refuse_other_dating(source, judged_now(context, source, state))
        writing = _Writing(context, tx, source, place, state, own)
        counts = writing.store(frame, batch_id, keys, looked, decided, settling)
        if settling is not None:
            settling.store(tx, "released", at=context.clock(), by=actor)
        if beside is not None:
            beside(tx)
        return counts, tx.sequence()

    with context.scope.publishing() if looked is not None and looked.fails else nullcontext():
        try:
            (new, corrected, known, kept), sequence = context.scope.write_together(store)
        except DataError:
            for decision in decided:  # what was found stays, though nothing of the batch does
                decision.refuse(context)
            raise
    for decision in decided:
        decision.tell()
    online = _follow(context)
    return Pushed(name, new, corrected, known, sequence, online, batch_id, rows_quarantined=kept)


def sound(context: Context, source: SourceSpec, rows: Frame) -> pl.DataFrame:
    """Return rows as their source takes them, with their times, if everything that is computed from them can be.

    Raises:
        DataError: If they do not fit its schema, or something cannot be computed from them.
    """
    frame = with_times(accepted(rows, source, _key_columns(context, source)), source)
    refuse_deletes(context.definitions, source, frame)
    if source.name not in context.definitions.checked and frame.height > 1:
        check_row_wise(context, source, frame)
        context.definitions.checked.add(source.name)
    require_computable(context, source, frame)
    return frame


def _columns(context: Context, source: SourceSpec, state: SourceState | None) -> dict[str, str]:
    """Return all columns of a source of pushes, in payload order.

    Raises:
        DataError: If its schema has a column of another kind than history, or of a type that does not hold its values.
    """
    if state is None or all(state.columns.get(name) == dtype for name, dtype in source.columns.items()):
        return known_columns(source, state)
    declared = {name: parse_dtype(dtype) for name, dtype in source.columns.items()}
    columns = grown(context, source, state.columns, declared)
    for name, dtype in source.columns.items():
        if columns[name] != dtype:
            raise DataError(
                f"column {name!r} of source {source.name!r} was {state.columns[name]} and is now {dtype}",
                hint=f"declare it as {columns[name]} in the schema, or give the changed column a new name",
            )
    return columns


def require_batch_id(context: Context, name: str, batch_id: str | None) -> None:
    """Refuse a push that could be stored twice: a batch id generated here would be lost when the client tries again.

    Raises:
        DataError: If the source has no id, and the batch has none either.
    """
    source = context.definitions.of(SourceSpec).get(name)
    if batch_id is None and source is not None and source.via == "push" and source.id is None:
        raise DataError(
            f"source {name!r} has no id, so a push to it needs a batch_id: without one, a retry would be stored twice",
            hint="send a batch_id, any text that names this batch, and the same one when you try again",
        )


def pushed_source(context: Context, name: str) -> SourceSpec:
    """Return a source that takes pushes.

    Raises:
        NotFoundError: If there is no such source, with the near match.
        DataError: If it takes none.
    """
    source = context.definitions.get(SourceSpec, name)
    if source.via != "push":
        raise DataError(
            f"source {name!r} takes no pushes: its rows "
            + (
                "are read in place" if source.in_place else f"come by {'transformation' if source.inputs else 'ingest'}"
            ),
            hint="declare it with a schema: def name() -> tm.Schema",
        )
    return source


def _key_columns(context: Context, source: SourceSpec) -> set[str]:
    """Return the source's columns that hold the key of an entity that it is read for."""
    definitions = context.definitions
    readers: list[ViewSpec | LabelSpec] = [
        *graph.views_reading(definitions, source.name),
        *graph.labels_reading(definitions, source.name),
    ]
    entities = [definitions.get(EntitySpec, reader.entity) for reader in readers]
    return {column for entity in entities for column in definitions.key_columns(entity, source)} & set(source.columns)


class _Writing:
    """The rows of one push on their way into the table, inside its transaction."""

    def __init__(
        self,
        context: Context,
        tx: Transaction,
        source: SourceSpec,
        place: str,
        state: SourceState | None,
        columns: dict[str, str],
    ) -> None:
        self._context, self._tx, self._source, self._place = context, tx, source, place
        self._state, self._columns, self._now = state, columns, context.now()

    def store(
        self,
        frame: pl.DataFrame,
        batch_id: str | None,
        keys: Sequence[str] | None,
        looked: Looked | None,
        decided: list[Decision],
        settling: Settling | None,
    ) -> tuple[int, int, int, int]:
        """Write the rows that are not known yet; return how many rows were new, corrected, known and kept aside.

        Args:
            frame: The rows.
            batch_id: Names them.
            keys: As for `_unknown`.
            looked: What checks say of them.
            decided: Takes what becomes of them, for whoever tells of it once this is committed.
            settling: The quarantine that they come from.

        Raises:
            DataError: If a check refuses them.
            ConflictError: If they come from a quarantine and would take the place of newer versions.
        """
        rows = _rows(frame, self._source, self._columns)
        replay = batch_id is not None and _is_replay(self._tx, self._place, batch_id, rows, self._now)
        if not rows or replay:
            return 0, 0, len(rows), 0
        came = len(rows)
        if looked is not None and looked.fails:
            rows = self._not_held(rows, looked, decided)
        held = came - len(rows)
        fresh, corrected = self._unknown(rows, keys, settling)
        if not fresh:
            return 0, 0, len(rows), held
        base = self._tx.take_sequence(len(fresh))
        self._tx.insert_many(
            PushedRow(
                n=base + i,
                source=self._place,
                event_id=row.event_id,
                payload=row.payload,
                digest=row.digest,
                event=row.event,
                created=row.created,
                deleted=row.deleted,
            )
            for i, row in enumerate(fresh, start=1)
        )
        self._put_state(fresh, base)
        if settling is None:
            lags = [self._now - row.event for row in fresh if row.event is not None and not row.deleted | row.later]
            note_arrivals(self._tx, self._place, lags, self._now)
        named = None if batch_id is None else FreeText(batch_id)
        self._tx.audit("push", self._source.name, rows=len(fresh), batch_id=named)
        moved = sum(row.moved for row in fresh)
        return len(fresh) - moved - corrected, corrected, len(rows) - len(fresh) + moved, held

    def _not_held(self, rows: list[_Row], looked: Looked, decided: list[Decision]) -> list[_Row]:
        """Keep the rows aside that checks hold back; return the others."""
        import polars as pl

        known = [False] * len(rows)
        if self._source.id is not None:
            latest = LatestEvents(self._context, self._tx, self._source, self._place, self._columns).of(
                [row.event_id for row in rows]
            )
            found = [latest.get(row.event_id) for row in rows]
            known = [
                one is not None and (one.digest, one.deleted) == (row.digest, row.deleted)
                for one, row in zip(found, rows, strict=True)
            ]
        decision = looked.decide(self._tx, known=pl.Series(known, dtype=pl.Boolean))
        decided.append(decision)
        if decision.refusal is not None:
            raise decision.refusal
        decision.kept.store(self._tx, decision.kept.publish(self._context), self._tx.sequence())
        held = [False] * len(rows) if decision.held is None else decision.held.to_list()
        return [row for row, out in zip(rows, held, strict=True) if not out]

    def _put_state(self, fresh: Sequence[_Row], base: int) -> None:
        state, at = self._state, from_micros(self._now)
        events = [row.event for row in fresh if row.event is not None]
        greatest = [state.max_event] if state is not None and state.max_event is not None else []
        self._tx.put(
            SourceState(
                source=self._place,
                definition=specs.fingerprint(self._source),
                columns=self._columns,
                rows=len(fresh) + (state.rows if state is not None else 0),
                max_event=max([*events, *greatest], default=None),
                complete_until=state.complete_until if state is not None else None,
                quarantined=state.quarantined if state is not None else 0,
                ingested_at=at,
                schemas=schemas_after(state, self._columns, base),
            )
        )

    def _unknown(
        self, rows: Sequence[_Row], keys: Sequence[str] | None, settling: Settling | None
    ) -> tuple[list[_Row], int]:
        """Return the rows to be stored, and how many of them are new versions of known events.

        Args:
            rows: The rows of the push.
            keys: The columns that hold keys: an event whose key changes is taken back under the one before. None to take
                back every changed event, for row-wise transformations that may leave the new row out.
            settling: The quarantine that they come from.
        """
        if self._source.id is None:
            return [_Row(*row[:5], created=self._now) for row in rows], 0
        events = LatestEvents(self._context, self._tx, self._source, self._place, self._columns)
        latest = events.of([row.event_id for row in rows])
        fresh: list[_Row] = []
        corrected = 0
        if settling is not None:
            replaced = [(row, latest[row.event_id]) for row in rows if row.event_id in latest]
            differing = [(row, one) for row, one in replaced if (one.digest, one.deleted) != (row.digest, row.deleted)]
            settling.require_newest(self._source.id, [(row.event_id, one.sequence) for row, one in differing])
        for row in rows:
            known = latest.get(row.event_id)
            if known is not None and (known.digest, known.deleted) == (row.digest, row.deleted):
                continue
            created = self._now
            if known is not None:
                corrected += 1
                require_clock(known.created, self._now, row.event_id, self._source.name)
                created = max(created, known.created)
                before = None if known.deleted else events.taken_back(known, row.payload, keys)
                if before is not None:
                    digest = digest_of(before)
                    fresh.append(
                        _Row(row.event_id, before, digest, row.event, deleted=True, created=created, moved=True)
                    )
            latest[row.event_id] = Event(
                row.digest, row.deleted, created, row.payload, 0
            )  # its sequence is not taken yet
            later = known is not None
            fresh.append(_Row(row.event_id, row.payload, row.digest, row.event, row.deleted, created, later=later))
        return fresh, corrected


def _rows(frame: pl.DataFrame, source: SourceSpec, columns: Iterable[str]) -> list[_Row]:
    ids: Sequence[str | None] = [None] * frame.height if source.id is None else to_ids(frame[source.id])
    payloads = to_payloads(frame, columns)
    events, deleted = frame["__event"].to_list(), frame["__deleted"].to_list()
    return list(starmap(_Row, zip(ids, payloads, map(digest_of, payloads), events, deleted, strict=True)))


def _is_replay(tx: Transaction, place: str, batch_id: str, rows: Sequence[_Row], at: int) -> bool:
    """Return whether the batch was pushed before; if not, record it.

    Raises:
        ConflictError: If it was, with other rows: treating it as a replay would lose these.
    """
    digest = digest_of(b"".join(sorted(row.digest + bytes([row.deleted]) for row in rows)))
    known = tx.get(PushBatch, source=place, batch_id=batch_id)
    if known is None:
        tx.insert(PushBatch(source=place, batch_id=batch_id, digest=digest, at=at))
    elif known.digest != digest:
        raise ConflictError(
            f"batch {batch_id!r} was pushed to source {place!r} before, with other rows",
            hint="give each batch an id of its own",
        )
    return known is not None


def _follow(context: Context) -> Literal["current", "behind"]:
    """Let the online store follow; the rows are durable, so an error here must not look like a failed push."""
    try:
        failed = follow(context)
    except Exception:  # noqa: BLE001  # of whatever kind: the caller would send committed rows again
        return "behind"
    return "behind" if failed else "current"
