"""Write the points of a run: first as chunks, one a metric and commit; then sealed, in the order of steps."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import IntegrityError
from tinymlops.records import MetricChunk, MetricPyramid, MetricSeries, MetricSummary
from tinymlops.registry.runs.blocks import BLOCK, BUCKET, decode_block, encode_block, encode_pyramid, longer_pyramid
from tinymlops.registry.runs.points import (
    Points,
    come_after,
    decode_chunk,
    encode_chunk,
    in_order,
    in_session,
    joined,
    points_of,
    split,
)
from tinymlops.registry.runs.summaries import carried_on, follows, summary_of
from tinymlops.times import from_micros, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Protocol

    class Listing(Protocol):
        """A database, or a transaction of it."""

        def list(self, cls: type, *, where: Mapping[str, object] | None = None, order: str | None = None) -> list:  # type: ignore[type-arg]
            """Return records."""

    from tinymlops.stores.transaction import Transaction

__all__ = ["all_points", "points_in", "pyramid_of_sealed", "seal", "store_points", "store_sealed"]

_MOST_CHUNKS = 512
"""Chunks of a metric: a run that goes on for days is sealed this often."""
_MOST_OPEN = 131_072
"""Points of a metric that are not sealed: memory is bounded by it, and each time the pyramid of all is written anew."""
_FEW = 64
"""Points of a metric that stay as they came in: sealing them costs a short run more than it saves."""


def store_points(tx: Transaction, run: str, session: int, series: Mapping[str, Points]) -> None:
    """Add points of one session to some metrics of a run.

    Args:
        tx: The transaction.
        run: The run's id.
        session: How often it was resumed.
        series: The metric's name to its points, in the order of logging; at least one each. Their sessions do not matter.
    """
    series = {name: in_session(points, session) for name, points in series.items()}
    tx.insert_many(_chunk(run, name, session, points) for name, points in series.items())
    known = {one.name: one for one in tx.list(MetricSummary, where={"run": run, "name": list(series)})}
    full: list[str] = []
    for name, points in series.items():
        before = known.get(name)
        ordered = in_order(points)
        if before is None:
            summary = summary_of(run, name, ordered)
        elif follows(ordered, before):
            summary = carried_on(before, ordered)
        else:
            counted, _ = split(in_order(all_points(tx, run, name)))
            summary = summary_of(run, name, counted, goal=before.goal, chunks=before.chunks)
        summary = msgspec.structs.replace(summary, chunks=summary.chunks + 1)
        if before is None:
            tx.insert(summary)
        else:
            tx.update(summary)
        if (
            summary.chunks >= _MOST_CHUNKS
            or summary.count // _MOST_OPEN > (before.count if before else 0) // _MOST_OPEN
        ):
            full.append(name)
    if full:
        seal(tx, run, full)


def store_sealed(tx: Transaction, run: str, series: Mapping[str, Points]) -> None:
    """Add metrics that a run does not have yet, sealed, as points that will hardly become more.

    Args:
        tx: The transaction.
        run: The run's id.
        series: The metric's name to its points, of any sessions; at least one each.
    """
    blocks: list[MetricSeries] = []
    pyramids, summaries = [], []
    for name, points in series.items():
        counted, superseded = split(in_order(points))
        blocks += _blocks(run, name, counted, superseded=False)
        blocks += _blocks(run, name, superseded, superseded=True)
        if counted.size > BLOCK:
            pyramids.append(MetricPyramid(run=run, name=name, count=counted.size, content=encode_pyramid(counted)))
        summaries.append(summary_of(run, name, counted))
    tx.insert_many(blocks)
    tx.insert_many(pyramids)
    tx.insert_many(summaries)


def seal(tx: Transaction, run: str, names: Iterable[str] | None = None) -> None:
    """Bring the points of some metrics of a run, by default all, into blocks in the order of steps."""
    sums = tx.list(MetricSummary, where={"run": run})
    open_ones = [one for one in sums if one.chunks > 1 or (one.chunks and one.count > _FEW)]
    wanted = None if names is None else set(names)
    for summary in open_ones:
        if wanted is None or summary.name in wanted:
            _seal(tx, summary)


def all_points(source: Listing, run: str, name: str) -> Points:
    """Return every point of a metric: the sealed ones, then the others in the order of logging.

    Raises:
        IntegrityError: If some cannot be read.
    """
    where = {"run": run, "name": name}
    chunks: list[MetricChunk] = source.list(MetricChunk, where=where, order="id")
    sealed: list[MetricSeries] = source.list(MetricSeries, where=where, order="block")
    return joined([*(decode_block(one.content) for one in sealed), *(points_in(one) for one in chunks)])


def points_in(chunk: MetricChunk) -> Points:
    """Return the points of a chunk."""
    if chunk.content:
        return decode_chunk(chunk.content, chunk.session)
    return points_of([chunk.step], [chunk.value], [to_micros(chunk.at)], chunk.session)


def pyramid_of_sealed(run: str, name: str, points: Points) -> MetricPyramid | None:
    """Return the pyramid of sealed points; None where there are so few that they are drawn as quickly without."""
    if points.size <= BLOCK:
        return None
    return MetricPyramid(run=run, name=name, count=points.size, content=encode_pyramid(points))


def _seal(tx: Transaction, summary: MetricSummary) -> None:
    """Seal one metric: at the end of what is sealed where all new points follow that, else all of it anew."""
    run, name = summary.run, summary.name
    chunks = tx.list(MetricChunk, where={"run": run, "name": name}, order="id")
    new = in_order(joined([points_in(one) for one in chunks]))
    if not _append(tx, run, name, new):
        counted, superseded = split(in_order(all_points(tx, run, name)))
        for cls in (MetricSeries, MetricPyramid):
            tx.delete(cls, run=run, name=name)
        for points, is_superseded in ((counted, False), (superseded, True)):
            tx.insert_many(_blocks(run, name, points, superseded=is_superseded))
        pyramid = pyramid_of_sealed(run, name, counted)
        if pyramid is not None:
            tx.insert(pyramid)
    tx.delete(MetricChunk, run=run, name=name)
    tx.update(msgspec.structs.replace(summary, chunks=0))


def _append(tx: Transaction, run: str, name: str, new: Points) -> bool:
    """Add blocks for points that follow the sealed ones, and buckets to the pyramid; return whether that was possible."""
    where = {"run": run, "name": name}
    last = tx.list(MetricSeries, where={**where, "superseded": False}, order="-block", limit=1)
    if not last or not new.size:
        return False
    tail, block = decode_block(last[0].content), last[0].block
    if split(new)[1].size or not come_after(new, tail):
        return False
    if tail.size == BLOCK:
        block += 1
    else:
        new = joined([tail, new])
    with suppress(IntegrityError):  # a damaged pyramid is made anew
        before = tx.get(MetricPyramid, run=run, name=name)
        if before is not None or not block:
            tx.delete(MetricSeries, run=run, name=name, superseded=False, block=block)
            tx.insert_many(_blocks(run, name, new, superseded=False, first=block))
            count = block * BLOCK + new.size
            if count > BLOCK:
                content = longer_pyramid(b"" if before is None else before.content, block * BLOCK // BUCKET, new)
                tx.put(MetricPyramid(run=run, name=name, count=count, content=content))
            return True
    return False


def _blocks(run: str, name: str, points: Points, *, superseded: bool, first: int = 0) -> Iterable[MetricSeries]:
    for block, begin in enumerate(range(0, points.size, BLOCK), first):
        part = points.take(slice(begin, begin + BLOCK))
        yield MetricSeries(
            run=run,
            name=name,
            superseded=superseded,
            block=block,
            count=part.size,
            first_step=float(part.steps[0]),
            last_step=float(part.steps[-1]),
            content=encode_block(part),
        )


def _chunk(run: str, name: str, session: int, points: Points) -> MetricChunk:
    return MetricChunk(
        run=run,
        name=name,
        session=session,
        count=points.size,
        step=float(points.steps[-1]),
        value=float(points.values[-1]),
        at=from_micros(int(points.times[-1])),
        content=encode_chunk(points) if points.size > 1 else b"",
    )
