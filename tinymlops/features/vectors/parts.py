"""A part of what a search reads: rows of some keys, and which of them are known at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinymlops.features.vectors.arranged import Spans, are_around
from tinymlops.kernels.neighbours import Candidates
from tinymlops.keys import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from tinymlops.features.vectors.arranged import Arranged

__all__ = ["Part", "part_of"]

Array = np.ndarray[Any, Any]
_FEW = 8
"""If one span in so many has begun, these are looked at and not all."""


class Part(NamedTuple):
    """Rows of some keys, all of those that these keys have."""

    arranged: Arranged
    spans: Spans
    """Those of the keys that are not left out."""
    number: Array
    """int64[s]: the vector of each span; -1 for none."""
    all_have: bool
    """Whether each has one."""
    without: Array | None
    """bool[K]: the keys that are left out; None for none."""
    order: Array
    """int64[s]: the spans in the order of their beginning."""
    begun: Array
    """int64[s]: when each begins, ascending."""
    ended: Array
    """int64[s]: when each ends, ascending."""

    def searched_at(self, t: int) -> tuple[Array, Array]:
        """Return the rows with a vector that are known at a time, in the order of their keys, and their vectors.

        Args:
            t: Microseconds UTC.

        Returns:
            int64[m] and int64[m].
        """
        begun = int(np.searchsorted(self.begun, t, "right"))
        if begun * _FEW < self.begun.size:
            places = self.order[:begun]
            places = np.sort(places[(self.spans.ends[places] > t) & (self.number[places] >= 0)])
            return self.spans.row[places], self.number[places]
        if self.all_have and self.has_all(t):
            return self.spans.row, self.number
        around = are_around(self.spans, t)
        if not self.all_have:
            around &= self.number >= 0
        return self.spans.row[around], self.number[around]

    def codes(self, keys: Sequence[pl.Series], names: Sequence[str]) -> Array:
        """Return int64[m], the key of each row of a spine; -1 for one that it does not read, and for null."""
        of_rows, of_keys, count = encode(keys, self.arranged.keys.get_columns(), names)
        places = np.full(count + 1, -1, np.int64)  # the last one is that of -1
        there = of_keys >= 0 if self.without is None else (of_keys >= 0) & ~self.without
        places[of_keys[there]] = np.flatnonzero(there)
        found: Array = places[of_rows]
        return found

    def candidates(self) -> tuple[Array, Candidates]:
        """Return the rows that may be found, and when."""
        may = slice(None) if self.all_have else self.number >= 0
        row = self.spans.row[may]
        return row, Candidates(self.number[may], self.arranged.key[row], self.spans.begins[may], self.spans.ends[may])

    def has_all(self, t: int) -> bool:
        """Return whether every span is around a time."""
        return self.count(t) == self.begun.size

    def count(self, t: int) -> int:
        """Return how many rows are known at a time."""
        return int(np.searchsorted(self.begun, t, "right") - np.searchsorted(self.ended, t, "right"))


def part_of(arranged: Arranged, without: Array | None = None) -> Part:
    """Return arranged rows as a part.

    Args:
        arranged: The rows.
        without: bool[K]: keys that are left out; None for none.
    """
    spans = arranged.spans
    if without is None or not without.any():
        without = None
    else:
        spans = Spans(*(one[~without[arranged.key[spans.row]]] for one in spans))
    number = arranged.vector[spans.row]
    order = np.argsort(spans.begins, kind="stable")
    return Part(
        arranged, spans, number, bool((number >= 0).all()), without, order, spans.begins[order], np.sort(spans.ends)
    )
