"""`ingest(rebuild=True)`: begin another generation of a source whose definition has changed under its stored rows.

Versions that hold what the new definition needs are dated anew and keep the time since when they count. A row whose
versions do not, because it is read by another query now or a column was never stored, counts as it is read, from the
last correction of its id on and never earlier. What ends stays for whatever reads as of an earlier sequence, or was
pinned to the definition of before.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import polars as pl

from tinymlops._warn import warn
from tinymlops.errors import DataError
from tinymlops.features.history.generations import generations_of, place_of
from tinymlops.features.history.payloads import digest_of, to_ids, to_payloads
from tinymlops.features.history.sources import read_source, with_times
from tinymlops.features.history.stored import live_segments, state_of
from tinymlops.features.intake.changes import Changes, History, compared, first, in_order, own_schema
from tinymlops.features.intake.committing import Batch, commit
from tinymlops.features.intake.compaction import compact
from tinymlops.features.intake.fitting import fitted
from tinymlops.features.intake.incremental import busy, ingest
from tinymlops.features.intake.taking_in import entity_keys, has_row_wise, judged_now, never_known, take_in
from tinymlops.features.intake.transforming import stored_whole
from tinymlops.records import Ingestion, MovedEvent, Schema

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.history.generations import Judgement
    from tinymlops.records import SourceState

__all__ = ["begin_generation"]

_ATTEMPTS = 5


def begin_generation(context: Context, source: SourceSpec, *, drop_missing: bool = False) -> Ingestion:
    """Read a source anew, date its stored rows by its definition, and let both stand in place of what was stored.

    Args:
        context: The workspace's state.
        source: No transformation.
        drop_missing: Leave out events that the source does not have any more.

    Returns:
        What was read, new, corrected, carried over, restarted and dropped.

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
    frame = None if source.via == "push" else with_times(read_source(context, source), source)
    read = None if frame is None else take_in(context, source, frame)
    for _ in range(_ATTEMPTS):
        if source.via == "push":
            compact(context, [source.name])
        before, state, judged = (
            live_segments(context, source.name),
            state_of(context, source.name),
            judged_now(context, source),
        )
        assert state is not None, "it had rows before"
        stored = stored_whole(context, _identified(context, source, state), state)
        if read is None:
            next_rows = _of_pushes(source, stored, judged)
        else:
            rows, comparable = _comparable(context, source, read.rows, state, judged)
            if not comparable:
                stored = stored.with_columns(pl.lit(None, pl.Int64).alias("__event"))
            next_rows = _next(context, source, rows, stored, state, judged, drop_missing=drop_missing)
        changes, carried = next_rows.changes, next_rows.carried
        report = Ingestion(
            source=source.name,
            rows_read=0 if frame is None else frame.height,
            rows_new=changes.new - next_rows.restarted,
            rows_corrected=changes.corrected,
            rows_known=changes.known,
            rows_held_back=0 if read is None else read.held_back,
            rows_quarantined=0 if read is None else len(read.timeless),
            rows_never_known=0 if read is None else never_known(read.rows, source),
            rows_ahead=0 if read is None else read.ahead,
            rows_carried=carried.height,
            rows_restarted=next_rows.restarted,
            rows_dropped=next_rows.dropped,
            seconds=time.perf_counter() - begun,
            at=context.clock(),
        )
        ordered = in_order(changes.rows, after=carried)
        batch = Batch(
            source=source,
            rows=ordered,
            corrections=_corrections(ordered, source),
            report=report,
            columns=own_schema(ordered.drop("__ordinal")),
            timeless=pl.Series([], dtype=pl.UInt32) if read is None else read.timeless,
            begins=True,
        )
        committed = commit(context, batch, before)
        if committed is not None:
            if source.via == "push":
                _remember_events(context, source, ordered)
            _tell(source, judged, committed)
            return committed
    raise busy(source)


def _comparable(
    context: Context, source: SourceSpec, rows: pl.DataFrame, state: SourceState, judged: Judgement
) -> tuple[pl.DataFrame, bool]:
    """Return the rows in types that hold the stored ones too; as they are where another query gives another kind."""
    try:
        return fitted(context, source, rows, state), True
    except DataError:
        if not judged.query:
            raise
        return rows, False


class _Next(NamedTuple):
    """The rows of a generation to be."""

    carried: pl.DataFrame
    """Versions of before, dated anew, in their order."""
    changes: Changes
    """What the read brings beside them."""
    restarted: int = 0
    dropped: int = 0


def _next(
    context: Context,
    source: SourceSpec,
    rows: pl.DataFrame,
    stored: pl.DataFrame,
    state: SourceState,
    judged: Judgement,
    *,
    drop_missing: bool,
) -> _Next:
    keys, whole = entity_keys(context, source), has_row_wise(context, source)
    if "id" in judged.dating or (source.id is None and judged.query):
        return _Next(stored.clear().drop("__sequence"), first(rows, source, keys=keys, whole=whole), 0, stored.height)
    comparable = not stored["__event"].is_null().all() or source.timestamp is None
    carried = _dated(stored, source) if comparable else stored
    undated = stored.filter(carried["__event"].is_null()) if source.timestamp is not None else stored.clear()
    if source.id is None:
        carried = carried.filter(carried["__event"].is_not_null() | pl.lit(source.timestamp is None))
        if drop_missing:
            return _Next(carried.clear().drop("__sequence"), first(rows, source), 0, _missing(carried, rows, state))
        changes = compared(rows, _history(carried, state), source, now=context.now())
        return _Next(carried.drop("__sequence"), changes, 0, undated.height)
    restart = undated.select(source.id).drop_nulls().unique()
    carried = carried.join(restart, on=source.id, how="anti", maintain_order="left")
    if judged.query:
        differing = compared(rows, _history(carried, state), source, now=context.now()).rows
        again = differing.select(source.id).join(carried.select(source.id), on=source.id, how="semi")
        restart = pl.concat([restart, again.drop_nulls()]).unique()
        carried = carried.join(restart, on=source.id, how="anti", maintain_order="left")
    missing = _events_not_in(stored, rows, source.id)
    if drop_missing:
        carried = carried.join(missing, on=source.id, how="anti", maintain_order="left")
        dropped = missing.height
    else:
        dropped = missing.join(restart, on=source.id, how="semi").height
    changes = compared(rows, _history(carried, state), source, now=context.now(), keys=keys, whole=whole)
    changed, restarted = _restarted(changes.rows, stored, restart, source.id)
    return _Next(carried.drop("__sequence"), changes._replace(rows=changed), restarted, dropped)


