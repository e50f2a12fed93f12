"""Pairs of vectors near one another, exactly: products in blocks leave out what cannot be, and the rest is scored exactly."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymlops.kernels.nearest import exact_scores

__all__ = ["ClosePairs", "close_pairs"]

Array = np.ndarray[Any, Any]

_BLOCK = 1_024
"""Vectors that are compared with as many others at once: 4 MB of products."""
_MANY = 100_000
"""Kept pairs from which on the best are chosen."""


class ClosePairs(NamedTuple):
    """The pairs with the greatest scores, the best first; of equal ones the one whose first vector comes first."""

    first: Array
    """int64[<= limit]: a vector."""
    second: Array
    """int64[<= limit]: a vector that comes after it."""
    scores: Array
    """float64[<= limit]."""
    total: int
    """How many pairs there are, weighed by how often their vectors stand."""


class _Pairs(NamedTuple):
    """Pairs, and what the rank of each lies between: its score, or for l2 the negative square of the distance."""

    first: Array
    second: Array
    low: Array
    high: Array

    def only(self, kept: Array) -> _Pairs:
        return _Pairs(*(part[kept] for part in self))


def close_pairs(
    matrix: Array, length: Array, weights: Array, least: float, limit: int, *, metric: str = "cosine"
) -> ClosePairs:
    """Return the pairs of different vectors whose score is at least some number, and count them all.

    Memory does not grow with the number of pairs.

    Args:
        matrix: float32[u, d], finite and each different, in the order of ties.
        length: float64[u], their `lengths`.
        weights: int64[u], how often each stands.
        least: The least score; for l2 zero or below.
        limit: How many pairs at most are returned; at least 1.
        metric: As in `nearest`.
    """
    least_rank = -least * least if metric == "l2" else least
    kept, held, cut, count = list[_Pairs](), 0, least_rank, 0
    for start in range(0, len(matrix), _BLOCK):
        rows = _units(matrix, length, start)
        for other in range(start, len(matrix), _BLOCK):
            found = _near(rows, _units(matrix, length, other), length, (start, other), least_rank, metric)
            found = _certain(matrix, found, least, least_rank, metric)
            count += int((weights[found.first] * weights[found.second]).sum())
            found = found.only(found.high >= cut)
            kept.append(found)
            held += found.first.size
            if held > max(_MANY, 4 * limit):
                kept = [_best(matrix, _joined(kept), limit, metric)]
                held = kept[0].first.size
                cut = max(cut, float(kept[0].low[-1]))
    best = _best(matrix, _joined(kept), limit, metric)
    return ClosePairs(best.first, best.second, _scores(matrix, best, metric), count)


def _units(matrix: Array, length: Array, start: int) -> Array:
    """Return float32[<= _BLOCK, d] of length 1; zeros stay zeros."""
    size = length[start : start + _BLOCK, None]
    units: Array = matrix[start : start + _BLOCK].astype(np.float64) / np.where(size > 0, size, 1.0)
    return units.astype(np.float32)


def _near(rows: Array, others: Array, length: Array, starts: tuple[int, int], least: float, metric: str) -> _Pairs:
    """Return the pairs of two blocks whose rank may be at least some number."""
    product = rows @ others.T
    # The error of a sum of d products in float32 in any order, twice over, which leaves room for that of the units.
    error = (rows.shape[1] + 8) * 2.0**-23
    if starts[0] == starts[1]:
        product[np.tril_indices(len(rows))] = -np.inf  # each pair once
    first, second = np.nonzero(product >= _needed(length, starts, product.shape, least, metric) - 2 * error)
    along = product[first, second].astype(np.float64)
    first, second = first + starts[0], second + starts[1]
    one, two = length[first], length[second]
    if metric == "cosine":
        middle, width = along, np.full(along.size, error)
    elif metric == "dot":
        middle, width = along * one * two, error * one * two
    else:
        squares = one * one + two * two
        middle, width = 2.0 * along * one * two - squares, 2.0 * error * one * two + 1e-12 * squares
    pairs = _Pairs(first, second, middle - width, middle + width)
    return pairs.only(pairs.high >= least)


def _needed(length: Array, starts: tuple[int, int], shape: tuple[int, ...], least: float, metric: str) -> Any:
    """Return from which product of units on a rank may be at least some number: float64, or of each pair."""
    if metric == "cosine":
        return least
    one = length[starts[0] : starts[0] + shape[0], None]
    two = length[starts[1] : starts[1] + shape[1]]
    with np.errstate(all="ignore"):
        needed = least / (one * two) if metric == "dot" else (one * one + two * two + least) / (2.0 * one * two)
        needed = needed - 1e-6 * np.abs(needed)
    return np.where(np.isfinite(needed), needed, -2.0)  # vectors of zeros: the bounds decide


def _certain(matrix: Array, pairs: _Pairs, least: float, least_rank: float, metric: str) -> _Pairs:
    """Return the pairs whose score is at least some number; those that are near to it are scored."""
    unsure = np.flatnonzero(pairs.low < least_rank)
    if not unsure.size:
        return pairs
    scores = _scores(matrix, pairs.only(unsure), metric)
    ranks = _ranks(scores, metric)
    pairs.low[unsure], pairs.high[unsure] = ranks, ranks
    refused = np.zeros(pairs.first.size, np.bool_)
    refused[unsure] = scores < least
    return pairs.only(~refused)


def _best(matrix: Array, pairs: _Pairs, limit: int, metric: str) -> _Pairs:
    """Return the best pairs, scored, in their order."""
    if pairs.first.size > limit:
        pairs = pairs.only(pairs.high >= np.partition(pairs.low, pairs.low.size - limit)[pairs.low.size - limit])
    unsure = np.flatnonzero(pairs.low < pairs.high)
    ranks = _ranks(_scores(matrix, pairs.only(unsure), metric), metric)
    pairs.low[unsure], pairs.high[unsure] = ranks, ranks
    return pairs.only(np.lexsort((pairs.second, pairs.first, -pairs.low))[:limit])


def _joined(parts: list[_Pairs]) -> _Pairs:
    none = _Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
    return _Pairs(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))


def _scores(matrix: Array, pairs: _Pairs, metric: str) -> Array:
    """Score pairs exactly; the score of two vectors does not depend on which comes first."""
    found = np.empty(pairs.first.size, np.float64)
    if not found.size:
        return found
    order = np.argsort(pairs.first, kind="stable")
    different, begins = np.unique(pairs.first[order], return_index=True)
    for vector, places in zip(different, np.split(order, begins[1:]), strict=True):
        found[places] = exact_scores(matrix, pairs.second[places], matrix[vector], metric=metric)
    return found


def _ranks(scores: Array, metric: str) -> Array:
    return -scores * scores if metric == "l2" else scores
