"""Read what runs logged: points, sums, and curves of few pixels."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.records import Metric, MetricChunk, MetricSeries, MetricSummary, Run, RunRow
from tinymlops.registry.runs.blocks import decode_block
from tinymlops.registry.runs.points import Points, in_order, joined, split
from tinymlops.registry.runs.storing import points_in
from tinymlops.stores.rows import codec_for
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from tinymlops.stores.database import Database

__all__ = [
    "metric_parts",
    "metrics_of",
    "metrics_table",
    "names_of_metrics",
    "points_of_metric",
    "summaries_of",
    "with_metrics",
]


def points_of_metric(database: Database, run: str, name: str, *, superseded: bool = False) -> Points:
    """Return the points of a metric that count, or those superseded, in order.

    Raises:
        IntegrityError: If some are not what was written.
    """
    where: dict[str, object] = {"run": run, "name": name}
    blocks = database.list(MetricSeries, where=where, order="block")
    chunks = database.list(MetricChunk, where=where, order="id")
    if not chunks:
        wanted = [decode_block(one.content) for one in blocks if one.superseded == superseded]
        return joined(wanted)
    every = joined([*(decode_block(one.content) for one in blocks), *map(points_in, chunks)])
    return split(in_order(every))[superseded]


def names_of_metrics(database: Database, run: str) -> list[str]:
    """Return the names of the metrics of a run, in order."""
    return [one.name for one in database.list(MetricSummary, where={"run": run}, order="name")]


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


def summaries_of(database: Database, runs: Sequence[str]) -> Mapping[str, list[MetricSummary]]:
    """Return the sums of the metrics of some runs, by run, and by name within."""
    found: dict[str, list[MetricSummary]] = defaultdict(list)
    if runs:
        for one in database.list(MetricSummary, where={"run": list(runs)}, order="name"):
            found[one.run].append(one)
    return found


def metric_parts(
    database: Database, runs: Sequence[str], parts: Sequence[str]
) -> Mapping[str, dict[str, tuple[float | None, ...]]]:
    """Return some numbers of each metric of some runs, by run, and by name within; faster than `summaries_of`.

    Args:
        database: Of the workspace.
        runs: Their ids.
        parts: Columns of `MetricSummary`, such as `last` and `best`.
    """
    codec = codec_for(MetricSummary)
    run, name, *places = (codec.names.index(one) for one in ("run", "name", *parts))
    found: dict[str, dict[str, tuple[float | None, ...]]] = defaultdict(dict)
    condition, bound = codec.condition({"run": list(runs)})
    with database.batches(codec.select + condition, bound) as batches:
        for row in chain.from_iterable(map(codec.all_checked, batches)):
            numbers = tuple(float(row[one]) if row[one].__class__ is str else row[one] for one in places)
            found[row[run]][row[name]] = numbers
    return {one: dict(sorted(metrics.items())) for one, metrics in found.items()}


def with_metrics(database: Database, rows: Sequence[RunRow]) -> list[Run]:
    """Return runs with the last value of each of their metrics."""
    parts = metric_parts(database, [row.id for row in rows], ["last"])
    last = {
        run: {name: value for name, (value,) in metrics.items() if value is not None} for run, metrics in parts.items()
    }
    return [Run(**msgspec.structs.asdict(row), metrics=last.get(row.id, {})) for row in rows]


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
