"""When the first record of each key happened, from records in any order, in one pass over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.records import FOREVER

__all__ = ["FirstEvents"]

Array = np.ndarray[Any, Any]


class FirstEvents:
    """The least event time of each key.

    Args:
        keys: How many keys there are.
        low: The least key; they are `low` to `low + keys - 1`, and any other is null.
    """

    def __init__(self, keys: int, *, low: int = 0) -> None:
        self._low = low
        self._first = np.full(keys, FOREVER, np.int64)

    def add(self, key: Array, event: Array) -> None:
        """Take records: int64[n] keys, and event times in microseconds UTC, FOREVER where there is none."""
        _lower(self._first, self._low, frozen(key, np.int64), frozen(event, np.int64))

    def knows(self, key: Array) -> Array:
        """Return bool[m], whether each key is one of them."""
        known: Array = (key >= self._low) & (key <= self._low + self._first.size - 1)
        return known

    def of(self, key: Array) -> Array:
        """Return int64[m], the first event time of each key's records; FOREVER where there are none."""
        found, known = np.full(key.size, FOREVER, np.int64), self.knows(key)
        found[known] = self._first[key[known] - self._low]
        return found


@compiled
def _lower(first: Array, low: int, key: Array, event: Array) -> None:
    for i in range(key.size):
        k = np.uint64(key[i]) - np.uint64(low)
        if k < np.uint64(first.size):
            first[k] = min(first[k], event[i])
