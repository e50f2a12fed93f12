"""Runs as a table: a row for each run, a column for every metric, parameter and tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs

__all__ = ["column_of", "runs_table", "table_of_runs"]

_TOO_LARGE = 2**63
_Parts = Mapping[str, Mapping[str, tuple[float | None, ...]]]


def runs_table(
    runs: Runs, where: str | None, order_by: str | Sequence[str], limit: int | None, offset: int = 0
) -> pl.DataFrame:
    """Search runs and return them as a table, in their order; see `table_of_runs`.

    Args:
        runs: Of the workspace.
        where: As for `Runs.search`, as are the others.
        order_by: The order.
        limit: The most rows.
        offset: How many runs to leave out before them.
    """
    from tinymlops.registry.run_search import fields_of, parse, parse_order

    found = runs.search(where, order_by=order_by, limit=limit, offset=offset)
    fields = [*fields_of(parse(where)), *(one.field for one in parse_order(order_by))]
    asked = {(one.name, one.part) for one in fields if one.group == "metrics" and one.part not in ("last", "best")}
    return table_of_runs(runs, found, sorted(asked))


def table_of_runs(runs: Runs, found: Sequence[Run], asked: Sequence[tuple[str, str]] = ()) -> pl.DataFrame:
    """Return runs as a table, in their order.

    Args:
        runs: Of the workspace.
        found: The runs.
        asked: Metrics and their parts to add, such as ("auc", "min").

    Returns:
        Columns of the runs themselves; then `metrics.*`, `params.*` and `tags.*`, each by name, null where a run has none.
        A parameter that is a number in one run and text in another is text in all. The best value of a metric has a column
        of its own where a run has several values.
    """
    import polars as pl

    times = pl.Datetime("us", "UTC")
    fixed: dict[str, Any] = {
        "id": pl.String,
        "name": pl.String,
        "status": pl.String,
        "started_at": times,
        "ended_at": times,
        "git_commit": pl.String,
        "training_set": pl.String,
        "experiment": pl.String,
        "group": pl.String,
        "parent": pl.String,
        "user": pl.String,
    }
    experiments = {one.id: one.name for one in runs.experiments(deleted=None)}
    values = {name: [getattr(run, name) for run in found] for name in fixed}
    values["experiment"] = [experiments.get(run.experiment) for run in found]
    columns = [pl.Series(name, values[name], dtype=dtype) for name, dtype in fixed.items()]
    columns += _metric_columns(runs, found, asked)
    for group in ("params", "tags"):
        maps: list[dict[str, Any]] = [getattr(run, group) for run in found]
        names = sorted({name for one in maps for name in one})
        columns += [column_of(f"{group}.{name}", [one.get(name) for one in maps]) for name in names]
    return pl.DataFrame(columns)


def column_of(name: str, values: list[Any]) -> pl.Series:
    """Return values of several types as a column: numbers stay numbers where all are; anything else is text."""
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    whole = all(abs(value) < _TOO_LARGE for value in values if type(value) is int)
    for fitting, dtype in (({bool}, pl.Boolean), ({int}, pl.Int64), ({int, float}, pl.Float64)):
        if kinds and kinds <= fitting and whole:
            return pl.Series(name, values, dtype=dtype, strict=False)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


def _metric_columns(runs: Runs, found: Sequence[Run], asked: Sequence[tuple[str, str]]) -> list[pl.Series]:
    import polars as pl

    more = sorted({part for _, part in asked})
    parts = runs.metric_parts([run.id for run in found], ["last", "count", "best", *more])
    of_runs = [parts.get(run.id, {}) for run in found]
    names = sorted({name for one in of_runs for name in one})
    columns = []
    for name in names:
        rows = [one.get(name) for one in of_runs]
        wanted = {f"metrics.{name}": 0}
        if any(row is not None and (row[1] or 0) > 1 for row in rows):
            wanted[f"metrics.{name}.best"] = 2
        wanted |= {f"metrics.{name}.{part}": 3 + place for place, part in enumerate(more) if (name, part) in asked}
        for column, place in wanted.items():
            numbers = [None if row is None else row[place] for row in rows]
            columns.append(pl.Series(column, numbers, dtype=pl.Float64, strict=False))
    return columns
