"""One view's features for the keys of one request, from rows as the online store keeps them: one call, no setup.

Rows of a key lie in *entries* of 64-bit words, each a header and a table of columns. A column whose values are all
alike takes one word, and none if they are what they usually are. The rows are arranged (`tinymlops.kernels.records`)
when they are written.

    word 0: words in all; 1: rows; 2: full entries of the same key before this one, as 2 * count + (count > 0)
    then two bits for each column, how it is written, then the columns, and a word that the store has for its own

A window is walked through once from its end, for all spans over one operand. The rule of the winner, exact sums and
their rounding are those of the kernels that read history, and so a cell is the same bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinymlops.kernels._compile import NO, YES, compiled
from tinymlops.kernels._extremes import in_order
from tinymlops.kernels._limbs import add_value, limbs_for, to_float, to_halves, to_integer
from tinymlops.kernels._quotients import quotient, spread
from tinymlops.kernels._ranks import between
from tinymlops.kernels.asof import back, first_at_least, is_visible, scan
from tinymlops.kernels.records import FOREVER, NEVER, VALUE
from tinymlops.kernels.totals import find_extent, settled

__all__ = ["OPERATIONS", "SYSTEM", "cells", "empty_entry", "merge", "pack", "unpack"]

Array = np.ndarray[Any, Any]

SYSTEM = 5
"""Columns before the operands': event, visible_from - event, visible_to, kind, created - visible_from or NEVER."""
EVENT, SEEN, UNSEEN, KIND, CREATED = range(SYSTEM)

OPERATIONS = (
    "first", "last", "count", "time_since_last", "n_unique", "min", "max", "quantile", "any", "all", "sum", "mean",
    "var", "std",
)  # fmt: skip
_FIRST, _LAST, _COUNT, _SINCE, _UNIQUE, _MIN, _MAX, _QUANTILE, _ANY, _ALL, _SUM, _MEAN, _VAR, _STD = range(14)
HEADER = 3
USUAL, ALIKE, VARIES = range(3)

OPERATION, OPERAND, WHERE, SKIP_NULLS, SPAN, WINDOWED, IS_FLOAT, PLACE, QUANTILE, WALK = range(10)
"""The columns of a program, a row for each feature: the operation, the columns of the operand's values and of the
condition (-1 for none), whether nulls are skipped, window or ttl, whether it is a window, whether the operand is a
float, where the answer goes, the bits of a quantile, and the number of the walk that answers it. Features of one walk
stand together: of `first` or `last` those that choose alike, of the others those over the same values, in order of
their windows."""

NULL, FOUND, UNCERTAIN, INFINITE, TOO_GREAT = range(5)
"""What a cell holds: nothing, a value, one to be computed in Python's integers, or why there is none."""


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
    """Return the value that a column need not write: no replacement, a value, nobody said when, and it is there."""
    if column < SYSTEM:
        return FOREVER if column == UNSEEN else NEVER if column == CREATED else 0
    return (column - SYSTEM) & 1


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
    keys, masks = firsts.size - 1, masks_of(width)
    offsets = np.zeros(keys + 1, np.int64)
    start, rows = 0, 0
    for k in range(keys):
        for _ in range(firsts[k], firsts[k + 1]):
            rows += words[start + 1]
            start += words[start]
        offsets[k + 1] = rows
    columns = np.empty((width, rows), np.int64)
    start, row = 0, 0
    for _ in range(firsts[keys]):
        count, place = words[start + 1], start + HEADER + masks
        for column in range(width if count else 0):
            how = (words[start + HEADER + (column >> 5)] >> (2 * (column & 31))) & 3
            if how == VARIES:
                columns[column, row : row + count] = words[place : place + count]
                place += count
            else:
                columns[column, row : row + count] = words[place] if how == ALIKE else usual(column)
                place += how == ALIKE
        start += words[start]
        row += count
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
    """Say how a column of an entry is written."""
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
    """Say whether a row comes after another in the order of (event, created)."""
    if left[EVENT, i] != right[EVENT, j]:
        return bool(left[EVENT, i] > right[EVENT, j])
    return _created(left, i) > _created(right, j)


@compiled
def _created(columns: Array, i: int) -> int:
    # Differences wrap around, and so do their sums: what comes out is what went in.
    made = columns[CREATED, i]
    return int(made if made == NEVER else columns[EVENT, i] + columns[SEEN, i] + made)


