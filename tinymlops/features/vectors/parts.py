"""A part of what a search reads: rows of some keys, and which of them are known at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinymlops.features.vectors.arranged import are_around, known_at
from tinymlops.kernels.neighbours import Candidates
from tinymlops.keys import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from tinymlops.features.vectors.arranged import Arranged, Spans

__all__ = ["Part", "part_of"]

Array = np.ndarray[Any, Any]
_FEW = 8
"""If one span in so many has begun, these are looked at and not all."""


class Part(NamedTuple):
    """Rows of some keys, all of those that these keys have."""

    arranged: Arranged
    number: Array
    """int64[s]: the vector of each span; -1 for none."""
    order: Array
    """int64[s]: the spans in the order of their beginning."""
    begun: Array
    """int64[s]: when each begins, ascending."""
    ended: Array
    """int64[s]: when each ends, ascending."""
    without: Array | None = None
    """bool[K]: the keys that are left out; None for none."""
    searched: Array | None = None
    """bool[s]: which spans have a vector, and a key that is not left out; None for all."""

    @property
    def spans(self) -> Spans:
        """Those of all keys."""
        return self.arranged.spans

    def leaving_out(self, keys: Array) -> Part:
        """Return the same rows without those of some keys.

        Args:
            keys: bool[K].
        """
        if not keys.any():
            return self
        left = ~keys[self.arranged.key[self.spans.row]]
        return self._replace(without=keys, searched=left if self.searched is None else self.searched & left)

    def known_at(self, t: int) -> Array:
        """Return the rows that are known at a time, with a vector or none, in the order of their keys, int64[m]."""
        rows = known_at(self.spans, t)
        return rows if self.without is None else rows[~self.without[self.arranged.key[rows]]]

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
            places = places[self.spans.ends[places] > t]
            places = np.sort(places if self.searched is None else places[self.searched[places]])
            return self.spans.row[places], self.number[places]
        if self.searched is None and self.count(t) == self.begun.size:
            return self.spans.row, self.number
        around = are_around(self.spans, t)
        if self.searched is not None:
            around &= self.searched
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
        may = slice(None) if self.searched is None else self.searched
        row = self.spans.row[may]
        return row, Candidates(self.number[may], self.arranged.key[row], self.spans.begins[may], self.spans.ends[may])

    def count(self, t: int) -> int:
        """Return how many rows are known at a time, with those that are left out."""
        return int(np.searchsorted(self.begun, t, "right") - np.searchsorted(self.ended, t, "right"))


def part_of(arranged: Arranged) -> Part:
    """Return arranged rows as a part."""
    spans = arranged.spans
    number = arranged.vector[spans.row]
    has = number >= 0
    order = np.argsort(spans.begins, kind="stable")
    return Part(arranged, number, order, spans.begins[order], np.sort(spans.ends), searched=None if has.all() else has)
