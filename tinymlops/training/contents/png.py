"""PNG from an array of pixels, by the PNG specification (ISO/IEC 15948), so that no image library is needed."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["png"]

_COLOURS = {1: 0, 3: 2, 4: 6}
"""Channels to PNG's colour type: grey, RGB, RGB with opacity."""
_UP = 2
"""The filter that writes each row as its difference from the row above: neighbours are alike, so it packs better."""


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as PNG.

    Args:
        pixels: Height x width x channels, of 1, 3 or 4 channels.
    """
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 0] = _UP
    flat = pixels.reshape(height, width * channels)
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])  # modulo 256, as the filter says
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
