"""Number values by a hash table of the wanted ones: a key that no spine row has needs no number of its own.

Integers are compared as they are, text by its bytes: a hash only says where to look.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types

from tinymlops.kernels._interpreted import instruction
from tinymlops.kernels.compiling import compiled, frozen
from tinymlops.kernels.threads import in_chunks

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["IntegerTable", "TextTable"]

Array = np.ndarray[Any, Any]

_U = np.uint64
_MIX = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: 2**64 over the golden ratio (Knuth, TAOCP 6.4)
_MIX_TOO = np.uint64(0xD6E8FEB86659FD93)  # Rau's mixer, https://mostlymangling.blogspot.com/2018/07
_INLINE = 12
"""Bytes of text that an Arrow view holds within itself."""
_LENGTH = 2**32 - 1
"""The half of a view's first word that is the text's length, and of its second that names a buffer."""


class IntegerTable:
    """The distinct integers of a column, numbered from 0 in the order of their first rows.

    Args:
        values: int64[m].
        skip: bool[m], rows that have no value.
    """

    def __init__(self, values: Array, skip: Array) -> None:
        values, skip = frozen(values, np.int64), frozen(skip, np.bool_)
        table = np.zeros((_capacity(values.size), 2), np.int64)
        self.count = int(_insert_integers(values, skip, table))
        self._table = frozen(table, np.int64)

    def find(self, values: Array, skip: Array) -> Array:
        """Return int64[n], the number of each value, -1 where it is skipped or unknown."""
        values, skip = frozen(values, np.int64), frozen(skip, np.bool_)
        codes = np.empty(values.size, np.int64)
        in_chunks(values.size, lambda a, b: _find_integers(self._table, values, skip, a, b, codes))
        return codes


class TextTable:
    """The distinct strings or bytes of a column, numbered from 0 in the order of their first rows.

    Args:
        values: A string_view or binary_view array.
    """

    def __init__(self, values: pa.Array[Any]) -> None:
        self._kept = values  # the table points into its buffers
        views, valid, buffers = _open_views(values)
        table = np.zeros((_capacity(len(values)), 4), np.int64)
        self.count = int(_insert_text(views, valid, buffers, table))
        self._table = frozen(table, np.int64)

    def find(self, values: pa.Array[Any]) -> Array:
        """Return int64[n], the number of each value, -1 where it is null or unknown."""
        views, valid, buffers = _open_views(values)
        codes = np.empty(len(values), np.int64)
        in_chunks(len(values), lambda a, b: _find_text(self._table, views, valid, buffers, a, b, codes))
        return codes


def _capacity(rows: int) -> int:
    """Return a power of two that leaves the table at most half full."""
    return 1 << max(4, (2 * rows).bit_length())


def _open_views(values: pa.Array[Any]) -> tuple[Array, Array, Array]:
    """Return the views int64[n, 2], the validity bool[n] (empty if all are valid) and the buffers' addresses."""
    validity, views, *data = values.buffers()
    words = np.frombuffer(views or b"", np.int64)[2 * values.offset :][: 2 * len(values)].reshape(-1, 2)
    valid = np.empty(0, np.bool_)
    if values.null_count:
        bits = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
        valid = bits[values.offset :][: len(values)].astype(np.bool_)
    addresses = np.array([buffer.address if buffer else 0 for buffer in data], np.int64)
    return frozen(words, np.int64), frozen(valid, np.bool_), frozen(addresses, np.int64)


def _load_word(_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = context.get_value_type(types.int64)
        return builder.load(builder.inttoptr(arguments[0], word.as_pointer()), align=1)

    return types.int64(address), generate


_load: Any = instruction(_load_word, lambda address: np.int64(ctypes.c_int64.from_address(int(address)).value))
"""Read the eight bytes at an address as an integer."""


@compiled
def _hash(first: int, second: int) -> Any:
    mixed = (_U(first) ^ (_U(second) * _MIX)) * _MIX_TOO
    return (mixed ^ (mixed >> _U(32))) * _MIX


@compiled
def _insert_integers(values: Array, skip: Array, table: Array) -> int:
    last = _U(table.shape[0] - 1)
    count = 0
    for i in range(values.size):
        if skip.size and skip[i]:
            continue
        at = _hash(values[i], 0) >> _U(20) & last
        while table[at, 1] and table[at, 0] != values[i]:
            at = (at + _U(1)) & last
        if not table[at, 1]:
            count += 1
            table[at, 0] = values[i]
            table[at, 1] = count
    return count


@compiled
def _find_integers(table: Array, values: Array, skip: Array, start: int, stop: int, codes: Array) -> None:
    last = _U(table.shape[0] - 1)
    for i in range(start, stop):
        at = _hash(values[_U(i)], 0) >> _U(20) & last
        while table[at, 1] and table[at, 0] != values[_U(i)]:
            at = (at + _U(1)) & last
        codes[_U(i)] = -1 if skip.size and skip[i] else table[at, 1] - 1


@compiled
def _digest(address: int, length: int) -> int:
    """Hash text of more than 12 bytes, of which the first four are known."""
    mixed = int(np.int64(_hash(_load(address), _load(address + length - 8))))
    for at in range(8, length - 8, 8):
        mixed = int(np.int64(_hash(mixed, _load(address + at))))
    return mixed


@compiled
def _same_bytes(one: int, two: int, length: int) -> bool:
    for at in range(0, length - 8, 8):
        if _load(one + at) != _load(two + at):
            return False
    return bool(_load(one + length - 8) == _load(two + length - 8))


@compiled
def _insert_text(views: Array, valid: Array, buffers: Array, table: Array) -> int:
    """Fill a table of (view's first word, its second word or a hash, number + 1, address)."""
    last = _U(table.shape[0] - 1)
    count = 0
    for i in range(views.shape[0]):
        if valid.size and not valid[i]:
            continue
        first, second, address = views[i, 0], views[i, 1], 0
        length = first & _LENGTH
        if length > _INLINE:
            address = buffers[second & _LENGTH] + (second >> 32)
            second = _digest(address, length)
        at = _hash(first, second) >> _U(20) & last
        while table[at, 2] and (
            table[at, 0] != first
            or table[at, 1] != second
            or (length > _INLINE and not _same_bytes(address, table[at, 3], length))
        ):
            at = (at + _U(1)) & last
        if not table[at, 2]:
            count += 1
            table[at, 0], table[at, 1], table[at, 2], table[at, 3] = first, second, count, address
    return count


@compiled
def _find_text(table: Array, views: Array, valid: Array, buffers: Array, start: int, stop: int, codes: Array) -> None:
    last = _U(table.shape[0] - 1)
    for i in range(start, stop):
        if valid.size and not valid[_U(i)]:
            codes[_U(i)] = -1
            continue
        first, second, address = views[_U(i), 0], views[_U(i), 1], 0
        length = first & _LENGTH
        if length > _INLINE:
            address = buffers[_U(second & _LENGTH)] + (second >> 32)
            second = _digest(address, length)
        at = _hash(first, second) >> _U(20) & last
        while table[at, 2] and (
            table[at, 0] != first
            or table[at, 1] != second
            or (length > _INLINE and not _same_bytes(address, table[at, 3], length))
        ):
            at = (at + _U(1)) & last
        codes[_U(i)] = table[at, 2] - 1
