"""Rows that become visible, or stop being visible, out of event order: each enters every kind of window once and
leaves it once.

A row enters when it has happened and is known, and leaves when it is older than the window or replaced. Along a
key's spine rows in order of time, that is one walk over three sorted lists, whatever the order of arrival. The
content of the window is kept as an exact total, by adding and subtracting, or as a tree of minima.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.kernels._limbs import add_value, store
from tinymlops.kernels._sort import as_rows, sort_rows
from tinymlops.kernels.asof import back
from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.threads import in_chunks

if TYPE_CHECKING:
    from tinymlops.kernels.records import Records

__all__ = ["MOST", "Lives", "advance", "late_minima", "late_totals"]

Array = np.ndarray[Any, Any]

MOST = 0x7FFFFFFFFFFFFFFF
"""The minimum of nothing."""


class Lives:
    """When some rows come and go.

    Args:
        records: Arranged rows.
        rows: int64[x] of them, ascending.
        key: int64[x], the key of each.
    """

    def __init__(self, records: Records, rows: Array, key: Array) -> None:
        self.rows = frozen(rows, np.int64)
        self.event = frozen(records.event[rows], np.int64)
        self.enter = frozen(np.maximum(self.event, records.visible_from[rows]), np.int64)
        """int64[x]: visible after this time."""
        self.leave = frozen(records.visible_to[rows], np.int64)
        """int64[x]: and no longer after this one."""
        keys, key = records.offsets.size - 1, frozen(key, np.int64)
        self.offsets, by_enter = sort_rows(key, self.enter, as_rows(None), as_rows(None), keys=keys)
        _, by_leave = sort_rows(key, self.leave, as_rows(None), as_rows(None), keys=keys)
        self.offsets = frozen(self.offsets, np.int64)
        """int64[K+1]: the range of each key's rows in all of these arrays."""
        self.by_enter = frozen(by_enter, np.int64)
        self.by_leave = frozen(by_leave, np.int64)

    @property
    def walk(self) -> tuple[Array, Array, Array, Array, Array, Array]:
        """The sorted lists that `advance` walks along."""
        return self.offsets, self.event, self.enter, self.leave, self.by_enter, self.by_leave


def late_totals(
    lives: Lives,
    spine: tuple[Array, Array, int],
    source: tuple[Array, bool, Array, int],
    limbs: int,
    *,
    squared: bool,
) -> Array:
    """Add up the values of rows in each window.

    Args:
        lives: The rows.
        spine: int64[m] keys and times of spine rows by (key, time), and the length of their windows.
        source: bits int64[n], whether they are floats, valid bool[n] and scale of the column of values.
        limbs: The limbs of each total.
        squared: Add squares.

    Returns:
        uint64[m, limbs].
    """
    key, time, span = spine
    out = np.zeros((key.size, limbs), np.uint64)

    def work(start: int, stop: int) -> None:
        _late_totals(*lives.walk, lives.rows, key, time, span, *source, squared, start, stop, out)

    in_chunks(key.size, work)
    return frozen(out, np.uint64)


def late_minima(lives: Lives, spine: tuple[Array, Array, int], ranks: Array) -> Array:
    """Find the least rank of rows in each window.

    Args:
        lives: The rows.
        spine: int64[m] keys and times of spine rows by (key, time), and the length of their windows.
        ranks: int64[x], of each of the rows; `MOST` where one does not count.

    Returns:
        int64[m]; `MOST` where there is none.
    """
    key, time, span = spine
    out = np.empty(key.size, np.int64)

    def work(start: int, stop: int) -> None:
        _late_minima(*lives.walk, key, time, span, ranks, start, stop, out)

    in_chunks(key.size, work)
    return frozen(out, np.int64)


@compiled
def advance(
    offsets: Array, event: Array, enter: Array, leave: Array, by_enter: Array, by_leave: Array,
    k: int, time: int, since: int, state: Array, inside: Array, moves: Array,
) -> int:  # fmt: skip
    """Move a window forward to a time; write the places of rows that enter, and ~place of those that leave.

    `state` is the position of the walk in each list; all three start at the key's first place.
    """
    end, count = offsets[k + 1], 0
    while state[0] < end and enter[by_enter[state[0]]] < time:
        place = by_enter[state[0]]
        state[0] += 1
        if event[place] >= since and time <= leave[place]:
            inside[place] = True
            moves[count] = place
            count += 1
    while state[1] < end and event[state[1]] < since:
        if inside[state[1]]:
            inside[state[1]] = False
            moves[count] = ~state[1]
            count += 1
        state[1] += 1
    while state[2] < end and leave[by_leave[state[2]]] < time:
        place = by_leave[state[2]]
        state[2] += 1
        if inside[place]:
            inside[place] = False
            moves[count] = ~place
            count += 1
    return count


@compiled
def longest_run(offsets: Array) -> int:
    """Return the number of rows of the key with the most rows."""
    longest = 0
    for k in range(offsets.size - 1):
        longest = max(longest, offsets[k + 1] - offsets[k])
    return longest


@compiled
def _late_totals(
    offsets: Array, event: Array, enter: Array, leave: Array, by_enter: Array, by_leave: Array,
    rows: Array, key: Array, time: Array, span: int,
    bits: Array, is_float: bool, valid: Array, scale: int, squared: bool,  # noqa: FBT001 - a kernel
    start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    state, inside = np.zeros(3, np.int64), np.zeros(rows.size, np.bool_)
    moves, limbs = np.empty(longest_run(offsets), np.int64), np.zeros(out.shape[1], np.uint64)
    for j in range(start, stop):
        k = key[j]
        if j == start or k != key[j - 1]:
            state[:] = offsets[k]
            limbs[:] = np.uint64(0)
        count = advance(
            offsets, event, enter, leave, by_enter, by_leave, k, time[j], back(time[j], span), state, inside, moves
        )
        for i in range(count):
            move = moves[i]
            row = rows[move if move >= 0 else ~move]
            if valid[row]:
                add_value(bits[row], is_float, scale, squared, move < 0, limbs)
        store(limbs, out, j)


@compiled
def _late_minima(
    offsets: Array, event: Array, enter: Array, leave: Array, by_enter: Array, by_leave: Array,
    key: Array, time: Array, span: int, ranks: Array, start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    state, inside = np.zeros(3, np.int64), np.zeros(event.size, np.bool_)
    longest = longest_run(offsets)
    # A tree whose node i is the lesser of nodes 2i and 2i+1, with the rows as its leaves and all of it in node 1.
    moves, tree = np.empty(longest, np.int64), np.empty(2 * longest + 2, np.int64)
    for j in range(start, stop):
        k = key[j]
        first = offsets[k]
        size = offsets[k + 1] - first
        if j == start or k != key[j - 1]:
            state[:] = first
            tree[: 2 * size + 2] = MOST
        count = advance(
            offsets, event, enter, leave, by_enter, by_leave, k, time[j], back(time[j], span), state, inside, moves
        )
        for i in range(count):
            move = moves[i]
            place = move if move >= 0 else ~move
            node = size + place - first
            tree[node] = ranks[place] if move >= 0 else MOST
            while node > 1:
                node >>= 1
                tree[node] = min(tree[2 * node], tree[2 * node + 1])
        out[j] = tree[1]
