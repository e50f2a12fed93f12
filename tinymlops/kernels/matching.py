"""Which rows of a table another one has, counted with repeats: by 128-bit hashes of their content."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.kernels.compiling import compiled, frozen

__all__ = ["unmatched"]

Array = np.ndarray[Any, Any]

_U = np.uint64


def unmatched(first: Array, second: Array, known_first: Array, known_second: Array) -> Array:
    """Return which rows are not among the known ones, or occur more often than there.

    Args:
        first: uint64[n], half of each row's hash.
        second: uint64[n], the other half.
        known_first: uint64[m] of the known rows.
        known_second: uint64[m] of the known rows.

    Returns:
        bool[n]: of equal rows, as many of the first ones as are known are False.
    """
    capacity = 1 << max(4, (3 * known_first.size // 2).bit_length())
    table, count = np.zeros((capacity, 2), np.uint64), np.zeros(capacity, np.int32)
    _count(frozen(known_first, np.uint64), frozen(known_second, np.uint64), table, count)
    new = np.empty(first.size, np.bool_)
    _take(frozen(first, np.uint64), frozen(second, np.uint64), table, count, new)
    return new


@compiled
def _place(table: Array, count: Array, first: Any, second: Any) -> Any:
    """Return the slot of a hash, or where it would go. A count below zero marks a hash whose rows are used up."""
    last = _U(count.size - 1)
    at = (first ^ (second >> _U(1))) & last
    while count[at] and (table[at, 0] != first or table[at, 1] != second):
        at = (at + _U(1)) & last
    return at


@compiled
def _count(first: Array, second: Array, table: Array, count: Array) -> None:
    for i in range(first.size):
        at = _place(table, count, first[i], second[i])
        table[at, 0], table[at, 1] = first[i], second[i]
        count[at] += 1


@compiled
def _take(first: Array, second: Array, table: Array, count: Array, new: Array) -> None:
    for i in range(first.size):
        at = _place(table, count, first[i], second[i])
        new[i] = count[at] <= 0
        if count[at] > 0:
            count[at] = count[at] - 1 if count[at] > 1 else -1
