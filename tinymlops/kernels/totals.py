"""Values as integers of one scale, and their running totals.

Every float64 is an integer times a power of two, so all values of a column are integers m times one 2**scale. A total
is kept after every few rows, in as many 64-bit limbs as the column needs, mostly two: what a window holds is a
difference of two of them, plus the rows at its ends. Squares are kept the same way.

The idea is that of the superaccumulator (Kulisch, "Computer Arithmetic and Validity", 2008), with only the limbs
that the data needs.
"""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.kernels._limbs import add, add_value, bit_length, limbs_for, magnitude_of, store, subtract
from tinymlops.kernels._lives import late_totals
from tinymlops.kernels._pairs import add_pairs, add_rows, subtract_pairs
from tinymlops.kernels.compiling import NO, compiled, frozen
from tinymlops.kernels.threads import in_chunks, thread_count

if TYPE_CHECKING:
    from tinymlops.kernels._bounds import Timeline, Window

__all__ = ["PAIR", "Column", "Totals", "add_on_threads", "add_to_limbs", "pair_between", "total_between"]

Array = np.ndarray[Any, Any]

PAIR = 2
"""The fewest limbs of a total: this many stay in registers."""

_MOST_LIMBS = 10
"""Running totals of more limbs would not fit in memory: where values span so many powers of two, the rows of each
window are added when they enter and taken away when they leave."""

_BLOCK = 4
"""Rows per running total: fewer would cost more memory than adding up some rows costs time."""

_ZERO, _ONE = np.uint64(0), np.uint64(1)


class Column:
    """Values of arranged rows, prepared once for sums over many windows.

    Args:
        timeline: The rows.
        values: int64[n] or float64[n], finite where valid.
        valid: bool[n]; rows with False count for nothing.
    """

    def __init__(self, timeline: Timeline, values: Array, valid: Array) -> None:
        self.timeline = timeline
        self.is_float = bool(np.issubdtype(values.dtype, np.floating))
        values = frozen(values, np.float64 if self.is_float else np.int64)
        self.bits = frozen(values.view(np.int64), np.int64)
        """int64[n]: the values, floats as their bits: one kernel serves both."""
        self.valid = frozen(valid, np.bool_)
        plain = valid if timeline.in_order is None else valid & timeline.in_order
        self.plain = frozen(np.empty(0) if plain.all() else plain, np.bool_)
        """bool[n]: those of the valid rows that are in order; empty if all are."""

    @cached_property
    def extent(self) -> tuple[int, int]:
        """The power of two all values are multiples of, and one that all are less than."""
        found: list[tuple[int, int]] = []

        def work(start: int, stop: int) -> None:
            found.append(find_extent(self.bits, self.is_float, self.valid, start, stop))

        in_chunks(self.bits.size, work, least=65_536)
        lowest, highest = min((low for low, _ in found), default=0), max((high for _, high in found), default=0)
        return settled(lowest, highest, self.is_float)

    @property
    def scale(self) -> int:
        """The power of two that every value is a whole multiple of."""
        return self.extent[0]

    @property
    def source(self) -> tuple[Array, bool, Array, int]:
        """The values of the rows in order, as kernels take them."""
        return self.bits, self.is_float, self.plain, self.scale

    @property
    def everything(self) -> tuple[Array, bool, Array, int]:
        """The values of all rows, as kernels take them."""
        return self.bits, self.is_float, self.valid, self.scale

    @cached_property
    def linear(self) -> Totals:
        """Totals of the values."""
        return Totals(self, squared=False)

    @cached_property
    def squared(self) -> Totals:
        """Totals of the squares, in units of 2**(2*scale)."""
        return Totals(self, squared=True)


