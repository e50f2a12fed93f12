"""The minimum of any run of rows: single rows at the ends, minima of blocks and of blocks of blocks in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.kernels._lives import MOST, late_minima
from tinymlops.kernels._sort import as_rows
from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.threads import in_chunks

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.kernels._bounds import Window
    from tinymlops.kernels.totals import Column

__all__ = ["Minima", "in_order", "order_key"]

Array = np.ndarray[Any, Any]

_BLOCK = 16
"""Rows per block, and blocks per block of blocks."""

_ALL_BUT_SIGN = 0x7FFFFFFFFFFFFFFF


class Minima:
    """Minima of the blocks of a column, by the order of its values.

    Args:
        column: The values.
        flip: Reverse the order, so that the minimum belongs to the greatest value.
    """

    def __init__(self, column: Column, *, flip: bool) -> None:
        self._column = column
        self._masks = _ALL_BUT_SIGN if column.is_float else 0, -1 if flip else 0
        rows, count = (column.bits, column.plain, *self._masks), column.bits.size
        self._blocks = _blocks_of(count, lambda a, b, out: _minima_of_rows(*rows, a, b, out))
        self._squares = _blocks_of_blocks(self._blocks)
        self._cubes = _blocks_of_blocks(self._squares)

    def over(self, window: Window) -> Array:
        """Return int64[m] or float64[m], the value of each window; of one without any, 0.0 or some integer."""
        lives, late = self._column.timeline.late, as_rows(None)
        if lives is not None:
            late = late_minima(lives, window.rows, self._ranks(lives.rows))
        rows = self._column.bits, self._column.plain, *self._masks, self._blocks, self._squares, self._cubes
        low, high = window.low, window.high
        out = window.spine.answers(np.int64, lambda a, b, part: _minima(*rows, late, low, high, a, b, part))
        return out.view(np.float64) if self._column.is_float else out

    def _ranks(self, rows: Array) -> Array:
        """Return int64 whose order is that of the values of some rows; `MOST` where one does not count."""
        bits = self._column.bits[rows]
        ranks = (order_key(bits) if self._column.is_float else bits) ^ self._masks[1]
        return frozen(np.where(self._column.valid[rows], ranks, MOST), np.int64)


def order_key(bits: Array) -> Array:
    """Map the bits of float64 to int64 of the same order, and back: the map is its own inverse."""
    return np.where(bits < 0, bits ^ np.int64(_ALL_BUT_SIGN), bits)


def _blocks_of(count: int, work: Callable[[int, int, Array], None]) -> Array:
    out = np.empty(-(-count // _BLOCK), np.int64)
    in_chunks(out.size, lambda a, b: work(a, b, out))
    return frozen(out, np.int64)


def _blocks_of_blocks(values: Array) -> Array:
    return _blocks_of(values.size, lambda a, b, out: _minima_of_blocks(values, a, b, out))


@compiled
def in_order(bits: int, is_float: bool) -> int:  # noqa: FBT001 - a kernel
    """Apply `order_key` to the bits of one value; an integer stays as it is."""
    return bits ^ _ALL_BUT_SIGN if is_float and bits < 0 else bits


@compiled
def _rank(bits: int, sign: int, turn: int) -> int:
    """Map the bits of a value to an integer of its order; `sign` is 0 for integers. `turn` is -1 to reverse the order, by
    the complement, which cannot overflow.
    """
    return bits ^ ((bits >> 63) & sign) ^ turn


@compiled
def _least_of_rows(
    bits: Array, plain: Array, sign: int, turn: int, low: int, high: int, least: int
) -> int:  # fmt: skip
    for i in range(low, high):
        if not plain.size or plain[i]:
            least = min(least, _rank(bits[i], sign, turn))
    return least


@compiled
def _minima_of_rows(bits: Array, plain: Array, sign: int, turn: int, start: int, stop: int, out: Array) -> None:
    for block in range(start, stop):
        low, high = block * _BLOCK, min((block + 1) * _BLOCK, bits.size)
        out[block] = _least_of_rows(bits, plain, sign, turn, low, high, MOST)


@compiled
def _minima_of_blocks(values: Array, start: int, stop: int, out: Array) -> None:
    for block in range(start, stop):
        out[block] = _least(values, block * _BLOCK, min((block + 1) * _BLOCK, values.size), MOST)


@compiled
def _minima(
    bits: Array, plain: Array, sign: int, turn: int, blocks: Array, squares: Array, cubes: Array,
    late: Array, low: Array, high: Array, start: int, stop: int, out: Array,
) -> None:  # fmt: skip
    for j in range(start, stop):
        first, last = -(-low[j] // _BLOCK), high[j] // _BLOCK
        least = late[j] if late.size else MOST
        if first >= last:
            least = _least_of_rows(bits, plain, sign, turn, low[j], high[j], least)
        else:
            least = _least_of_rows(bits, plain, sign, turn, low[j], first * _BLOCK, least)
            least = _least_of_rows(bits, plain, sign, turn, last * _BLOCK, high[j], least)
            least = _least_of_blocks(blocks, squares, cubes, first, last, least)
        # The map of the bits is its own inverse; a value that no float maps to was found in no row.
        out[j - start] = 0 if sign and least == MOST else _rank(least ^ turn, sign, 0)


@compiled
def _least_of_blocks(blocks: Array, squares: Array, cubes: Array, low: int, high: int, least: int) -> int:
    first, last = -(-low // _BLOCK), high // _BLOCK
    if first >= last:
        return _least(blocks, low, high, least)
    least = _least(blocks, low, first * _BLOCK, least)
    least = _least(blocks, last * _BLOCK, high, least)
    low, high = first, last
    first, last = -(-low // _BLOCK), high // _BLOCK
    if first >= last:
        return _least(squares, low, high, least)
    least = _least(squares, low, first * _BLOCK, least)
    least = _least(squares, last * _BLOCK, high, least)
    return _least(cubes, first, last, least)


@compiled
def _least(values: Array, low: int, high: int, least: int) -> int:
    for i in range(low, high):
        least = min(least, values[i])
    return least
