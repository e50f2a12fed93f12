"""Where the window of each spine row begins and ends among arranged records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinymlops.kernels._compile import compiled, frozen
from tinymlops.kernels._sort import group
from tinymlops.kernels._threads import in_chunks
from tinymlops.kernels.asof import back, first_at_least

if TYPE_CHECKING:
    from tinymlops.kernels.records import Records

__all__ = ["Bounds", "bounds"]

Array = np.ndarray[Any, Any]


class Bounds(NamedTuple):
    """The windows of m spine rows over n arranged rows."""

    low: Array
    """int64[m]: first row of the window."""
    high: Array
    """int64[m]: the row after its last; equal to `low` if it is empty."""
    scan: Array
    """bool[m]: whether rows `low:high` must each be tested for visibility (their key is not monotone)."""
    order: Array
    """int64[m]: the spine rows in the order to work on them: by key, so that neighbours find their records in cache."""


def bounds(records: Records, key: Array, time: Array, window: int) -> Bounds:
    """Find the rows of each spine row's window.

    For a monotone key the visible rows of the window are exactly `low:high`; for the others these are the
    rows by event time alone.

    Args:
        records: K keys, n rows.
        key: int64[m] codes, -1 for a null key, whose window is empty.
        time: int64[m], microseconds UTC.
        window: Its length in microseconds.

    Returns:
        The bounds of `time - window <= event < time`.
    """
    key, time = frozen(key, np.int64), frozen(time, np.int64)
    low, high = np.empty(key.size, np.int64), np.empty(key.size, np.int64)
    scan = np.empty(key.size, np.bool_)
    order = frozen(_by_key(key, keys=records.offsets.size - 1), np.int64)

    def work(start: int, stop: int) -> None:
        _find_bounds(
            records.offsets, records.event, records.visible_from, records.monotone, key, time, window,
            order, start, stop, low, high, scan
        )  # fmt: skip

    in_chunks(key.size, work)
    return Bounds(frozen(low, np.int64), frozen(high, np.int64), frozen(scan, np.bool_), order)


def _by_key(key: Array, *, keys: int) -> Array:
    """Return the rows by key; those of no key come last."""
    known = np.where((key >= 0) & (key < keys), key, keys)
    return group(known, known, keys=keys + 1)[1]


@compiled
def _find_bounds(
    offsets: Array, event: Array, visible_from: Array, monotone: Array, key: Array, time: Array, window: int,
    order: Array, start: int, stop: int, low: Array, high: Array, scan: Array,
) -> None:  # fmt: skip
    for row in order[start:stop]:
        k, t = key[row], time[row]
        low[row] = high[row] = 0
        scan[row] = False
        if k < 0 or k + 1 >= offsets.size:
            continue
        first, last = offsets[k], offsets[k + 1]
        last = first_at_least(event, first, last, t)
        if monotone[k]:
            last = first_at_least(visible_from, first, last, t)
        else:
            scan[row] = True
        low[row] = first_at_least(event, first, last, back(t, window))
        high[row] = last
