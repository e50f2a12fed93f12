"""Records arranged for lookup: sorted by (key, event, created, sequence), each with the span in which it is the fact.

A correction is a later version of the same (key, id). Version v counts at t if it is available and no greater
version has replaced it: that is one span, from `available(v)` to the first time at which a greater version replaces
it. The span is all that the other kernels know of corrections.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymlops.kernels._sort import as_rows, parts_by_weight, sort_leads, sort_rows
from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.threads import in_chunks, thread_count

__all__ = ["FOREVER", "NEVER", "RETRACTED", "TOMBSTONE", "VALUE", "Records", "arrange", "available_from", "records_of"]

Array = np.ndarray[Any, Any]

FOREVER = 2**63 - 1
"""After all times: a record available then is never visible."""
NEVER = -(2**63)
"""Before all times: a created time that is null, or an event time that does not exist."""

VALUE = 0
"""A record with values."""
TOMBSTONE = 1
"""A delete without id: state is null from its event time on."""
RETRACTED = 2
"""A delete with id: the event it replaces did not happen. It is not a candidate, but explains the missing value."""


class Records(NamedTuple):
    """Records sorted by (key, event, created, sequence); all times in microseconds since 1970, UTC.

    A row is visible at t if `visible_from <= t < visible_to`; where the boundary is strict, if
    `visible_from < t <= visible_to`.
    """

    offsets: Array
    """int64[K+1]: the rows of key k are `offsets[k]:offsets[k+1]`."""
    event: Array
    """int64[n]: event time."""
    visible_from: Array
    """int64[n]: when the row became available; FOREVER if never."""
    visible_to: Array
    """int64[n]: the first time a greater version of the same (key, id) replaces it; FOREVER if none."""
    kind: Array
    """uint8[n]: VALUE, TOMBSTONE or RETRACTED."""
    monotone: Array
    """bool[K]: visible_from never decreases in row order, every visible_to is FOREVER, and nothing is RETRACTED."""


def available_from(event: Array, wait: int | Array, created: Array | None = None) -> Array:
    """Return when each record can first be known: after its delay, and not before it was created.

    Args:
        event: int64[n] event times; FOREVER for what never happens.
        wait: Microseconds from the event until it can be known: for all, or int64[n].
        created: int64[n] created times; None where they do not count.

    Returns:
        int64[n], at most FOREVER.
    """
    known = event
    if not isinstance(wait, int) or wait:
        known = np.minimum(event, FOREVER - wait) + wait
    return known if created is None else np.maximum(known, created)


def arrange(
    key: Array,
    event: Array,
    available: Array,
    created: Array | None,
    sequence: Array | None,
    *,
    keys: int,
    ids: Array | None = None,
    deleted: Array | None = None,
    replaces: Array | None = None,
) -> tuple[Records, Array]:
    """Sort records for lookup and find when each is the fact.

    Args:
        key: int64[n] codes 0 to keys-1; a row with -1 (a null key) is dropped.
        event: int64[n] event times, microseconds UTC.
        available: int64[n] when each became known; FOREVER for never.
        created: int64[n] created times, NEVER where null; None if all are.
        sequence: int64[n] ingest order; None for the row number.
        keys: How many keys there are.
        ids: int64[n] codes of event ids, -1 where null (it then replaces nothing); None if there are no ids.
        deleted: bool[n], True for a delete; None if there are none.
        replaces: int64[n] when each version takes the place of those before it; None for when it is available.

    Returns:
        The records and order int64[rows kept]: arranged row i is input row `order[i]`.
    """
    rows = len(key)
    key, event, available = (frozen(column, np.int64) for column in (key, event, available))
    created, sequence = as_rows(created), as_rows(sequence)
    offsets, order, moments = sort_leads(key, event, created, sequence, keys=keys)
    offsets, order, moments = (frozen(column, np.int64) for column in (offsets, order, moments))
    if ids is None:
        visible_to = frozen(np.full(order.size, FOREVER, np.int64), np.int64)
    else:
        takes_place = available if replaces is None else frozen(replaces, np.int64)
        visible_to = _take(_replaced_at(key, takes_place, created, sequence, ids, keys), order)
    kind = _take(_kinds(rows, ids, deleted), order) if deleted is not None else _kinds(order.size, None, None)
    wait, alike = _one_wait(event, available)
    if not alike:
        available = _take(available, order)
    elif wait:
        available = frozen(moments + np.int64(wait), np.int64)
    else:
        available = moments
    return records_of(offsets, moments, available, visible_to, kind), order


def records_of(offsets: Array, event: Array, visible_from: Array, visible_to: Array, kind: Array) -> Records:
    """Return records that were arranged before, after finding their monotone keys; the arguments are their fields."""
    monotone = np.empty(offsets.size - 1, np.bool_)
    offsets, kind = frozen(offsets, np.int64), frozen(kind, np.uint8)
    event, visible_from, visible_to = (frozen(column, np.int64) for column in (event, visible_from, visible_to))
    bounds = parts_by_weight(offsets, thread_count() * 4 if event.size > 100_000 else 1)

    def work(start: int, stop: int) -> None:
        _find_monotone(offsets, visible_from, visible_to, kind, bounds[start], bounds[stop], monotone)

    in_chunks(bounds.size - 1, work, least=1)
    return Records(offsets, event, visible_from, visible_to, kind, frozen(monotone, np.bool_))


def _take(column: Array, order: Array) -> Array:
    """Gather a column by row, on threads."""
    out = np.empty(order.size, column.dtype)
    in_chunks(order.size, lambda a, b: column.take(order[a:b], out=out[a:b], mode="clip"), least=65_536)
    return frozen(out, column.dtype)


def _kinds(rows: int, ids: Array | None, deleted: Array | None) -> Array:
    kind = np.zeros(rows, np.uint8)
    if deleted is not None:
        kind[np.asarray(deleted, np.bool_)] = TOMBSTONE
        if ids is not None:
            kind[np.asarray(deleted, np.bool_) & (np.asarray(ids) >= 0)] = RETRACTED
    return frozen(kind, np.uint8)


def _replaced_at(key: Array, takes_place: Array, created: Array, sequence: Array, ids: Array, keys: int) -> Array:
    """Return int64[n], when each row stops being the fact; only rows whose id occurs again need any work."""
    visible_to = np.full(key.size, FOREVER, np.int64)
    if key.size:
        ids = frozen(ids, np.int64)
        again = np.flatnonzero(_occurs_again(ids, int(ids.max()) + 1) & (key >= 0))
        if again.size:
            few = [frozen(column[again], np.int64) for column in (key, ids)]
            ties = [frozen(column[again] if column.size else column, np.int64) for column in (created, sequence)]
            _, order = sort_rows(*few, *ties, keys=keys)
            _end_at_replacement(again[order], key, ids, takes_place, visible_to)
    return frozen(visible_to, np.int64)


@compiled
def _one_wait(event: Array, available: Array) -> tuple[int, bool]:
    """Return the delay from event to availability, if it is the same for all: then it is added instead of gathered."""
    for i in range(event.size):
        if available[i] - event[i] != available[0] - event[0]:
            return 0, False
    return (available[0] - event[0] if event.size else 0), True


@compiled
def _occurs_again(ids: Array, codes: int) -> Array:
    """Mark every row whose id occurs again (under any key: a superset is enough)."""
    seen = np.zeros(codes, np.uint8)
    for i in range(ids.size):
        if ids[i] >= 0 and seen[ids[i]] < 2:
            seen[ids[i]] += 1
    again = np.zeros(ids.size, np.bool_)
    for i in range(ids.size):
        again[i] = ids[i] >= 0 and seen[ids[i]] == 2
    return again


@compiled
def _end_at_replacement(rows: Array, key: Array, ids: Array, takes_place: Array, visible_to: Array) -> None:
    """Walk versions backwards, greatest first, and keep the first time at which a greater one replaces each."""
    soonest = FOREVER
    for j in range(rows.size - 1, -1, -1):
        row = rows[j]
        if j + 1 == rows.size or key[rows[j + 1]] != key[row] or ids[rows[j + 1]] != ids[row]:
            soonest = FOREVER
        visible_to[row] = soonest
        soonest = min(soonest, takes_place[row])


@compiled
def _find_monotone(
    offsets: Array,
    visible_from: Array,
    visible_to: Array,
    kind: Array,
    first: int,
    last: int,
    monotone: Array,
) -> None:
    for k in range(first, last):
        plain = True
        for i in range(offsets[k], offsets[k + 1]):
            if (
                visible_to[i] != FOREVER
                or kind[i] == RETRACTED
                or (i > offsets[k] and visible_from[i] < visible_from[i - 1])
            ):
                plain = False
                break
        monotone[k] = plain
