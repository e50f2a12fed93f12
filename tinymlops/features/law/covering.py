"""What the digests of Python code cover and do not see, for those who plan, and for definitions from before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from tinymlops.features.context import spec_of
from tinymlops.features.definitions.definitions import in_words, kind_of
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import AnySpec, CodeCover
    from tinymlops.records import Definition

__all__ = ["Unseen", "adopts", "unseen_of"]


class Unseen(msgspec.Struct, frozen=True):
    """What the digest of one definition's Python code does not see.

    Example:
        >>> print(Unseen("source", "orders", ["orders: what pl.read_csv reads"], {"polars": "1.33"}))
        the digest of source orders does not see: orders: what pl.read_csv reads
    """

    kind: str
    name: str
    what: list[str]
    packages: dict[str, str]
    """The installed packages that it names, to their versions."""

    def __str__(self) -> str:
        return f"the digest of {in_words(self.kind)} {self.name} does not see: {'; '.join(self.what)}"


def unseen_of(definitions: Iterable[AnySpec]) -> list[Unseen]:
    """Return what the digests of definitions do not see, in their order; of those with Python code."""
    found = []
    for spec in definitions:
        covers = _covers(spec)
        if covers is not None:
            found.append(Unseen(kind_of(spec), spec.name, list(covers.unseen), covers.packages))
    return found


def adopts(row: Definition, spec: AnySpec) -> bool:
    """Return whether a version was recorded before digests covered more than a function, and its code is the same still."""
    covers = _covers(spec)
    if covers is None or not isinstance(spec, SourceSpec | OnDemandSpec) or spec.code is None:
        return False
    before = spec_of(row)
    code = before.code if isinstance(before, SourceSpec | OnDemandSpec) else None
    return code is not None and code.covers is msgspec.UNSET and code.digest == spec.code.digest


def _covers(spec: AnySpec) -> CodeCover | None:
    code = spec.code if isinstance(spec, SourceSpec | OnDemandSpec) else None
    return None if code is None or code.covers is msgspec.UNSET else code.covers
