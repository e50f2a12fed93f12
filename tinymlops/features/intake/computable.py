"""Check that what views and labels compute from new rows fits its type: a row that would break reads is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.expressions import aggregates_in, can_fail, feature_of
from tinymlops.features.history.sources import run_transformation

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.expressions import AnyOperand
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["require_computable"]


def require_computable(context: Context, source: SourceSpec, frame: pl.DataFrame) -> None:
    """Compute the expressions over rows of the definitions in force that can fail.

    Args:
        context: The workspace's state.
        source: The source; rows of row-wise transformations over it are derived from them.
        frame: New rows, with their times; they need no sequence yet.

    Raises:
        DataError: If an integer does not fit 64 bits, with the feature and the row.
    """
    import polars as pl

    from tinymlops.features.compute.evaluating import TooGreatError, evaluate

    for where, operand in _that_can_fail(context, source.name):
        try:
            evaluate(operand, frame)
        except TooGreatError as error:
            raise DataError(
                f"row {error.args[0]} of source {source.name!r} cannot be taken: {operand!r}, which {where} reads, does "
                "not fit 64 bits",
                hint="correct the row, or make one side of the expression a float, for example by * 1.0",
            ) from error
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"the rows of source {source.name!r} cannot be taken: {operand!r}, which {where} reads, cannot be "
                f"computed of them: {error}",
                hint="correct the rows, or the expression",
            ) from error
    for derived in graph.row_wise_over(context.definitions, source.name):
        if _is_read(context, derived):
            numbered = frame
            if "__sequence" not in frame.columns:
                numbered = frame.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__sequence"))
            require_computable(context, derived, run_transformation(context, derived, {source.name: numbered}))


def _is_read(context: Context, source: SourceSpec) -> bool:
    """Return whether an expression that can fail is computed from a source, or from a transformation of it."""
    made = graph.downstream(context.definitions, source.name)
    return any(True for name in made for _ in _that_can_fail(context, name))


def _that_can_fail(context: Context, source: str) -> Iterator[tuple[str, AnyOperand]]:
    """Yield the operands over a source whose integers may be too great, and what reads each."""
    views, labels = graph.views_reading(context.definitions, source), graph.labels_reading(context.definitions, source)
    found = [
        (f"{view.name}:{feature_of(name)}", part)
        for view in views
        for name, part in aggregates_in(view.features).items()
    ]
    found += [
        (f"label {one.name}", part) for one in labels for part in aggregates_in({one.name: one.expression}).values()
    ]
    for where, part in found:
        for operand in (part.operand, part.where):
            if operand is not None and can_fail(operand):
                yield where, operand
