"""Sums of numbers without any rounding until the end: column-wise fixed point.

Every float64 is an integer times a power of two, so all values of a column are integers m times one 2**scale.
Each m is written in a few signed digits of `width` bits, and plain int64 prefix sums of each digit column are
kept. The digit sums of any run of rows are then differences of two prefix rows: exact, whatever the order,
the threads or the storage, and without carries, for a digit sum of all rows fits 62 bits. A sum is put
together and rounded to float64 once, half to even: what `math.fsum` gives. Squares are kept the same way, so
variances are rounded once, too.

The idea is that of the superaccumulator (Kulisch, "Computer Arithmetic and Validity", 2008), with only the
digits that the data needs.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinymlops.kernels._compile import compiled, frozen
from tinymlops.kernels._threads import in_chunks, thread_count
from tinymlops.kernels.records import VALUE, Records

if TYPE_CHECKING:
    from tinymlops.kernels._bounds import Bounds

__all__ = ["Column", "Digits", "deviations", "float_sums", "integer_sums"]

Array = np.ndarray[Any, Any]

_MOST_PREFIX_DIGITS = 16
"""Columns whose values span so many powers of two that they need more are summed row by row instead: no
prefix sums of that size would fit in memory."""

_MOST_QUICK_DIGITS = 8
"""Columns of more digits are not summed in float64 at all: steps of 2**62 would soon leave its range."""

_U = np.uint64
_LOW32 = np.uint64(0xFFFFFFFF)
_ZERO, _ONE = np.uint64(0), np.uint64(1)


class Digits(NamedTuple):
    """How the integers of a column, or their squares, are written."""

    width: int
    """Bits per digit, 32 to 62."""
    places: int
    """Digits per value."""
    prefix: Array
    """int64[n+1, places]: row i holds the digit sums of rows 0 to i-1; int64[0, places] where that would be too large."""


class Column:
    """Values of arranged rows, prepared once for sums over many windows.

    Args:
        values: int64[n] or float64[n], finite where valid.
        valid: bool[n]; rows with False count for nothing.
    """

    def __init__(self, values: Array, valid: Array) -> None:
        self.is_float = bool(np.issubdtype(values.dtype, np.floating))
        values = frozen(values, np.float64 if self.is_float else np.int64)
        self.bits = frozen(values.view(np.int64), np.int64)
        """int64[n]: the values, floats as their bits: one kernel serves both."""
        self.valid = frozen(valid, np.bool_)

    @cached_property
    def scale(self) -> int:
        """The power of two that every value is a whole multiple of."""
        return self._extent[0]

    @cached_property
    def _extent(self) -> tuple[int, int]:
        """The power of two all values are multiples of, and one that all are less than."""
        found: list[tuple[int, int]] = []

        def work(start: int, stop: int) -> None:
            found.append(_find_extent(self.bits, self.is_float, self.valid, start, stop))

        in_chunks(self.bits.size, work, least=65_536)
        lowest, highest = min((low for low, _ in found), default=0), max((high for _, high in found), default=0)
        # A column without any value but zero has no lowest bit; integers are multiples of one.
        return (lowest, highest) if self.is_float and lowest < highest else (0, max(highest, 0))

    @cached_property
    def linear(self) -> Digits:
        """The digits of the values."""
        return self._digits(self._extent[1] - self.scale, squared=False)

    @cached_property
    def squared(self) -> Digits:
        """The digits of the squares, in units of 2**(2*scale)."""
        return self._digits(2 * (self._extent[1] - self.scale), squared=True)

    def _digits(self, bits: int, *, squared: bool) -> Digits:
        rows = self.bits.size
        width = max(32, 62 - rows.bit_length())
        count = max(1, -(-bits // width))
        if count > _MOST_PREFIX_DIGITS:
            return Digits(width, count, frozen(np.empty((0, count), np.int64), np.int64))
        prefix = np.zeros((rows + 1, count), np.int64)
        parts = thread_count() if rows > 100_000 else 1
        edges = np.linspace(0, rows, parts + 1).astype(np.int64)
        totals = np.zeros((parts + 1, count), np.int64)

        def add_up(start: int, stop: int) -> None:
            for part in range(start, stop):
                _digit_totals(
                    self.bits, self.is_float, self.valid, self.scale, squared, width,
                    edges[part], edges[part + 1], totals[part + 1],
                )  # fmt: skip

        def fill(start: int, stop: int) -> None:
            for part in range(start, stop):
                _fill_prefix(
                    self.bits, self.is_float, self.valid, self.scale, squared, width,
                    edges[part], edges[part + 1], totals[part], prefix,
                )  # fmt: skip

        if parts > 1:  # a single part starts from zero and needs no totals
            in_chunks(parts, add_up, least=1)
            np.cumsum(totals, axis=0, out=totals)
        in_chunks(parts, fill, least=1)
        return Digits(width, count, frozen(prefix, np.int64))


def integer_sums(records: Records, column: Column, time: Array, bounds: Bounds) -> Array:
    """Sum integers over windows.

    Args:
        records: n arranged rows.
        column: Its values, int64.
        time: int64[m] spine times, microseconds UTC.
        bounds: The windows.

    Returns:
        int64[m], exact; 0 for an empty window.

    Raises:
        OverflowError: If a sum does not fit; its first argument is the spine row.
    """
    out = np.empty(time.size, np.int64)
    failed = np.zeros(time.size, np.uint8)

    def work(start: int, stop: int) -> None:
        _sum_integers(*_source(records, column, column.linear), time, *bounds, start, stop, out, failed)

    in_chunks(time.size, work)
    _raise_first(failed)
    return out


def float_sums(records: Records, column: Column, time: Array, bounds: Bounds) -> Array:
    """Sum numbers over windows: the exact sum, rounded to float64 once.

    Args:
        records: n arranged rows.
        column: Its values, int64 or float64.
        time: int64[m] spine times, microseconds UTC.
        bounds: The windows.

    Returns:
        float64[m]; 0.0 for an empty window.

    Raises:
        OverflowError: If a sum is beyond float64; its first argument is the spine row.
    """
    out = np.empty(time.size, np.float64)
    failed = np.zeros(time.size, np.uint8)

    def work(start: int, stop: int) -> None:
        _sum_floats(*_source(records, column, column.linear), time, *bounds, start, stop, out, failed)

    in_chunks(time.size, work)
    _raise_first(failed)
    return out


def deviations(
    records: Records,
    column: Column,
    time: Array,
    bounds: Bounds,
    counts: Array,
    *,
    root: bool,
) -> Array:
    """Compute sample variances or standard deviations over windows, exact until the one rounding at the end.

    With N = n * sum(m**2) - sum(m)**2 over the integers m, the variance is N / (n * (n-1)) * 2**(2*scale). N
    is an exact integer; quotient and root are computed in double-double with an error bound (Dekker, 1971),
    and in the few cells where the bound leaves the rounding open (Ziv's test, 1991), in integers of Python.

    Args:
        records: n arranged rows.
        column: Its values, int64 or float64.
        time: int64[m] spine times, microseconds UTC.
        bounds: The windows.
        counts: int64[m], the valid rows of each window.
        root: The standard deviation instead of the variance.

    Returns:
        float64[m], ddof=1; 0.0 where a window has fewer than two rows.

    Raises:
        OverflowError: If a result is beyond float64; its first argument is the spine row.
    """
    out = np.zeros(time.size, np.float64)
    open_cells = np.zeros(time.size, np.uint8)
    counts = frozen(counts, np.int64)

    def work(start: int, stop: int) -> None:
        _deviate(
            *_source(records, column, column.linear), column.squared.width, column.squared.prefix,
            time, *bounds, counts, root, start, stop, out, open_cells,
        )  # fmt: skip

    in_chunks(time.size, work)
    for cell in np.flatnonzero(open_cells):
        rows = _visible_rows(records, column, int(time[cell]), bounds, int(cell))
        try:
            out[cell] = _exact_deviation(rows, root=root)
        except OverflowError:
            raise OverflowError(int(cell)) from None
    return out


def _source(
    records: Records, column: Column, digits: Digits
) -> tuple[Array, Array, Array, Array, bool, Array, int, int, Array]:
    """Return the leading arguments of the summing kernels."""
    return (
        records.visible_from, records.visible_to, records.kind,
        column.bits, column.is_float, column.valid, column.scale, digits.width, digits.prefix,
    )  # fmt: skip


def _raise_first(failed: Array) -> None:
    cells = np.flatnonzero(failed)
    if cells.size:
        raise OverflowError(int(cells[0]))


def _visible_rows(records: Records, column: Column, time: int, bounds: Bounds, cell: int) -> list[Fraction]:
    """Return the values of one window."""
    rows = np.arange(bounds.low[cell], bounds.high[cell])
    if bounds.scan[cell]:
        seen = (records.visible_from[rows] < time) & (time <= records.visible_to[rows])
        rows = rows[seen & (records.kind[rows] == VALUE)]
    rows = rows[column.valid[rows]]
    values = column.bits[rows].view(np.float64) if column.is_float else column.bits[rows]
    return [Fraction(value) for value in values.tolist()]


def _exact_deviation(values: list[Fraction], *, root: bool) -> float:
    """Compute the correctly rounded sample variance, or its root, of two or more numbers."""
    n = len(values)
    total, squares = sum(values, Fraction()), sum((value * value for value in values), Fraction())
    variance = (n * squares - total * total) / (n * (n - 1))
    return _rounded_root(variance) if root else float(variance)


def _rounded_root(value: Fraction) -> float:
    """Return the square root rounded once: its integer part at 109 bits, the last made odd if anything is
    left over.

    With two bits more than twice a float's 53, that odd bit keeps the final division from rounding twice
    (Boldo and Melquiond, "When double rounding is odd", 2005).
    """
    if value == 0:
        return 0.0
    top, bottom = value.numerator, value.denominator
    shift = (top.bit_length() - bottom.bit_length() - 109) // 2
    if shift >= 0:
        bottom <<= 2 * shift
    else:
        top <<= -2 * shift
    integer = math.isqrt(top // bottom)
    integer |= integer * integer * bottom != top
    return float(integer << shift) if shift >= 0 else integer / (1 << -shift)


# Kernels. uint64 and int64 never meet in one expression: numba would make a float of it.


@compiled
def _magnitude(bits: int, is_float: bool) -> tuple[bool, np.uint64, int]:  # noqa: FBT001 - a kernel
    """Split a value into sign, integer and power of two."""
    if not is_float:
        # The negative of the least int64 is itself, and its bits read as unsigned are right.
        return bits < 0, _U(-bits if bits < 0 else bits), 0
    fraction = bits & 0xFFFFFFFFFFFFF
    exponent = (bits >> 52) & 0x7FF
    if exponent:
        return bits < 0, _U(fraction | (1 << 52)), exponent - 1075
    return bits < 0, _U(fraction), -1074


@compiled
def _bit_length(value: np.uint64) -> int:
    length = 0
    for step in (32, 16, 8, 4, 2, 1):
        if value >> _U(step):
            value >>= _U(step)
            length += step
    return length + (1 if value else 0)


@compiled
def _find_extent(bits: Array, is_float: bool, valid: Array, start: int, stop: int) -> tuple[int, int]:  # noqa: FBT001
    """Return the lowest power of two that any value needs, and one that all are less than."""
    lowest, highest = 1024, -1074
    for i in range(start, stop):
        if not valid[i]:
            continue
        _, magnitude, exponent = _magnitude(bits[i], is_float)
        if magnitude == _ZERO:
            continue
        if exponent + 64 > highest:
            highest = max(highest, exponent + _bit_length(magnitude))
        if exponent < lowest:
            # All bits below the lowest one set, counted.
            trailing = _bit_length((magnitude & (~magnitude + _ONE)) - _ONE)
            lowest = min(lowest, exponent + trailing)
    return lowest, highest


@compiled
def _piece(upper: np.uint64, lower: np.uint64, shift: int, mask: np.uint64, width: int) -> np.uint64:
    """Return the low bits, as the mask says, of the 128-bit number shifted left; to the right if negative."""
    if shift >= 0:
        return (lower << _U(shift)) & mask if shift < width else _ZERO
    right = -shift
    if right >= 128:
        return _ZERO
    if right >= 64:
        return (upper >> _U(right - 64)) & mask
    return ((lower >> _U(right)) | (upper << _U(64 - right))) & mask


@compiled
def _square(value: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the upper and lower half of the 128-bit square."""
    high, low = value >> _U(32), value & _LOW32
    cross = high * low  # counts twice: its top bit moves to the upper half
    lower = low * low
    added = lower + (cross << _U(33))
    carry = _ONE if added < lower else _ZERO
    return high * high + (cross >> _U(31)) + carry, added


@compiled
def _add_digits(
    bits: int, is_float: bool, scale: int, squared: bool, width: int, digits: Array  # noqa: FBT001
) -> None:  # fmt: skip
    """Add one value's digits, or its square's; only the few that its bits reach are touched."""
    negative, magnitude, exponent = _magnitude(bits, is_float)
    if magnitude == _ZERO:
        return
    offset = exponent - scale
    upper, length = _ZERO, 64
    if squared:
        upper, magnitude = _square(magnitude)
        offset *= 2
        negative = False
        length = 128
    mask = (_ONE << _U(width)) - _ONE
    j = 0 if offset < width else offset // width
    while j < digits.size and j * width < offset + length:
        digit = np.int64(_piece(upper, magnitude, offset - j * width, mask, width))
        digits[j] += -digit if negative else digit
        j += 1


@compiled
def _digit_totals(
    bits: Array, is_float: bool, valid: Array, scale: int, squared: bool, width: int,  # noqa: FBT001
    start: int, stop: int, total: Array,
) -> None:  # fmt: skip
    for i in range(start, stop):
        if valid[i]:
            _add_digits(bits[i], is_float, scale, squared, width, total)


@compiled
def _fill_prefix(
    bits: Array, is_float: bool, valid: Array, scale: int, squared: bool, width: int,  # noqa: FBT001
    start: int, stop: int, before: Array, prefix: Array,
) -> None:  # fmt: skip
    running = before.copy()
    for i in range(start, stop):
        if valid[i]:
            _add_digits(bits[i], is_float, scale, squared, width, running)
        for j in range(running.size):
            prefix[i + 1, j] = running[j]


@compiled
def _gather(
    visible_from: Array, visible_to: Array, kind: Array, bits: Array, is_float: bool, valid: Array, scale: int,  # noqa: FBT001
    width: int, prefix: Array, squared: bool, t: int, low: int, high: int, scan: bool, digits: Array,  # noqa: FBT001
) -> None:  # fmt: skip
    """Put the digit sums of one window into digits[:count]; digits[count] takes the carry later."""
    count = prefix.shape[1]
    for j in range(count + 1):
        digits[j] = 0
    if scan or prefix.shape[0] == 0:
        for i in range(low, high):
            seen = not scan or (visible_from[i] < t <= visible_to[i] and kind[i] == VALUE)
            if seen and valid[i]:
                _add_digits(bits[i], is_float, scale, squared, width, digits[:count])
    elif low < high:
        for j in range(count):
            digits[j] = prefix[high, j] - prefix[low, j]


@compiled
def _carry_over(digits: Array, width: int) -> None:
    carry = 0
    mask = (1 << width) - 1
    for j in range(digits.size - 1):
        total = digits[j] + carry
        carry = total >> width
        digits[j] = total & mask
    digits[-1] += carry


@compiled
def _normalise(digits: Array, width: int) -> bool:
    """Make all digits non-negative and less than 2**width; return whether the number was negative."""
    _carry_over(digits, width)
    negative = digits[-1] < 0
    if negative:
        for j in range(digits.size):
            digits[j] = -digits[j]
        _carry_over(digits, width)
    return bool(negative)


@compiled
def _to_limbs(digits: Array, width: int, limbs: Array) -> int:
    """Write a normalised number in 32-bit limbs, lowest first; return how many are used."""
    buffer, held, place, used = _ZERO, 0, 0, 0
    for j in range(digits.size):
        digit = _U(digits[j])
        # In two parts of at most 31 bits each, which always fit into the buffer beside less than 32 held bits.
        for part in range(2):
            bits = width - 31 if part else 31
            buffer |= (digit & ((_ONE << _U(bits)) - _ONE)) << _U(held)
            digit >>= _U(31)
            held += bits
            if held >= 32:
                limbs[place] = buffer & _LOW32
                buffer >>= _U(32)
                held -= 32
                place += 1
                if limbs[place - 1]:
                    used = place
    limbs[place] = buffer
    return place + 1 if buffer else used


@compiled
def _leading(limbs: Array, used: int) -> tuple[np.uint64, np.uint64, bool, int]:
    """Return the top 64 bits (the first of them set), the next 64, whether bits follow, and the power of the first 64."""
    zeros = 32 - _bit_length(limbs[used - 1])
    top = _window_of(limbs, used, 0, zeros)
    following = _window_of(limbs, used, 2, zeros)
    rest = False
    for place in range(used - 4):
        # The lowest limb of the following 64 bits was only used in part: what is left of it counts as well.
        if (limbs[place] << _U(zeros)) & _LOW32 if place == used - 5 else limbs[place]:
            rest = True
    return top, following, rest, 32 * (used - 2) - zeros


@compiled
def _window_of(limbs: Array, used: int, skipped: int, zeros: int) -> np.uint64:
    """Return 64 bits that start `skipped` limbs and `zeros` bits below the top."""
    out = _ZERO
    for step in range(2):
        out = (out << _U(32)) | _limb(limbs, used - 1 - skipped - step)
    spill = _limb(limbs, used - 3 - skipped)
    return (out << _U(zeros)) | (spill >> _U(32 - zeros))


@compiled
def _limb(limbs: Array, place: int) -> np.uint64:
    return _U(limbs[place]) if place >= 0 else _ZERO


@compiled
def _round_limbs(limbs: Array, used: int, scale: int) -> float:
    """Round a number of limbs, in units of 2**scale, to float64, half to even; infinity if it is beyond."""
    if used == 0:
        return 0.0
    top, following, rest, power = _leading(limbs, used)
    kept = top >> _U(11)
    dropped = top & _U(0x7FF)
    half = _U(0x400)
    if dropped > half or (dropped == half and (following != _ZERO or rest or (kept & _ONE) == _ONE)):
        kept += _ONE
    # Below the normal range nothing was dropped: the sum is a whole multiple of 2**-1074.
    return math.ldexp(np.float64(kept), power + 11 + scale)


@compiled
def _limbs_for(digits: int, width: int) -> int:
    return (digits * width) // 32 + 4


@compiled
def _quick_sum(prefix: Array, low: int, high: int, step: float) -> tuple[float, bool]:
    """Sum a window's digits in double-double, by Horner's rule; say whether the rounding is certain."""
    total = rest = greatest = 0.0
    for j in range(prefix.shape[1] - 1, -1, -1):
        digit = prefix[high, j] - prefix[low, j]
        total, error = _two_sum(total * step, np.float64(digit >> 32) * 4294967296.0)
        total, rest = _two_sum(total, rest * step + error)
        total, error = _two_sum(total, np.float64(digit & 0xFFFFFFFF))
        total, rest = _two_sum(total, rest + error)
        greatest = max(greatest * step, abs(total))
    # Each digit loses less than 2**-103 of the greatest total so far; without any loss nothing is left of a zero.
    error = greatest * 2.0**-98
    return total, total + (rest + error) == total and total + (rest - error) == total


@compiled
def _sum_floats(
    visible_from: Array, visible_to: Array, kind: Array, bits: Array, is_float: bool, valid: Array, scale: int,  # noqa: FBT001
    width: int, prefix: Array, time: Array, low: Array, high: Array, scan: Array, order: Array,
    start: int, stop: int, out: Array, failed: Array,
) -> None:  # fmt: skip
    count = prefix.shape[1]
    digits = np.zeros(count + 1, np.int64)
    limbs = np.zeros(_limbs_for(count + 1, width), np.uint64)
    step = 2.0**width
    for row in order[start:stop]:
        value, certain = 0.0, False
        if not scan[row] and prefix.shape[0] and count <= _MOST_QUICK_DIGITS:
            value, certain = _quick_sum(prefix, low[row], high[row], step)
        if certain:
            value = math.ldexp(value, scale)
        else:
            _gather(
                visible_from, visible_to, kind, bits, is_float, valid, scale, width, prefix, False,
                time[row], low[row], high[row], scan[row], digits,
            )  # fmt: skip
            negative = _normalise(digits, width)
            value = _round_limbs(limbs, _to_limbs(digits, width, limbs), scale)
            value = -value if negative else value
        out[row] = value
        if math.isinf(value):
            failed[row] = 1


@compiled
def _sum_integers(
    visible_from: Array, visible_to: Array, kind: Array, bits: Array, is_float: bool, valid: Array, scale: int,  # noqa: FBT001
    width: int, prefix: Array, time: Array, low: Array, high: Array, scan: Array, order: Array,
    start: int, stop: int, out: Array, failed: Array,
) -> None:  # fmt: skip
    count = prefix.shape[1]
    digits = np.zeros(count + 1, np.int64)
    limbs = np.zeros(_limbs_for(count + 1, width), np.uint64)
    for row in order[start:stop]:
        _gather(
            visible_from, visible_to, kind, bits, is_float, valid, scale, width, prefix, False,
            time[row], low[row], high[row], scan[row], digits,
        )  # fmt: skip
        if count == 1:
            out[row] = digits[0]
            continue
        negative = _normalise(digits, width)
        used = _to_limbs(digits, width, limbs)
        magnitude = limbs[0] | (limbs[1] << _U(32))
        # The unsigned bits of -2**63 are 2**63; one more than the greatest int64 is right only with a minus.
        if used > 2 or magnitude > _U(0x7FFFFFFFFFFFFFFF) + (_ONE if negative else _ZERO):
            failed[row] = 1
        out[row] = -np.int64(magnitude) if negative else np.int64(magnitude)


@compiled
def _deviate(
    visible_from: Array, visible_to: Array, kind: Array, bits: Array, is_float: bool, valid: Array, scale: int,  # noqa: FBT001
    width: int, prefix: Array, width_2: int, prefix_2: Array, time: Array, low: Array, high: Array, scan: Array, order: Array,
    counts: Array, root: bool, start: int, stop: int, out: Array, open_cells: Array,  # noqa: FBT001
) -> None:  # fmt: skip
    digits = np.zeros(prefix.shape[1] + 1, np.int64)
    digits_2 = np.zeros(prefix_2.shape[1] + 1, np.int64)
    limbs = np.zeros(_limbs_for(digits.size, width), np.uint64)
    limbs_2 = np.zeros(_limbs_for(digits_2.size, width_2), np.uint64)
    product = np.zeros(2 * limbs.size + limbs_2.size + 3, np.uint64)
    for row in order[start:stop]:
        n = counts[row]
        if n < 2:
            continue
        _gather(
            visible_from, visible_to, kind, bits, is_float, valid, scale, width, prefix, False,
            time[row], low[row], high[row], scan[row], digits,
        )  # fmt: skip
        _gather(
            visible_from, visible_to, kind, bits, is_float, valid, scale, width_2, prefix_2, True,
            time[row], low[row], high[row], scan[row], digits_2,
        )  # fmt: skip
        _normalise(digits, width)
        _normalise(digits_2, width_2)
        used = _to_limbs(digits, width, limbs)
        used_2 = _to_limbs(digits_2, width_2, limbs_2)
        used = _spread(limbs, used, limbs_2, used_2, _U(n), product)
        value, certain = _quotient(product, used, n, scale, root)
        out[row] = value
        open_cells[row] = 0 if certain else 1


@compiled
def _spread(sums: Array, used: int, squares: Array, used_2: int, n: np.uint64, product: Array) -> int:
    """Write n * squares - sums**2 to product, which is never negative; return the limbs used."""
    for place in range(product.size):
        product[place] = _ZERO
    carry = _ZERO
    for place in range(used_2):
        total = squares[place] * n + carry
        product[place] = total & _LOW32
        carry = total >> _U(32)
    product[used_2] = carry
    size = max(2 * used, used_2 + 1) + 1
    for i in range(used):
        carry, borrow = _ZERO, _ZERO
        for j in range(size - i):
            total = carry
            if j < used:
                total += sums[i] * sums[j]
            carry = total >> _U(32)
            taken = (total & _LOW32) + borrow
            # One bit above the limb is lent before the subtraction and seen after it.
            left = product[i + j] + (_ONE << _U(33)) - taken
            product[i + j] = left & _LOW32
            borrow = (_ONE << _U(1)) - (left >> _U(32))
    while size > 0 and product[size - 1] == _ZERO:
        size -= 1
    return size


@compiled
def _two_sum(a: float, b: float) -> tuple[float, float]:
    """Return a + b as a rounded sum and its exact error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@compiled
def _two_product(a: float, b: float) -> tuple[float, float]:
    """Return a * b as a rounded product and its exact error (Dekker, with Veltkamp's split)."""
    product = a * b
    split = 134217729.0 * a
    a_high = split - (split - a)
    a_low = a - a_high
    split = 134217729.0 * b
    b_high = split - (split - b)
    b_low = b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@compiled
def _pair(value: np.uint64) -> tuple[float, float]:
    """Write 64 bits as the unevaluated sum of two float64."""
    return _two_sum(np.float64(value >> _U(32)) * 4294967296.0, np.float64(value & _LOW32))


@compiled
def _quotient(product: Array, used: int, n: int, scale: int, root: bool) -> tuple[float, bool]:  # noqa: FBT001
    """Return product / (n * (n-1)) * 2**(2*scale), or its root, and whether it is certain to be rounded right."""
    if used == 0:
        return 0.0, True
    top, following, _, power = _leading(product, used)
    high, low = _pair(top)
    high, low = _two_sum(high, low + np.float64(following >> _U(11)) * 2.0**-53)
    power += 2 * scale
    by_high, by_low = _pair(_U(n) * _U(n - 1))
    high, low = _divide(high, low, by_high, by_low)
    if root:
        if power & 1:
            high, low, power = high * 2.0, low * 2.0, power - 1
        high, low = _root(high, low)
        power >>= 1
    # The steps above lose less than 2**-98 of the value; 2**-90 leaves room and almost never leaves a cell
    # open.
    error = high * 2.0**-90
    certain = high + (low + error) == high and high + (low - error) == high
    # Near the ends of the range the last step would round again, or not fit.
    size = math.frexp(high)[1] + power
    if size < -1000 or size > 1000:
        return 0.0, False
    return math.ldexp(high, power), certain


@compiled
def _divide(high: float, low: float, by_high: float, by_low: float) -> tuple[float, float]:
    """Divide two double-doubles (Dekker, with a second correction)."""
    first = high / by_high
    product, error = _two_product(first, by_high)
    rest = (high - product) - error + low - first * by_low
    second = rest / by_high
    return _two_sum(first, second)


@compiled
def _root(high: float, low: float) -> tuple[float, float]:
    """Take the square root of a double-double by one Newton step."""
    first = math.sqrt(high)
    product, error = _two_product(first, first)
    rest = (high - product) - error + low
    return _two_sum(first, rest / (2.0 * first))
