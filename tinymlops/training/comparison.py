"""Compare runs: a row for each run, a column for every metric, parameter and tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.records import Run

__all__ = ["runs_table"]

_TOO_LARGE = 2**63


def runs_table(runs: Sequence[Run]) -> pl.DataFrame:
    """Return runs as a table, in their order.

    Args:
        runs: As `Runs.search` returns them.

    Returns:
        `id`, `name`, `status`, `started_at`, `ended_at`, `git_commit` and `training_set`; then `metrics.*`, `params.*`
        and `tags.*`, each by name, null where a run has none. A parameter that is a number in one run and text in
        another is text in all.
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
    }
    columns = [pl.Series(name, [getattr(run, name) for run in runs], dtype=dtype) for name, dtype in fixed.items()]
    for group in ("metrics", "params", "tags"):
        maps: list[dict[str, Any]] = [getattr(run, group) for run in runs]
        names = sorted({name for one in maps for name in one})
        columns += [_column(f"{group}.{name}", [one.get(name) for one in maps]) for name in names]
    return pl.DataFrame(columns)


def _column(name: str, values: list[Any]) -> pl.Series:
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    whole = all(abs(value) < _TOO_LARGE for value in values if type(value) is int)
    for fitting, dtype in (({bool}, pl.Boolean), ({int}, pl.Int64), ({int, float}, pl.Float64)):
        if kinds and kinds <= fitting and whole:
            return pl.Series(name, values, dtype=dtype, strict=False)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