@compiled
def cells(
    words: Array, firsts: Array, width: int, coded: Array, codes: Array, program: Array, time: int, strict: bool  # noqa: FBT001
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Compute features of keys at a moment.

    Args:
        words: The entries of K keys, one after the other.
        firsts: int64[K+1], the number of each key's first entry.
        width: Columns of an entry.
        coded: int64[X], columns that hold no values of their own.
        codes: int64[X, n], what to take in their place: equal numbers for equal values.
        program: int64[F, 10].
        time: The moment, microseconds UTC.
        strict: Whether what became known at the moment itself is left out; windows always leave it out.

    Returns:
        int64[3, F, K]: values, floats as their bits; what each cell holds; and the row of its winner, -1 for none, or
        of a value that is infinite. Then offsets and columns of the rows, the second column being visible_from.
    """
    offsets, columns = unpack(words, firsts, width)
    for x in range(coded.size):
        columns[coded[x]] = codes[x]
    for i in range(columns.shape[1]):
        columns[SEEN, i] += columns[EVENT, i]
    features, keys = program.shape[0], firsts.size - 1
    answer = np.zeros((3, features, keys), np.int64)
    answer[2] = -1
    out, state, winner = answer[0], answer[1], answer[2]
    usable = np.empty(columns.shape[1], np.bool_)
    first: Any = np.int64(0)  # a plain 0 would be compiled for itself
    while first < features:
        last = first + 1
        while last < features and program[last, WALK] == program[first, WALK]:
            last += 1
        if program[first, OPERATION] <= _LAST:
            _pick(columns, offsets, program, first, last, time, strict, usable, out, state, winner)
        else:
            for k in range(keys):
                _reduce(columns, offsets[k], offsets[k + 1], program, first, last, time, k, usable, out, state, winner)
        first = last
    return answer, offsets, columns


@compiled
def _pick(
    columns: Array, offsets: Array, program: Array, first: int, last: int, time: int, strict: bool,  # noqa: FBT001
    kept: Array, out: Array, state: Array, winner: Array,
) -> None:  # fmt: skip
    """Find the winner of each key once for all features that choose alike."""
    where, nulls = program[first, WHERE], program[first, OPERAND] + 1 if program[first, SKIP_NULLS] else -1
    if where < 0 and nulls < 0:
        kept = kept[:0]
    for i in range(kept.size):
        kept[i] = (where < 0 or (columns[where, i] != 0 and columns[where + 1, i] != 0)) and (
            nulls < 0 or columns[nulls, i] != 0
        )
    event, seen, unseen, kind, nothing = (
        columns[EVENT],
        columns[SEEN],
        columns[UNSEEN],
        columns[KIND],
        columns[EVENT][:0],
    )
    windowed, oldest = program[first, WINDOWED] != 0, program[first, OPERATION] == _FIRST
    since = back(time, program[first, SPAN])
    for k in range(offsets.size - 1):
        high = offsets[k + 1]
        if windowed:
            high = first_at_least(event, offsets[k], high, time)
        row = scan(event, seen, unseen, kind, nothing, kept, offsets[k], high, time, since, strict or windowed, oldest)
        for f in range(first, last):
            operand, place = program[f, OPERAND], program[f, PLACE]
            winner[place, k] = row
            if row >= 0 and kind[row] == VALUE and columns[operand + 1, row]:
                out[place, k] = columns[operand, row]
                state[place, k] = FOUND


@compiled
def _mark_usable(
    columns: Array, low: int, high: int, operand: int, where: int, is_float: bool, time: int, usable: Array  # noqa: FBT001
) -> int:  # fmt: skip
    """Mark the visible rows that count for an operand; return a row whose value is infinite, -1 if there is none."""
    infinite = -1
    for i in range(low, high):
        counts = columns[KIND, i] == VALUE
        if where >= 0:
            counts = counts and columns[where, i] != 0 and columns[where + 1, i] != 0
        if operand >= 0:
            counts = counts and columns[operand + 1, i] != 0
            if is_float and (columns[operand, i] >> 52) & 0x7FF == 0x7FF:
                infinite = i if counts and columns[operand, i] & 0xFFFFFFFFFFFFF == 0 else infinite
                counts = counts and columns[operand, i] & 0xFFFFFFFFFFFFF == 0  # NaN is null
        usable[i] = counts and is_visible(columns[SEEN, i], columns[UNSEEN, i], time, YES)
    return infinite


@compiled
def _reduce(
    columns: Array, low: int, high: int, program: Array, first: int, last: int, time: int, k: int,
    usable: Array, out: Array, state: Array, winner: Array,
) -> None:  # fmt: skip
    """Walk back through the rows of a key once, and answer for each span when its beginning is reached."""
    event = columns[EVENT]
    operand, is_float = program[first, OPERAND], program[first, IS_FLOAT] != 0
    bits = columns[max(operand, EVENT)]
    infinite = _mark_usable(columns, low, high, operand, program[first, WHERE], is_float, time, usable)
    most, collects = _COUNT, False
    for f in range(first, last):
        most = max(most, program[f, OPERATION])
        collects = collects or program[f, OPERATION] in (_UNIQUE, _QUANTILE)
    high = first_at_least(event, low, high, time)
    low = first_at_least(event, low, high, back(time, program[last - 1, SPAN]))
    adds, squares_too = most >= _ANY and infinite < 0, most >= _VAR and infinite < 0
    scale, top = 0, 0
    if adds:
        scale, top = find_extent(bits, is_float, usable, low, high)
        scale, top = settled(scale, top, is_float)
    sums = np.zeros(limbs_for(top - scale, high - low), np.uint64)
    squares = np.zeros(limbs_for(2 * (top - scale), high - low) if squares_too else 1, np.uint64)
    values = np.empty(high - low if collects else 0, np.int64)
    count, newest, least, greatest = 0, NEVER, FOREVER, NEVER
    i = high
    for f in range(first, last):
        since = back(time, program[f, SPAN])
        while i > low and event[i - 1] >= since:
            i -= 1
            if not usable[i]:
                continue
            newest = max(newest, event[i])
            least, greatest = min(least, in_order(bits[i], is_float)), max(greatest, in_order(bits[i], is_float))
            if collects:
                values[count] = bits[i]
            if adds:
                add_value(bits[i], is_float, scale, NO, NO, sums)
            if squares_too:
                add_value(bits[i], is_float, scale, YES, NO, squares)
            count += 1
        place, operation = program[f, PLACE], program[f, OPERATION]
        if infinite >= 0 and operation >= _MIN:
            state[place, k], winner[place, k] = INFINITE, infinite
        elif operation in (_MIN, _MAX):
            state[place, k] = FOUND if count else NULL
            out[place, k] = in_order(least if operation == _MIN else greatest, is_float) if count else 0
        else:
            out[place, k], state[place, k] = _answer(
                operation,
                is_float,
                _number(program[f, QUANTILE], YES),
                values[:count],
                count,
                newest,
                time,
                sums,
                squares,
                scale,
            )


@compiled
def _answer(
    operation: int, is_float: bool, q: float, values: Array, count: int, newest: int, time: int,  # noqa: FBT001
    sums: Array, squares: Array, scale: int,
) -> tuple[int, int]:  # fmt: skip
    """Return the value of one cell, a float as its bits, and what it holds."""
    if operation == _COUNT:
        return count, FOUND
    if operation == _UNIQUE:
        return _distinct(values.copy(), is_float), FOUND
    if operation in (_ANY, _ALL) or (operation == _SUM and not is_float):
        total, fits = to_integer(sums)
        if operation == _ANY:
            return int(total > 0), FOUND
        if operation == _ALL:
            return int(total == count), FOUND
        return int(total), FOUND if fits else TOO_GREAT
    if count == 0 and operation != _SUM:
        return 0, NULL
    found, what = 0.0, FOUND
    if operation == _SINCE:
        found = np.float64(time - newest) / 1_000_000.0
    elif operation == _QUANTILE:
        found = _quantile(values.copy(), is_float, q)
    elif operation in (_SUM, _MEAN):
        found = to_float(sums.copy(), scale)
        what = TOO_GREAT if math.isinf(found) else FOUND
        if operation == _MEAN:
            found /= count
    else:
        found, what = _deviation(sums, squares, scale, count, operation == _STD)
    return _bits_of(found), what


@compiled
def _bits_of(value: float) -> int:
    box = np.empty(1, np.float64)
    box[0] = value
    return int(box.view(np.int64)[0])


@compiled
def _deviation(sums: Array, squares: Array, scale: int, count: int, root: bool) -> tuple[float, int]:  # noqa: FBT001
    if count < 2:
        return 0.0, NULL
    halves, halves_2 = np.zeros(2 * sums.size, np.uint64), np.zeros(2 * squares.size, np.uint64)
    product = np.zeros(2 * halves.size + halves_2.size + 3, np.uint64)
    used, used_2 = to_halves(sums.copy(), halves), to_halves(squares.copy(), halves_2)
    used = spread(halves, used, halves_2, used_2, np.uint64(count), product)
    found, certain = quotient(product, used, count, scale, root)
    return found, FOUND if certain else UNCERTAIN


@compiled
def _distinct(values: Array, is_float: bool) -> int:  # noqa: FBT001
    for i in range(values.size):
        if is_float and values[i] == NEVER:  # the bits of -0.0
            values[i] = 0
    values.sort()
    distinct = min(values.size, 1)
    for i in range(1, values.size):
        distinct += values[i] != values[i - 1]
    return distinct


@compiled
def _quantile(values: Array, is_float: bool, q: float) -> float:  # noqa: FBT001
    for i in range(values.size):
        values[i] = 0 if is_float and values[i] == NEVER else in_order(values[i], is_float)
    values.sort()
    place = q * (values.size - 1)
    first = min(int(place), values.size - 1)
    following = min(first + 1, values.size - 1)
    below, above = in_order(values[first], is_float), in_order(values[following], is_float)
    return between(_number(below, is_float), _number(above, is_float), place - first)


@compiled
def _number(bits: int, is_float: bool) -> float:  # noqa: FBT001
    if not is_float:
        return float(bits)
    box = np.empty(1, np.int64)
    box[0] = bits
    return float(box.view(np.float64)[0])
