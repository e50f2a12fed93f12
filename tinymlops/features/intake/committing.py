"""Commit rows of a source to history: a file, and one transaction that names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tinymlops.features.definitions import specs
from tinymlops.features.history.generations import dating_of, generations_of, place_of, query_of
from tinymlops.features.intake.statistics import describe
from tinymlops.features.intake.taking_in import entity_keys
from tinymlops.records import (
    ColumnStatistics,
    Generation,
    Ingestion,
    MovedEvent,
    PushedRow,
    Schema,
    Segment,
    SourceState,
)
from tinymlops.registry.arrivals import note_arrivals
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.intake.quarantine import Kept, Settling
    from tinymlops.records import Quarantine, SourceCursor
    from tinymlops.registry.arrivals import Lags
    from tinymlops.stores.segments import SegmentFile
    from tinymlops.stores.transaction import Transaction

__all__ = ["Batch", "commit", "describe_batch", "schemas_after"]

_KEPT_ROWS = 1_000
"""The most numbers of rows without an event time that the audit log keeps for an ingest."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The rows and facts that one ingest stores."""

    source: SourceSpec
    rows: pl.DataFrame
    """The rows, as `in_order` returns them."""
    corrections: int
    """How many of them replace or delete an earlier row."""
    report: Ingestion
    columns: dict[str, str]
    """All columns that the source has now, and their dtypes."""
    timeless: pl.Series
    """The numbers of rows that were left out because they have no event time."""
    covers: int | None = None
    """For a rebuilt transformation: the sequence that its inputs were read at."""
    inputs: str = ""
    """For a rebuilt transformation: the digest of the row-wise ones that it reads."""
    events: list[MovedEvent] | None = None
    """What later pushes are compared with, if pushed rows begin a generation; None to keep what was there."""
    kept: Kept | None = None
    """What the checks on the batch leave to be written with it."""
    settling: Settling | None = None
    """The quarantine that is released with it."""
    cursor: SourceCursor | None = None
    """How far a database of others was read with them; None to leave what was remembered."""
    begins: bool = False
    """Whether a generation begins, so that the earlier rows end."""

    @property
    def replaces(self) -> bool:
        """Whether it replaces all rows stored before."""
        return self.begins or self.covers is not None


def commit(context: Context, batch: Batch, before: list[Segment]) -> Ingestion | None:
    """Publish the rows and name them in one transaction; None if another commit came between.

    Args:
        context: The workspace's state.
        batch: The rows to store.
        before: The source's live segments, which it was compared with.
    """
    from tinymlops.stores import segments

    environment = context.environment
    place = place_of(environment.database, batch.source.name)
    with context.scope.publishing():
        file = None
        # A rebuild is stored even if it is empty: its file records what it was computed from.
        if batch.rows.height or batch.replaces:
            file = segments.write(batch.rows, environment.segments_dir / place, environment.tmp)
        statistics = describe_batch(context, batch.source, place, batch.rows, batch.report.at)
        quarantine = None if batch.kept is None else batch.kept.publish(context)
        with context.scope.write(audit="inside") as tx:
            if batch.kept is not None and not batch.kept.is_current(tx, place):
                return None
            if before != tx.list(Segment, where={"source": place, "dead_at": None}, order="id"):
                return None
            if batch.begins and tx.list(PushedRow, where={"source": place}, limit=1):
                return None  # pushed while the rows before it were read
            if statistics:
                tx.delete(ColumnStatistics, source=place)
            report = _named(context, tx, batch, place, file, before)
            tx.put_many(msgspec.structs.replace(one, sequence=report.sequence) for one in statistics)
            _settle(context, tx, batch, quarantine, report.sequence)
            return report


def _named(
    context: Context, tx: Transaction, batch: Batch, place: str, file: SegmentFile | None, before: list[Segment]
) -> Ingestion:
    state, report = tx.get(SourceState, source=place), batch.report
    base = tx.sequence()
    if file is None and (report.complete_until is not None or _is_taken_up(tx, batch, place, state)):
        tx.take_sequence(1)  # the state changes, even without a row
    if file is not None:
        # A rebuild takes a number even without rows: no two may have the same sequence.
        taken = max(1, file.rows) if batch.replaces else file.rows
        base = tx.take_sequence(taken)
        tx.insert(_segment(batch, place, file, base, base + taken))
    if batch.replaces:
        for segment in before:
            tx.update(msgspec.structs.replace(segment, dead_at=context.clock(), until=tx.sequence()))
    if batch.events is not None:
        tx.delete(MovedEvent, source=place)
        tx.put_many(batch.events)
    note_arrivals(tx, place, _lags(batch, state), to_micros(report.at))
    number = _put_generation(tx, batch, place, state)
    tx.put(_next_state(batch, place, state, base))
    if batch.cursor is not None:
        tx.put(batch.cursor)
    stored = tx.insert(msgspec.structs.replace(report, sequence=tx.sequence(), generation=number))
    if file is not None:
        left_out = {"rows_without_time": batch.timeless.head(_KEPT_ROWS).to_list()} if len(batch.timeless) else {}
        begun = {"generation": number} if batch.begins else {}
        tx.audit("ingest", batch.source.name, rows=file.rows, sha256=file.sha256, **begun, **left_out)
    return stored


