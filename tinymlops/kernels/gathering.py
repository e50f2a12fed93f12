"""Copy the values of chosen rows, eight bytes each, with many reads in flight at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.kernels._sort import group
from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.threads import in_chunks

__all__ = ["Chosen", "take"]

Array = np.ndarray[Any, Any]

_WINDOW_BITS = 16


class Chosen:
    """Rows chosen from a table, in any order, so that those within a run of it are found at once.

    Args:
        rows: int64[m] row numbers; negative ones are left out.
    """

    def __init__(self, rows: Array) -> None:
        windows = int(rows.max(initial=0) >> _WINDOW_BITS) + 1
        key = frozen(np.maximum(rows >> _WINDOW_BITS, -1), np.int64)
        self._offsets, self._places, self._rows = group(key, frozen(rows, np.int64), keys=windows)

    def between(self, first: int, stop: int) -> tuple[Array, Array]:
        """Return the places of the rows from first to stop-1, int64[k], and the rows themselves."""
        last = self._offsets.size - 1
        cut = slice(
            self._offsets[min(first >> _WINDOW_BITS, last)],
            self._offsets[min((stop - 1 >> _WINDOW_BITS) + 1, last)],
        )
        inside = (self._rows[cut] >= first) & (self._rows[cut] < stop)
        return self._places[cut][inside], self._rows[cut][inside]


def take(
    columns: list[tuple[Array, Array, int]], rows: Array, places: Array, out: list[Array], known: list[Array]
) -> None:
    """Copy `column[rows[j]]` to `out[places[j]]`, for all columns at once.

    Args:
        columns: Per column int64[n], the bits of its validity (least bit first, uint8; empty if all are valid)
            and the number of bits before its first.
        rows: int64[k] row numbers; a negative one leaves its place as it is.
        places: int64[k], each at most once; empty for 0 to k-1.
        out: Per column int64[m].
        known: Per column bool[m], set to whether the value is valid; empty where all are.
    """
    rows, places = frozen(rows, np.int64), frozen(places, np.int64)
    sources = [(frozen(values, np.int64), frozen(bits, np.uint8), shift) for values, bits, shift in columns]

    def work(start: int, stop: int) -> None:
        for (values, bits, shift), target, valid in zip(sources, out, known, strict=True):
            _take(values, bits, shift, rows, places, start, stop, target, valid)

    in_chunks(rows.size, work)


@compiled
def _take(
    values: Array, bits: Array, shift: int, rows: Array, places: Array, start: int, stop: int, out: Array, known: Array
) -> None:  # fmt: skip
    for j in range(start, stop):
        row = rows[np.uint64(j)]
        if row < 0:
            continue
        place = np.uint64(places[np.uint64(j)] if places.size else j)
        out[place] = values[np.uint64(row)]
        if known.size:
            bit = np.uint64(row + shift)
            known[place] = bits.size == 0 or (bits[bit >> np.uint64(3)] >> (bit & np.uint64(7))) & np.uint64(1) != 0
