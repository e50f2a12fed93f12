"""`ingest(rebuild=True)`: begin another generation of a source whose definition has changed under its stored rows.

Versions that hold what the new definition needs are dated again and keep the time from which they count. A row whose
versions do not, because its query changed or a column was never stored, counts as it is read now, from the last
correction of its id on and never earlier. The ended generation stays for reads as of an earlier sequence and for models
that are pinned to the earlier definition.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import polars as pl

from tinymlops._warn import warn
from tinymlops._widening import widened, wider
from tinymlops.errors import DataError
from tinymlops.features.compute.deletes import refuse_deletes
from tinymlops.features.definitions import graph
from tinymlops.features.history.generations import generations_of, place_of
from tinymlops.features.history.payloads import digest_of, to_ids, to_payloads
from tinymlops.features.history.source_times import times_of
from tinymlops.features.history.sources import read_source, with_times
from tinymlops.features.history.stored import live_segments, state_of
from tinymlops.features.intake.changes import (
    Changes,
    History,
    compared,
    first,
    in_order,
    own_schema,
    split_known,
)
from tinymlops.features.intake.committing import Batch, commit
from tinymlops.features.intake.compaction import compact
from tinymlops.features.intake.fitting import fitted
from tinymlops.features.intake.ingest_one import busy, ingest
from tinymlops.features.intake.looking import look
from tinymlops.features.intake.taking_in import TakenIn, entity_keys, judged_now, never_known, take_in
from tinymlops.features.intake.transforming import stored_whole
from tinymlops.records import Ingestion, MovedEvent, Schema

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.history.generations import Judgement
    from tinymlops.features.intake.looking import Decision
    from tinymlops.features.intake.taking_in import TakenIn
    from tinymlops.records import SourceState

__all__ = ["begin_generation"]

_ATTEMPTS = 5


def begin_generation(context: Context, source: SourceSpec, *, drop_missing: bool = False) -> Ingestion:
    """Read a source again, date its stored rows by its definition, and replace the stored generation by both.

    Args:
        context: The workspace's state.
        source: A source that is not a transformation.
        drop_missing: Leave out events that the source does not have any more.

    Returns:
        The numbers of rows read, new, corrected, carried over, restarted and dropped.

    Raises:
        DataError: If rows cannot be dated, or types do not fit.
        ConflictError: If others keep storing rows meanwhile.
    """
    begun = time.perf_counter()
    state = state_of(context, source.name)
    if state is None or not state.rows:
        if source.via == "push":
            raise DataError(f"source {source.name!r} has no rows", hint=f"ws.push({source.name!r}, rows)")
        return ingest(context, source)
    for _ in range(_ATTEMPTS):
        committed = _attempt(context, source, drop_missing=drop_missing, begun=begun)
        if committed is not None:
            return committed
    raise busy(source)


def _attempt(context: Context, source: SourceSpec, *, drop_missing: bool, begun: float) -> Ingestion | None:
    """Read the source, and begin a generation; None if others stored rows meanwhile, which this read may lack."""
    if source.via == "push":
        compact(context, [source.name])
    before, state, judged = (
        live_segments(context, source.name),
        state_of(context, source.name),
        judged_now(context, source),
    )
    assert state is not None, "it had rows before"
    frame = None if source.via == "push" else with_times(read_source(context, source), source)
    read = None if frame is None else take_in(context, source, frame)
    decision = None if read is None else _decided(context, source, read.rows)
    if read is not None and decision is not None and decision.held is not None:
        read = read._replace(rows=read.rows.filter(~decision.held))
    was = _as_it_was(context, source, state)
    stored = stored_whole(context, was, state)
    if frame is None or read is None:
        next_rows = _of_pushes(source, was, stored, judged)
    else:
        rows, held = _alike(context, source, read.rows, stored, state, judged)
        had = _Before(was, held, stored, state, judged)
        next_rows = _next(context, had, source, rows, frame, drop_missing=drop_missing)
    ordered = in_order(next_rows.changes.rows, after=next_rows.carried)
    refuse_deletes(context.definitions, source, ordered)
    columns = own_schema(ordered.drop("__ordinal"))
    batch = Batch(
        source=source,
        rows=ordered,
        corrections=_corrections(ordered, source),
        report=_report(context, source, frame, read, next_rows, begun, decision),
        columns=columns,
        timeless=pl.Series([], dtype=pl.UInt32) if read is None else read.timeless,
        kept=None if decision is None else decision.kept,
        begins=True,
        events=_events(context, source, ordered, columns) if source.via == "push" else None,
    )
    committed = commit(context, batch, before)
    if committed is not None:
        _tell(source, judged, committed)
        if decision is not None:
            decision.tell()
    return committed


def _decided(context: Context, source: SourceSpec, rows: pl.DataFrame) -> Decision | None:
    """Ask the checks on a source about all rows that it has now: each is read anew.

    Raises:
        DataError: If one refuses them.
    """
    looked = look(context, source, rows, moment="rebuild")
    decision = None if looked is None else looked.decide(context.environment.database)
    if decision is not None:
        decision.refuse(context)
    return decision


def _report(
    context: Context,
    source: SourceSpec,
    frame: pl.DataFrame | None,
    read: TakenIn | None,
    next_rows: _Next,
    begun: float,
    decision: Decision | None,
) -> Ingestion:
    changes = next_rows.changes
    counted = Ingestion(
        source=source.name,
        rows_read=0 if frame is None else frame.height,
        rows_new=changes.new - next_rows.restarted,
        rows_corrected=changes.corrected,
        rows_known=changes.known,
        rows_carried=next_rows.carried.height,
        rows_restarted=next_rows.restarted,
        rows_dropped=next_rows.dropped,
        seconds=time.perf_counter() - begun,
        at=context.clock(),
    )
    if read is None:
        return counted
    return msgspec.structs.replace(
        counted,
        rows_held_back=read.held_back,
        rows_quarantined=len(read.timeless) + (0 if decision is None else decision.held_rows),
        rows_never_known=never_known(read.rows, source),
        rows_ahead=read.ahead,
    )


class _Before(NamedTuple):
    """The stored rows of a source."""

    definition: SourceSpec
    """The definition that the rows were dated and identified by."""
    held: pl.DataFrame | None
    """Its rows, in the types of the read; None if those have other kinds."""
    stored: pl.DataFrame
    """Its rows as they are stored."""
    state: SourceState
    judged: Judgement


def _alike(
    context: Context,
    source: SourceSpec,
    rows: pl.DataFrame,
    stored: pl.DataFrame,
    state: SourceState,
    judged: Judgement,
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Return the read and the stored rows in types that hold both; None for the latter if there are no such types."""
    try:
        rows = fitted(context, source, rows, state)
    except DataError:
        if not judged.query:
            raise
        return rows, None
    types = {name: dtype for name, dtype in rows.schema.items() if name in stored.columns}
    return rows, stored.with_columns(widened(stored[name], dtype) for name, dtype in types.items())


