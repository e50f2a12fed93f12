"""Aggregates over the window of each spine row: the rows with `time - window <= event < time` that were
visible by then.

Nothing slides and nothing is partial: each window is answered alone, from prefix sums and block extremes, so
any number of spine rows in any order cost the same per row.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from tinymlops.kernels._bounds import Bounds, bounds
from tinymlops.kernels._compile import compiled, frozen
from tinymlops.kernels._threads import in_chunks
from tinymlops.kernels.exact import Column, deviations, float_sums, integer_sums
from tinymlops.kernels.records import VALUE, Records

__all__ = ["FUNCTIONS", "Bounds", "Operand", "aggregate", "bounds", "prepare"]

Array = np.ndarray[Any, Any]

FUNCTIONS = ("count", "sum", "mean", "min", "max", "var", "std", "any", "all")
"""What `aggregate` computes."""

_BLOCK = 64
"""Rows per block of extremes, and blocks per block of blocks."""


class Operand:
    """Values of arranged rows, prepared once for any number of windows; what a function needs is made on
    first use.

    Args:
        values: int64[n] or float64[n].
        valid: bool[n]; False for null, or filtered out.
    """

    def __init__(self, values: Array, valid: Array) -> None:
        self.column = Column(values, valid)

    @cached_property
    def counts(self) -> Array:
        """int64[n+1]: how many rows before each are valid."""
        out = np.zeros(self.column.valid.size + 1, np.int64)
        np.cumsum(self.column.valid, out=out[1:])
        return frozen(out, np.int64)

    @cached_property
    def smallest(self) -> tuple[Array, Array, Array]:
        """Order keys of the values (the greatest int64 where invalid), and their minima by block and block of blocks."""
        return self._extremes(flip=False)

    @cached_property
    def greatest(self) -> tuple[Array, Array, Array]:
        """The same of the flipped order keys, so that their minimum belongs to the greatest value."""
        return self._extremes(flip=True)

    def _extremes(self, *, flip: bool) -> tuple[Array, Array, Array]:
        size = self.column.bits.size
        ranks = np.empty(size, np.int64)
        in_chunks(
            size,
            lambda a, b: _rank(self.column.bits, self.column.is_float, self.column.valid, flip, a, b, ranks),
        )
        blocks = _block_minima(frozen(ranks, np.int64))
        return (
            frozen(ranks, np.int64),
            frozen(blocks, np.int64),
            frozen(_block_minima(frozen(blocks, np.int64)), np.int64),
        )


def prepare(values: Array, valid: Array) -> Operand:
    """Prepare values for aggregates.

    Args:
        values: int64[n], float64[n] or bool[n], in arranged order; finite where valid.
        valid: bool[n]; False where null, where a filter leaves the row out, and for a tombstone.

    Returns:
        The operand, good for any windows over the same records.

    Raises:
        ValueError: If a valid value is infinite or NaN; its first argument is the row.
    """
    values, valid = np.asarray(values), np.asarray(valid, np.bool_)
    if np.issubdtype(values.dtype, np.floating):
        wrong = np.flatnonzero(~np.isfinite(values) & valid)
        if wrong.size:
            raise ValueError(int(wrong[0]))
    return Operand(values, valid)


def aggregate(function: str, records: Records, operand: Operand, time: Array, bounds: Bounds) -> tuple[Array, Array]:
    """Compute one aggregate over each window; only valid rows count.

    Args:
        function: One of `FUNCTIONS`. A sum of floats is the exact sum rounded once (as `math.fsum`), a mean
            that sum divided by the count; `var` and `std` (ddof=1) are exact and rounded once.
        records: n arranged rows.
        operand: Their values; for `any` and `all` 0 or 1.
        time: int64[m] spine times, microseconds UTC, as given to `bounds`.
        bounds: The windows.

    Returns:
        values [m] and valid bool[m]. `count` is int64, `sum`, `min` and `max` have the operand's type, `any`
        and `all` are bool, the rest is float64. An empty window is a valid 0 for `count` and `sum`, False for
        `any`, True for `all`, and invalid for the rest, as is `var` or `std` of a single row.

    Raises:
        OverflowError: If a result is beyond its type; its first argument is the spine row.
    """
    time = frozen(time, np.int64)
    column = operand.column
    counts = _count(records, operand, time, bounds)
    everywhere = np.ones(time.size, np.bool_)
    match function:
        case "count":
            return counts, everywhere
        case "sum":
            total = float_sums if column.is_float else integer_sums
            return total(records, column, time, bounds), everywhere
        case "mean":
            return float_sums(records, column, time, bounds) / np.maximum(counts, 1), counts > 0
        case "min" | "max":
            found = _extreme(records, operand, time, bounds, greatest=function == "max")
            return np.where(counts > 0, found, found.dtype.type(0)), counts > 0
        case "var" | "std":
            return deviations(records, column, time, bounds, counts, root=function == "std"), counts > 1
        case "any":
            return integer_sums(records, column, time, bounds) > 0, everywhere
        case "all":
            return integer_sums(records, column, time, bounds) == counts, everywhere
    raise ValueError(f"no aggregate {function!r}; there are {', '.join(FUNCTIONS)}")


def _count(records: Records, operand: Operand, time: Array, bounds: Bounds) -> Array:
    out = np.empty(time.size, np.int64)
    valid, counts = operand.column.valid, operand.counts

    def work(start: int, stop: int) -> None:
        _count_rows(
            records.visible_from,
            records.visible_to,
            records.kind,
            valid,
            counts,
            time,
            *bounds,
            start,
            stop,
            out,
        )

    in_chunks(time.size, work)
    return out


def _extreme(records: Records, operand: Operand, time: Array, bounds: Bounds, *, greatest: bool) -> Array:
    out = np.empty(time.size, np.int64)
    ranks = operand.greatest if greatest else operand.smallest

    def work(start: int, stop: int) -> None:
        _least_rank(records.visible_from, records.visible_to, records.kind, *ranks, time, *bounds, start, stop, out)

    in_chunks(time.size, work)
    if greatest:
        out = ~out
    return _order_key(out).view(np.float64) if operand.column.is_float else out


def _order_key(bits: Array) -> Array:
    """Map the bits of float64 to int64 of the same order, and back: the map undoes itself."""
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)


@compiled
def _rank(bits: Array, is_float: bool, valid: Array, flip: bool, start: int, stop: int, ranks: Array) -> None:  # noqa: FBT001
    for i in range(start, stop):
        rank = bits[i]
        if is_float and rank < 0:
            rank ^= 0x7FFFFFFFFFFFFFFF
        if flip:
            rank = ~rank  # the minus that cannot overflow
        ranks[i] = rank if valid[i] else 0x7FFFFFFFFFFFFFFF


@compiled
def _block_minima(ranks: Array) -> Array:
    out = np.empty((ranks.size + _BLOCK - 1) // _BLOCK, np.int64)
    for block in range(out.size):
        least = ranks[block * _BLOCK]
        for i in range(block * _BLOCK + 1, min((block + 1) * _BLOCK, ranks.size)):
            least = min(least, ranks[i])
        out[block] = least
    return out


@compiled
def _count_rows(
    visible_from: Array, visible_to: Array, kind: Array, valid: Array, counts: Array,
    time: Array, low: Array, high: Array, scan: Array, order: Array,
    start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    for row in order[start:stop]:
        if not scan[row]:
            out[row] = counts[high[row]] - counts[low[row]]
            continue
        found = 0
        for i in range(low[row], high[row]):
            found += valid[i] and kind[i] == VALUE and visible_from[i] < time[row] <= visible_to[i]
        out[row] = found


@compiled
def _least_rank(
    visible_from: Array, visible_to: Array, kind: Array, ranks: Array, blocks: Array, regions: Array,
    time: Array, low: Array, high: Array, scan: Array, order: Array,
    start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    for row in order[start:stop]:
        if not scan[row]:
            out[row] = _least_of(ranks, blocks, regions, low[row], high[row])
            continue
        least = 0x7FFFFFFFFFFFFFFF
        for i in range(low[row], high[row]):
            if kind[i] == VALUE and visible_from[i] < time[row] <= visible_to[i]:
                least = min(least, ranks[i])
        out[row] = least


@compiled
def _least_of(ranks: Array, blocks: Array, regions: Array, low: int, high: int) -> int:
    """Return the minimum of ranks[low:high] from single rows at the ends, blocks further in, and regions between."""
    first, last = -(-low // _BLOCK), high // _BLOCK
    if first >= last:
        return _least_between(ranks, low, high)
    least = min(
        _least_between(ranks, low, first * _BLOCK),
        _least_between(ranks, last * _BLOCK, high),
    )
    first_region, last_region = -(-first // _BLOCK), last // _BLOCK
    if first_region >= last_region:
        return min(least, _least_between(blocks, first, last))
    least = min(least, _least_between(blocks, first, first_region * _BLOCK))
    least = min(least, _least_between(blocks, last_region * _BLOCK, last))
    return min(least, _least_between(regions, first_region, last_region))


@compiled
def _least_between(values: Array, low: int, high: int) -> int:
    least = 0x7FFFFFFFFFFFFFFF
    for i in range(low, high):
        least = min(least, values[i])
    return least
