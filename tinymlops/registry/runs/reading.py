"""Read the points that runs logged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.records import Metric, MetricChunk, MetricSeries
from tinymlops.registry.runs.blocks import decode_block
from tinymlops.registry.runs.points import Points, in_order, joined, split
from tinymlops.registry.runs.storing import points_in
from tinymlops.registry.runs.summed import names_of_metrics
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from tinymlops.stores.database import Database

__all__ = ["metrics_of", "metrics_table", "points_of_metric"]


def points_of_metric(database: Database, run: str, name: str, *, superseded: bool = False) -> Points:
    """Return the points of a metric that count, or those superseded, in order.

    Raises:
        IntegrityError: If some are not what was written.
    """
    where: dict[str, object] = {"run": run, "name": name}
    # Chunks first: what is sealed between the two reads is there twice then, and points that are equal are one.
    chunks = database.list(MetricChunk, where=where, order="id")
    blocks = database.list(MetricSeries, where=where, order="block")
    if not chunks:
        wanted = [decode_block(one.content) for one in blocks if one.superseded == superseded]
        return joined(wanted)
    every = joined([*(decode_block(one.content) for one in blocks), *map(points_in, chunks)])
    return split(in_order(every))[superseded]


def metrics_of(database: Database, run: str, name: str | None) -> list[Metric]:
    """Return the points of one metric, or of all, as records, in the order of names and steps."""
    names = [name] if name is not None else names_of_metrics(database, run)
    found: list[Metric] = []
    for one in names:
        points = points_of_metric(database, run, one)
        rows: Iterable[tuple[float, float, int]] = zip(
            points.steps.tolist(), points.values.tolist(), points.times.tolist(), strict=True
        )
        found += [Metric(run=run, name=one, step=s, value=v, at=from_micros(t)) for s, v, t in rows]
    return found


def metrics_table(database: Database) -> Mapping[str, npt.NDArray[Any] | list[str]]:
    """Return every point that counts of every run as columns: `run`, `name`, `step`, `value`, and `at` in microseconds UTC."""
    names = [(run, name) for run, name in database.rows("SELECT run, name FROM metric_summaries ORDER BY run, name")]
    parts = [points_of_metric(database, run, name) for run, name in names]
    every = joined(parts)
    sizes = [part.size for part in parts]
    return {
        "run": [run for (run, _), size in zip(names, sizes, strict=True) for _ in range(size)],
        "name": [name for (_, name), size in zip(names, sizes, strict=True) for _ in range(size)],
        "step": every.steps,
        "value": every.values,
        "at": every.times,
    }
