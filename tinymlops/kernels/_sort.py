"""Group rows by key and sort them within it: a counting sort over the keys, then a merge sort per key on threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.threads import in_chunks, thread_count

__all__ = ["as_rows", "group", "parts_by_weight", "put", "sort_groups", "sort_leads", "sort_rows"]

Array = np.ndarray[Any, Any]

_INSERTION = 12
"""Runs up to this length are sorted by insertion, where it beats merging."""

_CROWD = 24
"""The most rows that may share a place when they are put near their final one; insertion does the rest."""


def sort_rows(key: Array, lead: Array, created: Array, sequence: Array, *, keys: int) -> tuple[Array, Array]:
    """Order rows by (key, lead, created, sequence, row number).

    Args:
        key: int64[n] codes 0 to keys-1; rows with -1 are left out.
        lead: int64[n], the first thing to sort by within a key.
        created: int64[n], the next; empty if it is the same for all.
        sequence: int64[n], the last; empty for the row number.
        keys: How many keys there are.

    Returns:
        offsets int64[keys+1] and order int64[rows kept]: the sorted rows of key k are
        `order[offsets[k]:offsets[k+1]]`.
    """
    offsets, order, _ = sort_leads(key, lead, created, sequence, keys=keys)
    return offsets, order


def sort_leads(key: Array, lead: Array, created: Array, sequence: Array, *, keys: int) -> tuple[Array, Array, Array]:
    """Sort as `sort_rows` does, and return `lead[order]` as well."""
    if _is_sorted(key, lead, created, sequence):
        offsets = np.searchsorted(key, np.arange(keys + 1))
        return offsets.astype(np.int64, copy=False), np.arange(key.size, dtype=np.int64), lead
    offsets, order, leads = group(key, lead, keys=keys)
    offsets = frozen(offsets, np.int64)
    bounds = parts_by_weight(offsets, thread_count() * 4 if order.size > 10_000 else 1)

    def work(start: int, stop: int) -> None:
        sort_groups(offsets, bounds[start], bounds[stop], leads, order, created, sequence)

    in_chunks(bounds.size - 1, work, least=1)
    return offsets, order, leads


def group(key: Array, lead: Array, *, keys: int) -> tuple[Array, Array, Array]:
    """Bring the rows of each key together, in their first order.

    Args:
        key: int64[n] codes, -1 to leave a row out.
        lead: int64[n], carried along.
        keys: How many keys there are.

    Returns:
        offsets int64[keys+1], order int64[rows kept], and `lead[order]`.
    """
    # Each thread counts and places its own run of rows; a table of counts per thread must stay small beside
    # the rows.
    parts = thread_count() if key.size > 100_000 and keys * thread_count() < key.size else 1
    edges = np.linspace(0, key.size, parts + 1).astype(np.int64)
    places = np.zeros((parts, keys + 1), np.int64)
    in_chunks(parts, lambda a, b: _count_keys(key, edges, a, b, places), least=1)
    kept = _place_parts(places)
    offsets = np.append(places[0, :keys], kept) if parts else np.zeros(keys + 1, np.int64)
    order = np.empty(kept, np.int64)
    leads = np.empty(kept, np.int64)
    in_chunks(parts, lambda a, b: _scatter(key, lead, edges, a, b, places, order, leads), least=1)
    return offsets, order, leads


def parts_by_weight(offsets: Array, parts: int) -> Array:
    """Split keys into runs of about the same number of rows.

    Args:
        offsets: int64[K+1], row offsets per key.
        parts: How many runs to aim for.

    Returns:
        int64[P+1], increasing from 0 to K: run p is keys `bounds[p]:bounds[p+1]`.
    """
    keys = offsets.size - 1
    cuts = np.searchsorted(offsets, np.linspace(0, offsets[-1], parts + 1)[1:-1], side="left")
    return np.unique(np.concatenate(([0], cuts, [keys]))).astype(np.int64)


@compiled
def put(part: Array, order: Array, start: int, out: Array) -> None:
    """Scatter the answers of a chunk, which begins at `order[start]`, once all are there.

    Scattered writes between other work would each wait for memory.
    """
    for i in range(part.size):
        out[order[start + i]] = part[i]


@compiled
def _is_sorted(key: Array, lead: Array, created: Array, sequence: Array) -> bool:
    if key.size and key[0] < 0:
        return False
    for i in range(1, key.size):
        if key[i] > key[i - 1]:
            continue
        if key[i] < key[i - 1] or lead[i] < lead[i - 1]:
            return False
        if lead[i] == lead[i - 1] and _ranks_after(i - 1, i, created, sequence):
            return False
    return True


@compiled
def _count_keys(key: Array, edges: Array, first: int, last: int, places: Array) -> None:
    for part in range(first, last):
        for i in range(edges[part], edges[part + 1]):
            if key[i] >= 0:
                places[part, key[i]] += 1


@compiled
def _place_parts(places: Array) -> int:
    """Turn counts into first places, so that an earlier part's rows of a key come before a later part's."""
    total = 0
    for k in range(places.shape[1] - 1):
        for part in range(places.shape[0]):
            count = places[part, k]
            places[part, k] = total
            total += count
    return total


@compiled
def _scatter(
    key: Array, lead: Array, edges: Array, first: int, last: int, places: Array, order: Array, leads: Array
) -> None:
    for part in range(first, last):
        for i in range(edges[part], edges[part + 1]):
            if key[i] >= 0:
                place = places[part, key[i]]
                places[part, key[i]] = place + 1
                order[place] = i
                leads[place] = lead[i]


@compiled
def _after(lead_a: int, row_a: int, lead_b: int, row_b: int, created: Array, sequence: Array) -> bool:
    """Return whether row a sorts strictly after row b; rows that compare equal keep their first order."""
    return lead_a > lead_b or (lead_a == lead_b and _ranks_after(row_a, row_b, created, sequence))


@compiled
def _ranks_after(row_a: int, row_b: int, created: Array, sequence: Array) -> bool:
    if created.size and created[row_a] != created[row_b]:
        return bool(created[row_a] > created[row_b])
    return bool(sequence.size and sequence[row_a] > sequence[row_b])


@compiled
def sort_groups(
    offsets: Array, first: int, last: int, leads: Array, order: Array, created: Array, sequence: Array
) -> None:
    """Sort the rows of keys first to last-1 in place: insertion in short runs, then merges of pairs of runs."""
    longest = 0
    for k in range(first, last):
        longest = max(longest, offsets[k + 1] - offsets[k])
    spare_lead = np.empty(longest, np.int64)
    spare_row = np.empty(longest, np.int64)
    places = np.empty(longest + 1, np.int32)
    for k in range(first, last):
        low, high = offsets[k], offsets[k + 1]
        if _run_is_sorted(low, high, leads, order, created, sequence):
            continue
        if high - low > _INSERTION and _distribute(low, high, leads, order, places, spare_lead, spare_row):
            _insert(low, high, leads, order, created, sequence)
            continue
        for start in range(low, high, _INSERTION):
            _insert(start, min(start + _INSERTION, high), leads, order, created, sequence)
        width = _INSERTION
        while width < high - low:
            for start in range(low, high - width, 2 * width):
                end = min(start + 2 * width, high)
                _merge(start, start + width, end, leads, order, created, sequence, spare_lead, spare_row)
            width *= 2


@compiled
def _distribute(
    low: int, high: int, leads: Array, order: Array, places: Array, spare_lead: Array, spare_row: Array
) -> bool:
    """Put rows near their final place, by interpolation of their lead between the least and the greatest: times are
    mostly spread evenly. Return whether every row is near; if not, the rows stay as they were.

    Rows of one lead keep their order.
    """
    size = high - low
    least, greatest = leads[low], leads[low]
    for i in range(low, high):
        least, greatest = min(least, leads[i]), max(greatest, leads[i])
    base, slope = np.float64(least), (size - 0.5) / max(np.float64(greatest) - np.float64(least), 1.0)
    places[: size + 1] = 0
    for i in range(low, high):
        places[int((np.float64(leads[i]) - base) * slope) + 1] += 1
    most = 0
    for j in range(1, size + 1):
        most = max(most, places[j])
        places[j] += places[j - 1]
    if most > _CROWD:
        return False
    for i in range(low, high):
        j = int((np.float64(leads[i]) - base) * slope)
        place = places[j]
        places[j] = place + 1
        spare_lead[place], spare_row[place] = leads[i], order[i]
    for i in range(size):
        leads[low + i], order[low + i] = spare_lead[i], spare_row[i]
    return True


@compiled
def _run_is_sorted(low: int, high: int, leads: Array, order: Array, created: Array, sequence: Array) -> bool:
    for i in range(low + 1, high):
        if _after(leads[i - 1], order[i - 1], leads[i], order[i], created, sequence):
            return False
    return True


@compiled
def _insert(low: int, high: int, leads: Array, order: Array, created: Array, sequence: Array) -> None:
    """Sort a short run by insertion."""
    for i in range(low + 1, high):
        lead, row, j = leads[i], order[i], i
        while j > low and _after(leads[j - 1], order[j - 1], lead, row, created, sequence):
            leads[j], order[j] = leads[j - 1], order[j - 1]
            j -= 1
        leads[j], order[j] = lead, row


@compiled
def _merge(
    low: int, middle: int, high: int, leads: Array, order: Array, created: Array, sequence: Array,
    spare_lead: Array, spare_row: Array,
) -> None:  # fmt: skip
    """Merge two sorted runs that lie side by side; only the left one is moved out of the way."""
    if not _after(leads[middle - 1], order[middle - 1], leads[middle], order[middle], created, sequence):
        return
    for i in range(low, middle):
        spare_lead[i - low], spare_row[i - low] = leads[i], order[i]
    left, right, out = 0, middle, low
    while left < middle - low:
        if right < high and _after(spare_lead[left], spare_row[left], leads[right], order[right], created, sequence):
            leads[out], order[out] = leads[right], order[right]
            right += 1
        else:
            leads[out], order[out] = spare_lead[left], spare_row[left]
            left += 1
        out += 1


def as_rows(values: Array | None) -> Array:
    """View an optional int64 column for a kernel: None becomes the empty array, which kernels take as absent."""
    return frozen(np.empty(0, np.int64) if values is None else values, np.int64)
