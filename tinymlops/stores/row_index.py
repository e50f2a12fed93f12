"""Row indexes: which pieces of a segment hold rows with some hashes, told without reading the segment.

A file has one number for each row, ascending: the upper 48 bits of a hash of the row's values, and in the lower 16 the
number of the piece that the row is in. The numbers stand in blocks with a CRC-32 each, so that a look-up of few hashes reads
and checks few blocks. Different values may share a hash: an index only says where to look.

An index is derived from its segment, may be removed at any time, and is not synced. One that is damaged, or was made of
another file, of other columns or by other hashes, is removed, and its user makes it again.
"""

from __future__ import annotations

import os
import shutil
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from zlib_ng.zlib_ng import crc32

from tinymlops.errors import IntegrityError, TinyMLOpsError
from tinymlops.stores.publish import make_directory, open_regular, scratch_directory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from io import BufferedReader

__all__ = [
    "MOST_PIECES",
    "damage",
    "drop",
    "find",
    "listed",
    "matching",
    "numbers_of",
    "remove_others",
    "store",
]

MOST_PIECES = 1 << 16
"""The most pieces of a segment that has an index."""

_MAGIC = b"tmrows\x00\x01"
_HEADER = struct.Struct("<8s32sQ")
_CHECK = 4
_BLOCK = 4096
"""Numbers in a block: 32 KiB."""
_BLOCKS_AT_ONCE = 256
_PIECE = np.uint64(MOST_PIECES - 1)

Array = np.ndarray[Any, Any]


class _Contents(NamedTuple):
    """What stands before the numbers."""

    identity: bytes
    size: int
    """How many numbers there are."""
    first: Array
    """The first number of each block."""
    checks: Array
    """The CRC-32 of each block."""
    begins: int
    """Where the numbers begin in the file, bytes."""


def numbers_of(hashes: Iterable[Array], *, rows: int, piece: int) -> Array:
    """Return the numbers of an index.

    Args:
        hashes: uint64 of all rows in their order, some at a time.
        rows: How many rows there are.
        piece: Rows of a piece; there may be `MOST_PIECES`.

    Returns:
        uint64[n], ascending, each once.
    """
    numbers = np.empty(rows, np.uint64)
    at = 0
    for part in hashes:
        places = np.arange(at, at + part.size, dtype=np.uint64) // np.uint64(piece)
        numbers[at : at + part.size] = (part & ~_PIECE) | places
        at += part.size
    numbers = _in_order(numbers)
    again = numbers[1:] == numbers[:-1]
    return numbers[np.concatenate([[True], ~again])] if again.any() else numbers


def store(path: Path, identity: bytes, numbers: Array, tmp: Path) -> None:
    """Write an index, complete or not at all; where that fails there is none, as before.

    Args:
        path: `indexes/<source>/<segment>`.
        identity: 32 bytes that tell what it is made of.
        numbers: As `numbers_of` returns them.
        tmp: The workspace's directory for unfinished files, on the same file system.
    """
    data = numbers.astype("<u8", copy=False).view(np.uint8).data
    size = _BLOCK * 8
    checks = np.array([crc32(data[at : at + size]) for at in range(0, len(data), size)], "<u4")
    head = _HEADER.pack(_MAGIC, identity, numbers.size) + numbers[::_BLOCK].astype("<u8").tobytes() + checks.tobytes()
    with suppress(OSError, TinyMLOpsError):
        make_directory(path.parent.parent)
        make_directory(path.parent)
        with scratch_directory(tmp) as unfinished:
            building = unfinished / "index"
            descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines((head, _check(head), data))
            building.rename(path)


def find(path: Path, identity: bytes, hashes: Array) -> Array | None:
    """Return the pieces that may hold rows with one of some hashes.

    Args:
        path: The index.
        identity: What it has to be made of.
        hashes: uint64[k], ascending.

    Returns:
        Numbers of pieces, ascending; None if there is no such index, or it is damaged, and then it is removed.
    """
    try:
        with open_regular(path) as file:
            contents = _contents(file)
            if contents.identity == identity:
                return _found(file, contents, hashes)
    except FileNotFoundError:
        return None
    except (IntegrityError, OSError):
        pass
    drop(path)
    return None


