"""Distribute rows over parts of a spine: each key's time span is cut into buckets, and parts are groups of buckets."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.kernels.compiling import compiled
from tinymlops.kernels.records import FOREVER, NEVER

__all__ = ["MORSEL", "PLACE", "deal", "lay_out", "place"]

Array = np.ndarray[Any, Any]

MORSEL = 1 << 14
"""Records distributed at a time, so that source and target stay in cache."""
PLACE = 2**32 - 1
"""The half of a dealt record's second number that holds its place in the batch; the other half holds its bucket."""

_U = np.uint64  # kernels index by unsigned numbers: numba would look for a negative index in signed ones


@compiled
def lay_out(key: Array, time: Array, low: int, entries: Array) -> int:
    """Cut each key's span into buckets: entries[k] = (its least reversed time, first bucket * 64 + shift)."""
    keys = entries.shape[0] - 1
    rows = np.zeros(keys, np.int64)
    most = np.full(keys, NEVER, np.int64)
    entries[:, 0] = FOREVER
    for i in range(key.size):
        k = int(_U(key[i]) - _U(low))
        if k < keys:
            rows[k] += 1
            most[k] = max(most[k], ~time[i])
            entries[k, 0] = min(entries[k, 0], ~time[i])
    bucket = 0
    for k in range(keys):
        shift = 0
        span = _U(most[k]) - _U(entries[k, 0])
        while rows[k] and (span >> _U(shift)) >= _U(2 * rows[k]):
            shift += 1
        entries[k, 1] = bucket << 6 | shift
        if rows[k]:
            bucket += int(span >> _U(shift)) + 1
    entries[keys, 1] = bucket << 6
    return bucket


@compiled
def _bucket(entries: Array, key: int, low: int, limit: int, nowhere: int) -> int:
    """Return the bucket of what is visible from `limit` on, `nowhere` if no spine row of its key can see it."""
    k = _U(key) - _U(low)
    if k >= _U(entries.shape[0] - 1):
        return nowhere
    first = entries[k, 1] >> 6
    buckets = (entries[k + _U(1), 1] >> 6) - first
    behind = (_U(~limit) - _U(entries[k, 0])) >> _U(entries[k, 1] & 63)
    # The last bucket holds all that came before the key's first row, too.
    bucket = first + np.int64(min(behind, _U(buckets - 1)))
    return nowhere if (~limit < entries[k, 0]) | (buckets == 0) else bucket


@compiled
def deal(
    entries: Array, key: Array, event: Array, available: Array, created: Array, low: int, lag: int, end: int,
    bits: int, parts: int, at: int, first: int, last: int, dealt: Array, edges: Array,
) -> None:  # fmt: skip
    """Write morsels of records at dealt[at:], by part, as (reversed limit, bucket in its part and place in the batch),
    then the event time if it is not the limit less the lag, and the created time if there is one.

    Records that nothing can match come last, in a part that is never visited.
    """
    bucket = np.empty(MORSEL, np.int64)
    ends = np.empty(parts + 2, np.int64)
    known = available if available.size else event
    for morsel in range(first, last):
        start, stop = morsel * MORSEL, min((morsel + 1) * MORSEL, key.size)
        ends[:] = 0
        for i in range(start, stop):
            when = known[_U(i)]
            b = _bucket(entries, key[_U(i)], low, when + lag, parts << bits) if when <= end else parts << bits
            bucket[_U(i - start)] = b
            ends[_U((b >> bits) + 1)] += 1
        ends[0] = at + start
        for part in range(parts + 1):
            edges[morsel, part] = ends[part]
            ends[part + 1] += ends[part]
        edges[morsel, parts + 1] = ends[parts + 1]
        for i in range(start, stop):
            b = bucket[_U(i - start)]
            to = _U(ends[_U(b >> bits)])
            ends[_U(b >> bits)] += 1
            dealt[to, 0] = ~(known[_U(i)] + lag)
            dealt[to, 1] = (b & ((1 << bits) - 1)) << 32 | (at + i)
            if available.size:
                dealt[to, 2] = event[_U(i)]
            if created.size:
                dealt[to, dealt.shape[1] - 1] = created[_U(i)]


@compiled
def place(
    dealt: Array, edges: Array, starts: Array, first: int, last: int, bits: int, slots: Array, order: Array, guide: Array
) -> None:  # fmt: skip
    """Bring the spine rows of each bucket together: bucket b's are slots[guide[b]:guide[b + 1]], not yet sorted."""
    for part in range(first, last):
        base = part << bits
        guide[base : base + (1 << bits)] = 0
        for morsel in range(edges.shape[0]):
            for j in range(edges[morsel, part], edges[morsel, part + 1]):
                guide[base + (dealt[j, 1] >> 32)] += 1
        end = starts[part]
        for b in range(base, base + (1 << bits)):
            end += guide[b]
            guide[b] = end
        for morsel in range(edges.shape[0]):
            for j in range(edges[morsel, part], edges[morsel, part + 1]):
                b = base + (dealt[j, 1] >> 32)
                guide[b] -= 1
                slots[guide[b]] = dealt[j, 0]
                order[guide[b]] = dealt[j, 1] & PLACE