class _Next(NamedTuple):
    """The rows of the new generation."""

    carried: pl.DataFrame
    """Earlier versions, dated again, in their order."""
    changes: Changes
    """The additional rows of the read."""
    restarted: int = 0
    dropped: int = 0


def _next(
    context: Context,
    before: _Before,
    source: SourceSpec,
    rows: pl.DataFrame,
    all_read: pl.DataFrame,
    *,
    drop_missing: bool,
) -> _Next:
    keys, whole = entity_keys(context, source), bool(graph.row_wise_over(context.definitions, source.name))
    stored, state, judged = before.held, before.state, before.judged
    if "id" in judged.dating or (source.id is None and judged.query):
        return _Next(rows.clear(), first(rows, source, keys=keys, whole=whole), 0, before.stored.height)
    if stored is None:
        return _all_restarted(before, rows, first(rows, source, keys=keys, whole=whole), source)
    carried = _dated(stored, source, before.definition)
    dated = carried["__event"].is_not_null() | pl.lit(source.timestamp is None)
    undated, carried = stored.filter(~dated), carried.filter(dated)
    if source.id is None:
        left, known, new = split_known(rows, carried, state.all_schemas, source)
        left = left.drop("__sequence")
        kept = left.clear() if drop_missing else left
        dropped = undated.height + left.height - kept.height
        return _Next(pl.concat([kept, known], how="diagonal"), Changes(new, known=known.height), 0, dropped)
    restart = undated.select(source.id).drop_nulls().unique()
    carried = _completed(carried, rows, state, source.id, compared_with=source, now=context.now())
    carried = carried.join(restart, on=source.id, how="anti", maintain_order="left")
    if judged.query:
        differing = compared(rows, _history(carried, state), source, now=context.now()).rows
        again = differing.select(source.id).join(carried.select(source.id), on=source.id, how="semi")
        restart = pl.concat([restart, again.drop_nulls()]).unique()
        carried = carried.join(restart, on=source.id, how="anti", maintain_order="left")
    missing = _events_not_in(stored, all_read, source.id)
    if drop_missing:
        carried = carried.join(missing, on=source.id, how="anti", maintain_order="left")
        dropped = missing.height
    else:
        dropped = missing.join(restart, on=source.id, how="semi").height
    changes = compared(rows, _history(carried, state), source, now=context.now(), keys=keys, whole=whole)
    changed, restarted = _restarted(changes.rows, stored, restart, source.id)
    return _Next(carried.drop("__sequence"), changes._replace(rows=changed), restarted, dropped)


