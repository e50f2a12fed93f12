"""Sums of numbers without any rounding until the end: column-wise fixed point.

Every float64 is an integer times a power of two, so all values of a column are integers m times one 2**scale.
Running totals of the integers are kept in as many 64-bit limbs as the column needs, mostly one or two. The sum of
any run of rows is then a difference of two of them: exact, whatever the order, the threads or the storage. It is
rounded to float64 once, half to even: what `math.fsum` gives. Squares are kept the same way, so variances are
rounded once, too.

The idea is that of the superaccumulator (Kulisch, "Computer Arithmetic and Validity", 2008), with only the limbs
that the data needs.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.kernels._compile import compiled, frozen
from tinymlops.kernels._limbs import (
    add,
    add_value,
    bit_length,
    magnitude_of,
    store,
    subtract,
    to_float,
    to_halves,
    to_integer,
)
from tinymlops.kernels._lives import late_totals
from tinymlops.kernels._quotients import quotient, spread
from tinymlops.kernels._sort import parts_by_weight
from tinymlops.kernels._threads import in_chunks, thread_count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinymlops.kernels._bounds import Timeline, Window

__all__ = [
    "Column",
    "deviation_of",
    "deviations",
    "find_extent",
    "float_sums",
    "integer_sums",
    "limbs_for",
    "settled",
]

Array = np.ndarray[Any, Any]

_MOST_LIMBS = 10
"""Running totals of more limbs would not fit in memory: where values span so many powers of two, the rows of each
window are added when they enter and taken away when they leave."""

_ZERO, _ONE = np.uint64(0), np.uint64(1)


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
        self.limbs = limbs_for((high - low) * (2 if squared else 1), longest)

    @cached_property
    def running(self) -> Array:
        """uint64[n+K, limbs]: in rows `offsets[k]+k` to `offsets[k+1]+k`, the totals before each row of key k and after all."""
        timeline, column = self.column.timeline, self.column
        offsets, rows = timeline.records.offsets, column.bits.size
        running = np.empty((rows + timeline.keys, self.limbs), np.uint64)
        parts = parts_by_weight(offsets, thread_count() * 4 if rows > 100_000 else 1)

        def fill(start: int, stop: int) -> None:
            _fill_running(offsets, *column.source, self.squared, parts[start], parts[stop], running)

        in_chunks(parts.size - 1, fill, least=1)
        return frozen(running, np.uint64)

    def over(self, window: Window) -> tuple[Array, Array, Array]:
        """Return what totals of windows are gathered from: keys, running totals, totals of the rows not in them."""
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
        return window.spine.key, running, others


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
        self.plain = self.valid if timeline.in_order is None else frozen(valid & timeline.in_order, np.bool_)
        """bool[n]: those of the valid rows that are in order."""

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


def integer_sums(column: Column, window: Window) -> Array:
    """Sum integers over windows.

    Args:
        column: The values, int64.
        window: The windows of m spine rows.

    Returns:
        int64[m], exact; 0 for an empty window.

    Raises:
        OverflowError: If a sum does not fit; its first argument is the spine row.
    """
    size = window.low.size
    out, failed = np.empty(size, np.int64), np.zeros(size, np.bool_)
    source = column.linear.over(window)
    in_chunks(size, lambda a, b: _sum_integers(*source, window.low, window.high, a, b, out, failed))
    _raise_first(failed, window)
    return window.spine.by_row(out)


def float_sums(column: Column, window: Window) -> Array:
    """Sum numbers over windows: the exact sum, rounded to float64 once.

    Args:
        column: The values, int64 or float64.
        window: The windows of m spine rows.

    Returns:
        float64[m]; 0.0 for an empty window, and for one of negative zeros.

    Raises:
        OverflowError: If a sum is beyond float64; its first argument is the spine row.
    """
    out = np.empty(window.low.size, np.float64)
    source = column.linear.over(window)
    in_chunks(out.size, lambda a, b: _sum_floats(*source, column.scale, window.low, window.high, a, b, out))
    _raise_first(np.isinf(out), window)
    return window.spine.by_row(out)


def deviations(column: Column, window: Window, counts: Array, *, root: bool) -> Array:
    """Compute sample variances or standard deviations over windows, exact until the one rounding at the end.

    With N = n * sum(m**2) - sum(m)**2 over the integers m, the variance is N / (n * (n-1)) * 2**(2*scale). N
    is an exact integer; the few cells whose quotient or root could not be rounded with certainty are computed
    once more in integers of Python.

    Args:
        column: The values, int64 or float64.
        window: The windows of m spine rows.
        counts: int64[m], the valid rows of each window.
        root: The standard deviation instead of the variance.

    Returns:
        float64[m], ddof=1; 0.0 where a window has fewer than two rows.

    Raises:
        OverflowError: If a result is beyond float64; its first argument is the spine row.
    """
    size = window.low.size
    out, open_rows = np.zeros(size, np.float64), np.zeros(size, np.bool_)
    sums, squares = column.linear.over(window), column.squared.over(window)
    counts = frozen(counts[window.spine.order], np.int64)

    def work(start: int, stop: int) -> None:
        _deviate(
            *sums, *squares[1:], column.scale, window.low, window.high, counts, root, start, stop, out, open_rows
        )  # fmt: skip

    in_chunks(size, work)
    for place in np.flatnonzero(open_rows):
        try:
            out[place] = deviation_of(_values_of(column, window, int(place)), root=root)
        except OverflowError:
            raise OverflowError(int(window.spine.order[place])) from None
    return window.spine.by_row(out)


def _raise_first(failed: Array, window: Window) -> None:
    if failed.any():
        raise OverflowError(int(window.spine.order[failed].min()))


def _values_of(column: Column, window: Window, place: int) -> list[float]:
    """Return the values of one window: the spine's row in working order."""
    records = column.timeline.records
    key, time = window.spine.key[place], int(window.spine.time[place])
    rows = np.arange(records.offsets[key], records.offsets[key + 1])
    event = records.event[rows]
    seen = (records.visible_from[rows] < time) & (time <= records.visible_to[rows]) & (event < time)
    rows = rows[seen & (event >= time - window.span) & column.valid[rows]]
    values = column.bits[rows].view(np.float64) if column.is_float else column.bits[rows]
    found: list[float] = values.tolist()
    return found


