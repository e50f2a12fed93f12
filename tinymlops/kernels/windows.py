"""Aggregates over the window of each spine row: the rows with `time - window <= event < time` that were
visible by then.

    timeline = Timeline(records)
    operand = Operand(timeline, values, valid)
    window = Spine(timeline, key, time).window(span)
    values, valid = Reduction(operand, window).compute("mean")

Aggregates from running totals or minima of blocks cost the same for a short window and a long one. The others,
distinct values and quantiles, slide along each key's spine rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from tinymlops.kernels._bounds import Spine, Timeline, Window
from tinymlops.kernels._extremes import Minima
from tinymlops.kernels._ranks import Ranks
from tinymlops.kernels.exact import deviations, float_sums, integer_sums
from tinymlops.kernels.totals import Column

__all__ = ["FUNCTIONS", "Operand", "Reduction", "Spine", "Timeline", "Window"]

Array = np.ndarray[Any, Any]

FUNCTIONS = ("count", "sum", "mean", "min", "max", "var", "std", "any", "all", "n_unique", "quantile")
"""What `Reduction.compute` computes."""


class Operand:
    """Values of arranged rows, prepared once for any number of windows; what a function needs is made on
    first use.

    Args:
        timeline: n arranged rows.
        values: int64[n] or float64[n], finite where valid.
        valid: bool[n]; False where null, where a filter leaves the row out, and for a delete.

    Raises:
        ValueError: If a valid value is infinite or NaN; its first argument is the row.
    """

    def __init__(self, timeline: Timeline, values: Array, valid: Array) -> None:
        values, valid = np.asarray(values), np.asarray(valid, np.bool_)
        if np.issubdtype(values.dtype, np.floating):
            finite = np.isfinite(values)
            if not finite.all() and (valid & ~finite).any():
                raise ValueError(int(np.argmax(valid & ~finite)))
        self.column = Column(timeline, values, valid)

    @cached_property
    def ones(self) -> Column | None:
        """A column whose sums are counts; None where every row counts and is in order: a window's length is its count."""
        column = self.column
        if not column.plain.size:
            return None
        return Column(column.timeline, np.ones(column.valid.size, np.int64), column.valid)

    @cached_property
    def smallest(self) -> Minima:
        """Minima of the values."""
        return Minima(self.column, flip=False)

    @cached_property
    def greatest(self) -> Minima:
        """Minima in reversed order: maxima."""
        return Minima(self.column, flip=True)

    @cached_property
    def ranks(self) -> Ranks:
        """The rank of each value among those of its key."""
        return Ranks(self.column)


class Reduction:
    """An operand over a window: what several functions need is computed once.

    Args:
        operand: Values of n arranged rows.
        window: The windows of m spine rows over the same rows.
    """

    def __init__(self, operand: Operand, window: Window) -> None:
        self._operand, self._window = operand, window

    def compute(self, function: str, q: float | None = None) -> tuple[Array, Array]:
        """Compute one aggregate over each window; only valid rows count.

        Args:
            function: One of `FUNCTIONS`. A sum of floats is the exact sum rounded once (as `math.fsum`), a mean
                that sum divided by the count; `var` and `std` (ddof=1) are exact and rounded once; `any` and
                `all` take values of 0 and 1. -0.0 is less than 0.0 as a `min` or `max`, and the same value otherwise.
            q: Which quantile, from 0 to 1.

        Returns:
            values [m] and valid bool[m]. `count` and `n_unique` are int64, `sum`, `min` and `max` have the operand's
            type, `any` and `all` are bool, the rest is float64. An empty window is a valid 0 for `count`, `sum` and
            `n_unique`, False for `any`, True for `all`, and invalid for the rest, as is `var` or `std` of a single
            row.

        Raises:
            OverflowError: If a result is beyond its type; its first argument is the spine row.
        """
        column, window = self._operand.column, self._window
        everywhere = np.ones(window.spine.size, np.bool_)
        match function:
            case "count":
                return self._counts, everywhere
            case "sum":
                return self._float_sums if column.is_float else integer_sums(column, window), everywhere
            case "mean":
                nothing = np.zeros(everywhere.size)
                return np.divide(self._float_sums, self._counts, out=nothing, where=self._some), self._some
            case "min" | "max":
                minima = self._operand.greatest if function == "max" else self._operand.smallest
                return minima.over(window), self._some
            case "var" | "std":
                return deviations(column, window, self._counts, root=function == "std"), self._counts > 1
            case "any":
                return integer_sums(column, window) > 0, everywhere
            case "all":
                return integer_sums(column, window) == self._counts, everywhere
            case "n_unique":
                return self._operand.ranks.distinct(window), everywhere
            case "quantile":
                assert q is not None
                return self._operand.ranks.quantile(window, q), self._some
        raise ValueError(f"no aggregate {function!r}; there are {', '.join(FUNCTIONS)}")

    @cached_property
    def _counts(self) -> Array:
        ones = self._operand.ones
        return self._window.lengths if ones is None else integer_sums(ones, self._window)

    @cached_property
    def _some(self) -> Array:
        some: Array = self._counts > 0
        return some

    @cached_property
    def _float_sums(self) -> Array:
        return float_sums(self._operand.column, self._window)
