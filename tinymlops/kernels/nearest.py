"""Nearest vectors, exactly: a product in float32 leaves out what cannot be among the k, and the rest is scored exactly.

A score is computed from the exact sum of products, rounded once: products of two float32 are exact in float64. So its
bits depend neither on the rows beside it, nor on threads or the machine, and equal vectors have equal scores.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LONGEST", "SHORTEST", "Scored", "exact_scores", "lengths", "nearest"]

Array = np.ndarray[Any, Any]

_BLOCK = 8_192
"""Rows that are converted to float64 at once."""
SHORTEST, LONGEST = 1e-15, 1e15
"""Vectors with other lengths may leave the range of float32: they are always scored exactly."""
_FEW = 3
"""From one in so many vectors on, those that are asked for are copied and not all are read."""
_GROUP = 32
_PART = 256
"""Rows that are copied and multiplied at once."""


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
    matrix: Array,
    length: Array,
    vector: Array,
    query: Array,
    k: int,
    *,
    order: Array | None = None,
    metric: str = "cosine",
) -> Scored:
    """Return the candidates with the greatest scores; of equal ones those that come first.

    Args:
        matrix: float32[u, d] vectors, all finite.
        length: float64[u], their `lengths`.
        vector: int64[n], the vector of each candidate.
        query: float32[d], finite.
        k: How many at most.
        order: int64[n], where each candidate stands among equal ones; None for their own order.
        metric: "cosine", where a vector of zeros has the score 0; "dot"; or "l2", whose score is the distance times -1.
    """
    if not vector.size or k < 1:
        return Scored(np.empty(0, np.int64), np.empty(0, np.float64))
    kept = _left(matrix, length, vector, query, k, metric) if k < vector.size else np.arange(vector.size)
    which, back = np.unique(vector[kept], return_inverse=True)
    scores = exact_scores(matrix, which, query, metric=metric)[back]
    best = np.lexsort((kept if order is None else order[kept], -scores))[:k]
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
        # One root, so that equal vectors have exactly 1.
        cosine = dot / math.sqrt(math.fsum((row * row).tolist()) * squared)
        return min(1.0, max(-1.0, cosine))
    parts = [*(row * row).tolist(), *(query * query).tolist(), *(-2.0 * products).tolist()]
    return -math.sqrt(max(0.0, math.fsum(parts))) + 0.0  # never -0.0


def _left(matrix: Array, length: Array, vector: Array, query: Array, k: int, metric: str) -> Array:
    """Return the candidates that may be among the k nearest, int64[m], ascending."""
    wanted = query.astype(np.float64)
    size = float(np.sqrt(wanted @ wanted))
    unit = (wanted / size if size else wanted).astype(np.float32)
    with np.errstate(all="ignore"):
        if vector.size * _FEW < len(matrix):
            low, high = _bounds(_products(matrix, vector, unit), length[vector], size, query.size, metric)
        else:
            low, high = (one[vector] for one in _bounds(matrix @ unit, length, size, query.size, metric))
    kept = np.flatnonzero(high >= _reached_by(low, k))
    found: Array = kept[high[kept] >= _greatest(low[kept], k)]
    return found


def _reached_by(values: Array, k: int) -> Any:
    """Return a value that at least k of many reach: that of the k-th greatest group, which is found without sorting all."""
    groups = values.size // _GROUP
    if groups < _GROUP * k:
        return _greatest(values, k)
    return _greatest(values[: groups * _GROUP].reshape(groups, _GROUP).max(axis=1), k)


def _greatest(values: Array, k: int) -> Any:
    """Return the k-th greatest value."""
    return np.partition(values, values.size - k)[values.size - k]


def _products(matrix: Array, which: Array, unit: Array) -> Array:
    """Return the products of some vectors and one, by parts that stay in the processor's cache."""
    found = np.empty(which.size, np.float32)
    for start in range(0, which.size, _PART):
        part = slice(start, start + _PART)
        np.dot(matrix[which[part]], unit, out=found[part])
    return found


def _bounds(along: Array, length: Array, size: float, dimension: int, metric: str) -> tuple[Array, Array]:
    """Return for each vector what its score, or for l2 the negative square of the distance, lies between.

    Args:
        along: float32[m], the products with the query's direction.
        length: float64[m].
        size: The query's length.
        dimension: How many numbers a vector has.
        metric: As for `nearest`.
    """
    # The error of a sum of so many products in float32, in any order, twice over.
    error = (dimension + 8) * 2.0**-23
    if metric == "cosine":
        # In float32: rounding once more is less than a part of the error.
        middle = along / length.astype(np.float32) if size else np.zeros_like(along)
        width: Any = np.float32(error)
    elif metric == "dot":
        middle, width = along.astype(np.float64) * size, error * length * size
    else:
        squares = length * length + size * size
        middle = 2.0 * along.astype(np.float64) * size - squares
        width = 2.0 * error * length * size + 1e-12 * squares
    low, high = middle - width, middle + width
    if not (length.min() >= SHORTEST and length.max() <= LONGEST and np.isfinite(low.sum() + high.sum())):
        if metric == "cosine":
            low[length == 0], high[length == 0] = 0.0, 0.0
        usual = ((length >= SHORTEST) & (length <= LONGEST)) | (length == 0)
        unusual = ~(usual & np.isfinite(low) & np.isfinite(high))
        low[unusual], high[unusual] = -np.inf, np.inf
    return low, high