def deviation_of(values: Iterable[float], *, root: bool) -> float:
    """Compute the correctly rounded sample variance, or its root, of two or more numbers."""
    exactly = [Fraction(value) for value in values]
    n = len(exactly)
    total, squares = sum(exactly, Fraction()), sum((value * value for value in exactly), Fraction())
    variance = (n * squares - total * total) / (n * (n - 1))
    return _rounded_root(variance) if root else float(variance)


def _rounded_root(value: Fraction) -> float:
    """Return the square root rounded once: its integer part at 109 bits, the last made odd if anything is
    left over.

    With two bits more than twice a float's 53, that odd bit keeps the final division from rounding twice
    (Boldo and Melquiond, "When double rounding is odd", 2005).
    """
    if value == 0:
        return 0.0
    top, bottom = value.numerator, value.denominator
    shift = (top.bit_length() - bottom.bit_length() - 109) // 2
    if shift >= 0:
        bottom <<= 2 * shift
    else:
        top <<= -2 * shift
    integer = math.isqrt(top // bottom)
    integer |= integer * integer * bottom != top
    return float(integer << shift) if shift >= 0 else integer / (1 << -shift)


@compiled
def limbs_for(bits: int, rows: int) -> int:
    """Return the limbs that the sum of so many numbers of so many bits needs."""
    return -(-(bits + bit_length(np.uint64(rows)) + 1) // 64)  # one for the sign


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
def _fill_running(
    offsets: Array, bits: Array, is_float: bool, valid: Array, scale: int, squared: bool,  # noqa: FBT001
    first: int, last: int, running: Array,
) -> None:  # fmt: skip
    for k in range(first, last):
        total = np.zeros(running.shape[1], np.uint64)
        store(total, running, offsets[k] + k)
        for i in range(offsets[k], offsets[k + 1]):
            if valid[i]:
                add_value(bits[i], is_float, scale, squared, False, total)
            store(total, running, i + k + 1)


@compiled
def _gather(key: Array, running: Array, others: Array, j: int, low: int, high: int, limbs: Array) -> None:
    """Write the total of one window to limbs: a difference of running totals, and the rows that are not in them."""
    if running.shape[0]:
        subtract(running, high + key[j], low + key[j], limbs)
    else:
        for i in range(limbs.size):
            limbs[i] = _ZERO
    if others.shape[0]:
        add(limbs, others, j)


@compiled
def _sum_floats(
    key: Array, running: Array, others: Array, scale: int, low: Array, high: Array,
    start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    limbs = np.zeros(running.shape[1], np.uint64)
    for j in range(start, stop):
        _gather(key, running, others, j, low[j], high[j], limbs)
        out[j] = to_float(limbs, scale)


@compiled
def _sum_integers(
    key: Array, running: Array, others: Array, low: Array, high: Array,
    start: int, stop: int, out: Array, failed: Array,
) -> None:  # fmt: skip
    limbs = np.zeros(running.shape[1], np.uint64)
    for j in range(start, stop):
        _gather(key, running, others, j, low[j], high[j], limbs)
        out[j], fits = to_integer(limbs)
        failed[j] = not fits


@compiled
def _deviate(
    key: Array, running: Array, others: Array, running_2: Array, others_2: Array, scale: int,
    low: Array, high: Array, counts: Array, root: bool,  # noqa: FBT001 - a kernel
    start: int, stop: int, out: Array, open_rows: Array,
) -> None:  # fmt: skip
    sums, squares = np.zeros(running.shape[1], np.uint64), np.zeros(running_2.shape[1], np.uint64)
    halves, halves_2 = np.zeros(2 * sums.size, np.uint64), np.zeros(2 * squares.size, np.uint64)
    product = np.zeros(2 * halves.size + halves_2.size + 3, np.uint64)
    for j in range(start, stop):
        n = counts[j]
        if n < 2:
            continue
        _gather(key, running, others, j, low[j], high[j], sums)
        _gather(key, running_2, others_2, j, low[j], high[j], squares)
        used, used_2 = to_halves(sums, halves), to_halves(squares, halves_2)
        used = spread(halves, used, halves_2, used_2, np.uint64(n), product)
        out[j], certain = quotient(product, used, n, scale, root)
        open_rows[j] = not certain
