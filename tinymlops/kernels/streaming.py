"""Find the newest record of each spine row among records in any order, in one pass over them.

Only the spine is sorted. Each key's span of time is cut into about as many buckets as it has spine rows, so a
record finds its bucket by a shift and its place by comparison with the one or two rows there. Buckets are grouped
into parts that fit the fast caches: records are first distributed over parts, then each part is processed alone, by
one thread. Memory holds the spine and one batch of records.

Times are stored reversed, as `~time`: a record then belongs to the last row of its bucket that is not beyond it.
Where there is none it belongs to the row before the bucket, which always has the same key.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.kernels._parts import MORSEL, PLACE, deal, lay_out, place
from tinymlops.kernels._sort import sort_groups
from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.records import FOREVER, NEVER
from tinymlops.kernels.threads import in_chunks

__all__ = ["Stream"]

Array = np.ndarray[Any, Any]

_PART_BITS = 13
"""The most buckets per part: the state of their spine rows takes a quarter of a second-level cache of 1 MiB."""
_LEAST_PARTS = 5
"""Bits: small spines are cut into 16 parts or more, so that all threads have work."""
_BATCH = 1 << 21
"""The fewest records distributed before the parts are visited: each visit loads the state of the whole spine."""

_U = np.uint64  # kernels index by unsigned numbers: numba would look for a negative index in signed ones


class Stream:
    """Finds the newest record of each spine row.

    Args:
        key: int64[m] spine keys, `low` to `low + keys - 1`; any other is null.
        time: int64[m] spine times, microseconds UTC.
        keys: How many keys there are.
        low: The least key.
        strict: Whether a record must be available before the time, not just by it.
        delay: How long after their event times records become available, microseconds; None if each comes with
            the time when it did.
        created: Whether records come with a created time, to break ties of event time; a last tie goes to the
            last record.
    """

    def __init__(
        self,
        key: Array,
        time: Array,
        *,
        keys: int,
        low: int = 0,
        strict: bool = False,
        delay: int | None = 0,
        created: bool = False,
    ) -> None:
        key, time = frozen(key, np.int64), frozen(time, np.int64)
        self._low, self._keys, self._rows = low, keys, key.size
        self._lag = (delay or 0) + strict
        self._end = FOREVER - 1 - (delay or 0)  # a record known later than this is never visible
        self._own, self._created = delay is None, created
        entries = np.empty((keys + 1, 2), np.int64)
        buckets = int(lay_out(key, time, low, entries))
        self._entries = frozen(entries, np.int64)
        self._bits = min(_PART_BITS, max(0, buckets.bit_length() - _LEAST_PARTS))
        self._parts = -(-buckets >> self._bits)
        self._sort_spine(key, time)
        self._best = _nobody(self._order.size, 2 + created)
        self._spill = _nobody(self._parts, 2 + created)
        self._dealt = np.empty((max(_BATCH, 2 * self._rows), 2 + self._own + created), np.int64)
        self._edges: list[Array] = []
        self._before = self._filled = 0

    def add(self, key: Array, event: Array, available: Array | None = None, created: Array | None = None) -> None:
        """Offer records to the spine rows. They are numbered on from those of the last call.

        Args:
            key: int64[n] keys as in the spine.
            event: int64[n] event times, microseconds UTC; FOREVER where there is none.
            available: int64[n] when each became known, FOREVER for never; if `delay` is None.
            created: int64[n] created times, NEVER where null; if `created` is set.
        """
        start = 0
        while start < len(key):
            if self._filled == len(self._dealt):
                self._visit()
            stop = min(len(key), start + len(self._dealt) - self._filled)
            columns = (key, event, available if self._own else None, created if self._created else None)
            self._deal(*(_NOTHING if c is None else frozen(c[start:stop], np.int64) for c in columns))
            start = stop

    def winners(self, ttl: int | None = None) -> Array:
        """Return int64[m], the number of each spine row's record, -1 where there is none.

        Args:
            ttl: The winner needs `time - event <= ttl`, microseconds.
        """
        self._visit()
        winner = np.full(self._rows, -1, np.int64)
        _settle(self._guide, self._bits, self._spill, self._best)
        best, span, lag = frozen(self._best, np.int64), FOREVER if ttl is None else ttl, 0 if self._own else self._lag

        def work(start: int, stop: int) -> None:
            _carry(self._entries, self._guide, self._slots, self._order, best, span, lag, start, stop, winner)

        in_chunks(self._keys, work, least=1 + 20_000 * self._keys // (self._rows + 1))
        return winner

    def _sort_spine(self, key: Array, time: Array) -> None:
        """Sort the spine rows by bucket and reversed time, distributed over parts like records."""
        dealt = np.empty((key.size, 2), np.int64)
        edges = self._deal_into(dealt, 0, 0, FOREVER, key, time, _NOTHING, _NOTHING)
        seen, edges = frozen(dealt, np.int64), frozen(edges, np.int64)
        starts = np.zeros(self._parts + 1, np.int64)
        np.cumsum((edges[:, 1:] - edges[:, :-1]).sum(axis=0)[: self._parts], out=starts[1:])
        starts = frozen(starts, np.int64)
        slots = np.zeros(int(starts[-1]) + 2, np.int64)  # two more, for looks beyond the last bucket
        order = np.empty(int(starts[-1]), np.int64)
        guide = np.full((self._parts << self._bits) + 2, starts[-1], np.int64)
        in_chunks(self._parts, lambda a, b: place(seen, edges, starts, a, b, self._bits, slots, order, guide), least=1)
        self._guide = frozen(guide, np.int64)

        def work(start: int, stop: int) -> None:
            sort_groups(self._guide, start << self._bits, stop << self._bits, slots, order, _NOTHING, _NOTHING)

        in_chunks(self._parts, work, least=1)
        self._slots, self._order = frozen(slots, np.int64), frozen(order, np.int64)

    def _deal(self, key: Array, event: Array, available: Array, created: Array) -> None:
        edges = self._deal_into(self._dealt, self._filled, self._lag, self._end, key, event, available, created)
        self._edges.append(edges)
        self._filled += key.size

    def _deal_into(
        self, dealt: Array, at: int, lag: int, end: int, key: Array, event: Array, available: Array, created: Array
    ) -> Array:
        """Distribute records over parts, a morsel at a time; return where each morsel's records of each part begin."""
        morsels = -(-key.size // MORSEL)
        edges = np.empty((morsels, self._parts + 2), np.int64)

        def work(start: int, stop: int) -> None:
            deal(
                self._entries, key, event, available, created, self._low, lag, end, self._bits, self._parts, at,
                start, stop, dealt, edges,
            )  # fmt: skip

        in_chunks(morsels, work, least=1)
        return edges

    def _visit(self) -> None:
        """Offer the distributed records to the spine rows, part by part."""
        if self._filled:
            dealt, edges = frozen(self._dealt, np.int64), frozen(np.concatenate(self._edges), np.int64)

            def work(start: int, stop: int) -> None:
                _offer(
                    self._guide, self._slots, dealt, edges, self._bits, self._own, self._created, self._before,
                    start, stop, self._best, self._spill,
                )  # fmt: skip

            in_chunks(self._parts, work, least=1)
        self._before += self._filled
        self._filled = 0
        self._edges = []


_NOTHING = frozen(np.empty(0, np.int64), np.int64)


def _nobody(rows: int, width: int) -> Array:
    """Return rows of (event, record, created) that every record beats."""
    best = np.full((rows, width), NEVER, np.int64)
    best[:, 1] = -1
    return best


@compiled
def _offer(
    guide: Array, slots: Array, dealt: Array, edges: Array, bits: int, own: bool, ties: bool, before: int,  # noqa: FBT001
    first: int, last: int, best: Array, spill: Array,
) -> int:  # fmt: skip
    """Keep in best[slot] = (event, record, created) the greatest record that the slot's row is the first to see.

    What belongs to the row before a part is kept in the part's spill: each entry has one writer, which sees its records
    in their order, so of equal ones the last stays.
    """
    touched = 0
    for part in range(first, last):
        base = part << bits
        begin = guide[base]
        touched += _warm(guide, slots, best, base, base + (1 << bits))
        for morsel in range(edges.shape[0]):
            for j in range(edges[morsel, part], edges[morsel, part + 1]):
                reversed_limit, packed = dealt[_U(j), 0], dealt[_U(j), 1]
                event = dealt[_U(j), 2] if own else ~reversed_limit
                created = dealt[_U(j), 2 + own] if ties else NEVER
                slot = _last_not_beyond(guide, slots, base + (packed >> 32), reversed_limit)
                if slot >= begin:
                    _keep(best, slot, event, before + (packed & PLACE), created, ties)
                else:
                    _keep(spill, part, event, before + (packed & PLACE), created, ties)
    return touched


@compiled
def _warm(guide: Array, slots: Array, best: Array, first: int, last: int) -> int:
    """Read through a part once, in order, which the processor prefetches, before the random reads."""
    touched = 0
    for b in range(first, last, 8):
        touched += guide[b]
    for slot in range(guide[first], guide[last], 8):
        touched += slots[slot]
    for slot in range(guide[first], guide[last], 4):
        touched += best[slot, 0]
    return touched


@compiled
def _last_not_beyond(guide: Array, slots: Array, bucket: int, limit: int) -> int:
    """Return the bucket's last slot that is not beyond the limit, the one before the bucket if all are."""
    low = guide[_U(bucket)]
    length = guide[_U(bucket + 1)] - low
    while length > 2:
        half = length >> 1
        low += half * (slots[_U(low + half - 1)] <= limit)
        length -= half
    # Without a branch: whether there are none, one or two is unpredictable.
    one = (length > 0) & (slots[_U(low)] <= limit)
    two = (length > 1) & (slots[_U(low + 1)] <= limit)
    return int(low - 1 + one + two)


@compiled
def _keep(best: Array, at: int, event: int, record: int, created: int, ties: bool) -> None:  # noqa: FBT001
    was = best[_U(at), 0]
    if event > was or (event == was and (not ties or created >= best[_U(at), 2])):
        best[_U(at), 0] = event
        best[_U(at), 1] = record
        if ties:
            best[_U(at), 2] = created


@compiled
def _is_better(best: Array, at: int, event: int, created: int, record: int) -> bool:
    """Return whether best[at] comes after another record in the order of (event, created, number)."""
    if best[at, 1] < 0 or record < 0:
        return bool(record < 0 <= best[at, 1])
    if best[at, 0] != event:
        return bool(best[at, 0] > event)
    if best.shape[1] > 2 and best[at, 2] != created:
        return bool(best[at, 2] > created)
    return bool(best[at, 1] > record)


@compiled
def _settle(guide: Array, bits: int, spill: Array, best: Array) -> None:
    """Give each part's spill to the row before the part."""
    for part in range(spill.shape[0]):
        slot = guide[part << bits] - 1
        if spill[part, 1] >= 0 and _is_better(spill, part, best[slot, 0], best[slot, -1], best[slot, 1]):
            for column in range(spill.shape[1]):
                best[slot, column] = spill[part, column]


@compiled
def _carry(
    entries: Array, guide: Array, slots: Array, order: Array, best: Array, span: int, lag: int,
    first: int, last: int, winner: Array,
) -> None:  # fmt: skip
    """Carry the greatest record along each key's rows, unless it is beyond the ttl."""
    for k in range(first, last):
        event, created, record = NEVER, NEVER, -1
        for slot in range(guide[entries[k + 1, 1] >> 6] - 1, guide[entries[k, 1] >> 6] - 1, -1):
            if _is_better(best, slot, event, created, record):
                event, created, record = best[slot, 0], best[slot, -1], best[slot, 1]
            time = ~slots[slot]
            since = time - span if span != FOREVER and time >= NEVER + span else NEVER
            # The winner has the greatest event time of all: if it is too old, so is every other.
            winner[order[slot]] = record if record >= 0 and event - lag >= since else -1
