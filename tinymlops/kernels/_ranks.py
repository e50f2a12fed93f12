"""Distinct values and quantiles of sliding windows: each row enters and leaves once, and is counted by its rank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.kernels._extremes import order_key
from tinymlops.kernels._lives import advance, longest_run
from tinymlops.kernels._sort import as_rows, sort_rows
from tinymlops.kernels.asof import back
from tinymlops.kernels.compiling import compiled, frozen

if TYPE_CHECKING:
    from tinymlops.kernels._bounds import Window
    from tinymlops.kernels.totals import Column

__all__ = ["Ranks", "between"]

Array = np.ndarray[Any, Any]

_NEGATIVE_ZERO = -(2**63)
"""The bits of -0.0."""


class Ranks:
    """The rank of each value among the distinct values of its key.

    Args:
        column: The values; -0.0 is 0.0.
    """

    def __init__(self, column: Column) -> None:
        self._timeline, self._is_float = column.timeline, column.is_float
        bits = column.bits
        if column.is_float:
            bits = np.where(bits == _NEGATIVE_ZERO, 0, bits)
        lead = frozen(order_key(bits) if column.is_float else bits, np.int64)
        key = frozen(np.where(column.valid, self._timeline.key, -1), np.int64)
        offsets, order = sort_rows(key, lead, as_rows(None), as_rows(None), keys=self._timeline.keys)
        self.offsets = frozen(offsets, np.int64)
        """int64[K+1]: places of a key's values."""
        rank, values = np.full(key.size, -1, np.int64), np.empty(order.size, np.int64)
        _rank_rows(self.offsets, frozen(order, np.int64), lead, rank, values)
        self.rank = frozen(rank, np.int64)
        """int64[n]: how many distinct values of the key are less; -1 where a row does not count."""
        self.values = frozen(order_key(values) if column.is_float else values, np.int64)
        """int64: the bits of value r of key k are at `offsets[k] + r`."""

    def distinct(self, window: Window) -> Array:
        """Return int64[m], how many different values each window holds."""
        spine, lives = window.spine, self._timeline.lives

        def work(start: int, stop: int, out: Array) -> None:
            _count_distinct(*lives.walk, *window.rows, self.offsets, self.rank, start, stop, out)

        return spine.answers(np.int64, work)

    def quantile(self, window: Window, q: float) -> Array:
        """Return float64[m], quantile q of each window by linear interpolation (type 7); 0.0 for an empty one.

        The interpolation is numpy's, in float64 (Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996).
        """
        spine, lives = window.spine, self._timeline.lives
        # The kernel takes numbers, not bits: integers are converted as Python converts them.
        values = frozen(self.values.view(np.float64) if self._is_float else self.values, np.float64)

        def work(start: int, stop: int, out: Array) -> None:
            _find_quantile(*lives.walk, *window.rows, self.offsets, self.rank, values, q, start, stop, out)

        return spine.answers(np.float64, work)


@compiled
def between(below: float, above: float, weight: float) -> float:
    """Interpolate between two values, never beyond either, without overflow."""
    gap = above - below
    if not math.isfinite(gap):
        return below * (1.0 - weight) + above * weight
    return below + gap * weight if weight < 0.5 else above - gap * (1.0 - weight)


@compiled
def _rank_rows(offsets: Array, order: Array, lead: Array, rank: Array, values: Array) -> None:
    for k in range(offsets.size - 1):
        standing = -1
        for i in range(offsets[k], offsets[k + 1]):
            row = order[i]
            if standing < 0 or lead[row] != values[offsets[k] + standing]:
                standing += 1
                values[offsets[k] + standing] = lead[row]
            rank[row] = standing


@compiled
def _count_distinct(
    offsets: Array, event: Array, enter: Array, leave: Array, by_enter: Array, by_leave: Array,
    key: Array, time: Array, span: int, places: Array, rank: Array, start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    state, inside = np.zeros(3, np.int64), np.zeros(event.size, np.bool_)
    longest = longest_run(offsets)
    moves, counts = np.empty(longest, np.int64), np.zeros(longest, np.int64)
    distinct = 0
    for j in range(start, stop):
        k = key[j]
        if j == start or k != key[j - 1]:
            state[:] = offsets[k]
            counts[: places[k + 1] - places[k]] = 0
            distinct = 0
        count = advance(
            offsets, event, enter, leave, by_enter, by_leave, k, time[j], back(time[j], span), state, inside, moves
        )
        for i in range(count):
            move = moves[i]
            standing = rank[move if move >= 0 else ~move]
            if standing >= 0 and move >= 0:
                distinct += counts[standing] == 0
                counts[standing] += 1
            elif standing >= 0:
                counts[standing] -= 1
                distinct -= counts[standing] == 0
        out[j - start] = distinct


@compiled
def _find_quantile(
    offsets: Array, event: Array, enter: Array, leave: Array, by_enter: Array, by_leave: Array,
    key: Array, time: Array, span: int, places: Array, rank: Array, values: Array, q: float,
    start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    state, inside = np.zeros(3, np.int64), np.zeros(event.size, np.bool_)
    longest = longest_run(offsets)
    # Counts by rank in a Fenwick tree ("A New Data Structure for Cumulative Frequency Tables", 1994).
    moves, tree = np.empty(longest, np.int64), np.zeros(longest + 1, np.int64)
    total = 0
    for j in range(start, stop):
        k = key[j]
        size = places[k + 1] - places[k]
        if j == start or k != key[j - 1]:
            state[:] = offsets[k]
            tree[: size + 1] = 0
            total = 0
        count = advance(
            offsets, event, enter, leave, by_enter, by_leave, k, time[j], back(time[j], span), state, inside, moves
        )
        for i in range(count):
            move = moves[i]
            node = rank[move if move >= 0 else ~move] + 1
            if node > 0:
                change = 1 if move >= 0 else -1
                total += change
                while node <= size:
                    tree[node] += change
                    node += node & -node
        found = 0.0
        if total > 0:
            place = q * (total - 1)
            first: int = min(int(place), total - 1)
            below = values[places[k] + _select(tree, size, first)]
            above = values[places[k] + _select(tree, size, min(first + 1, total - 1))]
            found = between(below, above, place - first)
        out[j - start] = found


@compiled
def _select(tree: Array, size: int, wanted: int) -> int:
    """Return the rank of the value with `wanted` others before it."""
    step = 1
    while 2 * step <= size:
        step *= 2
    found = 0
    while step > 0:
        if found + step <= size and tree[found + step] <= wanted:
            found += step
            wanted -= tree[found]
        step >>= 1
    return found
