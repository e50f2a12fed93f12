"""`ingest`: take what is new at a source into history, once, in one commit."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tinymlops._warn import warn
from tinymlops.errors import ConflictError, DataError, TinyMLOpsError
from tinymlops.features.definitions import specs
from tinymlops.features.history.deletes import refuse_deletes
from tinymlops.features.history.record_times import delay_micros
from tinymlops.features.history.sources import (
    current_rows,
    live_segments,
    newest_sequence,
    read_source,
    require_same_types,
    run_transformation,
    since_of,
    stored_batches,
    with_times,
)
from tinymlops.features.intake.attempts import Attempts
from tinymlops.features.intake.changes import Changes, compared, in_order, own_schema
from tinymlops.features.intake.compaction import compact_where_needed
from tinymlops.features.intake.row_wise import check_row_wise
from tinymlops.features.online.materialization import catch_up
from tinymlops.records import Ingestion, Segment, SourceState
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["ingest", "ingest_all", "rebuild"]

_ATTEMPTS = 5
_SHOWN_ROWS = 5
"""Numbers of rows without an event time that a warning names."""
_KEPT_ROWS = 1_000
"""And that the audit log keeps of an ingest."""


def ingest_all(
    context: Context, names: Sequence[str], *, full: bool = False, complete_until: int | None = None
) -> list[Ingestion]:
    """Ingest the named sources, or all that are not pushed, and bring what stands on them up to date.

    Transformations over them are rebuilt, and what the online store holds follows; where it cannot, that is a warning.
    A source that fails keeps none of this from the others.

    Args:
        context: The workspace's state.
        names: Of sources.
        full: Read everything anew, and record as deleted what is no longer there.
        complete_until: The user's word that no row with an earlier event time is missing, microseconds UTC.

    Raises:
        NotFoundError: If a name is unknown, with the near match.
        DefinitionError: If nothing was applied yet.
        DataError: If the rows of a source to be read in full have no id.
        IngestError: If there were several, and some could not be ingested; the others are.
    """
    context.definitions.require_any()
    known = context.definitions.of(specs.SourceSpec)
    chosen = [context.definitions.get(specs.SourceSpec, name) for name in names] or [
        spec for spec in known.values() if not spec.inputs and spec.via != "push"
    ]
    chosen = [spec for spec in chosen if not spec.inputs]
    if full:
        _require_ids(chosen)
    attempts = Attempts(context.root)
    for spec in chosen:
        attempts.make(spec.name, partial(ingest, context, spec, full=full, complete_until=complete_until))
    for spec in context.definitions.derived_in_order():
        if not spec.row_wise:
            attempts.make(spec.name, partial(rebuild, context, spec))
    if attempts.reports:
        _follow(context)
    compact_where_needed(context)
    return attempts.give(asked=len(chosen))


def ingest(context: Context, source: SourceSpec, *, full: bool = False, complete_until: int | None = None) -> Ingestion:
    """Read a source and store the rows that history does not have: the same rows twice change nothing.

    Under a replay clock rows not yet available by it are held back for a later ingest. Rows without an event
    time are left out, with a warning that numbers them.

    Args:
        context: The workspace's state.
        source: A source with SQL or a function.
        full: Read it from the beginning, and store a delete for each row that is no longer there.
        complete_until: The user's word that no row with an earlier event time is missing, microseconds UTC.

    Returns:
        What was read, new, corrected, known, deleted, held back and refused.

    Raises:
        DataError: If columns, types or times do not fit; nothing is stored then.
        DefinitionError: If a transformation over it only says that it is row-wise.
        ConflictError: If other ingests of the same source keep coming first.
    """
    begun = time.perf_counter()
    frame = with_times(read_source(context, source, since=None if full else since_of(context, source)), source)
    read = frame.height
    present = frame[source.id] if full and source.id else None
    frame, timeless = _with_event_time(frame, source)
    frame, held_back = _available(context, frame, source)
    refuse_deletes(context.definitions, source, frame)
    frame = _fitted(context, source, frame)
    check_row_wise(context, source, frame)
    for _ in range(_ATTEMPTS):
        before = live_segments(context, source.name)
        changes = _changes(context, source, frame, present)
        report = Ingestion(
            source=source.name,
            rows_read=read,
            rows_new=changes.rows.height - changes.corrected - changes.deleted,
            rows_corrected=changes.corrected,
            rows_known=changes.known,
            rows_deleted=changes.deleted,
            rows_held_back=held_back,
            rows_quarantined=len(timeless),
            rows_never_known=_never_known(frame, source),
            complete_until=complete_until,
            seconds=time.perf_counter() - begun,
            at=context.clock(),
        )
        committed = _commit(context, source, changes, report, before, timeless=timeless)
        if committed is not None:
            return committed
    raise ConflictError(
        f"source {source.name!r} is being ingested by others all the time", hint="ingest it from one place"
    )


def rebuild(context: Context, source: SourceSpec) -> Ingestion | None:
    """Compute a rebuilt transformation anew if its inputs have changed since; its new rows replace the old.

    Returns:
        What was stored; None if it is up to date or an input was never ingested.
    """
    begun = time.perf_counter()
    live = live_segments(context, source.name)
    inputs = [newest_sequence(context, name) for name in source.inputs]
    if None in inputs:
        return None
    newest = max(sequence for sequence in inputs if sequence is not None)
    state = context.environment.database.get(SourceState, source=source.name)
    current = state is not None and state.definition == specs.fingerprint(source)
    if current and live and live[-1].covers is not None and live[-1].covers >= newest:
        return None
    parents = {name: current_rows(context, name, as_of=newest) for name in source.inputs}
    plain = {name: rows.drop("__event", "__created", "__sequence", "__deleted") for name, rows in parents.items()}
    frame = with_times(run_transformation(context, source, plain), source)
    rows, timeless = _with_event_time(frame, source)
    check_row_wise(context, source, rows)
    report = Ingestion(
        source=source.name,
        rows_read=frame.height,
        rows_new=rows.height,
        rows_quarantined=len(timeless),
        rows_never_known=_never_known(rows, source),
        seconds=time.perf_counter() - begun,
        at=context.clock(),
    )
    return _commit(context, source, Changes(rows), report, live, timeless=timeless, covers=newest)


def _follow(context: Context) -> None:
    """Let the online store follow; the rows are durable, so what goes wrong here may not look like a failed ingest."""
    try:
        catch_up(context)
    except Exception as error:  # noqa: BLE001  # of whatever kind: the caller would ingest committed rows again
        reason = error.message if isinstance(error, TinyMLOpsError) else str(error) or type(error).__name__
        warn(
            f"the rows are stored, but the online store could not follow: {reason}; "
            "once that is put right, `materialize` lets it follow"
        )


def _require_ids(sources: Sequence[SourceSpec]) -> None:
    nameless = [source.name for source in sources if source.id is None]
    if nameless:
        raise DataError(
            f"source {nameless[0]!r} has no id, so nobody could say which of its rows vanished",
            hint='give it id="...", or name only sources that have one: ingest them with full=True by name',
        )


def _changes(context: Context, source: SourceSpec, frame: pl.DataFrame, present: pl.Series | None) -> Changes:
    if context.environment.database.get(SourceState, source=source.name) is None:
        return Changes(frame)

    def stored() -> Iterator[pl.DataFrame]:
        return stored_batches(context, source.name)

    return compared(frame, stored, source, present=present, now=context.now())


def _with_event_time(frame: pl.DataFrame, source: SourceSpec) -> tuple[pl.DataFrame, pl.Series]:
    """Leave out rows without an event time, and say so; return their numbers, from 0 in the order they were read."""
    missing = frame["__event"].is_null()
    timeless = missing.arg_true()
    if source.timestamp is None or not len(timeless):
        return frame, timeless.clear()
    first = ", ".join(map(str, timeless.head(_SHOWN_ROWS)))
    more = ", ..." if len(timeless) > _SHOWN_ROWS else ""
    warn(
        f"source {source.name!r}: {len(timeless):,} of {frame.height:,} rows have no time in {source.timestamp!r} and were "
        f"left out: rows {first}{more}, counted from 0"
    )
    return frame.filter(~missing), timeless


def _never_known(frame: pl.DataFrame, source: SourceSpec) -> int:
    return frame["__created"].null_count() if source.created is not None else 0


def _available(context: Context, frame: pl.DataFrame, source: SourceSpec) -> tuple[pl.DataFrame, int]:
    """Under a replay clock, leave out rows that nobody could have known by then; return how many they were."""
    if not context.replays or source.timestamp is None:
        return frame, 0
    wait = source.delay if source.delay_column is None else pl.Series(delay_micros(frame[source.delay_column]))
    available = pl.max_horizontal(pl.col("__event") + wait, "__created")
    kept = frame.filter(available <= context.now())
    return kept, frame.height - kept.height


def _fitted(context: Context, source: SourceSpec, frame: pl.DataFrame) -> pl.DataFrame:
    """Refuse a column whose type changed; give a column of nothing but nulls the type it has in history."""
    state = context.environment.database.get(SourceState, source=source.name)
    if state is None:
        return frame
    now = own_schema(frame)
    require_same_types(source.name, state.columns, now)
    empty = [name for name, dtype in now.items() if dtype == "Null" and name in state.columns]
    return frame.with_columns(frame[name].cast(parse_dtype(state.columns[name])) for name in empty)


def _commit(
    context: Context,
    source: SourceSpec,
    changes: Changes,
    report: Ingestion,
    before: list[Segment],
    *,
    timeless: pl.Series,
    covers: int | None = None,
) -> Ingestion | None:
    """Publish the rows and name them in one transaction; None if another commit came between."""
    from tinymlops.stores import segments

    environment = context.environment
    with environment.gc_lock.shared(deadline=60):
        file = None
        # A rebuilt one is stored even if it is empty: its file says what it was computed from.
        if changes.rows.height or covers is not None:
            directory = environment.segments_dir / source.name
            file = segments.write(in_order(changes.rows), directory, environment.tmp)
        with environment.database.write(actor="local") as tx:
            if before != tx.list(Segment, where={"source": source.name, "dead_at": None}, order="id"):
                return None
            state = tx.get(SourceState, source=source.name)
            if file is None and report.complete_until is not None:
                tx.take_sequence(1)  # what is known changes, if by no row
            if file is not None:
                # A rebuild takes a number even without rows: no two may stand at one sequence.
                taken = file.rows if covers is None else max(1, file.rows)
                base = tx.take_sequence(taken)
                events = changes.rows["__event"].drop_nulls()
                tx.insert(
                    Segment(
                        source=source.name,
                        sha256=file.sha256,
                        base=base,
                        rows=file.rows,
                        last=base + taken,
                        bytes=file.bytes,
                        min_event=_whole(events.min()),
                        max_event=_whole(events.max()),
                        corrections=changes.corrected + changes.deleted,
                        covers=covers,
                        created_at=report.at,
                    )
                )
            if covers is not None:
                for segment in before:
                    tx.update(msgspec.structs.replace(segment, dead_at=context.clock(), until=tx.sequence()))
            tx.put(_next_state(source, changes.rows, state, report, replaced=covers is not None))
            stored = tx.insert(msgspec.structs.replace(report, sequence=tx.sequence()))
            if file is not None:
                left_out = {"rows_without_time": timeless.head(_KEPT_ROWS).to_list()} if len(timeless) else {}
                tx.audit("ingest", source.name, rows=file.rows, sha256=file.sha256, **left_out)
            return stored


def _next_state(
    source: SourceSpec,
    rows: pl.DataFrame,
    state: SourceState | None,
    report: Ingestion,
    *,
    replaced: bool,
) -> SourceState:
    greatest = [_whole(rows["__event"].max()), state.max_event if state else None]
    said = [report.complete_until, state.complete_until if state else None]
    return SourceState(
        source=source.name,
        definition=specs.fingerprint(source),
        columns={**(state.columns if state and not replaced else {}), **own_schema(rows)},
        rows=rows.height + (state.rows if state and not replaced else 0),
        max_event=max((value for value in greatest if value is not None), default=None),
        complete_until=max((value for value in said if value is not None), default=None),
        quarantined=report.rows_quarantined,
        ingested_at=report.at,
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
