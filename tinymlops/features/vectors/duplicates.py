"""`ws.vectors.duplicates`: pairs of rows whose vectors are nearly the same."""

from __future__ import annotations

import heapq
import math
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.features.vectors.answer import Pairs
from tinymlops.features.vectors.known import known_rows, without_repeats
from tinymlops.kernels.close_pairs import close_pairs
from tinymlops.kernels.nearest import exact_scores, lengths

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.known import Known
    from tinymlops.kernels.close_pairs import ClosePairs

__all__ = ["MOST_PAIRS", "MOST_VECTORS", "duplicates"]

Array = np.ndarray[Any, Any]
_Pair = tuple[float, int, int]
"""A score times -1, a row and a later one."""

MOST_PAIRS = 10_000
"""The most pairs that are returned."""
MOST_VECTORS = 100_000
"""The most different vectors that are compared, each with all others."""
_PER_SECOND = 2e10
"""Products that two cores add up in a second."""
_USUAL = 0.95


def duplicates(
    context: Context, spec: EmbeddingSpec, *, at: int | None, as_of: int | None, threshold: float | None, limit: int
) -> Pairs:
    """Return the pairs of rows whose score is at least a threshold, the best first.

    Args:
        context: The workspace's state.
        spec: The embedding.
        at: `t`, microseconds UTC; None for now.
        as_of: `Q`, which the workspace has reached; None for all rows.
        threshold: The least score; None for 0.95, by cosine only.
        limit: How many pairs at most.

    Raises:
        DataError: If the threshold or the limit cannot be used, or there are too many vectors.
    """
    least = _least(spec, threshold)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_PAIRS:
        raise DataError(f"limit={limit!r} is not a number of pairs that are returned", hint=f"use 1 to {MOST_PAIRS:,}")
    known = known_rows(context, spec, at=at, as_of=as_of)
    first, number = without_repeats(known.vectors)
    _require_few(spec, first.size, known.vectors.shape[1])
    pairs, count = _pairs(known.vectors[first], number, least, limit, spec.metric)
    return Pairs(
        rows=_framed(known, pairs),
        count=count,
        threshold=least,
        **known.rests_on,
    )


def _least(spec: EmbeddingSpec, threshold: object) -> float:
    """Return a threshold as a score of the embedding's metric."""
    if threshold is None and spec.metric == "cosine":
        return _USUAL
    where = f"threshold={threshold!r} of embedding {spec.name!r}"
    if threshold is None:
        raise DataError(
            f"the scores of embedding {spec.name!r} ({spec.metric}) have no usual threshold",
            hint="pass threshold=, the least score" + (": minus the greatest distance" if spec.metric == "l2" else ""),
        )
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise DataError(f"{where} is not a finite number", hint="pass the least score that a pair may have")
    if spec.metric == "cosine" and not -1 <= threshold <= 1:
        raise DataError(f"{where} is no cosine", hint="use -1 to 1; 1 is the same direction")
    if spec.metric == "l2" and threshold > 0:
        raise DataError(f"{where}: no pair has it", hint="a score by l2 is minus the distance: write threshold=-0.5")
    return float(threshold)


def _require_few(spec: EmbeddingSpec, vectors: int, dimension: int) -> None:
    if vectors <= MOST_VECTORS:
        return
    pairs = vectors * (vectors - 1) // 2
    minutes = math.ceil(pairs * dimension / _PER_SECOND / 60)
    raise DataError(
        f"embedding {spec.name!r} has {vectors:,} different vectors, which make {pairs:,} pairs: about {minutes:,} minutes "
        f"on two cores",
        hint=f"compare at most {MOST_VECTORS:,}: define an embedding of a row-wise transformation that keeps fewer rows, or "
        "search for single rows with ws.vectors.search",
    )


def _pairs(vectors: Array, number: Array, least: float, limit: int, metric: str) -> tuple[list[_Pair], int]:
    """Return the best pairs of rows and how many there are.

    Args:
        vectors: float32[u, d], each different, in the order of the rows at which they stand first.
        number: int64[n], the vector of each row.
        least: The least score.
        limit: How many pairs.
        metric: Of the score.
    """
    weights = np.bincount(number, minlength=len(vectors))
    size = lengths(vectors)
    close = close_pairs(vectors, size, weights, least, limit, metric=metric)
    repeated = np.flatnonzero(weights > 1)
    own = np.array([exact_scores(vectors, np.array([one]), vectors[one], metric=metric)[0] for one in repeated])
    repeated, own = (repeated[own >= least], own[own >= least]) if repeated.size else (repeated, own)
    count = close.total + int((weights[repeated] * (weights[repeated] - 1) // 2).sum())
    return list(islice(heapq.merge(*_each(close, repeated, own, number, weights, limit)), limit)), count


def _each(
    close: ClosePairs, repeated: Array, own: Array, number: Array, weights: Array, limit: int
) -> Iterator[Iterator[_Pair]]:
    """Yield for the best pairs of vectors, and for vectors that stand several times, their pairs of rows in order."""
    order = np.argsort(number, kind="stable")
    begins = np.cumsum(weights) - weights

    def rows(vector: int) -> list[int]:
        begin = int(begins[vector])
        some: list[int] = order[begin : begin + min(int(weights[vector]), limit + 1)].tolist()
        return some

    best = np.argsort(-own, kind="stable")[:limit]
    for vector, score in zip(repeated[best].tolist(), own[best].tolist(), strict=True):
        yield _between(-score, rows(vector), rows(vector))
    for first, second, score in zip(close.first.tolist(), close.second.tolist(), close.scores.tolist(), strict=True):
        yield _between(-score, rows(first), rows(second))


def _between(rank: float, one: list[int], other: list[int]) -> Iterator[_Pair]:
    """Yield the pairs of rows of two vectors, or of one, ascending."""
    if one == other:
        yield from ((rank, row, partner) for row in one for partner in one if partner > row)
        return
    ours = set(one)
    for row in heapq.merge(one, other):
        yield from ((rank, row, partner) for partner in (other if row in ours else one) if partner > row)


def _framed(known: Known, pairs: list[_Pair]) -> pl.DataFrame:
    """Return score, keys of the first row, keys of the other, and the other columns of both."""
    scores = pl.Series("score", [-rank + 0.0 for rank, _, _ in pairs], dtype=pl.Float64)
    one = known.rows[[row for _, row, _ in pairs]] if pairs else known.rows[:0]
    other = known.rows[[row for _, _, row in pairs]] if pairs else known.rows[:0]
    names = [*known.names, *(name for name in known.rows.columns if name not in known.names)]
    columns = [side[name].alias(f"{name}{suffix}") for name in names for side, suffix in ((one, "_1"), (other, "_2"))]
    return pl.DataFrame([scores, *columns])