class Totals:
    """Sums of a column's integers, or of their squares, over windows.

    Args:
        column: The column.
        squared: Whether of squares.
    """

    def __init__(self, column: Column, *, squared: bool) -> None:
        self.column, self.squared = column, squared
        low, high = column.extent
        offsets = column.timeline.records.offsets
        longest = int(np.diff(offsets).max(initial=0))
        self.limbs = max(PAIR, limbs_for((high - low) * (2 if squared else 1), longest))

    @cached_property
    def running(self) -> Array:
        """uint64[blocks+1, limbs]: the total of all rows before each block of them.

        The part of earlier keys, and what does not fit, cancels out in the difference of two.
        """
        blocks = -(-self.column.bits.size // _BLOCK)
        running = np.zeros((blocks + 1, self.limbs), np.uint64)
        edges = np.linspace(0, blocks, (thread_count() if blocks > 10_000 else 1) + 1).astype(np.int64)

        def work(start: int, stop: int) -> None:
            _total_parts(*self.column.source, self.squared, edges, start, stop, running)

        in_chunks(edges.size - 1, work, least=1)
        for start, stop in itertools.pairwise(edges[1:]):
            add_on_threads(running[start + 1 : stop + 1], running[start])
        return frozen(running, np.uint64)

    def over(self, window: Window) -> tuple[Array, bool, Array, int, Array, Array]:
        """Return the parts of a window's total: values of rows, running totals, and totals of the rows in neither."""
        timeline, column = self.column.timeline, self.column
        nothing = frozen(np.empty((0, self.limbs)), np.uint64)
        wide = self.limbs > _MOST_LIMBS
        running, apart, others = (
            (nothing if wide else self.running),
            (timeline.lives if wide else timeline.late),
            nothing,
        )
        if apart is not None:
            others = late_totals(apart, window.rows, column.everything, self.limbs, squared=self.squared)
        return *column.source, running, others


@compiled
def settled(lowest: int, highest: int, is_float: bool) -> tuple[int, int]:  # noqa: FBT001 - a kernel
    """Settle what `find_extent` leaves open: all zeros have no lowest bit; integers are multiples of one."""
    if is_float and lowest < highest:
        return lowest, highest
    return 0, max(highest, 0)


@compiled
def find_extent(bits: Array, is_float: bool, valid: Array, start: int, stop: int) -> tuple[int, int]:  # noqa: FBT001
    """Return the lowest power of two that any value needs, and one that all are less than."""
    lowest, highest = 1024, -1074
    for i in range(start, stop):
        if not valid[i]:
            continue
        _, magnitude, exponent = magnitude_of(bits[i], is_float)
        if magnitude == _ZERO:
            continue
        if exponent + 64 > highest:
            highest = max(highest, exponent + bit_length(magnitude))
        if exponent < lowest:
            # All bits below the lowest one set, counted.
            trailing = bit_length((magnitude & (~magnitude + _ONE)) - _ONE)
            lowest = min(lowest, exponent + trailing)
    return lowest, highest


@compiled
def _total_parts(
    bits: Array, is_float: bool, plain: Array, scale: int, squared: bool,  # noqa: FBT001
    edges: Array, first: int, last: int, running: Array,
) -> None:  # fmt: skip
    """Write running totals, from zero in each part."""
    for part in range(first, last):
        total, lower, upper = np.zeros(running.shape[1], np.uint64), _ZERO, _ZERO
        for block in range(edges[part], edges[part + 1]):
            start, stop = block * _BLOCK, min((block + 1) * _BLOCK, bits.size)
            if running.shape[1] == PAIR and not squared:
                lower, upper = add_rows(bits, is_float, plain, scale, start, stop, lower, upper)
                running[block + 1, 0], running[block + 1, 1] = lower, upper
            else:
                add_to_limbs(bits, is_float, plain, scale, squared, start, stop, total)
                store(total, running, block + 1)


def add_on_threads(running: Array, total: Array) -> None:
    """Add a number, uint64[limbs], to each of running totals, uint64[n, limbs]: what a part's rows are behind."""
    in_chunks(len(running), lambda a, b: _add_to_all(running, a, b, total), least=65_536)


@compiled
def _add_to_all(running: Array, first: int, last: int, total: Array) -> None:
    limbs = np.empty(running.shape[1], np.uint64)
    for i in range(first, last):
        for j in range(total.size):  # an assignment of a slice takes seconds to compile
            limbs[j] = total[j]
        add(limbs, running, i)
        store(limbs, running, i)


@compiled
def add_to_limbs(
    bits: Array, is_float: bool, plain: Array, scale: int, squared: bool, start: int, stop: int, limbs: Array  # noqa: FBT001
) -> None:  # fmt: skip
    """Add the values of rows start to stop that are `plain`, or their squares, as `add_value` does."""
    for i in range(start, stop):
        if not plain.size or plain[i]:
            add_value(bits[i], is_float, scale, squared, NO, limbs)


@compiled
def total_between(
    bits: Array, is_float: bool, plain: Array, scale: int, squared: bool, running: Array, others: Array,  # noqa: FBT001
    j: int, low: int, high: int, limbs: Array,
) -> None:  # fmt: skip
    """Write the total of rows low to high, and that of window j's rows out of order, to limbs."""
    limbs[:] = _ZERO
    if running.shape[0]:
        first, last = -(-low // _BLOCK), high // _BLOCK
        if first < last:
            subtract(running, last, first, limbs)
            add_to_limbs(bits, is_float, plain, scale, squared, low, first * _BLOCK, limbs)
            low = last * _BLOCK
        add_to_limbs(bits, is_float, plain, scale, squared, low, high, limbs)
    if others.shape[0]:
        add(limbs, others, j)


@compiled
def pair_between(
    bits: Array, is_float: bool, plain: Array, scale: int, running: Array, others: Array,  # noqa: FBT001
    j: int, low: int, high: int,
) -> tuple[np.uint64, np.uint64]:  # fmt: skip
    """Return what `total_between` writes, where it is two words."""
    lower, upper = _ZERO, _ZERO
    first, last = -(-low // _BLOCK), high // _BLOCK
    if first < last:
        lower, upper = subtract_pairs(running[last, 0], running[last, 1], running[first, 0], running[first, 1])
        lower, upper = add_rows(bits, is_float, plain, scale, low, first * _BLOCK, lower, upper)
        low = last * _BLOCK
    lower, upper = add_rows(bits, is_float, plain, scale, low, high, lower, upper)
    if others.shape[0]:
        lower, upper = add_pairs(lower, upper, others[j, 0], others[j, 1])
    return lower, upper
