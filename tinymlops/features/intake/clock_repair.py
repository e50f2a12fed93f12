"""Repair rows that were stored with a clock far ahead: they would not be seen before that time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.stored import live_segments, state_of
from tinymlops.features.intake.changes import LEAP
from tinymlops.features.intake.transforming import stored_whole
from tinymlops.records import Segment
from tinymlops.registry.pushes import pushed_ahead
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = ["let_count_from_now"]


def let_count_from_now(context: Context) -> int:
    """Let rows whose commit the clock dated far ahead count from now on; return how many there were.

    If there are such rows, all rows of the source dated after now count from now on: if those of the next hours were left,
    a later row would count before them. Created times that a source sends itself are not changed.
    """
    count, now = 0, context.now()  # the same time for all: of two versions at the same time the one stored later counts
    for source in context.definitions.of(SourceSpec).values():
        if not source.inputs and source.created is None and _is_far_ahead(context, source, now):
            # Files first: pushed rows come later, and must not count before them if this ends in between.
            in_files = _ingested(context, source, now)
            count += 0 if in_files is None else in_files + _pushed(context, source, now)
    return count


def _is_far_ahead(context: Context, source: SourceSpec, now: int) -> bool:
    state = state_of(context, source.name)
    if state is None:
        return False
    latest = stored_whole(context, source, state)["__created"].max()
    return isinstance(latest, int) and latest > now + LEAP


def _pushed(context: Context, source: SourceSpec, now: int) -> int:
    place = place_of(context.environment.database, source.name)
    with context.scope.write(audit="inside") as tx:
        ahead = pushed_ahead(tx, place, now)
        for row in ahead:
            tx.put(msgspec.structs.replace(row, created=now))
        if ahead:
            tx.audit("repair.clock", source.name, rows=len(ahead), at=from_micros(now).isoformat())
    return len(ahead)


def _ingested(context: Context, source: SourceSpec, now: int) -> int | None:
    """Rewrite the rows of a source's files; None if others stored rows meanwhile, which the next repair finds."""
    from tinymlops.stores import segments

    environment = context.environment
    state, live = state_of(context, source.name), live_segments(context, source.name)
    if state is None or not live:
        return 0
    place = place_of(environment.database, source.name)
    with context.scope.publishing():
        rows = stored_whole(context, source, state)
        ahead = (rows["__created"] > now).fill_null(value=False)
        if not ahead.any():
            return 0
        in_files = rows.filter(pl.col("__sequence") <= max(one.last for one in live))
        created = pl.when(pl.col("__created") > now).then(pl.lit(now, pl.Int64)).otherwise("__created")
        repaired = in_files.with_columns(created.alias("__created")).rename({"__sequence": "__ordinal"})
        file = segments.write(repaired, environment.segments_dir / place, environment.tmp)
        with context.scope.write(audit="inside") as tx:
            if live != tx.list(Segment, where={"source": place, "dead_at": None}, order="id"):
                return None
            tx.insert(
                Segment(
                    source=place,
                    sha256=file.sha256,
                    base=0,
                    rows=file.rows,
                    last=max(one.last for one in live),
                    bytes=file.bytes,
                    min_event=min((one.min_event for one in live if one.min_event is not None), default=None),
                    max_event=max((one.max_event for one in live if one.max_event is not None), default=None),
                    corrections=sum(one.corrections for one in live),
                    created_at=context.clock(),
                    dated=True,
                    progress=max((one.progress for one in live if one.progress is not None), default=None),
                )
            )
            for one in live:
                tx.update(msgspec.structs.replace(one, dead_at=context.clock()))
            tx.audit("repair.clock", source.name, rows=int(ahead.sum()), at=from_micros(now).isoformat())
    return int(ahead.sum())
