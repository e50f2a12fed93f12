"""Whole numbers of up to 127 bits and a sign, as two words that stay in registers: enough for nearly all columns.

A pair is the lower and the upper half, uint64 each, of the number in two's complement.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.kernels._limbs import bit_length, magnitude_of
from tinymlops.kernels.compiling import compiled

__all__ = [
    "NEAR",
    "add_near",
    "add_pairs",
    "add_rows",
    "exponents_of",
    "pair_to_float",
    "pair_to_integer",
    "subtract_pairs",
]

Array = np.ndarray[Any, Any]
Pair = tuple[np.uint64, np.uint64]

NEAR = 53 + 63
"""The most bits that the floats of `add_near` may need."""

_U = np.uint64
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW32 = np.uint64(0xFFFFFFFF)
_32, _63 = np.uint64(32), np.uint64(63)


@compiled
def add_pairs(low: np.uint64, high: np.uint64, other_low: np.uint64, other_high: np.uint64) -> Pair:
    """Add two numbers; the overflow is dropped."""
    total = low + other_low
    return total, high + other_high + (_ONE if total < low else _ZERO)


@compiled
def subtract_pairs(low: np.uint64, high: np.uint64, other_low: np.uint64, other_high: np.uint64) -> Pair:
    """Subtract the second number from the first."""
    return low - other_low, high - other_high - (_ONE if low < other_low else _ZERO)


@compiled
def add_rows(
    bits: Array, is_float: bool, plain: Array, scale: int, start: int, stop: int, low: np.uint64, high: np.uint64  # noqa: FBT001
) -> Pair:  # fmt: skip
    """Add the values of rows start to stop that are `plain`, in units of 2**scale."""
    for i in range(start, stop):
        if not plain.size or plain[i]:
            part, above = _shifted(bits[i], is_float, scale)
            low, high = add_pairs(low, high, part, above)
    return low, high


@compiled
def _shifted(bits: int, is_float: bool, scale: int) -> Pair:  # noqa: FBT001
    negative, value, exponent = magnitude_of(bits, is_float)
    offset = exponent - scale if value else 0
    shift = _U(offset & 63)
    low, high = value << shift, (value >> _ONE) >> (_U(63) - shift)
    if offset >= 64:
        low, high = _ZERO, low
    elif offset < 0:  # the bits shifted out are zero
        low, high = high, _ZERO
    # Without a branch, because signs are unpredictable: negation inverts all bits and adds one.
    mask = _ALL if negative else _ZERO
    return add_pairs(low ^ mask, high ^ mask, _ONE if negative else _ZERO, _ZERO)


@compiled
def exponents_of(bits: Array, plain: Array) -> tuple[int, int]:
    """Return the least and the greatest biased exponent of the `plain` floats that are not zero; without any, the
    greatest is 0 and the least is arbitrary.
    """
    least, greatest = 0x7FF, 0
    for i in range(bits.size):
        exponent = max((bits[i] >> 52) & 0x7FF, 1)
        counts = plain[i] & ((bits[i] << 1) != 0)
        least = min(least, exponent if counts else 0x7FF)
        greatest = max(greatest, exponent if counts else 0)
    return least, greatest


@compiled
def add_near(bits: Array, is_float: bool, plain: Array, least: int, low: np.uint64, high: np.uint64) -> Pair:  # noqa: FBT001
    """Add the `plain` values, floats in units of the least exponent; no exponent exceeds it by more than 63 (`NEAR`).

    There is no carry from row to row, so that the processor adds many at once: the sums of the 32-bit digits of up to
    2**31 rows fit in 64 bits each.
    """
    first, second, third, fourth = _ZERO, _ZERO, _ZERO, _ZERO
    for i in range(bits.size):
        word = _U(bits[i]) if plain[i] else _ZERO
        minus = _ZERO - (word >> _63)
        value, above = word, minus
        if is_float:
            exponent = (word >> _U(52)) & _U(0x7FF)
            value = (word & _U(0xFFFFFFFFFFFFF)) | (_U(1 << 52) if exponent else _ZERO)
            shift = (max(exponent, _ONE) - _U(least)) & _63
            value, above = value << shift, (value >> _ONE) >> (_63 - shift)
            first += ((value & _LOW32) ^ minus) - minus
            second += ((value >> _32) ^ minus) - minus
            third += ((above & _LOW32) ^ minus) - minus
            fourth += ((above >> _32) ^ minus) - minus
        else:
            first += value & _LOW32
            second += _U(np.int64(value) >> 32)
    low, high = add_pairs(low, high, first, _U(np.int64(first) >> 63))
    low, high = add_pairs(low, high, second << _32, _U(np.int64(second) >> 32))
    return low, high + third + (fourth << _32)


@compiled
def pair_to_float(low: np.uint64, high: np.uint64, unit: float) -> float:
    """Round a number of units to float64, half to even; the unit is a power of two, maybe below the normal range."""
    negative = bool(high >> _U(63))
    mask = _ALL if negative else _ZERO
    low, high = add_pairs(low ^ mask, high ^ mask, _ONE if negative else _ZERO, _ZERO)
    shift = _U(bit_length(high))  # at most 63: the sign is gone
    rest = low & ((_ONE << shift) - _ONE)
    # An odd last bit for what is cut off keeps 64 bits enough to round right (Boldo and Melquiond, 2005).
    leading = ((high << _ONE) << (_U(63) - shift)) | (low >> shift) | (_ONE if rest else _ZERO)
    # Every product is exact: a result below the normal range has fewer bits than a float holds.
    value = np.float64(leading) * np.float64(_ONE << shift) * unit
    return -value if negative else value


@compiled
def pair_to_integer(low: np.uint64, high: np.uint64) -> tuple[np.int64, bool]:
    """Return a number as int64, and whether it fits."""
    value = np.int64(low)
    return value, high == (_ALL if value < 0 else _ZERO)
