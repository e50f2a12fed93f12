"""The form in which the online store keeps rows of a view.

Rows of a key lie in *entries* of 64-bit words, each a header and a table of columns. A column whose values are all
alike takes one word, and none if they are the default. The rows are arranged (`tinymlops.kernels.records`) when they
are written.

    word 0: words in all; 1: rows; 2: full entries of the same key before this one, as 2 * count + (count > 0)
    then two bits for each column, how it is written, then the columns, and a word that the store has for its own
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymlops.kernels.compiling import compiled
from tinymlops.kernels.records import FOREVER, NEVER

__all__ = [
    "ALIKE",
    "CREATED",
    "EVENT",
    "HEADER",
    "KIND",
    "SEEN",
    "SYSTEM",
    "UNSEEN",
    "USUAL",
    "VARIES",
    "copy",
    "empty_entry",
    "masks_of",
    "merge",
    "pack",
    "read_rows",
    "skip",
    "unpack",
    "usual",
]

Array = np.ndarray[Any, Any]

SYSTEM = 5
"""Columns before the operands': event, visible_from - event, visible_to, kind, created - visible_from or NEVER."""
EVENT, SEEN, UNSEEN, KIND, CREATED = range(SYSTEM)

HEADER = 3
USUAL, ALIKE, VARIES = range(3)


def empty_entry(width: int) -> bytes:
    """Return the entry of a key without rows."""
    header = np.zeros(HEADER + masks_of(width) + 1, np.int64)
    header[0] = header.size
    return header.tobytes()


@compiled
def masks_of(width: int) -> int:
    """Return the words that say how columns are written."""
    return (width + 31) >> 5


@compiled
def usual(column: int) -> int:
    """Return the default of a column, which is not written: not replaced, a value, no created time, present."""
    if column < SYSTEM:
        return FOREVER if column == UNSEEN else NEVER if column == CREATED else 0
    return (column - SYSTEM) & 1


@compiled
def skip(words: Array, start: int, entries: int) -> tuple[int, int]:
    """Return the word after a number of entries from word `start` on, and how many rows they have."""
    rows = 0
    for _ in range(entries):
        rows += words[start + 1]
        start += words[start]
    return start, rows


@compiled
def read_rows(words: Array, start: int, columns: Array, row: int, stop: int) -> None:
    """Read rows of entries that lie one after the other.

    Args:
        words: The entries.
        start: The word that the first one begins at.
        columns: int64[width, n], to be written from row `row` to row `stop`.
        row: Where the rows begin.
        stop: Where they end.
    """
    width, masks = columns.shape[0], masks_of(columns.shape[0])
    while row < stop:
        count, place = words[start + 1], start + HEADER + masks
        for column in range(width if count else 0):
            how = (words[start + HEADER + (column >> 5)] >> (2 * (column & 31))) & 3
            if how == VARIES:
                copy(words[place : place + count], columns[column, row : row + count])
                place += count
            else:
                columns[column, row : row + count] = words[place] if how == ALIKE else usual(column)
                place += how == ALIKE
        start += words[start]
        row += count


@compiled
def copy(source: Array, target: Array) -> None:
    """Copy values that do not overlap their target: an assignment of slices would check for overlap."""
    for i in range(target.size):
        target[i] = source[i]


@compiled
def unpack(words: Array, firsts: Array, width: int) -> tuple[Array, Array]:
    """Read entries that lie one after the other.

    Args:
        words: The entries of K keys.
        firsts: int64[K+1], the number of each key's first entry.
        width: Columns.

    Returns:
        offsets int64[K+1] of each key's rows, and columns int64[width, n].
    """
    offsets = np.zeros(firsts.size, np.int64)
    start: Any = np.int64(0)  # a plain 0 would be compiled for itself
    for k in range(firsts.size - 1):
        start, rows = skip(words, start, firsts[k + 1] - firsts[k])
        offsets[k + 1] = offsets[k] + rows
    columns = np.empty((width, offsets[-1]), np.int64)
    none = offsets[0]
    read_rows(words, none, columns, none, offsets[-1])
    return offsets, columns


@compiled
def pack(offsets: Array, before: Array, columns: Array) -> tuple[Array, Array]:
    """Write rows as entries.

    Args:
        offsets: int64[E+1], the rows of each entry.
        before: int64[E], full entries of its key before each.
        columns: int64[width, n].

    Returns:
        The words, and int64[E+1] where each entry begins.
    """
    width, entries = columns.shape[0], offsets.size - 1
    head = HEADER + masks_of(width)
    how = np.zeros((entries, width), np.int64)
    starts = np.zeros(entries + 1, np.int64)
    for e in range(entries):
        size = head + 1
        for column in range(width):
            how[e, column] = _how(columns[column], offsets[e], offsets[e + 1], usual(column))
            size += offsets[e + 1] - offsets[e] if how[e, column] == VARIES else how[e, column]
        starts[e + 1] = starts[e] + size
    words = np.zeros(starts[entries], np.int64)
    for e in range(entries):
        start, place = starts[e], starts[e] + head
        words[start], words[start + 1] = starts[e + 1] - start, offsets[e + 1] - offsets[e]
        words[start + 2] = 2 * before[e] + (before[e] > 0)
        for column in range(width):
            words[start + HEADER + (column >> 5)] |= how[e, column] << np.int64(2 * (column & 31))
            size = offsets[e + 1] - offsets[e] if how[e, column] == VARIES else how[e, column]
            for i in range(size):
                words[place + i] = columns[column, offsets[e] + i]
            place += size
    return words, starts


@compiled
def _how(values: Array, start: int, stop: int, standard: int) -> int:
    """Return the code for how a column of an entry is written."""
    for i in range(start + 1, stop):
        if values[i] != values[start]:
            return VARIES
    return USUAL if start == stop or values[start] == standard else ALIKE


@compiled
def merge(offsets: Array, old: Array, new_offsets: Array, new: Array) -> tuple[Array, Array, Array]:
    """Merge rows of K keys with newer ones, each side arranged; of equal (event, created) the newer come after.

    Returns:
        offsets int64[K+1], columns, and int64 for each of its rows: the row of `old`, or ~row of `new`.
    """
    keys = offsets.size - 1
    columns = np.empty((old.shape[0], old.shape[1] + new.shape[1]), np.int64)
    origin = np.empty(columns.shape[1], np.int64)
    at = 0
    for k in range(keys):
        i, j = offsets[k], new_offsets[k]
        while i < offsets[k + 1] or j < new_offsets[k + 1]:
            take_old = j == new_offsets[k + 1] or (i < offsets[k + 1] and not _is_after(old, i, new, j))
            origin[at] = i if take_old else ~j
            at += 1
            if take_old:
                i += 1
            else:
                j += 1
    for column in range(columns.shape[0]):
        for row in range(columns.shape[1]):
            columns[column, row] = old[column, origin[row]] if origin[row] >= 0 else new[column, ~origin[row]]
    return offsets + new_offsets, columns, origin


@compiled
def _is_after(left: Array, i: int, right: Array, j: int) -> bool:
    """Return whether a row comes after another in the order of (event, created)."""
    if left[EVENT, i] != right[EVENT, j]:
        return bool(left[EVENT, i] > right[EVENT, j])
    return _created(left, i) > _created(right, j)


@compiled
def _created(columns: Array, i: int) -> int:
    # Differences wrap around, and so do their sums: the result is exact.
    made = columns[CREATED, i]
    return int(made if made == NEVER else columns[EVENT, i] + columns[SEEN, i] + made)
