"""The nearest vectors of many queries, each at a time of its own: what `nearest` gives for one after the other, in blocks.

A product in float32 gives each score within a bound. What cannot be among the k best of its query is left out before anything
else is asked of it: so times and keys are compared for few, and what is left is scored exactly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymlops.kernels.nearest import exact_scores, nearest
from tinymlops.kernels.records import FOREVER

__all__ = ["Candidates", "Neighbours", "neighbours"]

Array = np.ndarray[Any, Any]

_QUERIES = 1_024
"""Queries of a block, in the order of their times."""
_FIRST, _MOST = 512, 16_384
"""Candidates that are compared at first, and at most: the bound grows with each part, so fewer of the next pass it."""
_SHORTEST, _LONGEST = 1e-15, 1e15
"""Vectors of other lengths may leave the range of float32: such queries are answered one by one, such candidates always pass."""


class Candidates(NamedTuple):
    """What may be found: n rows, each of one key, known in a span of time."""

    vector: Array
    """int64[n]: their vectors."""
    key: Array
    """int64[n]: their keys; of equal scores the smaller comes first. At each time there is one row of a key at most."""
    begins: Array
    """int64[n]: known from here on."""
    ends: Array
    """int64[n]: and before here; FOREVER is no end."""


class Neighbours(NamedTuple):
    """The nearest of m queries, the best first."""

    places: Array
    """int64[m, k]: which candidates; -1 where there are fewer."""
    scores: Array
    """float64[m, k]: NaN where there are fewer."""


def neighbours(
    matrix: Array,
    length: Array,
    candidates: Candidates,
    queries: Array,
    time: Array,
    own: Array,
    k: int,
    *,
    metric: str = "cosine",
    singly: bool = False,
) -> Neighbours:
    """Return for each query the nearest candidates that are known at its time.

    Args:
        matrix: float32[u, d] vectors, all finite.
        length: float64[u], their `lengths`.
        candidates: The rows that may be found.
        queries: float32[m, d], finite.
        time: int64[m], microseconds UTC.
        own: int64[m]: the key that is left out of a query's neighbours; -1 for none.
        k: How many at most, 1 or more.
        metric: As for `nearest`.
        singly: Answer one query after the other, which for a few is faster: no vector is copied.
    """
    found = Neighbours(np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.nan))
    sizes = np.sqrt(np.einsum("ij,ij->i", queries.astype(np.float64), queries.astype(np.float64)))
    usual = (sizes >= _SHORTEST) & (sizes <= _LONGEST) & (not singly)
    order = np.flatnonzero(usual)
    order = order[np.argsort(time[order], kind="stable")]
    for start in range(0, order.size, _QUERIES):
        rows = order[start : start + _QUERIES]
        at = time[rows]
        possible = (candidates.begins <= at[-1]) & ((candidates.ends > at[0]) | (candidates.ends == FOREVER))
        some = np.flatnonzero(possible)
        block = _Block(matrix, length, candidates, some, queries[rows], sizes[rows], at, own[rows], k, metric)
        for row, kept in zip(rows.tolist(), block.passed(), strict=True):
            _score(found, row, matrix, candidates, some[kept], queries[row], metric)
    for row in np.flatnonzero(~usual).tolist():
        _one(found, row, matrix, length, candidates, queries[row], int(time[row]), int(own[row]), metric)
    return found


class _Block:
    """Queries of nearly one time, and the candidates that are known in it."""

    def __init__(
        self,
        matrix: Array,
        length: Array,
        candidates: Candidates,
        some: Array,
        queries: Array,
        sizes: Array,
        time: Array,
        own: Array,
        k: int,
        metric: str,
    ) -> None:
        self._time, self._own, self._k = time, own, k
        self._begins, self._ends, self._key = candidates.begins[some], candidates.ends[some], candidates.key[some]
        self._ends = np.where(self._ends == FOREVER, np.iinfo(np.int64).max, self._ends)
        vector = candidates.vector[some]
        self._left, self._right, self._bias, self._width = _scaled(
            matrix[vector], length[vector], queries, sizes, metric
        )

    def passed(self) -> list[Array]:
        """Return for each query the candidates that may be among its k nearest."""
        m, bound = len(self._time), np.full(len(self._time), -np.inf, np.float32)
        rows, places, lows = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        start, step = 0, _FIRST
        while start < len(self._right):
            stop = min(start + step, len(self._right))
            more = self._part(start, stop, bound)
            rows, places = np.concatenate([rows, more[0]]), np.concatenate([places, more[1]])
            lows = np.concatenate([lows, more[2]])
            rows, places, lows, bound = self._best(rows, places, lows)
            start, step = stop, min(2 * step, _MOST)
        return np.split(places, np.searchsorted(rows, np.arange(1, m)))

    def _part(self, start: int, stop: int, bound: Array) -> tuple[Array, Array, Array]:
        """Return queries, candidates and scores from below of those that are known and may be near enough."""
        with np.errstate(all="ignore"):
            high = self._left @ self._right[start:stop].T
            high += self._bias[start:stop] + self._width[start:stop]
        flat = np.flatnonzero(~(high < bound[:, None]))
        row, place = flat // (stop - start), flat % (stop - start) + start
        time = self._time[row]
        known = (self._begins[place] <= time) & (time < self._ends[place]) & (self._key[place] != self._own[row])
        row, place = row[known], place[known]
        with np.errstate(all="ignore"):
            low = high.reshape(-1)[flat[known]] - 2 * self._width[place] * np.float32(1.0001)
        return row, place, np.where(np.isfinite(low), low, -np.inf).astype(np.float32)

    def _best(self, rows: Array, places: Array, lows: Array) -> tuple[Array, Array, Array, Array]:
        """Leave out what the k-th best bound of its query leaves out; return the bounds as well."""
        m = len(self._time)
        order = np.lexsort((-lows, rows))
        rows, places, lows = rows[order], places[order], lows[order]
        first = np.searchsorted(rows, np.arange(m + 1))
        bound = np.full(m, -np.inf, np.float32)
        enough = np.diff(first) >= self._k
        bound[enough] = lows[first[:-1][enough] + self._k - 1]
        with np.errstate(all="ignore"):
            stays = ~(lows + 2 * self._width[places] * np.float32(1.0002) < bound[rows])
        return rows[stays], places[stays], lows[stays], bound


def _scaled(
    vectors: Array, length: Array, queries: Array, sizes: Array, metric: str
) -> tuple[Array, Array, Array, Array]:
    """Return queries, vectors and biases whose products and sums order the candidates of a query, and the error of each."""
    unit = (queries / sizes[:, None]).astype(np.float32)
    error = (queries.shape[1] + 16) * 2.0**-22  # of a sum of d products in float32, in any order, four times over
    usual = (length >= _SHORTEST) & (length <= _LONGEST) | (length == 0)
    of = np.where(usual, length, 1.0)
    bias, scale = np.zeros(len(vectors)), np.ones(len(vectors))
    if metric == "cosine":
        vectors = (vectors / np.where(of > 0, of, 1.0)[:, None]).astype(np.float32)
    elif metric == "dot":
        scale = of
    else:  # of one query, distances are in the order of |v|^2 / 2 - v q
        unit = queries
        greatest = float(sizes.max())
        bias, scale = -of * of / 2, of * greatest + of * of + 1e-7 * greatest * greatest
    width = np.where(usual, error * scale, np.inf)
    return unit, vectors, bias.astype(np.float32), width.astype(np.float32)


def _score(
    found: Neighbours, row: int, matrix: Array, candidates: Candidates, some: Array, query: Array, metric: str
) -> None:
    which, back = np.unique(candidates.vector[some], return_inverse=True)
    scores = exact_scores(matrix, which, query, metric=metric)[back]
    best = np.lexsort((candidates.key[some], -scores))[: found.places.shape[1]]
    found.places[row, : best.size], found.scores[row, : best.size] = some[best], scores[best]


def _one(
    found: Neighbours,
    row: int,
    matrix: Array,
    length: Array,
    candidates: Candidates,
    query: Array,
    time: int,
    own: int,
    metric: str,
) -> None:
    known = (candidates.begins <= time) & ((time < candidates.ends) | (candidates.ends == FOREVER))
    some = np.flatnonzero(known & (candidates.key != own))
    k = found.places.shape[1]
    best = nearest(matrix, length, candidates.vector[some], query, k, order=candidates.key[some], metric=metric)
    found.places[row, : best.places.size], found.scores[row, : best.places.size] = some[best.places], best.scores
