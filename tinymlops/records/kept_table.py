"""What every table that was computed and kept says of itself."""

from __future__ import annotations

from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["KeptTable"]


class KeptTable(Record, frozen=True, kw_only=True):
    """A table of features as it was computed once, with a manifest that is enough to compute it again."""

    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True
    search: ClassVar[tuple[str, ...]] = ("name",)

    id: str
    name: str
    sequence: int
    """`Q`: only rows with a sequence up to this one were read."""
    fingerprint: str
    """SHA-256 over schema and values in row order."""
    manifest_sha256: str
    rows: int
    features: int
