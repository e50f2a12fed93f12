"""One view's features for the keys of one request, from rows in the form of the online store, without setup.

Keys are answered one after the other, each in the same few kilobytes of memory: the rows of a key are read
(`tinymlops.kernels.entries`), and windows over one operand are answered together from their end back: each adds what it
covers beyond the shorter one. The rule of the winner, exact sums and their rounding are those of the kernels that read
history, so a cell is the same bit for bit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinymlops.kernels._extremes import in_order
from tinymlops.kernels._limbs import limbs_for, to_float, to_halves
from tinymlops.kernels._pairs import NEAR, add_near, exponents_of, pair_to_float, pair_to_integer
from tinymlops.kernels._quotients import quotient, spread
from tinymlops.kernels._ranks import between
from tinymlops.kernels.asof import back, first_at_least, is_visible, scan
from tinymlops.kernels.compiling import NO, YES, compiled
from tinymlops.kernels.entries import EVENT, KIND, SEEN, UNSEEN, copy, read_rows, skip
from tinymlops.kernels.records import FOREVER, NEVER, VALUE
from tinymlops.kernels.totals import PAIR, add_to_limbs

__all__ = ["OPERATIONS", "cells"]

Array = np.ndarray[Any, Any]

OPERATIONS = (
    "first", "last", "count", "time_since_last", "n_unique", "min", "max", "quantile", "any", "all", "sum", "mean",
    "var", "std",
)  # fmt: skip
_FIRST, _LAST, _COUNT, _SINCE, _UNIQUE, _MIN, _MAX, _QUANTILE, _ANY, _ALL, _SUM, _MEAN, _VAR, _STD = range(14)

OPERATION, OPERAND, WHERE, SKIP_NULLS, SPAN, WINDOWED, IS_FLOAT, PLACE, QUANTILE, WALK = range(10)
"""The columns of a program, a row for each feature: the operation, the columns of the operand's values and of the
condition (-1 for none), whether nulls are skipped, window or ttl, whether it is a window, whether the operand is a
float, where the answer goes, the bits of a quantile, and the number of the walk that answers it. Features of one walk
stand together: of `first` or `last` those that choose alike, of the others those over the same values, in order of
their windows."""

NULL, FOUND, UNCERTAIN, INFINITE, TOO_GREAT = range(5)
"""What a cell holds: nothing, a value, one to compute in Python's integers, or the reason why there is none."""

_START: Any = np.int64(0)
"""A plain 0 would be compiled for itself."""


@compiled
def cells(
    words: Array, firsts: Array, width: int, coded: Array, codes: Array, program: Array,
    time: int, strict: bool, begin: int, end: int, answer: Array,  # noqa: FBT001
) -> None:  # fmt: skip
    """Compute the features of keys begin to end at a time.

    Args:
        words: The entries of K keys, one after the other.
        firsts: int64[K+1], the number of each key's first entry.
        width: Columns of an entry.
        coded: int64[X], columns that hold no values of their own.
        codes: int64[X, n], what to take in their place: equal numbers for equal values.
        program: int64[F, 10].
        time: The time, microseconds UTC.
        strict: Whether to leave out what became known at exactly this time; windows always leave it out.
        begin: The first key.
        end: The key after the last.
        answer: int64[3, F, K] of zeros, to be written: values, floats as their bits; what each cell holds; and the row
            of its winner, -1 for none, or of a value that is infinite.
    """
    start, before = skip(words, _START, firsts[begin])
    after, most = start, _START
    for k in range(begin, end):
        after, rows = skip(words, after, firsts[k + 1] - firsts[k])
        most = max(most, rows)
    columns, usable = np.empty((width, most), np.int64), np.empty(most, np.bool_)
    for k in range(begin, end):
        after, rows = skip(words, start, firsts[k + 1] - firsts[k])
        read_rows(words, start, columns, _START, rows)
        for x in range(coded.size):
            copy(codes[x, before : before + rows], columns[coded[x], :rows])
        for i in range(rows):
            columns[SEEN, i] += columns[EVENT, i]
        first = _START
        while first < program.shape[0]:
            last = first + 1
            while last < program.shape[0] and program[last, WALK] == program[first, WALK]:
                last += 1
            if program[first, OPERATION] <= _LAST:
                _pick(columns, rows, program, first, last, time, strict, k, before, usable[:rows], answer)
            else:
                _reduce(columns, rows, program, first, last, time, k, before, usable[:rows], answer)
            first = last
        start, before = after, before + rows