def _dated(stored: pl.DataFrame, source: SourceSpec) -> pl.DataFrame:
    """Date stored rows by a definition; `__event` is null where a row lacks what it needs. They keep their `__created`."""
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
    created = stored["__created"] if source.created is None else dated["__created"]
    return stored.with_columns(dated["__event"], created.alias("__created"))


def _history(carried: pl.DataFrame, state: SourceState) -> History:
    return History(lambda: iter([carried]), [Schema(0, state.columns)], None)


def _events_not_in(stored: pl.DataFrame, rows: pl.DataFrame, ids: str) -> pl.DataFrame:
    here = rows.select(pl.col(ids).cast(stored.schema[ids]))
    return stored.select(ids).drop_nulls().unique().join(here, on=ids, how="anti")


def _missing(carried: pl.DataFrame, rows: pl.DataFrame, state: SourceState) -> int:
    known = [name for name in state.columns if name in rows.columns]
    return carried.select(known).join(rows.select(known), on=known, how="anti", nulls_equal=True).height


def _restarted(rows: pl.DataFrame, stored: pl.DataFrame, restart: pl.DataFrame, ids: str) -> tuple[pl.DataFrame, int]:
    """Let rows whose versions are not carried count from the last correction of their id; return how many they are."""
    since = stored.join(restart, on=ids, how="semi").group_by(ids).agg(__since=pl.col("__created").max())
    joined = rows.join(since, on=ids, how="left", maintain_order="left")
    found = joined.join(restart, on=ids, how="semi").height
    created = pl.max_horizontal("__created", "__since").alias("__created")
    return joined.with_columns(created).drop("__since"), found


def _of_pushes(source: SourceSpec, stored: pl.DataFrame, judged: Judgement) -> _Next:
    """Date all pushed rows anew: nothing else has them."""
    dated = _dated(stored, source)
    wrong = dated["__event"].is_null() & pl.Series(~stored["__deleted"]) if source.timestamp is not None else None
    if wrong is not None and wrong.any():
        raise DataError(
            f"{int(wrong.sum()):,} pushed rows of source {source.name!r} have no {source.timestamp!r}, which is its timestamp",
            hint="keep the timestamp it had, or push these rows anew to a source of another name",
        )
    if "id" in judged.dating and source.id is not None:
        twice = dated.filter(pl.col(source.id).is_duplicated() & pl.col(source.id).is_not_null())
        if twice.height:
            warn(
                f"source {source.name!r}: {twice.height:,} pushed rows share an {source.id!r}: each replaces the one before"
            )
    return _Next(dated.drop("__sequence"), Changes(dated.clear().drop("__sequence")))


def _identified(context: Context, source: SourceSpec, state: SourceState) -> SourceSpec:
    """Return the source with the id and the created time that its stored rows have."""
    database = context.environment.database
    live = generations_of(database, place_of(database, source.name), state)[-1:]
    said = msgspec.json.decode(live[0].dating) if live else {}
    return msgspec.structs.replace(source, id=said.get("id", source.id), created=said.get("created", source.created))


def _corrections(rows: pl.DataFrame, source: SourceSpec) -> int:
    if source.id is None:
        return 0
    named = rows[source.id].drop_nulls()
    return len(named) - named.n_unique()


def _remember_events(context: Context, source: SourceSpec, rows: pl.DataFrame) -> None:
    """Note what a later push of each event is compared with."""
    environment = context.environment
    state, place = state_of(context, source.name), place_of(environment.database, source.name)
    assert state is not None, "rows were stored"
    with environment.database.write(actor="local") as tx:
        tx.delete(MovedEvent, source=place)
        if source.id is None:
            return
        latest = rows.filter(pl.col(source.id).is_not_null()).unique(source.id, keep="last", maintain_order=True)
        digests = map(digest_of, to_payloads(latest, state.columns))
        tx.put_many(
            MovedEvent(source=place, event_id=event, digest=digest, deleted=deleted)
            for event, digest, deleted in zip(to_ids(latest[source.id]), digests, latest["__deleted"], strict=True)
        )


def _tell(source: SourceSpec, judged: Judgement, report: Ingestion) -> None:
    told = []
    if "id" in judged.dating:
        told.append("its id changed, so no version of before is carried over")
    if report.rows_restarted:
        told.append(
            f"{report.rows_restarted:,} rows count as they are read now, from the last correction of their id on: their "
            "versions cannot be dated anew"
        )
    if report.rows_dropped:
        told.append(f"{report.rows_dropped:,} stored events are not in it")
    if told:
        warn(f"source {source.name!r} begins generation {report.generation}: {'; '.join(told)}")