def _all_restarted(before: _Before, rows: pl.DataFrame, changes: Changes, source: SourceSpec) -> _Next:
    """Let all rows count as they are read, because the stored ones have other kinds."""
    assert source.id is not None, "without it they would be new"
    dtype = wider(before.stored.schema[source.id], rows.schema[source.id])
    if dtype is None:
        return _Next(rows.clear(), changes, 0, before.stored.select(source.id).n_unique())
    stored = before.stored.with_columns(widened(before.stored[source.id], dtype))
    of_type = rows.select(widened(rows[source.id], dtype))
    read = changes.rows.with_columns(widened(changes.rows[source.id], dtype))
    every = stored.select(source.id).drop_nulls().unique()
    changed, restarted = _restarted(read, stored, every, source.id)
    changed = changed.with_columns(changes.rows[source.id])
    return _Next(
        rows.clear(), changes._replace(rows=changed), restarted, _events_not_in(stored, of_type, source.id).height
    )


def _dated(stored: pl.DataFrame, source: SourceSpec, was: SourceSpec) -> pl.DataFrame:
    """Date stored rows by a definition; `__event` is null where a row lacks what it needs.

    They keep their `__created`, except times that the source itself sends.
    """
    needs = [name for name in (source.timestamp, source.id, source.created, source.cursor) if name]
    needs += [source.delay_column] if source.delay_column is not None else []
    absent = [name for name in needs if name not in stored.columns]
    if absent:
        return stored.with_columns(pl.lit(None, pl.Int64).alias("__event"))
    plain = stored.drop("__event", "__created", "__deleted")
    if source.delay_column is not None:
        plain = plain.with_columns(
            pl.col(source.delay_column).fill_null(pl.lit(0).cast(plain.schema[source.delay_column]))
        )
    dated = with_times(plain.drop("__sequence"), source)
    if source.created is None:
        return stored.with_columns(dated["__event"])
    own = stored["__created"]
    if was.created is not None:
        own = own.set(own.eq_missing(times_of(stored[was.created], was)), None)
    sent = dated["__created"].alias("__sent")
    created = stored.select(pl.max_horizontal(own.alias("__own"), sent)).to_series().alias("__created")
    return stored.with_columns(dated["__event"], created)


def _history(carried: pl.DataFrame, state: SourceState) -> History:
    return History(lambda: iter([carried]), [Schema(0, own_schema(carried) | state.columns)], None)


def _completed(
    carried: pl.DataFrame, rows: pl.DataFrame, state: SourceState, ids: str, *, compared_with: SourceSpec, now: int
) -> pl.DataFrame:
    """Fill columns added after a row was stored, in the latest version of each event that otherwise equals the read."""
    came_after: dict[str, int] = {}
    for schema in state.all_schemas:
        for name in schema.columns:
            came_after.setdefault(name, schema.after)
    newest = 2**63 - 1
    late = [name for name in own_schema(rows) if came_after.get(name, newest) > 0]
    if not late:
        return carried
    history = History(lambda: iter([carried]), state.all_schemas, None)
    fresh = compared(rows, history, compared_with, now=now).rows
    known = rows.filter(pl.col(ids).is_not_null() & ~pl.col(ids).is_duplicated()).join(fresh, on=ids, how="anti")
    missing = [pl.lit(None, rows.schema[name]).alias(name) for name in late if name not in carried.columns]
    joined = carried.with_columns(missing).join(
        known.select(ids, *(pl.col(name).alias(f"__new_{name}") for name in late)),
        on=ids,
        how="left",
        maintain_order="left",
    )
    latest = pl.col("__sequence") == pl.col("__sequence").max().over(ids)
    return joined.with_columns(
        pl.when(latest & (pl.col("__sequence") <= came_after.get(name, newest)))
        .then(pl.coalesce(name, f"__new_{name}"))
        .otherwise(name)
        .alias(name)
        for name in late
    ).drop(f"__new_{name}" for name in late)


