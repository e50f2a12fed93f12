"""Check that a transformation declared row-wise is: its result for all rows is the same as for fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions import graph
from tinymlops.features.history.sources import run_transformation

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["check_row_wise"]

_SAMPLE, _ALONE = 10_000, 8


def check_row_wise(context: Context, source: SourceSpec, rows: pl.DataFrame) -> None:
    """Run the row-wise transformations of a source both ways: over rows at once, over each half of them, and one by one.

    Args:
        context: The workspace's state.
        source: The source.
        rows: Its newest rows, with their times; they need no sequence yet.

    Raises:
        DefinitionError: If a result depends on which other rows are there.
    """
    import polars as pl

    sample = rows.tail(_SAMPLE).with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__sequence"))
    for spec in graph.row_wise_over(context.definitions, source.name):
        if sample.height > 1:
            _check(context, spec, sample)


def _check(context: Context, spec: SourceSpec, sample: pl.DataFrame) -> None:
    import polars as pl

    def run(*parts: pl.DataFrame) -> pl.DataFrame:
        made = [run_transformation(context, spec, {spec.inputs[0]: part}) for part in parts]
        return pl.concat(made, how="vertical_relaxed")

    whole = run(sample)
    if "__sequence" not in whole.columns:
        return  # a read reports what to do about it
    whole = whole.sort("__sequence", maintain_order=True)
    few = whole.filter(pl.col("__sequence") <= _ALONE)
    halves = run(sample.gather_every(2), sample.gather_every(2, offset=1)).sort("__sequence", maintain_order=True)
    alone = run(*(sample[i : i + 1] for i in range(min(_ALONE, sample.height))))
    if not (halves.equals(whole) and alone.equals(few)):
        raise DefinitionError(
            f"transformation {spec.name!r} says row_wise=True, but its result for a row of {spec.inputs[0]!r} depends "
            "on which other rows are there",
            hint="leave row_wise out and name its timestamp: it is then rebuilt from all rows at each ingest",
        )
    check_row_wise(context, spec, whole)