def drop(path: Path) -> None:
    """Remove an index, or anything else in its place; it may be absent."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def listed(root: Path) -> Iterator[Path]:
    """Yield every index below `indexes`."""
    yield from sorted(root.glob("*/*"))


def remove_others(root: Path, kept: Collection[tuple[str, str]]) -> None:
    """Remove the indexes of all other segments.

    Args:
        root: `indexes`.
        kept: Source and SHA-256 of each segment that may keep its index.
    """
    for path in listed(root):
        if (path.parent.name, path.name) not in kept:
            drop(path)


def damage(path: Path) -> Path | None:
    """Read a whole index; return its path if it is not what was written."""
    try:
        with open_regular(path) as file:
            contents = _contents(file)
            for start in range(0, contents.first.size, _BLOCKS_AT_ONCE):
                _numbers(file, contents, start, min(start + _BLOCKS_AT_ONCE, contents.first.size))
    except FileNotFoundError:
        return None  # another process removed it
    except (IntegrityError, OSError):
        return path
    return None


def _contents(file: BufferedReader) -> _Contents:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise IntegrityError("it is too short")
    magic, identity, count = _HEADER.unpack(head)
    blocks = -(-count // _BLOCK)
    begins = _HEADER.size + blocks * 12 + _CHECK
    if magic != _MAGIC or os.fstat(file.fileno()).st_size != begins + count * 8:
        raise IntegrityError("it is not an index, or not whole")
    rest = file.read(blocks * 12 + _CHECK)
    if _check(head + rest[:-_CHECK]) != rest[-_CHECK:]:
        raise IntegrityError("its header is damaged")
    first = np.frombuffer(rest, "<u8", blocks)
    return _Contents(identity, count, first, np.frombuffer(rest, "<u4", blocks, blocks * 8), begins)


def matching(numbers: Array, hashes: Array) -> Array:
    """Return the pieces of the numbers that are of one of some hashes; all ascending."""
    if not numbers.size:
        return numbers
    greatest = hashes | _PIECE
    begin = np.searchsorted(numbers, hashes & ~_PIECE)
    hit = (begin < numbers.size) & (numbers[np.minimum(begin, numbers.size - 1)] <= greatest)
    begin, end = begin[hit], np.searchsorted(numbers, greatest[hit], "right")
    counts = end - begin
    places = np.repeat(end - np.cumsum(counts), counts) + np.arange(counts.sum())
    return np.unique(numbers[places] & _PIECE)


def _found(file: BufferedReader, contents: _Contents, hashes: Array) -> Array:
    least, greatest = hashes & ~_PIECE, hashes | _PIECE
    if not contents.size or not hashes.size:
        return np.empty(0, np.uint64)
    start = np.maximum(np.searchsorted(contents.first, least, "right"), 1) - 1
    stop = np.searchsorted(contents.first, greatest, "right")  # after the last block that may hold it
    needed = np.zeros(contents.first.size + 1, np.int64)
    np.add.at(needed, start, 1)
    np.subtract.at(needed, np.maximum(stop, start), 1)
    found = []
    for first, last in _runs(np.flatnonzero(np.cumsum(needed[:-1]) > 0)):
        numbers = _numbers(file, contents, first, last)
        asked = slice(np.searchsorted(stop, first, "right"), np.searchsorted(start, last, "left"))
        found.append(matching(numbers, hashes[asked]))
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint64)


def _runs(blocks: Array) -> Iterator[tuple[int, int]]:
    """Yield the first of some following blocks, and the one after them; not too many at once."""
    for part in np.split(blocks, np.flatnonzero(np.diff(blocks) > 1) + 1):
        for at in range(0, part.size, _BLOCKS_AT_ONCE):
            some = part[at : at + _BLOCKS_AT_ONCE]
            yield int(some[0]), int(some[-1]) + 1


def _numbers(file: BufferedReader, contents: _Contents, first: int, last: int) -> Array:
    """Read blocks, and compare each with its check."""
    # Read, not mapped: a bad sector under a map would kill the process, and peak memory would grow with the file.
    file.seek(contents.begins + first * _BLOCK * 8)
    data = memoryview(file.read((last - first) * _BLOCK * 8))
    for block in range(first, last):
        at = (block - first) * _BLOCK * 8
        if crc32(data[at : at + _BLOCK * 8]) != contents.checks[block]:
            raise IntegrityError("a block is damaged")
    return np.frombuffer(data, "<u8")


def _in_order(numbers: Array) -> Array:
    import polars as pl

    return pl.Series(numbers).sort().to_numpy()  # by several threads


def _check(content: bytes) -> bytes:
    return crc32(content).to_bytes(_CHECK, "little")
