"""One order made of several: reciprocal rank fusion.

Each order gives a row `1 / (60 + rank)`, and a row has the sum: Cormack, Clarke and Büttcher, Reciprocal Rank Fusion
outperforms Condorcet and individual Rank Learning Methods (2009). Only ranks count: scores by words and by vectors have no
common scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DEPTH", "fused"]

DEPTH = 100
"""How many rows of each order count at least."""
_K = 60


def fused(orders: Sequence[pl.DataFrame], keys: Sequence[str], score: str) -> pl.DataFrame:
    """Return the rows of all orders, each once, with the sum of what its ranks give.

    Args:
        orders: Rows, the best first, with the same columns.
        keys: The columns that name a row.
        score: The column that gets the sum.
    """
    given = [
        order.with_columns((1.0 / (_K + pl.int_range(1, pl.len() + 1, dtype=pl.Int64).cast(pl.Float64))).alias(score))
        for order in orders
    ]
    together = pl.concat(given)
    others = [name for name in together.columns if name not in (*keys, score)]
    summed = together.group_by(*keys, maintain_order=True).agg(pl.col(others).first(), pl.col(score).sum())
    return summed.select(together.columns)
