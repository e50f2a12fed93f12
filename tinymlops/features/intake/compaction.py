"""`compact`: replace many small segments and old pushed rows by few large segments. No row is lost or changed.

A merged segment stores the sequence of each row, so that history as of any sequence stays the same; the replaced
segments are dead from then on, and `gc` removes them. Pushed rows that move leave behind what a later push is compared
with: a digest of each event's latest version, and the digests of batches, which are kept for a month.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.payloads import read_pushed
from tinymlops.features.history.stored import known_columns, live_segments
from tinymlops.features.intake.committing import describe_batch
from tinymlops.records import ColumnStatistics, Segment, SourceState
from tinymlops.registry.pushes import count_pushed, extent_of_pushed, move_pushed
from tinymlops.stores import row_index
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.stores.database import Transaction
    from tinymlops.stores.segments import SegmentFile

__all__ = ["Compacted", "compact", "compact_where_needed"]

_MOST_SEGMENTS = 8
"""The most segments of a source; a read opens every one."""
_LEFT = 4
"""Segments that a merge leaves, so that not every ingest causes a merge."""
_MOST_PUSHED = 100_000
"""The most rows of a source in the table of pushed rows, which is read row by row."""
_BATCHES_KEPT = 30 * 24 * 3_600_000_000
"""Microseconds that the digest of a batch is kept: a batch of rows without ids that is sent later is stored again."""


class Compacted(msgspec.Struct, frozen=True):
    """The result of a compaction."""

    source: str
    segments: int
    """Segments merged into one."""
    pushed_rows: int
    """Pushed rows moved into it."""
    rows: int
    """Rows that it holds."""
    bytes: int


def compact_where_needed(context: Context, names: Sequence[str] = ()) -> list[Compacted]:
    """Compact those of some sources, or of all, that have too many segments or pushed rows."""
    done = []
    for source in _compactable(context):
        if names and source.name not in names:
            continue
        live, (count, newest) = live_segments(context, source.name), _pushed(context, source.name)
        moves = newest if count >= _MOST_PUSHED else 0
        merged = _smallest(live) if len(live) + bool(moves) > _MOST_SEGMENTS else []
        if moves or merged:
            done.append(_compact(context, source, merged, moves))
    return [one for one in done if one is not None]


def compact(context: Context, names: Sequence[str]) -> list[Compacted]:
    """Merge all rows of each source into one segment.

    Args:
        context: The workspace's state.
        names: The sources; none for all.

    Returns:
        One report for each source that had more than one segment, or pushed rows.
    """
    done = []
    for source in _compactable(context):
        live, (count, newest) = live_segments(context, source.name), _pushed(context, source.name)
        if (not names or source.name in names) and (len(live) > 1 or count):
            done.append(_compact(context, source, live, newest))
    return [one for one in done if one is not None]


def _compactable(context: Context) -> list[SourceSpec]:
    """Return the sources whose rows only grow in number; a rebuild replaces its rows."""
    return [source for source in context.definitions.of(SourceSpec).values() if not source.inputs]


def _pushed(context: Context, name: str) -> tuple[int, int]:
    """Return how many pushed rows a source has in the table, and the greatest sequence of them."""
    # Without checksums: the rows themselves are read and counted again before they are moved.
    database = context.environment.database
    count, newest = extent_of_pushed(database, place_of(database, name))
    return count, newest or 0


def _smallest(live: Sequence[Segment]) -> list[Segment]:
    """Return the segments to merge: enough to leave few, and any other that is no larger than those together.

    So a row is written again only when its segment has doubled.
    """
    by_size = sorted(live, key=lambda segment: segment.rows)
    chosen = by_size[: len(live) - _LEFT + 1]
    for segment in by_size[len(chosen) :]:
        if segment.rows <= sum(one.rows for one in chosen):
            chosen.append(segment)
    return chosen


def _compact(context: Context, source: SourceSpec, merged: Sequence[Segment], moves: int) -> Compacted | None:
    """Replace some segments, and the pushed rows up to a sequence, by one; None if another process was first."""
    from tinymlops.stores import segments

    environment = context.environment
    place = place_of(environment.database, source.name)
    directory = environment.segments_dir / place
    with context.scope.publishing():
        pushed = None
        if moves:
            state = environment.database.get(SourceState, source=place)
            pushed = read_pushed(environment.database, place, known_columns(source, state), up_to=moves)
        statistics = [] if pushed is None else describe_batch(context, source, place, pushed, context.clock())
        parts = [(directory / one.sha256, one.base) for one in sorted(merged, key=lambda one: one.last)]
        file = segments.merge(parts, pushed, directory, environment.tmp)
        with context.scope.write(audit="inside") as tx:
            if not _are_still_there(tx, place, merged, pushed):
                return None
            corrections = move_pushed(tx, place, up_to=moves, batches_before=context.now() - _BATCHES_KEPT)
            tx.insert(_segment(context, place, file, merged, pushed, corrections))
            if statistics:
                tx.delete(ColumnStatistics, source=place)
                tx.put_many(msgspec.structs.replace(one, sequence=tx.sequence()) for one in statistics)
            for one in merged:
                tx.update(msgspec.structs.replace(one, dead_at=context.clock()))
            report = Compacted(source.name, len(merged), 0 if pushed is None else pushed.height, file.rows, file.bytes)
            tx.audit("compact", source.name, sha256=file.sha256, segments=report.segments, pushed=report.pushed_rows)
        for one in merged:
            row_index.drop(environment.indexes_dir / place / one.sha256)
    return report


def _are_still_there(tx: Transaction, source: str, merged: Sequence[Segment], pushed: pl.DataFrame | None) -> bool:
    """Return whether these were neither merged nor moved meanwhile."""
    ids = {one.id for one in merged}
    live = {one.id for one in tx.list(Segment, where={"source": source, "dead_at": None})}
    if not ids <= live or pushed is None:
        return ids <= live
    newest = pushed["__sequence"].max()
    assert isinstance(newest, int), "every stored row has a sequence"
    return count_pushed(tx, source, up_to=newest) == pushed.height


def _segment(
    context: Context,
    source: str,
    file: SegmentFile,
    merged: Sequence[Segment],
    pushed: pl.DataFrame | None,
    corrections: int,
) -> Segment:
    events = [event for one in merged for event in (one.min_event, one.max_event) if event is not None]
    last = [one.last for one in merged]
    progress = [one.progress if one.dated else _told(one) for one in merged]
    if pushed is not None:
        events += pushed["__event"].drop_nulls().to_list()
        last += pushed["__sequence"].to_list()
        progress += pushed.filter(pushed["__event"] <= pushed["__created"])["__event"].to_list()
    return Segment(
        source=source,
        sha256=file.sha256,
        base=0,
        rows=file.rows,
        last=max(last),
        bytes=file.bytes,
        min_event=min(events, default=None),
        max_event=max(events, default=None),
        corrections=corrections + sum(one.corrections for one in merged),
        created_at=context.clock(),
        dated=all(one.dated or not one.corrections for one in merged),
        progress=max((event for event in progress if event is not None), default=None),
    )


def _told(segment: Segment) -> int | None:
    """Return the greatest event time of a segment of schema 2 that was not later than its commit's clock."""
    greatest = segment.max_event
    return greatest if greatest is not None and greatest <= to_micros(segment.created_at) else segment.progress
