"""`ingest` of one source: store its new rows in history, once, in one commit."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from tinymlops._widening import widened
from tinymlops.errors import ConflictError, DataError
from tinymlops.features.definitions import graph
from tinymlops.features.history.connected import read_connection
from tinymlops.features.history.sources import read_source, with_times
from tinymlops.features.history.storable import storable
from tinymlops.features.history.stored import final_versions, live_segments, since_of, state_of, stored_rows
from tinymlops.features.history.user_code import reading
from tinymlops.features.intake.changes import Changes, compared, first, in_order, own_schema
from tinymlops.features.intake.committing import Batch, commit
from tinymlops.features.intake.fitting import fitted, tell_of_columns
from tinymlops.features.intake.looking import look
from tinymlops.features.intake.taking_in import (
    entity_keys,
    history_for,
    judged_now,
    never_known,
    refuse_other_dating,
    refuse_other_rows,
    take_in,
    tell_of_ids,
)
from tinymlops.records import Ingestion
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.intake.looking import Decision
    from tinymlops.features.intake.quarantine import Settling
    from tinymlops.records import SourceCursor, SourceState

__all__ = ["busy", "ingest", "take_released"]

_ATTEMPTS = 5


def ingest(context: Context, source: SourceSpec, *, full: bool = False, complete_until: int | None = None) -> Ingestion:
    """Read a source and store the rows that history does not have; reading the same rows again changes nothing.

    Under a replay clock rows not yet available by it are held back for a later ingest. Rows without an event
    time are left out, with a warning that numbers them.

    Args:
        context: The workspace's state.
        source: A source with SQL or a function.
        full: Read it from the beginning, and store a delete for each row that is no longer there.
        complete_until: The user's declaration that no row with an earlier event time is missing, microseconds UTC.

    Returns:
        The numbers of rows read, new, corrected, known, deleted, held back and refused.

    Raises:
        DataError: If columns, types or times do not fit, or the source's definition differs from the one that its stored
            rows were dated or read by; nothing is stored then.
        DefinitionError: If a transformation over it is declared row-wise and is not, or a definition that reads it does
            not fit it.
        ConflictError: If other ingests of the same source are always faster, or the clock is far behind.
    """
    begun = time.perf_counter()
    for _ in range(_ATTEMPTS):
        read = partial(_read, context, source, full=full)
        committed = _attempt(context, source, read, complete_until=complete_until, begun=begun)
        if committed is not None:
            return committed
    raise busy(source)


def take_released(context: Context, source: SourceSpec, rows: pl.DataFrame, settling: Settling) -> Ingestion:
    """Store rows that checks had kept aside as if the source gave them now; those that came again meanwhile are known.

    Args:
        context: The workspace's state.
        source: Whose rows; no transformation, and it takes no pushes.
        rows: The source's columns.
        settling: The quarantine that they come from.

    Returns:
        What was new, corrected and known.

    Raises:
        DataError: If they do not fit the rows that are stored by now; nothing is stored then.
        ConflictError: If somebody else released or dropped them, they would take the place of newer versions, or others keep
            storing rows.
    """
    if source.in_place:
        raise DataError(
            f"source {source.name!r} is read in place by now (store=False), and nothing of it is stored",
            hint="drop them: ws.checks.drop, or tinymlops checks drop; or leave store=False out, apply, and release them then",
        )
    begun = time.perf_counter()
    read = _Read(with_times(storable(rows, source), source), settling=settling)
    for _ in range(_ATTEMPTS):
        committed = _attempt(context, source, lambda: read, complete_until=None, begun=begun)
        if committed is not None:
            return committed
    raise busy(source)


class _Read(NamedTuple):
    """Rows on their way into history."""

    frame: pl.DataFrame
    """With their times."""
    present: pl.Series | None = None
    """Every id at the source, if it was read in full."""
    settling: Settling | None = None
    """The quarantine that they come from; None for rows of the source."""
    cursor: SourceCursor | None = None
    """How far the database that they are in is read with them."""


def _read(context: Context, source: SourceSpec, *, full: bool) -> _Read:
    if source.via == "connection":
        with reading(source, context.root):
            stored = partial(_ids_of_now, context, source)
            read = read_connection(context, source, state_of(context, source.name), full=full, stored=stored)
            frame = with_times(storable(read.frame, source), source)
        return _Read(frame, read.present, cursor=read.cursor)
    frame = with_times(read_source(context, source, since=None if full else since_of(context, source)), source)
    return _Read(frame, frame[source.id] if full and source.id else None)


def _ids_of_now(context: Context, source: SourceSpec) -> pl.Series:
    """Return the ids of the rows that count now."""
    assert source.id is not None, "asked where all ids are read"
    rows = final_versions(stored_rows(context, source.name, [source.id]), source)
    return rows.filter(~pl.col("__deleted"))[source.id]


def _attempt(
    context: Context, source: SourceSpec, read: Callable[[], _Read], *, complete_until: int | None, begun: float
) -> Ingestion | None:
    """Read the source and store its new rows; None if others stored rows of it meanwhile.

    Their read may be newer than this one, so the source must be read again.
    """
    before = live_segments(context, source.name)
    state, judged = state_of(context, source.name), judged_now(context, source)
    refuse_other_dating(source, judged)
    frame, present, settling, cursor = read()
    taken = take_in(context, source, frame)
    rows = fitted(context, source, taken.rows, state)
    at = context.clock()
    compare = partial(_changes, context, source, state=state, now=to_micros(at), requeried=judged.query)
    rows, changes, decision = _checked(context, source, rows, compare, present=present, released=settling is not None)
    if judged.query and settling is None:
        refuse_other_rows(source, changes, rows)
    if settling is not None and source.id is not None and state is not None:
        settling.require_newest(source.id, _replaced(context, source, changes))
    report = Ingestion(
        source=source.name,
        rows_read=frame.height,
        rows_new=changes.new,
        rows_corrected=changes.corrected,
        rows_known=changes.known,
        rows_deleted=changes.deleted,
        rows_held_back=taken.held_back,
        rows_quarantined=len(taken.timeless) + taken.rows.height - rows.height,
        rows_never_known=never_known(rows, source),
        rows_ahead=taken.ahead,
        rows_incomplete=changes.incomplete,
        complete_until=complete_until,
        seconds=time.perf_counter() - begun,
        at=at,
    )
    batch = Batch(
        source=source,
        rows=in_order(changes.rows),
        corrections=changes.rows.height - changes.new,
        report=report,
        columns={**(state.columns if state is not None else {}), **own_schema(rows)},
        timeless=taken.timeless,
        kept=None if decision is None else decision.kept,
        settling=settling,
        cursor=cursor,
    )
    committed = commit(context, batch, before)
    if committed is not None and settling is None:
        if state is not None:
            tell_of_columns(context, source, rows, state)
        tell_of_ids(source, rows, changes)
        if decision is not None:
            decision.tell()
    return committed


def _checked(
    context: Context,
    source: SourceSpec,
    rows: pl.DataFrame,
    compare: Callable[..., Changes],
    *,
    present: pl.Series | None,
    released: bool,
) -> tuple[pl.DataFrame, Changes, Decision | None]:
    """Compare rows with history, and leave out those that checks keep aside.

    Raises:
        DataError: If a check refuses the batch.
    """
    looked = None if released else look(context, source, rows, moment="ingest")
    changes = compare(rows, present)
    if looked is None:
        return rows, changes, None
    known = _known(rows, compare) if looked.fails else None
    decision = looked.decide(context.environment.database, known=known)
    decision.refuse(context)
    if decision.held is not None:
        rows = rows.filter(~decision.held)
        changes = compare(rows, None if decision.holds_batch else present)
    return rows, changes, decision


def _known(rows: pl.DataFrame, compare: Callable[..., Changes]) -> pl.Series:
    """Say which rows history has."""
    fresh = compare(rows.with_row_index("__row"), None).rows["__row"].drop_nulls()
    return pl.Series([True]).new_from_index(0, rows.height).scatter(fresh, False)


def _replaced(context: Context, source: SourceSpec, changes: Changes) -> Iterable[tuple[object, int]]:
    """Return the ids of rows to be stored that history knows, each with the sequence of its newest version."""
    assert source.id is not None, "asked of rows with ids"
    asked = changes.rows.select(source.id).drop_nulls().unique()
    stored = stored_rows(context, source.name, [source.id]).select(source.id, "__sequence")
    stored = stored.with_columns(widened(stored[source.id], asked.schema[source.id]))
    newest = stored.join(asked, on=source.id, how="semi").group_by(source.id).agg(pl.col("__sequence").max())
    return newest.iter_rows()


def busy(source: SourceSpec) -> ConflictError:
    """Return the error for an ingest that others overtake again and again."""
    return ConflictError(
        f"source {source.name!r} is being ingested by others all the time", hint="ingest it from one place"
    )


def _changes(
    context: Context,
    source: SourceSpec,
    frame: pl.DataFrame,
    present: pl.Series | None,
    *,
    state: SourceState | None,
    now: int,
    requeried: bool,
) -> Changes:
    keys, whole = entity_keys(context, source), bool(graph.row_wise_over(context.definitions, source.name))
    if state is None:
        return first(frame, source, keys=keys, whole=whole)
    gone = source.id is None and requeried  # then rows count that another query does not give any more
    history = history_for(context, source, state, frame, whole=gone or present is not None)
    return compared(frame, history, source, present=present, now=now, keys=keys, whole=whole, count_unmatched=gone)