def _events_not_in(stored: pl.DataFrame, rows: pl.DataFrame, ids: str) -> pl.DataFrame:
    here = rows.select(pl.col(ids).cast(stored.schema[ids], strict=False))
    return stored.select(ids).drop_nulls().unique().join(here, on=ids, how="anti")


def _restarted(rows: pl.DataFrame, stored: pl.DataFrame, restart: pl.DataFrame, ids: str) -> tuple[pl.DataFrame, int]:
    """Let rows whose versions are not carried count from the last correction of their id; return how many they are."""
    since = stored.join(restart, on=ids, how="semi").group_by(ids).agg(__since=pl.col("__created").max())
    joined = rows.join(since, on=ids, how="left", maintain_order="left")
    found = joined.join(restart, on=ids, how="semi").height
    created = pl.max_horizontal("__created", "__since").alias("__created")
    return joined.with_columns(created).drop("__since"), found


def _of_pushes(source: SourceSpec, was: SourceSpec, stored: pl.DataFrame, judged: Judgement) -> _Next:
    """Date all pushed rows again: they exist nowhere else."""
    dated = _dated(stored, source, was)
    wrong = dated["__event"].is_null() & pl.Series(~stored["__deleted"]) if source.timestamp is not None else None
    if wrong is not None and wrong.any():
        raise DataError(
            f"{int(wrong.sum()):,} pushed rows of source {source.name!r} have no {source.timestamp!r}, which is its timestamp",
            hint="keep the timestamp it had, or push these rows again to a source of another name",
        )
    if "id" in judged.dating and source.id is not None:
        twice = dated.filter(pl.col(source.id).is_duplicated() & pl.col(source.id).is_not_null())
        if twice.height:
            warn(
                f"source {source.name!r}: {twice.height:,} pushed rows share an {source.id!r}: each replaces the one before"
            )
    return _Next(dated.drop("__sequence"), Changes(dated.clear().drop("__sequence")))


def _as_it_was(context: Context, source: SourceSpec, state: SourceState) -> SourceSpec:
    """Return the source as its stored rows were dated and identified."""
    database = context.environment.database
    live = generations_of(database, place_of(database, source.name), state)[-1:]
    return msgspec.structs.replace(source, **(msgspec.json.decode(live[0].dating) if live else {}))


def _corrections(rows: pl.DataFrame, source: SourceSpec) -> int:
    if source.id is None:
        return 0
    named = rows[source.id].drop_nulls()
    return len(named) - named.n_unique()


def _events(context: Context, source: SourceSpec, rows: pl.DataFrame, columns: dict[str, str]) -> list[MovedEvent]:
    """Return the digests that a later push of each event is compared with."""
    if source.id is None:
        return []
    place = place_of(context.environment.database, source.name)
    latest = rows.filter(pl.col(source.id).is_not_null()).unique(source.id, keep="last", maintain_order=True)
    digests = map(digest_of, to_payloads(latest, columns))
    return [
        MovedEvent(source=place, event_id=event, digest=digest, deleted=deleted)
        for event, digest, deleted in zip(to_ids(latest[source.id]), digests, latest["__deleted"], strict=True)
    ]


def _tell(source: SourceSpec, judged: Judgement, report: Ingestion) -> None:
    told = []
    if "id" in judged.dating:
        told.append("its id changed, so no earlier version is carried over")
    if report.rows_restarted:
        told.append(
            f"{report.rows_restarted:,} rows count as they are read now, from the last correction of their id on: their "
            "versions cannot be dated again"
        )
    if report.rows_dropped:
        told.append(f"{report.rows_dropped:,} stored events are not in it")
    if told:
        warn(f"source {source.name!r} begins generation {report.generation}: {'; '.join(told)}")
