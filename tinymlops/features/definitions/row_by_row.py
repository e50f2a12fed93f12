"""Whether a Polars expression gives each row a value of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = ["is_row_wise"]


def is_row_wise(expression: pl.Expr) -> bool:
    """Return whether each value comes from its own row, as far as the parts of the expression show."""
    import polars as pl

    meta = expression.meta
    try:
        alone = meta.is_row_separable() and (meta.is_length_preserving() or meta.is_scalar())
    except pl.exceptions.PolarsError:  # a Python function: only its values can show it
        alone = True
    # Operations on the elements of a list stay within a row.
    return alone and all(is_row_wise(part) for part in meta.pop() if "element()" not in str(part))
