"""Read the sums of metrics, and runs with their last values: no array is made."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from tinymlops.records import MetricSummary, Run, RunRow
from tinymlops.stores.rows import codec_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.stores.database import Database

__all__ = ["metric_parts", "names_of_metrics", "summaries_of", "with_metrics"]


def names_of_metrics(database: Database, run: str) -> list[str]:
    """Return the names of the metrics of a run, in order."""
    return [one.name for one in database.list(MetricSummary, where={"run": run}, order="name")]


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
