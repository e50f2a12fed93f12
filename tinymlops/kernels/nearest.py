"""Nearest vectors, exactly: a product in float32 leaves out what cannot be among the k, and the rest is scored exactly.

A score is computed from the exact sum of products, rounded once: products of two float32 are exact in float64. So its
bits depend neither on the rows beside it, nor on threads or the machine, and equal vectors have equal scores.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Scored", "exact_scores", "lengths", "nearest"]

Array = np.ndarray[Any, Any]

_BLOCK = 8_192
"""Rows that are converted to float64 at once."""
_SHORTEST, _LONGEST = 1e-15, 1e15
"""Vectors with other lengths may leave the range of float32: they are always scored exactly."""
_FEW = 8
"""From one in so many vectors on, those that are asked for are copied and not all are read."""


class Scored(NamedTuple):
    """The nearest candidates, the best first."""

    places: Array
    """int64[<= k]: which candidates."""
    scores: Array
    """float64[<= k]."""


def lengths(matrix: Array) -> Array:
    """Return the Euclidean length of each vector, to about 15 digits.

    Args:
        matrix: float32[u, d].

    Returns:
        float64[u].
    """
    found = np.empty(len(matrix), np.float64)
    for start in range(0, len(matrix), _BLOCK):
        block = matrix[start : start + _BLOCK].astype(np.float64)
        found[start : start + _BLOCK] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return found


def nearest(
    matrix: Array, length: Array, vector: Array, order: Array, query: Array, k: int, *, metric: str = "cosine"
) -> Scored:
    """Return the candidates with the greatest scores; of equal ones those that come first.

    Args:
        matrix: float32[u, d] vectors, all finite.
        length: float64[u], their `lengths`.
        vector: int64[n], the vector of each candidate.
        order: int64[n], where each candidate stands among equal ones.
        query: float32[d], finite.
        k: How many at most.
        metric: "cosine", where a vector of zeros has the score 0; "dot"; or "l2", whose score is the distance times -1.
    """
    if not vector.size or k < 1:
        return Scored(np.empty(0, np.int64), np.empty(0, np.float64))
    kept = np.arange(vector.size)
    if k < vector.size:
        low, high = _bounds(matrix, length, vector, query, metric)
        kept = np.flatnonzero(high >= np.partition(low, low.size - k)[low.size - k])
    which, back = np.unique(vector[kept], return_inverse=True)
    scores = exact_scores(matrix, which, query, metric=metric)[back]
    best = np.lexsort((order[kept], -scores))[:k]
    return Scored(kept[best], scores[best])


def exact_scores(matrix: Array, which: Array, query: Array, *, metric: str = "cosine") -> Array:
    """Return the scores of some vectors, each rounded once from its exact sums; the arguments are those of `nearest`.

    Args:
        matrix: float32[u, d].
        which: int64[m], which of them.
        query: float32[d].
        metric: As there.

    Returns:
        float64[m].
    """
    wanted = query.astype(np.float64)
    squared = math.fsum((wanted * wanted).tolist())
    found = np.empty(which.size, np.float64)
    for start in range(0, which.size, _BLOCK):
        rows = matrix[which[start : start + _BLOCK]].astype(np.float64)
        products = rows * wanted
        some = (products != 0).any(axis=1)
        dots = [math.fsum(row.tolist()) if any_ else 0.0 for row, any_ in zip(products, some, strict=True)]
        for place, (row, dot) in enumerate(zip(rows, dots, strict=True), start):
            found[place] = _score(row, wanted, dot, squared, metric, products[place - start])
    return found


def _score(row: Array, query: Array, dot: float, squared: float, metric: str, products: Array) -> float:
    if metric == "dot":
        return dot
    if metric == "cosine":
        if dot == 0.0:
            return 0.0
        cosine = dot / (math.sqrt(math.fsum((row * row).tolist())) * math.sqrt(squared))
        return min(1.0, max(-1.0, cosine))
    parts = [*(row * row).tolist(), *(query * query).tolist(), *(-2.0 * products).tolist()]
    return -math.sqrt(max(0.0, math.fsum(parts))) + 0.0  # never -0.0


def _bounds(matrix: Array, length: Array, vector: Array, query: Array, metric: str) -> tuple[Array, Array]:
    """Return for each candidate what its score, or for l2 the negative square of the distance, lies between."""
    wanted = query.astype(np.float64)
    size = float(np.sqrt(wanted @ wanted))
    unit = (wanted / size if size else wanted).astype(np.float32)
    asked = np.unique(vector) if vector.size * _FEW < len(matrix) else None
    with np.errstate(all="ignore"):
        if asked is None:
            along, of = (matrix @ unit).astype(np.float64)[vector], length[vector]
        else:
            along = (matrix[asked] @ unit).astype(np.float64)[np.searchsorted(asked, vector)]
            of = length[vector]
        # The error of a sum of d products in float32, in any order, twice over.
        error = (query.size + 8) * 2.0**-23
        if metric == "cosine":
            middle = np.where(of > 0, along / of, 0.0) if size else np.zeros(vector.size)
            width = np.full(vector.size, error)
        elif metric == "dot":
            middle, width = along * size, error * of * size
        else:
            middle = -(of * of + size * size - 2.0 * along * size)
            width = 2.0 * error * of * size + 1e-12 * (of * of + size * size)
    usual = ((of >= _SHORTEST) & (of <= _LONGEST) | (of == 0)) & np.isfinite(middle) & np.isfinite(width)
    return np.where(usual, middle - width, -np.inf), np.where(usual, middle + width, np.inf)
