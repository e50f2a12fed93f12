"""Sums, variances and deviations over windows, exact until one rounding at the end.

Totals of integers (`tinymlops.kernels.totals`) are exact, whatever the order, the threads or the storage. They are
rounded to float64 once, half to even: a sum is what `math.fsum` gives.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.kernels._limbs import to_float, to_halves
from tinymlops.kernels._pairs import pair_to_float, pair_to_integer
from tinymlops.kernels._quotients import quotient, spread
from tinymlops.kernels.asof import in_window
from tinymlops.kernels.compiling import NO, YES, compiled, frozen
from tinymlops.kernels.totals import PAIR, pair_between, total_between

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinymlops.kernels._bounds import Window
    from tinymlops.kernels.totals import Column

__all__ = ["deviation_of", "deviations", "float_sums", "integer_sums"]

Array = np.ndarray[Any, Any]


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
    failed = np.zeros(window.low.size, np.bool_)
    source = (*column.linear.over(window), window.low, window.high)
    out = window.spine.answers(np.int64, lambda a, b, part: _sum_integers(*source, a, b, part, failed))
    if failed.any():
        raise OverflowError(int(window.spine.order[failed].min()))
    return out


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
    source = (*column.linear.over(window), window.low, window.high)
    out = window.spine.answers(np.float64, lambda a, b, part: _sum_floats(*source, a, b, part))
    infinite = np.isinf(out)
    if infinite.any():
        raise OverflowError(int(np.argmax(infinite)))
    return out


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
    open_rows = np.zeros(window.low.size, np.bool_)
    counts = frozen(counts[window.spine.order], np.int64)
    source = (*column.linear.over(window), *column.squared.over(window)[-2:], window.low, window.high, counts, root)
    out = window.spine.answers(np.float64, lambda a, b, part: _deviate(*source, a, b, part, open_rows))
    for place in np.flatnonzero(open_rows):
        row = int(window.spine.order[place])
        try:
            out[row] = deviation_of(_values_of(column, window, int(place)), root=root)
        except OverflowError:
            raise OverflowError(row) from None
    return out


def _values_of(column: Column, window: Window, place: int) -> list[float]:
    """Return the values of one window: the spine's row in working order."""
    records = column.timeline.records
    key, time = window.spine.key[place], int(window.spine.time[place])
    rows = slice(records.offsets[key], records.offsets[key + 1])
    spans = records.event[rows], records.visible_from[rows], records.visible_to[rows]
    bits = column.bits[rows][in_window(*spans, column.valid[rows], time, window.span)]
    values = bits.view(np.float64) if column.is_float else bits
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
def _sum_floats(
    bits: Array, is_float: bool, plain: Array, scale: int, running: Array, others: Array,  # noqa: FBT001
    low: Array, high: Array, start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    if running.shape[1] == PAIR:
        unit = math.ldexp(1.0, scale)
        for j in range(start, stop):
            lower, upper = pair_between(bits, is_float, plain, scale, running, others, j, low[j], high[j])
            out[j - start] = pair_to_float(lower, upper, unit)
        return
    limbs = np.zeros(running.shape[1], np.uint64)
    for j in range(start, stop):
        total_between(bits, is_float, plain, scale, NO, running, others, j, low[j], high[j], limbs)
        out[j - start] = to_float(limbs, scale)


@compiled
def _sum_integers(
    bits: Array, is_float: bool, plain: Array, scale: int, running: Array, others: Array,  # noqa: FBT001
    low: Array, high: Array, start: int, stop: int, out: Array, failed: Array,
) -> None:  # fmt: skip
    for j in range(start, stop):
        lower, upper = pair_between(bits, is_float, plain, scale, running, others, j, low[j], high[j])
        out[j - start], fits = pair_to_integer(lower, upper)
        failed[j] = not fits


@compiled
def _deviate(
    bits: Array, is_float: bool, plain: Array, scale: int, running: Array, others: Array,  # noqa: FBT001
    running_2: Array, others_2: Array, low: Array, high: Array, counts: Array, root: bool,  # noqa: FBT001
    start: int, stop: int, out: Array, open_rows: Array,
) -> None:  # fmt: skip
    sums, squares = np.zeros(running.shape[1], np.uint64), np.zeros(running_2.shape[1], np.uint64)
    halves, halves_2 = np.zeros(2 * sums.size, np.uint64), np.zeros(2 * squares.size, np.uint64)
    product = np.zeros(2 * halves.size + halves_2.size + 3, np.uint64)
    for j in range(start, stop):
        n = counts[j]
        out[j - start] = 0.0
        if n < 2:
            continue
        total_between(bits, is_float, plain, scale, NO, running, others, j, low[j], high[j], sums)
        total_between(bits, is_float, plain, scale, YES, running_2, others_2, j, low[j], high[j], squares)
        used, used_2 = to_halves(sums, halves), to_halves(squares, halves_2)
        used = spread(halves, used, halves_2, used_2, np.uint64(n), product)
        out[j - start], certain = quotient(product, used, n, scale, root)
        open_rows[j] = not certain
