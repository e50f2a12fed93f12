"""Quotients and roots of exact whole numbers, rounded to float64 once, with a flag whether that is certain.

The numbers come in limbs of 32 bits, so that products fit 64. Quotient and root are computed in double-double
with an error bound (Dekker, 1971; the test is Ziv's, 1991).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinymlops.kernels._limbs import bit_length
from tinymlops.kernels.compiling import compiled

__all__ = ["quotient", "spread"]

Array = np.ndarray[Any, Any]

_U = np.uint64
_LOW32 = np.uint64(0xFFFFFFFF)
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@compiled
def spread(sums: Array, used: int, squares: Array, used_2: int, n: np.uint64, product: Array) -> int:
    """Write n * squares - sums**2 to product, which is never negative; return the limbs used."""
    for place in range(product.size):
        product[place] = _ZERO
    carry = _ZERO
    for place in range(used_2):
        total = squares[place] * n + carry
        product[place] = total & _LOW32
        carry = total >> _U(32)
    product[used_2] = carry
    size = max(2 * used, used_2 + 1) + 1
    for i in range(used):
        carry, borrow = _ZERO, _ZERO
        for j in range(size - i):
            total = carry
            if j < used:
                total += sums[i] * sums[j]
            carry = total >> _U(32)
            taken = (total & _LOW32) + borrow
            # One bit above the limb is lent before the subtraction and seen after it.
            left = product[i + j] + (_ONE << _U(33)) - taken
            product[i + j] = left & _LOW32
            borrow = (_ONE << _U(1)) - (left >> _U(32))
    while size > 0 and product[size - 1] == _ZERO:
        size -= 1
    return size


@compiled
def quotient(product: Array, used: int, n: int, scale: int, root: bool) -> tuple[float, bool]:  # noqa: FBT001
    """Return product / (n * (n-1)) * 2**(2*scale), or its root, and whether it is certain to be rounded right."""
    if used == 0:
        return 0.0, True
    top, following, _, power = _leading(product, used)
    high, low = _pair(top)
    high, low = _two_sum(high, low + np.float64(following >> _U(11)) * 2.0**-53)
    power += 2 * scale
    by_high, by_low = _pair(_U(n) * _U(n - 1))
    high, low = _divide(high, low, by_high, by_low)
    if root:
        if power & 1:
            high, low, power = high * 2.0, low * 2.0, power - 1
        high, low = _root(high, low)
        power >>= 1
    # The steps above lose less than 2**-98 of the value; 2**-90 leaves room and almost never leaves a cell
    # open.
    error = high * 2.0**-90
    certain = high + (low + error) == high and high + (low - error) == high
    # Near the ends of the range the last step would round again, or overflow.
    size = math.frexp(high)[1] + power
    if size < -1000 or size > 1000:
        return 0.0, False
    return math.ldexp(high, power), certain


@compiled
def _leading(limbs: Array, used: int) -> tuple[np.uint64, np.uint64, bool, int]:
    """Return the top 64 bits (the first of them set), the next 64, whether bits follow, and the power of the first 64."""
    zeros = 32 - bit_length(limbs[used - 1])
    top = _window_of(limbs, used, 0, zeros)
    following = _window_of(limbs, used, 2, zeros)
    rest = False
    for place in range(used - 4):
        # The lowest limb of the following 64 bits was only used in part: what is left of it counts as well.
        if (limbs[place] << _U(zeros)) & _LOW32 if place == used - 5 else limbs[place]:
            rest = True
    return top, following, rest, 32 * (used - 2) - zeros


@compiled
def _window_of(limbs: Array, used: int, skipped: int, zeros: int) -> np.uint64:
    """Return 64 bits that start `skipped` limbs and `zeros` bits below the top."""
    out = _ZERO
    for step in range(2):
        out = (out << _U(32)) | _limb(limbs, used - 1 - skipped - step)
    spill = _limb(limbs, used - 3 - skipped)
    return (out << _U(zeros)) | (spill >> _U(32 - zeros))


@compiled
def _limb(limbs: Array, place: int) -> np.uint64:
    return _U(limbs[place]) if place >= 0 else _ZERO


@compiled
def _pair(value: np.uint64) -> tuple[float, float]:
    """Write 64 bits as the unevaluated sum of two float64."""
    return _two_sum(np.float64(value >> _U(32)) * 4294967296.0, np.float64(value & _LOW32))


@compiled
def _two_sum(a: float, b: float) -> tuple[float, float]:
    """Return a + b as a rounded sum and its exact error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@compiled
def _two_product(a: float, b: float) -> tuple[float, float]:
    """Return a * b as a rounded product and its exact error (Dekker, with Veltkamp's split)."""
    product = a * b
    split = 134217729.0 * a
    a_high = split - (split - a)
    a_low = a - a_high
    split = 134217729.0 * b
    b_high = split - (split - b)
    b_low = b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@compiled
def _divide(high: float, low: float, by_high: float, by_low: float) -> tuple[float, float]:
    """Divide two double-doubles (Dekker, with a second correction)."""
    first = high / by_high
    product, error = _two_product(first, by_high)
    rest = (high - product) - error + low - first * by_low
    second = rest / by_high
    return _two_sum(first, second)


@compiled
def _root(high: float, low: float) -> tuple[float, float]:
    """Take the square root of a double-double by one Newton step."""
    first = math.sqrt(high)
    product, error = _two_product(first, first)
    rest = (high - product) - error + low
    return _two_sum(first, rest / (2.0 * first))
