"""What is derived from the points of metrics, their sums and pyramids: compared with the points, and made anew."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tinymlops.errors import IntegrityError
from tinymlops.records import MetricChunk, MetricPyramid, MetricSeries, MetricSummary
from tinymlops.registry.runs.blocks import decode_block
from tinymlops.registry.runs.points import Points, in_order, joined, split
from tinymlops.registry.runs.storing import all_points, points_in, pyramid_of_sealed
from tinymlops.registry.runs.summaries import summary_of
from tinymlops.stores.doctor import Finding
from tinymlops.stores.rows import codec_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinymlops.registry.runs.storing import Listing
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["SUMS", "check_sums", "remake_sums"]

SUMS = "sums of metrics"
"""The name of the check."""
_MOST_POINTS = 1_000_000
"""Points that are read at once, unless one metric has more."""
_NAMES = """
    SELECT run, name, sum(count) FROM (
        SELECT run, name, count FROM metric_chunks
        UNION ALL SELECT run, name, count FROM metric_series
        UNION ALL SELECT run, name, 0 FROM metric_summaries
        UNION ALL SELECT run, name, 0 FROM metric_pyramids
    ) GROUP BY run, name ORDER BY run, name
"""


def check_sums(database: Database) -> Iterator[Finding]:
    """Compare the sum and the pyramid of every metric with its points; nothing is changed.

    Yields:
        A finding for each that differs, else one.
    """
    total = wrong = 0
    for run, names in _groups(database):
        total += len(names)
        for name, _ in _differing(database, run, names):
            with database.write(actor=None) as tx:  # once more, while nobody logs
                problems = _differing(tx, run, [name])
            for _, problem in problems:
                wrong += 1
                yield Finding(SUMS, "damaged", problem, str(database.path))
    if not wrong:
        yield Finding(SUMS, "ok", f"those of {total:,} metrics follow from their points")


def remake_sums(scope: Scope) -> int:
    """Make the sums and pyramids anew that differ from their points; return of how many metrics.

    A metric whose points themselves are damaged stays as it is.
    """
    remade = 0
    for run, names in _groups(scope.environment.database):
        if _differing(scope.environment.database, run, names):
            with scope.write(audit="inside") as tx:
                wrong = [name for name, _ in _differing(tx, run, names)]
                for name in wrong:
                    _remake(tx, run, name)
                if wrong:
                    tx.audit("repair.metrics", run, metrics=len(wrong))
            remade += len(wrong)
    return remade


def _groups(database: Database) -> Iterator[tuple[str, list[str]]]:
    """Yield every run that has points, or what should be derived from points, with names of its metrics."""
    for run, rows in groupby(database.rows(_NAMES), key=lambda row: row[0]):
        names: list[str] = []
        points = 0
        for _, name, count in rows:
            if names and points + count > _MOST_POINTS:
                yield run, names
                names, points = [], 0
            names.append(name)
            points += count
        yield run, names


def _differing(source: Listing, run: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names of metrics of which something differs, each with a sentence that says what."""
    try:
        return _compared(source, run, names)
    except IntegrityError as error:
        if len(names) > 1:
            return [found for name in names for found in _differing(source, run, [name])]
        return [(names[0], error.message)] if _points_are_readable(source, run, names[0]) else []


def _compared(source: Listing, run: str, names: Sequence[str]) -> list[tuple[str, str]]:
    where = {"run": run, "name": list(names)}
    sums = {one.name: one for one in source.list(MetricSummary, where=where)}
    pyramids = {one.name: one for one in source.list(MetricPyramid, where=where)}
    parts: dict[str, list[Points]] = defaultdict(list)
    for block in source.list(MetricSeries, where=where, order="block"):
        parts[block.name].append(decode_block(block.content))
    chunks: Counter[str] = Counter()
    for chunk in source.list(MetricChunk, where=where, order="id"):
        parts[chunk.name].append(points_in(chunk))
        chunks[chunk.name] += 1
    found = []
    for name in names:
        counted, _ = split(in_order(joined(parts[name])))
        right = _sum(run, name, counted, sums.get(name), chunks[name])
        if _stored(sums.get(name)) != _stored(right):
            found.append((name, f"the sum of metric {name!r} of run {run} does not follow from its points"))
        elif not chunks[name] and _stored(pyramids.get(name)) != _stored(pyramid_of_sealed(run, name, counted)):
            found.append((name, f"the pyramid of metric {name!r} of run {run} does not follow from its points"))
    return found


def _sum(run: str, name: str, counted: Points, before: MetricSummary | None, chunks: int) -> MetricSummary | None:
    if not counted.size:
        return None
    return summary_of(run, name, counted, goal=None if before is None else before.goal, chunks=chunks)


def _stored(record: MetricSummary | MetricPyramid | None) -> list[Any] | None:
    """Return what would be stored of a record, in which NaN equals NaN."""
    return None if record is None else codec_for(type(record)).encode(record)


def _points_are_readable(source: Listing, run: str, name: str) -> bool:
    try:
        all_points(source, run, name)
    except IntegrityError:
        return False
    return True


def _remake(tx: Transaction, run: str, name: str) -> None:
    before = None
    with suppress(IntegrityError):  # then its goal is the one that the name stands for
        before = tx.get(MetricSummary, run=run, name=name)
    counted, _ = split(in_order(all_points(tx, run, name)))
    chunks = len(tx.list(MetricChunk, where={"run": run, "name": name}))
    tx.delete(MetricSummary, run=run, name=name)
    tx.delete(MetricPyramid, run=run, name=name)
    right = _sum(run, name, counted, before, chunks)
    if right is not None:
        tx.insert(right)
    pyramid = None if chunks else pyramid_of_sealed(run, name, counted)
    if pyramid is not None:
        tx.insert(pyramid)