def describe_batch(
    context: Context, source: SourceSpec, place: str, rows: pl.DataFrame, at: datetime
) -> list[ColumnStatistics]:
    """Describe the columns of rows that are stored; of keys and ids only the counts."""
    identifying = {*entity_keys(context, source), *([source.id] if source.id is not None else [])}
    return describe(rows, source=place, identifying=identifying, at=at)


def _lags(batch: Batch, state: SourceState | None) -> Lags:
    """Return how long after their events rows came, microseconds: by their created times, else by this commit.

    Without created times the first rows of a source say nothing, because history is read with them. A correction has the
    time of this commit as its created time.
    """
    if batch.source.inputs or batch.settling is not None or batch.replaces:
        return []
    rows = batch.rows.filter(~pl.col("__deleted") & pl.col("__event").is_not_null())
    if batch.source.created is not None:
        return rows.select(pl.col("__created") - pl.col("__event")).to_series().drop_nulls().to_numpy()
    if state is None or not state.rows:
        return []
    fresh = rows.filter(pl.col("__created").is_null())
    return fresh.select(to_micros(batch.report.at) - pl.col("__event")).to_series().to_numpy()


def _settle(context: Context, tx: Transaction, batch: Batch, quarantine: Quarantine | None, sequence: int) -> None:
    """Write what checks found in the rows, those that they keep aside, and those that are released."""
    if batch.kept is not None:
        batch.kept.store(tx, quarantine, sequence)
    if batch.settling is not None:
        batch.settling.store(tx, "released", at=batch.report.at, by=context.scope.actor)


def _segment(batch: Batch, place: str, file: SegmentFile, base: int, last: int) -> Segment:
    events = batch.rows["__event"].drop_nulls()
    return Segment(
        source=place,
        sha256=file.sha256,
        base=base,
        rows=file.rows,
        last=last,
        bytes=file.bytes,
        min_event=_whole(events.min()),
        max_event=_whole(events.max()),
        corrections=batch.corrections,
        covers=batch.covers,
        created_at=batch.report.at,
        dated=True,
        progress=_progress(batch),
    )


def _progress(batch: Batch) -> int | None:
    events = batch.rows["__event"].drop_nulls()
    return _whole(events.filter(events <= to_micros(batch.report.at)).max())


def _is_taken_up(tx: Transaction, batch: Batch, place: str, state: SourceState | None) -> bool:
    """Return whether a definition that read an ended generation reads the live one from now on."""
    known = generations_of(tx, place, state)
    return len(known) > 1 and known[-1].queries[-1:] != [query_of(batch.source)]


def _put_generation(tx: Transaction, batch: Batch, place: str, state: SourceState | None) -> int:
    """Record how the rows were read and dated; return the generation's number."""
    known, query = generations_of(tx, place, state), query_of(batch.source)
    columns = {**(state.columns if state is not None else {}), **batch.columns}
    if not known or batch.begins:
        number, begins = (known[-1].number + 1, tx.sequence()) if known else (0, 0)
        if known:
            tx.put(msgspec.structs.replace(known[-1], ends=begins))
        dating = dating_of(batch.source, columns)
        tx.put(
            Generation(
                source=place,
                number=number,
                dating=dating,
                queries=[query],
                begins=begins,
                at=batch.report.at,
                inputs=batch.inputs,
            )
        )
        return number
    live = msgspec.structs.replace(known[-1], inputs=batch.inputs)
    if live.queries[-1:] != [query]:
        queries = [one for one in live.queries if one != query]
        live = msgspec.structs.replace(live, queries=[*queries, query])
    if state is None or not state.rows:
        live = msgspec.structs.replace(live, dating=dating_of(batch.source, columns))
    tx.put(live)
    return live.number


def _next_state(batch: Batch, place: str, state: SourceState | None, base: int) -> SourceState:
    report, replaced = batch.report, batch.replaces
    greatest = [_whole(batch.rows["__event"].max()), state.max_event if state and not batch.begins else None]
    said = [report.complete_until, state.complete_until if state else None]
    return SourceState(
        source=place,
        definition=specs.fingerprint(batch.source),
        columns=batch.columns,
        rows=batch.rows.height + (state.rows if state and not replaced else 0),
        max_event=max((value for value in greatest if value is not None), default=None),
        complete_until=max((value for value in said if value is not None), default=None),
        quarantined=report.rows_quarantined,
        ingested_at=report.at,
        schemas=schemas_after(state, batch.columns, base),
    )


def schemas_after(state: SourceState | None, columns: dict[str, str], base: int) -> list[Schema]:
    """Return every schema that a source's rows had, the one from a sequence on included."""
    if state is None:
        return [Schema(0, columns)]
    known = state.all_schemas
    return known if known[-1].columns == columns else [*known, Schema(base, columns)]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
