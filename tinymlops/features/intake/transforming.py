"""Recompute a transformation from all rows of its inputs.

If its rows have an id, the result is compared with the rows before: a row that has changed or is gone counts as such
from this rebuild on, and the earlier versions are carried over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import polars as pl

from tinymlops._widening import widened
from tinymlops.errors import DataError
from tinymlops.features.definitions import graph, specs
from tinymlops.features.history.corrections import Commits, with_observed_times
from tinymlops.features.history.generations import generations_of, inputs_of, place_of, reads_others
from tinymlops.features.history.sources import run_transformation, with_times
from tinymlops.features.history.stored import (
    current_rows,
    live_segments,
    newest_sequence,
    state_of,
    stored_batches,
)
from tinymlops.features.intake.changes import Changes, History, compared, first, in_order, own_schema
from tinymlops.features.intake.committing import Batch, commit
from tinymlops.features.intake.fitting import fitted
from tinymlops.features.intake.looking import look
from tinymlops.features.intake.row_wise import check_row_wise
from tinymlops.features.intake.taking_in import entity_keys, judged_now, never_known, with_event_time
from tinymlops.records import Ingestion, Schema
from tinymlops.schema import parse_dtype
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.intake.looking import Decision, Looked
    from tinymlops.features.intake.quarantine import Settling
    from tinymlops.records import Segment, SourceState

__all__ = ["recompute", "stored_whole"]


def recompute(context: Context, source: SourceSpec, *, settling: Settling | None = None) -> Ingestion | None:
    """Recompute a rebuilt transformation if its inputs have changed since; its new rows replace the old.

    Args:
        context: The workspace's state.
        source: The transformation.
        settling: A quarantine whose rows pass the checks from now on: it is computed anew for them.

    Returns:
        The report of what was stored; None if it is up to date or an input was never ingested.

    Raises:
        DataError: If a check refuses its rows: those of before stay.
    """
    begun = time.perf_counter()
    live, state = live_segments(context, source.name), state_of(context, source.name)
    newest = _newest(context, source)
    if newest is None:
        return None
    current = state is not None and state.definition == specs.fingerprint(source) and not _reads_others(context, source)
    if settling is None and current and live and live[-1].covers is not None and live[-1].covers >= newest:
        return None
    frame = _run(context, source, newest)
    rows, timeless = with_event_time(frame, source)
    check_row_wise(context, source, rows)
    came, looked = rows.height, look(context, source, rows, moment="transformation")
    decision = _decided(context, looked, settling)
    if decision is not None and decision.held is not None:
        rows = rows.filter(~decision.held)
    begins = state is not None and _is_another(context, source, live)
    before = None if state is None or begins else _versions(context, source, state)
    at = context.clock()
    changes, ordered = _ordered(context, source, rows, before, state, to_micros(at))
    report = Ingestion(
        source=source.name,
        rows_read=frame.height,
        rows_quarantined=len(timeless) + came - rows.height,
        rows_never_known=never_known(rows, source),
        seconds=time.perf_counter() - begun,
        at=at,
        **_counts(changes, ordered),
    )
    carried = sum(segment.corrections for segment in live) if report.rows_carried else 0
    batch = Batch(
        source=source,
        rows=ordered,
        corrections=changes.rows.height - changes.new + carried,
        report=report,
        columns=own_schema(ordered.drop("__ordinal")),
        timeless=timeless,
        covers=newest,
        inputs=inputs_of(context.definitions, source),
        begins=begins,
        kept=None if decision is None else decision.kept,
        settling=settling,
    )
    committed = commit(context, batch, live)
    if committed is not None and decision is not None:
        decision.tell()
    return committed


def stored_whole(context: Context, source: SourceSpec, state: SourceState) -> pl.DataFrame:
    """Return all live rows of a source as they are stored, in its present types, each later version with its time.

    They come in order of their sequence.
    """
    types = {name: parse_dtype(dtype) for name, dtype in state.columns.items()}
    parts = [
        batch.with_columns(widened(batch[name], types[name]) for name in batch.columns if name in types)
        for batch in stored_batches(context, source.name)
    ]
    rows = pl.concat(parts, how="diagonal").sort("__sequence")
    undated = any(one.corrections and not one.dated for one in live_segments(context, source.name))
    if undated and source.id is not None and source.created is None:
        database = context.environment.database
        return with_observed_times(rows, source, Commits(database, place_of(database, source.name)))
    return rows


def _newest(context: Context, source: SourceSpec) -> int | None:
    """Return the greatest sequence of the inputs; None if one was never ingested."""
    inputs = [newest_sequence(context, name) for name in source.inputs]
    return None if None in inputs else max(sequence for sequence in inputs if sequence is not None)


def _run(context: Context, source: SourceSpec, newest: int) -> pl.DataFrame:
    """Return the rows of a transformation of its inputs as of a sequence, with their times."""
    parents = {name: current_rows(context, name, as_of=newest) for name in source.inputs}
    plain = {name: rows.drop("__event", "__created", "__sequence", "__deleted") for name, rows in parents.items()}
    return with_times(run_transformation(context, source, plain), source)


def _decided(context: Context, looked: Looked | None, settling: Settling | None) -> Decision | None:
    """Return what the checks say of the rows.

    Raises:
        DataError: If one refuses them.
    """
    if looked is None:
        return None
    decision = looked.decide(context.environment.database, releasing=settling)
    decision.refuse(context)
    return decision


def _counts(changes: Changes, ordered: pl.DataFrame) -> dict[str, int]:
    """Return what a report counts of a comparison with the rows before, and of the rows that are stored."""
    return {
        "rows_new": changes.new,
        "rows_corrected": changes.corrected,
        "rows_known": changes.known,
        "rows_deleted": changes.deleted,
        "rows_carried": ordered.height - changes.rows.height,
    }


def _is_another(context: Context, source: SourceSpec, live: Sequence[Segment]) -> bool:
    """Return whether the earlier rows belong to another definition, or to inputs that started over."""
    judged, database, definitions = judged_now(context, source), context.environment.database, context.definitions
    covers = live[-1].covers if live else None
    origins = {graph.origin(definitions, definitions.get(specs.SourceSpec, name)).name for name in source.inputs}
    begun = [
        generation.begins
        for name in origins
        for generation in generations_of(database, place_of(database, name), state_of(context, name))
    ]
    anew = covers is not None and max(begun, default=0) > covers
    return bool(judged.dating) or judged.query or anew or _reads_others(context, source)


def _reads_others(context: Context, source: SourceSpec) -> bool:
    """Return whether row-wise transformations that it reads have changed since it was computed."""
    database = context.environment.database
    known = generations_of(database, place_of(database, source.name), state_of(context, source.name))
    return reads_others(context.definitions, source, known[-1] if known else None)


def _versions(context: Context, source: SourceSpec, state: SourceState) -> pl.DataFrame | None:
    """Return the versions that are carried over; None if every rebuild replaces all rows."""
    if source.knowledge != "observed" or source.id is None:
        return None
    rows = stored_whole(context, source, state)
    return rows.filter(pl.col(source.id).is_not_null()) if source.id in rows.columns else None


def _ordered(
    context: Context,
    source: SourceSpec,
    rows: pl.DataFrame,
    before: pl.DataFrame | None,
    state: SourceState | None,
    now: int,
) -> tuple[Changes, pl.DataFrame]:
    """Return what changed, and all rows in the order of their sequence."""
    keys, whole = entity_keys(context, source), bool(graph.row_wise_over(context.definitions, source.name))
    if before is None or state is None or source.id is None:
        changes = first(rows, source, keys=keys, whole=whole)
        return changes, in_order(changes.rows)
    try:
        rows = fitted(context, source, rows, state)
    except DataError:  # a column of another kind: earlier rows cannot be compared with it
        return _ordered(context, source, rows, None, state, now)
    history = History(lambda: iter([before]), [Schema(0, state.columns)], None)
    changes = compared(rows, history, source, present=rows[source.id], now=now, keys=keys, whole=whole)
    types = {name: dtype for name, dtype in rows.schema.items() if name in before.columns}
    carried = before.drop("__sequence").with_columns(widened(before[name], dtype) for name, dtype in types.items())
    return changes, in_order(changes.rows, after=carried)