@compiled
def _pick(
    columns: Array, rows: int, program: Array, first: int, last: int, time: int, strict: bool,  # noqa: FBT001
    k: int, before: int, kept: Array, answer: Array,
) -> None:  # fmt: skip
    """Find the winner once for all features that choose alike."""
    where, nulls = program[first, WHERE], program[first, OPERAND] + 1 if program[first, SKIP_NULLS] else -1
    if where < 0 and nulls < 0:
        kept = kept[:0]
    for i in range(kept.size):
        kept[i] = (where < 0 or (columns[where, i] != 0 and columns[where + 1, i] != 0)) and (
            nulls < 0 or columns[nulls, i] != 0
        )
    event, kind, nothing = columns[EVENT], columns[KIND], columns[EVENT][:0]
    windowed, oldest = program[first, WINDOWED] != 0, program[first, OPERATION] == _FIRST
    since = back(time, program[first, SPAN])
    high = first_at_least(event, _START, rows, time) if windowed else rows
    row = scan(
        event,
        columns[SEEN],
        columns[UNSEEN],
        kind,
        nothing,
        kept,
        _START,
        high,
        time,
        since,
        strict or windowed,
        oldest,
    )
    for f in range(first, last):
        operand, place = program[f, OPERAND], program[f, PLACE]
        answer[2, place, k] = -1 if row < 0 else before + row
        if row >= 0 and kind[row] == VALUE and columns[operand + 1, row]:
            answer[0, place, k] = columns[operand, row]
            answer[1, place, k] = FOUND


@compiled
def _mark_usable(columns: Array, rows: int, operand: int, where: int, is_float: bool, time: int, usable: Array) -> int:  # noqa: FBT001
    """Mark the visible rows that count for an operand; return a row whose value is infinite, -1 if there is none."""
    infinite = -1
    for i in range(rows):
        usable[i] = columns[KIND, i] == VALUE
    if where >= 0:
        for i in range(rows):
            usable[i] &= (columns[where, i] != 0) & (columns[where + 1, i] != 0)
    if operand >= 0:
        for i in range(rows):
            usable[i] &= columns[operand + 1, i] != 0
    if operand >= 0 and is_float and _has_special(columns[operand], rows):
        for i in range(rows):
            if (columns[operand, i] >> 52) & 0x7FF == 0x7FF:
                if columns[operand, i] & 0xFFFFFFFFFFFFF:
                    usable[i] = False  # NaN is null
                elif usable[i]:
                    infinite = i
    for i in range(rows):
        usable[i] &= is_visible(columns[SEEN, i], columns[UNSEEN, i], time, YES)
    return infinite


@compiled
def _has_special(bits: Array, rows: int) -> bool:
    """Return whether any float is infinite or NaN; without an early exit, so that many are checked at once."""
    found = False
    for i in range(rows):
        found |= (bits[i] >> 52) & 0x7FF == 0x7FF
    return found


