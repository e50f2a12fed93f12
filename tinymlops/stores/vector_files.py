"""Files of vectors: immutable, each vector under the hash of its text, sorted by hash; the only module that knows the format.

A file is `tmvector1` and padding to 16 bytes, the dimension and the number of vectors (uint64, little endian), the hashes
(32 bytes each, ascending), zeros up to a multiple of 64, and the vectors (float32, little endian), which are mapped into memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinymlops.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinymlops.stores.blobs import Blobs

__all__ = ["VectorTable", "open_vectors", "store_vectors"]

Array = np.ndarray[Any, Any]

_MAGIC = b"tmvector1\0\0\0\0\0\0\0"
_HEAD = 32
_HASH = 32
_ALIGNED = 64


class VectorTable(NamedTuple):
    """The vectors of one file."""

    hashes: Array
    """uint8[n, 32], ascending."""
    vectors: Array
    """float32[n, d], mapped."""
    leads: Array
    """uint64[n], the first eight bytes of each hash as a number."""

    def find(self, hashes: Array) -> Array:
        """Return where hashes are, int64[m]; -1 for those that the file does not have.

        Args:
            hashes: uint8[m, 32].
        """
        known, wanted = self.leads, _leads(hashes)
        places = np.searchsorted(known, wanted)
        found = np.full(len(hashes), -1, np.int64)
        for row in np.flatnonzero(
            (places < known.size) & (known[np.minimum(places, max(0, known.size - 1))] == wanted)
        ):
            place = int(places[row])
            while place < known.size and known[place] == wanted[row]:  # others may begin with the same eight bytes
                if (self.hashes[place] == hashes[row]).all():
                    found[row] = place
                    break
                place += 1
        return found


def store_vectors(blobs: Blobs, hashes: Sequence[bytes], vectors: Array) -> str:
    """Store vectors durably; return the SHA-256 of the file.

    Args:
        blobs: Where.
        hashes: The hash of each text, 32 bytes, all different.
        vectors: float32[n, d].
    """
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    count, dimension = vectors.shape
    padding = -(_HEAD + _HASH * count) % _ALIGNED
    head = _MAGIC + np.array([dimension, count], "<u8").tobytes()
    data = head + b"".join(hashes[place] for place in order) + bytes(padding)

    def write(stream: Any) -> None:
        stream.write(data)
        for start in range(0, count, 4_096):
            stream.write(np.ascontiguousarray(vectors[order[start : start + 4_096]], "<f4").tobytes())

    return blobs.put_written(write).sha256


def open_vectors(blobs: Blobs, sha256: str) -> VectorTable:
    """Map a file, after it was compared with its hash, once per process as long as it does not change.

    Raises:
        IntegrityError: If it is missing, damaged, or not a file of vectors.
    """
    path: Path = blobs.path(sha256)
    head = np.memmap(path, np.uint8, "r", 0, (_HEAD,)) if path.stat().st_size >= _HEAD else np.zeros(_HEAD, np.uint8)
    dimension, count = (int(number) for number in head[16:].view("<u8"))
    begins = _HEAD + _HASH * count
    begins += -begins % _ALIGNED
    if head[:16].tobytes() != _MAGIC or path.stat().st_size != begins + 4 * count * dimension:
        raise IntegrityError(f"{path} is not a file of vectors", hint="restore the workspace from a backup")
    hashes = np.memmap(path, np.uint8, "r", _HEAD, (count, _HASH))
    return VectorTable(hashes, np.memmap(path, "<f4", "r", begins, (count, dimension)), _leads(hashes))


def _leads(hashes: Array) -> Array:
    """Return the first eight bytes of each hash as a number: in the order of the hashes."""
    return np.ascontiguousarray(hashes[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
