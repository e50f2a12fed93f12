"""The point-in-time rule: which record of a key is the fact at a point in time.

`latest` looks up arranged records: a binary search where a key's records become available in the order they
happened, a backward scan where they do not. It gives the row with the greatest (event, created, sequence) among
those visible. `tinymlops.kernels.streaming` gives the same without arranging the records.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops._status import Status
from tinymlops.kernels._sort import group, parts_by_weight, put
from tinymlops.kernels.compiling import YES, compiled, frozen
from tinymlops.kernels.records import FOREVER, NEVER, RETRACTED, TOMBSTONE, Records
from tinymlops.kernels.threads import in_chunks, thread_count

__all__ = ["back", "first_at_least", "first_beyond", "in_window", "is_visible", "latest", "scan", "status"]

Array = np.ndarray[Any, Any]


def latest(
    records: Records,
    key: Array,
    time: Array,
    *,
    strict: bool,
    ttl: int | None = None,
    window: int | None = None,
    keep: Array | None = None,
    oldest: bool = False,
) -> Array:
    """Find for each spine row the record that is the fact at its time.

    Candidates are the visible rows that are not RETRACTED and are kept, or are a TOMBSTONE. A winning tombstone is
    returned as any row: the caller makes it null. With `oldest`, state starts anew after the last visible tombstone,
    which itself is returned where nothing came after it.

    Args:
        records: K keys, n rows.
        key: int64[m] codes, -1 for a null key.
        time: int64[m], microseconds UTC.
        strict: Whether a record must be available before the time, not just by it; windows always are strict.
        ttl: Candidates need `time - event <= ttl`, microseconds.
        window: Candidates need `time - window <= event < time`, microseconds.
        keep: bool[n], in arranged order; False leaves a row out.
        oldest: Take the smallest (event, created, sequence) instead of the greatest.

    Returns:
        int64[m]: arranged row numbers, -1 where there is no candidate.
    """
    key, time = frozen(key, np.int64), frozen(time, np.int64)
    winner = np.full(key.size, -1, np.int64)
    # One key after the other, so that its records stay in the fast caches.
    known = frozen(np.where(key < records.offsets.size - 1, key, -1), np.int64)
    asked, rows, moments = (frozen(column, np.int64) for column in group(known, time, keys=records.offsets.size - 1))
    parts = parts_by_weight(asked, thread_count() * 4 if rows.size > 10_000 else 1)
    span = min((FOREVER if s is None else s for s in (ttl, window)), default=FOREVER)
    strict = strict or window is not None
    kept = frozen(np.empty(0, np.bool_) if keep is None else keep, np.bool_)
    previous, following, tombs = _neighbours(records, kept, oldest=oldest)
    first_seen, last_seen = _visibility_limits(records)

    def work(start: int, stop: int) -> None:
        first, last = parts[start], parts[stop]
        found = np.full(asked[last] - asked[first], -1, np.int64)
        _search(
            *records, asked, moments, strict, span, window is not None, oldest, kept, previous, following, tombs,
            first_seen, last_seen, first, last, found,
        )  # fmt: skip
        put(found, rows, asked[first], winner)

    in_chunks(parts.size - 1, work, least=1)
    return winner


def status(
    records: Records,
    winner: Array,
    key: Array,
    time: Array,
    *,
    strict: bool,
    ttl: int | None,
    value_is_null: Array,
) -> tuple[Array, Array]:
    """Return the status of each spine row's cell: why it holds what it holds.

    Args:
        records: K keys, n rows.
        winner: int64[m], what `latest` gave for the same arguments.
        key: int64[m] codes, -1 for a null key.
        time: int64[m], microseconds UTC.
        strict: As given to `latest`.
        ttl: As given to `latest`, microseconds.
        value_is_null: bool[m], whether the winner's value is null; not read where there is no winner.

    Returns:
        uint8[m] of `Status`, and int64[m] the winner's event time, NEVER where there is no winner.
    """
    key, time, winner = (frozen(column, np.int64) for column in (key, time, winner))
    null = frozen(value_is_null, np.bool_)
    found = np.empty(key.size, np.uint8)
    matched = np.empty(key.size, np.int64)
    span = FOREVER if ttl is None else ttl

    def work(start: int, stop: int) -> None:
        _explain(*records, winner, key, time, strict, span, null, start, stop, found, matched)

    in_chunks(key.size, work)
    return found, matched


def _neighbours(records: Records, kept: Array, *, oldest: bool) -> tuple[Array, Array, Array]:
    """Return per row the nearest candidate before it, after it, and the nearest tombstone before it, each
    itself counted.

    Where every row is a candidate (no `keep`), or none is a tombstone, the empty array says so.
    """
    nothing = frozen(np.empty(0, np.int64), np.int64)
    has_tombs = oldest and bool((records.kind == TOMBSTONE).any())
    if kept.size == 0 and not has_tombs:
        return nothing, nothing, nothing
    candidate = (records.kind == TOMBSTONE) | (kept if kept.size else True)
    previous = _nearest_before(frozen(candidate, np.bool_))
    if not oldest:
        return frozen(previous, np.int64), nothing, nothing
    tombs = _nearest_before(frozen(records.kind == TOMBSTONE, np.bool_))
    following = _nearest_after(frozen(candidate, np.bool_))
    return frozen(previous, np.int64), frozen(following, np.int64), frozen(tombs, np.int64)


def _visibility_limits(records: Records) -> tuple[Array, Array]:
    """Return per row of a key that is not monotone the least visible_from up to it, and from it on.

    They bound a scan: where the first is beyond the time nothing earlier is visible, where the second is
    nothing later is.
    """
    if bool(records.monotone.all()):
        nothing = frozen(np.empty(0, np.int64), np.int64)
        return nothing, nothing
    up_to = np.empty(records.event.size, np.int64)
    from_on = np.empty(records.event.size, np.int64)
    _least_seen(records.offsets, records.visible_from, records.monotone, up_to, from_on)
    return frozen(up_to, np.int64), frozen(from_on, np.int64)


@compiled
def _nearest_before(marked: Array) -> Array:
    out = np.empty(marked.size, np.int64)
    found = -1
    for i in range(marked.size):
        if marked[i]:
            found = i
        out[i] = found
    return out


@compiled
def _nearest_after(marked: Array) -> Array:
    out = np.empty(marked.size, np.int64)
    found = marked.size
    for i in range(marked.size - 1, -1, -1):
        if marked[i]:
            found = i
        out[i] = found
    return out


@compiled
def _least_seen(offsets: Array, visible_from: Array, monotone: Array, up_to: Array, from_on: Array) -> None:
    for k in range(monotone.size):
        if monotone[k]:
            continue
        least = FOREVER
        for i in range(offsets[k], offsets[k + 1]):
            least = min(least, visible_from[i])
            up_to[i] = least
        least = FOREVER
        for i in range(offsets[k + 1] - 1, offsets[k] - 1, -1):
            least = min(least, visible_from[i])
            from_on[i] = least


@compiled
def first_at_least(values: Array, low: int, high: int, limit: int) -> int:
    """Return the first row of the sorted values[low:high] that is at least the limit; high if none is."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < limit:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def first_beyond(values: Array, low: int, high: int, time: int, strict: bool) -> int:  # noqa: FBT001 - a kernel
    """Return the first row of the sorted values[low:high] that is after the time, or if strict not before it."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < time or (values[middle] == time and not strict):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def back(time: int, span: int) -> int:
    """Return `time - span`, and NEVER where that is before all times."""
    return time - span if span != FOREVER and time >= NEVER + span else NEVER


@compiled
def is_visible(visible_from: int, visible_to: int, time: int, strict: bool) -> bool:  # noqa: FBT001 - a kernel
    """Return whether a row is the fact at the time."""
    if strict:
        return visible_from < time <= visible_to
    # FOREVER is not a time: a record available then is never visible, and one valid until then always is.
    return visible_from <= time and visible_from != FOREVER and (time < visible_to or visible_to == FOREVER)


def in_window(event: Array, visible_from: Array, visible_to: Array, counts: Array, time: int, span: int) -> Array:
    """Mark the rows of one key that a window up to a time takes: its facts, by the rule of every other read.

    Args:
        event: int64[n] event times, in order.
        visible_from: int64[n], as in `Records`.
        visible_to: int64[n], as in `Records`.
        counts: bool[n], the rows that may count.
        time: The time, microseconds UTC.
        span: The window's length, microseconds.

    Returns:
        bool[n].
    """
    spans = frozen(event, np.int64), frozen(visible_from, np.int64), frozen(visible_to, np.int64)
    marked: Array = _in_window(*spans, frozen(counts, np.bool_), time, span)
    return marked


@compiled
def _in_window(event: Array, visible_from: Array, visible_to: Array, counts: Array, time: int, span: int) -> Array:
    marked, since = np.zeros(event.size, np.bool_), back(time, span)
    for i in range(event.size):
        inside = since <= event[i] < time
        marked[i] = inside and counts[i] and is_visible(visible_from[i], visible_to[i], time, YES)
    return marked


@compiled
def _search(
    offsets: Array, event: Array, visible_from: Array, visible_to: Array, kind: Array, monotone: Array,
    asked: Array, moments: Array, strict: bool, span: int, windowed: bool, oldest: bool,  # noqa: FBT001
    kept: Array, previous: Array, following: Array, tombs: Array, first_seen: Array, last_seen: Array,
    first: int, last: int, found: Array,
) -> None:  # fmt: skip
    for k in range(first, last):
        for place in range(asked[k], asked[k + 1]):
            answer, t = place - asked[first], moments[place]
            low, high = offsets[k], offsets[k + 1]
            since = back(t, span)
            if windowed and high > low and event[high - 1] >= t:
                high = first_at_least(event, low, high, t)
            if monotone[k]:
                high = _first_unseen(visible_from, low, high, t, strict)
                if high > low and oldest:
                    found[answer] = _oldest_of(event, low, high, since, following, tombs)
                elif high > low:
                    newest = previous[high - 1] if previous.size else high - 1
                    if newest >= low and event[newest] >= since:
                        found[answer] = newest
            else:
                high = first_beyond(last_seen, low, high, t, strict)
                found[answer] = scan(
                    event, visible_from, visible_to, kind, first_seen, kept, low, high, t, since, strict, oldest
                )


@compiled
def _first_unseen(visible_from: Array, low: int, high: int, time: int, strict: bool) -> int:  # noqa: FBT001
    """Return the first row of the sorted visible_from[low:high] that is not visible at the time; FOREVER never is."""
    limit = time if strict or time == FOREVER else time + 1
    length = high - low
    while length > 1:
        half = length >> 1
        # Without a branch: whether the middle comes before the limit is unpredictable.
        low += half * (visible_from[low + half - 1] < limit)
        length -= half
    return low + (1 if length and visible_from[low] < limit else 0)


@compiled
def _oldest_of(event: Array, low: int, high: int, since: int, following: Array, tombs: Array) -> int:
    """Find the first candidate of visible rows after their last tombstone; that tombstone if nothing came after it."""
    low = first_at_least(event, low, high, since)
    if low == high:
        return -1
    if following.size == 0:
        return low
    tomb = tombs[high - 1]
    after = max(low, tomb + 1)
    if after < high and following[after] < high:
        return int(following[after])
    return tomb if tomb >= low else -1


@compiled
def scan(
    event: Array, visible_from: Array, visible_to: Array, kind: Array, first_seen: Array, kept: Array,
    low: int, high: int, time: int, since: int, strict: bool, oldest: bool,  # noqa: FBT001
) -> int:  # fmt: skip
    """Walk back over rows low:high that became available in any order; a tombstone ends the walk.

    `first_seen`, the least `visible_from` up to each row, lets it end early; it may be empty.
    """
    winner = -1
    for i in range(high - 1, low - 1, -1):
        if event[i] < since or (first_seen.size and not is_visible(first_seen[i], FOREVER, time, strict)):
            break
        if kind[i] == RETRACTED or not is_visible(visible_from[i], visible_to[i], time, strict):
            continue
        if kind[i] == TOMBSTONE:
            return i if winner < 0 else winner
        if kept.size == 0 or kept[i]:
            winner = i
            if not oldest:
                break
    return winner


_NULL_KEY = np.uint8(Status.NULL_KEY)
_DELETED = np.uint8(Status.DELETED)
_PRESENT = np.uint8(Status.PRESENT)
_NULL_VALUE = np.uint8(Status.NULL_VALUE)
_EXPIRED = np.uint8(Status.EXPIRED)
_NOT_YET_AVAILABLE = np.uint8(Status.NOT_YET_AVAILABLE)
_NOT_FOUND = np.uint8(Status.NOT_FOUND)


@compiled
def _explain(
    offsets: Array, event: Array, visible_from: Array, visible_to: Array, kind: Array, monotone: Array,
    winner: Array, key: Array, time: Array, strict: bool, span: int, null: Array,  # noqa: FBT001
    start: int, stop: int, found: Array, matched: Array,
) -> None:  # fmt: skip
    for row in range(start, stop):
        best = winner[row]
        matched[row] = NEVER
        if key[row] < 0:
            found[row] = _NULL_KEY
        elif best >= 0:
            matched[row] = event[best]
            if kind[best] == TOMBSTONE:
                found[row] = _DELETED
            else:
                found[row] = _NULL_VALUE if null[row] else _PRESENT
        elif key[row] + 1 >= offsets.size:
            found[row] = _NOT_FOUND
        elif monotone[key[row]]:
            low, high = offsets[key[row]], offsets[key[row] + 1]
            found[row] = _why_nothing_seen(event, visible_from, low, high, time[row], back(time[row], span), strict)
        else:
            low, high = offsets[key[row]], offsets[key[row] + 1]
            found[row] = _why_nothing(
                event, visible_from, visible_to, kind, low, high, time[row], back(time[row], span), strict
            )


@compiled
def _why_nothing_seen(
    event: Array, visible_from: Array, low: int, high: int, time: int, since: int, strict: bool  # noqa: FBT001
) -> np.uint8:  # fmt: skip
    """Find the reason among rows of a monotone key: its first row is the first to be visible."""
    end = first_beyond(visible_from, low, high, time, strict)
    while end > low and visible_from[end - 1] == FOREVER:
        end -= 1
    if end > low:
        # A visible row within the ttl that did not win was not kept: its value is null.
        return _NULL_VALUE if event[end - 1] >= since else _EXPIRED
    return _NOT_YET_AVAILABLE if low < high and event[low] <= time else _NOT_FOUND


@compiled
def _why_nothing(
    event: Array, visible_from: Array, visible_to: Array, kind: Array,
    low: int, high: int, time: int, since: int, strict: bool,  # noqa: FBT001
) -> np.uint8:  # fmt: skip
    """Find the reason by walking all rows of a key: the first in the order of `Status` that any row gives."""
    reason = _NOT_FOUND
    for i in range(low, high):
        if is_visible(visible_from[i], visible_to[i], time, strict):
            if kind[i] == RETRACTED:
                return _DELETED
            reason = min(reason, _NULL_VALUE if event[i] >= since else _EXPIRED)
        elif event[i] <= time and not is_visible(visible_from[i], FOREVER, time, strict):
            reason = min(reason, _NOT_YET_AVAILABLE)
    return reason
