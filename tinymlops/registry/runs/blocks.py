"""Sealed points: blocks of compressed columns, and a pyramid that draws a curve without reading them.

A column is written as differences (steps and times) and byte by byte: the first bytes of all numbers, then the second
ones, and so on, which is what a general compressor needs to see that they repeat. The pyramid holds of each bucket of 64
points the first, least, greatest and last one.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from tinymlops.errors import IntegrityError
from tinymlops.registry.runs.points import Floats, Points

__all__ = [
    "BLOCK",
    "BUCKET",
    "Pyramid",
    "decode_block",
    "decode_pyramid",
    "encode_block",
    "encode_pyramid",
    "longer_pyramid",
]

BLOCK = 16_384
"""Points of a block."""
BUCKET = 64
"""Points of a bucket of the pyramid."""

_HEADER = struct.Struct("<BBI4I")
_FORMAT = 1
_WHOLE, _SESSIONS = 1, 2
_LEVEL = 2
_DAMAGED = "a sealed metric cannot be read"
_UNREADABLE: Any = (struct.error, ValueError, zlib.error, zlib_ng.error)
_HINT = "restore the workspace from a backup"


class Pyramid(NamedTuple):
    """Four points of each bucket, one row a bucket: the first, the least, the greatest and the last one."""

    steps: Floats
    """Shape (buckets, 4)."""
    values: Floats
    """Shape (buckets, 4); NaN is least and greatest only where a bucket has nothing else."""


def encode_block(points: Points) -> bytes:
    """Return points as bytes, in their order."""
    whole = bool((points.steps == np.floor(points.steps)).all())
    several = bool(points.sessions.any())
    steps = np.diff(points.steps.astype(np.int64), prepend=0) if whole else points.steps
    columns = [_packed(steps), _packed(points.values), _packed(np.diff(points.times, prepend=0))]
    columns.append(_packed(points.sessions) if several else b"")
    flags = _WHOLE * whole | _SESSIONS * several
    return _HEADER.pack(_FORMAT, flags, points.size, *map(len, columns)) + b"".join(columns)


def decode_block(content: bytes) -> Points:
    """Read what `encode_block` wrote.

    Raises:
        IntegrityError: If it is not that.
    """
    try:
        version, flags, count, *sizes = _HEADER.unpack_from(content)
        if version != _FORMAT:
            raise IntegrityError(f"{_DAMAGED}: it has format {version}", hint="pip install --upgrade tinymlops")
        parts, place = [], _HEADER.size
        for size in sizes:
            parts.append(content[place : place + size])
            place += size
        steps = _unpacked(parts[0], count, np.int64 if flags & _WHOLE else np.float64)
        sessions = _unpacked(parts[3], count, np.int32) if flags & _SESSIONS else np.zeros(count, np.int32)
        return Points(
            np.cumsum(steps).astype(np.float64) if flags & _WHOLE else steps,
            _unpacked(parts[1], count, np.float64),
            np.cumsum(_unpacked(parts[2], count, np.int64)),
            sessions,
        )
    except _UNREADABLE as error:
        raise IntegrityError(f"{_DAMAGED}: {error}", hint=_HINT) from error


def encode_pyramid(points: Points) -> bytes:
    """Return the pyramid of points in their order."""
    pyramid = pyramid_of(points.steps, points.values, np.arange(0, points.size, BUCKET))
    return pyramid.steps.tobytes() + pyramid.values.tobytes()


def longer_pyramid(content: bytes, buckets: int, points: Points) -> bytes:
    """Return a pyramid that goes on with more points.

    Args:
        content: What `encode_pyramid` returned for the points before; empty if there are none.
        buckets: How many of its buckets stay; the points begin after them.
        points: In order.
    """
    kept = decode_pyramid(content)
    more = pyramid_of(points.steps, points.values, np.arange(0, points.size, BUCKET))
    parts = (kept.steps[:buckets], more.steps, kept.values[:buckets], more.values)
    return b"".join(part.tobytes() for part in parts)


def decode_pyramid(content: bytes) -> Pyramid:
    """Read what `encode_pyramid` wrote.

    Raises:
        IntegrityError: If it is not that.
    """
    buckets, rest = divmod(len(content), 64)
    if rest:
        raise IntegrityError(_DAMAGED, hint=_HINT)
    steps = np.frombuffer(content, np.float64, 4 * buckets).reshape(buckets, 4)
    return Pyramid(steps, np.frombuffer(content, np.float64, offset=32 * buckets).reshape(buckets, 4))


def pyramid_of(steps: Floats, values: Floats, begins: npt.NDArray[np.intp]) -> Pyramid:
    """Return the first, least, greatest and last point of each bucket.

    Args:
        steps: In order.
        values: Of these steps.
        begins: Where each bucket begins, in order; the first is 0.
    """
    if not len(steps):
        return Pyramid(np.empty((0, 4)), np.empty((0, 4)))
    ends = np.append(begins[1:], len(steps))
    places = np.stack(
        [begins, _extreme(values, begins, least=True), _extreme(values, begins, least=False), ends - 1], 1
    )
    return Pyramid(steps[places], values[places])


def _extreme(values: Floats, begins: npt.NDArray[np.intp], *, least: bool) -> npt.NDArray[np.intp]:
    """Return the place of the first least or greatest value of each bucket; its begin where all are NaN."""
    reduce = np.fmin if least else np.fmax
    extreme = reduce.reduceat(values, begins)
    sizes = np.diff(np.append(begins, len(values)))
    is_it = values == np.repeat(extreme, sizes)
    places = np.flatnonzero(is_it)
    found = np.searchsorted(places, begins)
    inside = np.minimum(found, max(len(places) - 1, 0))
    result = places[inside] if len(places) else begins
    return np.where(np.isnan(extreme), begins, result)


def _packed(column: npt.NDArray[np.generic]) -> bytes:
    width = column.dtype.itemsize
    shuffled = np.ascontiguousarray(column.view(np.uint8).reshape(-1, width).T)
    packed: bytes = zlib_ng.compress(shuffled.tobytes(), _LEVEL)
    return packed


def _unpacked(content: bytes, count: int, dtype: type[np.generic]) -> npt.NDArray[Any]:
    width = np.dtype(dtype).itemsize
    shuffled = np.frombuffer(zlib_ng.decompress(content), np.uint8).reshape(width, count)
    return np.ascontiguousarray(shuffled.T).reshape(-1).view(dtype)
