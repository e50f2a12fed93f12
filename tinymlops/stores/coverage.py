"""The coverage of a view in the online store: the one place that writes and reads these bytes."""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["HIDDEN", "Coverage", "decode", "encode"]

HIDDEN = 2**63 - 1
"""As `at`: the view is being written, and no read is answered from it yet."""

_FORM = struct.Struct("<4q")


class Coverage(NamedTuple):
    """What the store holds of one view; it differs after every change of the view's rows."""

    sequence: int
    """`Q`: rows up to this sequence are in it."""
    at: int
    """Microseconds UTC: it answers reads at this time and later; an earlier one needs history."""
    keys: int
    stamp: int
    """Identifies the layout: another layout has another stamp."""

    @property
    def is_hidden(self) -> bool:
        """Whether reads may not be answered from it yet."""
        return self.at == HIDDEN


def encode(coverage: Coverage) -> bytes:
    """Return 32 bytes."""
    return _FORM.pack(*coverage)


def decode(data: bytes) -> Coverage:
    """Return what `encode` was given."""
    return Coverage(*_FORM.unpack(data))
