"""Whole numbers of any size as limbs of 64 bits, and their one rounding to float64.

A number is uint64[L] in two's complement, lowest limb first. Sums wrap around: differences of wrapped sums are
right as long as they themselves fit, whatever came between.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types

from tinymlops.kernels._interpreted import instruction
from tinymlops.kernels.compiling import compiled

__all__ = [
    "add",
    "add_value",
    "bit_length",
    "limbs_for",
    "magnitude_of",
    "store",
    "subtract",
    "to_float",
    "to_halves",
]

Array = np.ndarray[Any, Any]

# uint64 and int64 never meet in one expression: numba would make a float of it.
_U = np.uint64
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_LOW32 = np.uint64(0xFFFFFFFF)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@compiled
def magnitude_of(bits: int, is_float: bool) -> tuple[bool, np.uint64, int]:  # noqa: FBT001 - a kernel
    """Split a value into sign, integer and power of two."""
    if not is_float:
        # The negative of the least int64 is itself, and its bits read as unsigned are right.
        return bits < 0, _U(-bits if bits < 0 else bits), 0
    fraction = bits & 0xFFFFFFFFFFFFF
    exponent = (bits >> 52) & 0x7FF
    if exponent:
        return bits < 0, _U(fraction | (1 << 52)), exponent - 1075
    return bits < 0, _U(fraction), -1074


def _count_bits(_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = context.get_value_type(types.int64)
        return builder.sub(word(64), builder.ctlz(arguments[0], context.get_value_type(types.boolean)(0)))

    return types.int64(value), generate


bit_length: Any = instruction(_count_bits, lambda value: int(value).bit_length())
"""Return the position of the highest bit of a uint64, from 1; 0 for zero."""


@compiled
def limbs_for(bits: int, rows: int) -> int:
    """Return how many limbs a sum needs, given the number of its terms and of their bits."""
    of_rows: int = bit_length(np.uint64(rows))
    return -(-(bits + of_rows + 1) // 64)  # one for the sign


@compiled
def add_value(
    bits: int, is_float: bool, scale: int, squared: bool, remove: bool, limbs: Array  # noqa: FBT001 - a kernel
) -> None:  # fmt: skip
    """Add a value, or its square, in units of 2**scale (2**(2*scale) for squares) to limbs; or take it away."""
    negative, lower, exponent = magnitude_of(bits, is_float)
    if lower == _ZERO:
        return
    upper, offset = _ZERO, exponent - scale
    if squared:
        upper, lower = _square(lower)
        offset *= 2
        negative = False
    word, shift = offset >> 6, _U(offset & 63)
    back = _U(63) - shift
    middle = (upper << shift) | ((lower >> _ONE) >> back)
    last = (upper >> _ONE) >> back
    # Without a branch, because signs are unpredictable: negation inverts all bits and adds one.
    minus = negative != remove
    mask = _ALL if minus else _ZERO
    carry = _ONE if minus else _ZERO
    for j in range(word, limbs.size):
        part = (lower << shift) if j == word else middle if j == word + 1 else last if j == word + 2 else _ZERO
        part ^= mask
        total = limbs[j] + part
        over = total < part
        total += carry
        carry = _ONE if over or total < carry else _ZERO
        limbs[j] = total


@compiled
def _square(value: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the upper and lower half of the 128-bit square."""
    high, low = value >> _U(32), value & _LOW32
    cross = high * low  # counts twice: its top bit moves to the upper half
    lower = low * low
    added = lower + (cross << _U(33))
    carry = _ONE if added < lower else _ZERO
    return high * high + (cross >> _U(31)) + carry, added


@compiled
def add(limbs: Array, table: Array, row: int) -> None:
    """Add a row of a table of numbers with the same limbs."""
    carry = _ZERO
    for j in range(limbs.size):
        part = table[row, j]
        total = limbs[j] + part
        over = total < part
        total += carry
        carry = _ONE if over or total < carry else _ZERO
        limbs[j] = total


@compiled
def subtract(table: Array, high: int, low: int, limbs: Array) -> None:
    """Write the difference of two rows of a table of numbers."""
    borrow = _ZERO
    for j in range(limbs.size):
        total = table[high, j] - table[low, j]
        under = table[high, j] < table[low, j]
        left = total - borrow
        borrow = _ONE if under or total < borrow else _ZERO
        limbs[j] = left


@compiled
def store(limbs: Array, table: Array, row: int) -> None:
    """Write a number to a row of a table."""
    for j in range(limbs.size):
        table[row, j] = limbs[j]


@compiled
def make_positive(limbs: Array) -> bool:
    """Replace a number by its absolute value; return whether it was negative."""
    negative = bool(limbs[-1] >> _U(63))
    # Without a branch, because signs are unpredictable.
    mask = _ALL if negative else _ZERO
    carry = _ONE if negative else _ZERO
    for j in range(limbs.size):
        limb = (limbs[j] ^ mask) + carry
        carry = carry if limb == _ZERO else _ZERO
        limbs[j] = limb
    return negative


@compiled
def to_float(limbs: Array, scale: int) -> float:
    """Round a number in units of 2**scale to float64, half to even; infinity if it is too great. Overwrites the limbs."""
    negative = make_positive(limbs)
    top = limbs.size - 1
    while top > 0 and limbs[top] == _ZERO:
        top -= 1
    if limbs[top] == _ZERO:
        return 0.0
    empty = 64 - bit_length(limbs[top])
    shift = _U(empty)
    leading = limbs[top] << shift
    if top > 0:
        leading |= (limbs[top - 1] >> _ONE) >> (_U(63) - shift)
        rest = limbs[top - 1] << shift
        for j in range(top - 1):
            rest |= limbs[j]
        # An odd last bit for whatever follows keeps 64 bits enough to round right (Boldo and Melquiond, 2005).
        leading |= _ONE if rest else _ZERO
    # Below the normal range nothing is dropped here: the sum is a whole multiple of 2**-1074.
    value = math.ldexp(np.float64(leading), 64 * top - empty + scale)
    return -value if negative else value


@compiled
def to_halves(limbs: Array, halves: Array) -> int:
    """Write the absolute value of a number in 32-bit limbs; return how many are used. Overwrites the limbs."""
    make_positive(limbs)
    used = 0
    for j in range(limbs.size):
        halves[2 * j] = limbs[j] & _LOW32
        halves[2 * j + 1] = limbs[j] >> _U(32)
        if limbs[j]:
            used = 2 * j + (2 if limbs[j] >> _U(32) else 1)
    return used
