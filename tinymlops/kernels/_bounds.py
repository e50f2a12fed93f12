"""Which arranged records each spine row's window holds.

Most records become visible in the order they happened. Of those, a window holds a run `low:high`, and running
totals answer it. The others, the *late* ones (a row that became known after its successors, a version that is
replaced), are usually few; they come and go one by one (`_lives`).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.kernels._lives import Lives
from tinymlops.kernels._sort import as_rows, put, sort_rows
from tinymlops.kernels.asof import back, first_at_least
from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.records import FOREVER, NEVER, VALUE, Records
from tinymlops.kernels.threads import in_chunks

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Spine", "Timeline", "Window"]

Array = np.ndarray[Any, Any]


class Timeline:
    """Arranged records, told apart by whether they became visible in the order they happened.

    Args:
        records: K keys, n rows.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        in_order, seen_from = None, records.visible_from
        if not records.monotone.all():
            in_order, seen_from = np.ones(records.event.size, np.bool_), seen_from.copy()
            _split(
                records.offsets, records.visible_from, records.visible_to, records.kind, records.monotone,
                in_order, seen_from,
            )  # fmt: skip
        self.in_order = in_order
        """bool[n], the rows that are in order; None for all of them."""
        self.seen_from = frozen(seen_from, np.int64)
        """int64[n], never decreasing within a key: when the latest row in order, up to this one, became visible."""

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return int(self.records.offsets.size - 1)

    @cached_property
    def key(self) -> Array:
        """int64[n]: the key of each row."""
        return frozen(np.repeat(np.arange(self.keys), np.diff(self.records.offsets)), np.int64)

    @cached_property
    def late(self) -> Lives | None:
        """The rows that are not in order; None if there are none."""
        if self.in_order is None or self.in_order.all():
            return None
        rows = np.flatnonzero(~self.in_order & (self.records.kind == VALUE) & (self.records.visible_from != FOREVER))
        return Lives(self.records, rows, self.key[rows]) if rows.size else None

    @cached_property
    def lives(self) -> Lives:
        """All rows, for aggregates that cannot be combined from two parts."""
        return Lives(self.records, np.arange(self.records.event.size), self.key)


class Spine:
    """Spine rows, in the order to work on them: by key and time, so that neighbours find their records in cache.

    Args:
        timeline: The records they look at.
        key: int64[m] codes, -1 for a null key, whose windows are empty.
        time: int64[m], microseconds UTC.
    """

    def __init__(self, timeline: Timeline, key: Array, time: Array) -> None:
        key, time = frozen(key, np.int64), frozen(time, np.int64)
        self.timeline = timeline
        self.size = time.size
        """m; rows with an unknown or null key are in none of the arrays below."""
        known = frozen(np.where((key >= 0) & (key < timeline.keys), key, -1), np.int64)
        _, order = sort_rows(known, time, as_rows(None), as_rows(None), keys=timeline.keys)
        self.order = frozen(order, np.int64)
        self.key = frozen(known[order], np.int64)
        self.time = frozen(time[order], np.int64)

    def answers(self, dtype: type[np.generic], work: Callable[[int, int, Array], object]) -> Array:
        """Find an answer for each spine row, on threads.

        Args:
            dtype: The type of an answer.
            work: `work(start, stop, part)` writes the answers of rows start to stop, in the order of work.

        Returns:
            The answers in the order of the spine; 0 for rows of no known key.
        """
        out = (np.empty if self.order.size == self.size else np.zeros)(self.size, dtype)

        def run(start: int, stop: int) -> None:
            part = np.empty(stop - start, dtype)
            work(start, stop, part)
            put(part.view(np.int64), self.order, start, out.view(np.int64))

        in_chunks(self.order.size, run)
        return out

    @cached_property
    def high(self) -> Array:
        """int64: the row after the last one in order that is visible and earlier than each spine row."""
        high = np.empty(self.order.size, np.int64)
        records = self.timeline.records

        def work(start: int, stop: int) -> None:
            _find_high(records.offsets, records.event, self.timeline.seen_from, self.key, self.time, start, stop, high)

        in_chunks(high.size, work)
        return frozen(high, np.int64)

    def window(self, span: int) -> Window:
        """Return the windows of a length in microseconds: the rows with `time - span <= event < time`."""
        low = np.empty(self.order.size, np.int64)
        records = self.timeline.records

        def work(start: int, stop: int) -> None:
            _find_low(records.offsets, records.event, self.key, self.time, span, self.high, start, stop, low)

        in_chunks(low.size, work)
        return Window(self, span, frozen(low, np.int64))


class Window:
    """The windows of one length, of each row of a spine.

    Attributes:
        spine: The spine.
        span: Their length in microseconds.
        low: int64: the first row of each; equal to `high` if it is empty.
        high: int64: the row after its last. Only rows of `low:high` that are in order are visible for certain.
    """

    def __init__(self, spine: Spine, span: int, low: Array) -> None:
        self.spine = spine
        self.span = span
        self.low = low
        self.high = spine.high

    @cached_property
    def lengths(self) -> Array:
        """int64[m]: how many rows each holds, in the order of the spine."""
        return self.spine.answers(np.int64, lambda a, b, out: np.subtract(self.high[a:b], self.low[a:b], out=out))

    @property
    def rows(self) -> tuple[Array, Array, int]:
        """Keys and times of the spine rows, and the length: what a walk along lives follows."""
        return self.spine.key, self.spine.time, self.span


@compiled
def _split(
    offsets: Array, visible_from: Array, visible_to: Array, kind: Array, monotone: Array,
    in_order: Array, seen_from: Array,
) -> None:  # fmt: skip
    """Leave out rows that are replaced, never visible or not a value; of the rest, one is late if a later one was sooner."""
    for k in range(monotone.size):
        if monotone[k]:
            continue
        soonest = FOREVER
        for i in range(offsets[k + 1] - 1, offsets[k] - 1, -1):
            plain = visible_to[i] == FOREVER and kind[i] == VALUE and visible_from[i] <= soonest
            in_order[i] = plain and visible_from[i] != FOREVER
            if in_order[i]:
                soonest = visible_from[i]
        latest = NEVER
        for i in range(offsets[k], offsets[k + 1]):
            if in_order[i]:
                latest = visible_from[i]
            seen_from[i] = latest


@compiled
def _find_high(
    offsets: Array, event: Array, seen_from: Array, key: Array, time: Array, start: int, stop: int, high: Array
) -> None:
    position = 0
    for j in range(start, stop):
        k = key[j]
        if j == start or k != key[j - 1]:
            position = offsets[k]
        # A row happened before the time, and was known before it.
        end = _onward(event, position, offsets[k + 1], time[j])
        position = _onward(seen_from, position, end, time[j])
        high[j] = position


@compiled
def _find_low(
    offsets: Array, event: Array, key: Array, time: Array, span: int, high: Array, start: int, stop: int, low: Array
) -> None:
    position = 0
    for j in range(start, stop):
        k = key[j]
        if j == start or k != key[j - 1]:
            position = offsets[k]
        position = _onward(event, position, high[j], back(time[j], span))
        low[j] = position


@compiled
def _onward(values: Array, low: int, end: int, limit: int) -> int:
    """Return the first row of the sorted values[low:end] that is at least the limit; it is usually near."""
    step = 1
    while low + step < end and values[low + step] < limit:
        low += step
        step *= 2
    return first_at_least(values, low, min(low + step, end), limit)
