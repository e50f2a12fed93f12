"""The least of any run of rows: single rows at the ends, minima of blocks, and of blocks of blocks, between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.kernels._compile import compiled, frozen
from tinymlops.kernels._lives import MOST
from tinymlops.kernels._threads import in_chunks

if TYPE_CHECKING:
    from tinymlops.kernels.exact import Column

__all__ = ["Minima", "in_order", "order_key"]

Array = np.ndarray[Any, Any]

_BLOCK = 16
"""Rows per block, and blocks per block of blocks."""

_ALL_BUT_SIGN = 0x7FFFFFFFFFFFFFFF


class Minima:
    """Int64 whose order is that of values, with the minima of their blocks.

    Args:
        column: The values.
        flip: Turn the order round, so that the minimum belongs to the greatest value.
    """

    def __init__(self, column: Column, *, flip: bool) -> None:
        self._column, self._flip = column, flip
        self._rows = self._ranks(column.bits, column.plain)
        self._blocks = _blocks_of(self._rows)
        self._squares = _blocks_of(self._blocks)
        self._cubes = _blocks_of(self._squares)

    def over(self, low: Array, high: Array) -> Array:
        """Return int64, the least of each run `low:high` of rows in order; `MOST` for an empty one."""
        out, levels = np.empty(low.size, np.int64), (self._rows, self._blocks, self._squares, self._cubes)
        in_chunks(low.size, lambda a, b: _minima(*levels, low, high, a, b, out))
        return out

    def ranks(self, rows: Array) -> Array:
        """Return the order keys of some rows; `MOST` where one does not count."""
        return self._ranks(frozen(self._column.bits[rows], np.int64), frozen(self._column.valid[rows], np.bool_))

    def values(self, ranks: Array) -> Array:
        """Turn order keys back into values."""
        if self._flip:
            ranks = ~ranks
        return order_key(ranks).view(np.float64) if self._column.is_float else ranks

    def _ranks(self, bits: Array, valid: Array) -> Array:
        out, is_float = np.empty(bits.size, np.int64), self._column.is_float
        in_chunks(bits.size, lambda a, b: _rank(bits, is_float, valid, self._flip, a, b, out), least=65_536)
        return frozen(out, np.int64)


def order_key(bits: Array) -> Array:
    """Map the bits of float64 to int64 of the same order, and back: the map undoes itself."""
    return np.where(bits < 0, bits ^ np.int64(_ALL_BUT_SIGN), bits)


def _blocks_of(values: Array) -> Array:
    out = np.empty(-(-values.size // _BLOCK), np.int64)
    in_chunks(out.size, lambda a, b: _block_minima(values, a, b, out))
    return frozen(out, np.int64)


@compiled
def in_order(bits: int, is_float: bool) -> int:  # noqa: FBT001 - a kernel
    """Do what `order_key` does to the bits of one value; an integer stays as it is."""
    return bits ^ _ALL_BUT_SIGN if is_float and bits < 0 else bits


@compiled
def _rank(bits: Array, is_float: bool, valid: Array, flip: bool, start: int, stop: int, ranks: Array) -> None:  # noqa: FBT001
    for i in range(start, stop):
        rank = in_order(bits[i], is_float)
        if flip:
            rank = ~rank  # the minus that cannot overflow
        ranks[i] = rank if valid[i] else MOST


@compiled
def _block_minima(values: Array, start: int, stop: int, out: Array) -> None:
    for block in range(start, stop):
        out[block] = _least(values, block * _BLOCK, min((block + 1) * _BLOCK, values.size), MOST)


@compiled
def _minima(
    rows: Array, blocks: Array, squares: Array, cubes: Array, low: Array, high: Array, start: int, stop: int, out: Array
) -> None:
    for j in range(start, stop):
        first, last = -(-low[j] // _BLOCK), high[j] // _BLOCK
        if first >= last:
            out[j] = _least(rows, low[j], high[j], MOST)
            continue
        least = _least(rows, low[j], first * _BLOCK, MOST)
        least = _least(rows, last * _BLOCK, high[j], least)
        out[j] = _least_of_blocks(blocks, squares, cubes, first, last, least)


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