@compiled
def _reduce(
    columns: Array, rows: int, program: Array, first: int, last: int, time: int, k: int, before: int,
    usable: Array, answer: Array,
) -> None:  # fmt: skip
    """Add the rows of a key span by span, back from the time, and answer each span when it is complete."""
    event = columns[EVENT]
    operand, is_float = program[first, OPERAND], program[first, IS_FLOAT] != 0
    bits = columns[max(operand, EVENT)]
    infinite = _mark_usable(columns, rows, operand, program[first, WHERE], is_float, time, usable)
    most, compares, collects = _needed(program, first, last)
    i = first_at_least(event, _START, rows, time)
    low = first_at_least(event, _START, i, back(time, program[last - 1, SPAN]))
    adds, squares_too = most >= _ANY and infinite < 0, most >= _VAR and infinite < 0
    least, scale, width = _extent(bits[low:i], is_float, usable[low:i]) if adds else (0, 0, 0)
    sums = np.zeros(max(PAIR, limbs_for(width, i - low)), np.uint64)
    near = adds and sums.size == PAIR and width <= NEAR
    squares = np.zeros(limbs_for(2 * width, i - low) if squares_too else 1, np.uint64)
    values = np.empty(i - low if collects else 0, np.int64)
    count, newest, lowest, highest = 0, NEVER, FOREVER, NEVER
    for f in range(first, last):
        start = first_at_least(event, low, i, back(time, program[f, SPAN]))
        part, counts = bits[start:i], usable[start:i]
        if collects:
            _collect(part, counts, values[count:])
        if compares:
            lowest, highest = _widen(part, is_float, counts, lowest, highest)
        if squares_too:
            add_to_limbs(bits, is_float, usable, scale, YES, start, i, squares)
        if near:
            sums[0], sums[1] = add_near(part, is_float, counts, least, sums[0], sums[1])
        elif adds:
            add_to_limbs(bits, is_float, usable, scale, NO, start, i, sums)
        count, newest = _count(event[start:i], counts, count, newest)
        i = start
        place, operation = program[f, PLACE], program[f, OPERATION]
        if infinite >= 0 and operation >= _MIN:
            answer[1, place, k], answer[2, place, k] = INFINITE, before + infinite
            continue
        answer[2, place, k] = -1
        if operation in (_MIN, _MAX):
            answer[1, place, k] = FOUND if count else NULL
            answer[0, place, k] = in_order(lowest if operation == _MIN else highest, is_float) if count else 0
        else:
            share = _number(program[f, QUANTILE], YES)
            answer[0, place, k], answer[1, place, k] = _answer(
                operation, is_float, share, values[:count], count, newest, time, sums, squares, scale
            )


@compiled
def _needed(program: Array, first: int, last: int) -> tuple[int, bool, bool]:
    """Return the greatest operation of some features, whether any compares values, and whether any needs them all."""
    most, compares, collects = _COUNT, False, False
    for f in range(first, last):
        most = max(most, program[f, OPERATION])
        compares |= program[f, OPERATION] in (_MIN, _MAX)
        collects |= program[f, OPERATION] in (_UNIQUE, _QUANTILE)
    return most, compares, collects


@compiled
def _extent(bits: Array, is_float: bool, usable: Array) -> tuple[int, int, int]:  # noqa: FBT001
    """Return the least exponent (all values are whole multiples of that power of two), and the bits they need."""
    if not is_float:
        return 0, 0, 64
    least, greatest = exponents_of(bits, usable)
    return least, least - 1075, max(greatest - least, 0) + 53


@compiled
def _collect(bits: Array, usable: Array, values: Array) -> None:
    """Write the values that count one after the other."""
    count = 0
    for i in range(bits.size):
        if usable[i]:
            values[count] = bits[i]
            count += 1


@compiled
def _widen(bits: Array, is_float: bool, usable: Array, lowest: int, highest: int) -> tuple[int, int]:  # noqa: FBT001
    """Return the least and the greatest of some values, floats by their order, and of those before."""
    for i in range(bits.size):
        value = in_order(bits[i], is_float)
        lowest = min(lowest, value if usable[i] else FOREVER)
        highest = max(highest, value if usable[i] else NEVER)
    return lowest, highest


@compiled
def _count(event: Array, usable: Array, count: int, newest: int) -> tuple[int, int]:
    """Return how many rows count, and the time of the newest, with those before."""
    for i in range(event.size):
        count += usable[i]
        newest = max(newest, event[i] if usable[i] else NEVER)
    return count, newest


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
        total, fits = pair_to_integer(sums[0], sums[1])
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
        narrow = sums.size == PAIR
        found = pair_to_float(sums[0], sums[1], math.ldexp(1.0, scale)) if narrow else to_float(sums.copy(), scale)
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
