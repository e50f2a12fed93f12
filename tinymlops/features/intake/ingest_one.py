"""`ingest` of one source: store its new rows in history, once, in one commit."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError
from tinymlops.features.definitions import graph
from tinymlops.features.history.sources import read_source, with_times
from tinymlops.features.history.stored import live_segments, since_of, state_of
from tinymlops.features.intake.changes import Changes, compared, first, in_order, own_schema
from tinymlops.features.intake.committing import Batch, commit
from tinymlops.features.intake.fitting import fitted, tell_of_columns
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
    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.records import SourceState

__all__ = ["busy", "ingest"]

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
        committed = _attempt(context, source, full=full, complete_until=complete_until, begun=begun)
        if committed is not None:
            return committed
    raise busy(source)


def _attempt(
    context: Context, source: SourceSpec, *, full: bool, complete_until: int | None, begun: float
) -> Ingestion | None:
    """Read the source and store its new rows; None if others stored rows of it meanwhile.

    Their read may be newer than this one, so the source must be read again.
    """
    before = live_segments(context, source.name)
    state, judged = state_of(context, source.name), judged_now(context, source)
    refuse_other_dating(source, judged)
    frame = with_times(read_source(context, source, since=None if full else since_of(context, source)), source)
    present = frame[source.id] if full and source.id else None
    read = take_in(context, source, frame)
    rows = fitted(context, source, read.rows, state)
    at = context.clock()
    changes = _changes(context, source, rows, state, present, to_micros(at))
    if judged.query:
        refuse_other_rows(source, changes, rows)
    report = Ingestion(
        source=source.name,
        rows_read=frame.height,
        rows_new=changes.new,
        rows_corrected=changes.corrected,
        rows_known=changes.known,
        rows_deleted=changes.deleted,
        rows_held_back=read.held_back,
        rows_quarantined=len(read.timeless),
        rows_never_known=never_known(rows, source),
        rows_ahead=read.ahead,
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
        timeless=read.timeless,
    )
    committed = commit(context, batch, before)
    if committed is not None:
        if state is not None:
            tell_of_columns(context, source, rows, state)
        tell_of_ids(source, rows, changes)
    return committed


def busy(source: SourceSpec) -> ConflictError:
    """Return the error for an ingest that others overtake again and again."""
    return ConflictError(
        f"source {source.name!r} is being ingested by others all the time", hint="ingest it from one place"
    )


def _changes(
    context: Context,
    source: SourceSpec,
    frame: pl.DataFrame,
    state: SourceState | None,
    present: pl.Series | None,
    now: int,
) -> Changes:
    keys, whole = entity_keys(context, source), bool(graph.row_wise_over(context.definitions, source.name))
    if state is None:
        return first(frame, source, keys=keys, whole=whole)
    history = history_for(context, source, state)
    return compared(frame, history, source, present=present, now=now, keys=keys, whole=whole)
