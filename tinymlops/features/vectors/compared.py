"""Queries, each at a time of its own, compared with the rows of an embedding: all at once, or one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.features.embedded.column import matrix_of
from tinymlops.features.history.embedding_columns import vectors_for
from tinymlops.kernels.neighbours import neighbours
from tinymlops.kernels.records import FOREVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.arranged import Arranged
    from tinymlops.features.vectors.parts import Part
    from tinymlops.features.vectors.standing import Standing

__all__ = ["FEW", "SCORE", "Queries", "compared", "given", "own_of"]

Array = np.ndarray[Any, Any]
FEW = 32
"""Queries up to which each is compared by itself."""
SCORE = "__score"
_MOST_PRODUCTS = 100_000 * 100_000 * 512
"""Products of two numbers: 100,000 rows by 100,000 vectors of 512 numbers."""
_MOST_FOUND = 20_000_000
"""Neighbours that one answer holds."""
_PER_SECOND = 10_000_000_000
"""Products in a second on a small machine, with all that comes after them."""


class Queries(NamedTuple):
    """What is searched for."""

    row: Array
    """int64[q]: which row of the spine each belongs to, ascending."""
    vectors: Array
    """float32[q, d], finite."""


def compared(
    part: Part,
    spec: EmbeddingSpec,
    asked: Queries,
    time: Array,
    keys: Sequence[pl.Series] | None,
    names: Sequence[str],
    k: int,
) -> pl.DataFrame:
    """Return the rows of a part that are nearest to each query, the best first, with `__row` and `__score`.

    Args:
        part: The rows that are searched.
        spec: The embedding.
        asked: The queries.
        time: int64[m], the times of the spine.
        keys: The key columns of the spine: rows of the same key are left out; None to leave out none.
        names: The key columns of the rows.
        k: How many at most.

    Raises:
        DataError: If it would take too long, with an estimate.
    """
    rows, candidates = part.candidates()
    own = np.full(time.size, -1, np.int64) if keys is None else part.codes(keys, names)
    moments, own = time[asked.row], own[asked.row]
    arranged = part.arranged
    k = min(k, max(1, candidates.key.size))
    _require_possible(asked.row.size, candidates.key.size, arranged.vectors.shape[1], k)
    found = neighbours(
        arranged.vectors,
        arranged.lengths,
        candidates,
        asked.vectors,
        moments,
        own,
        k,
        metric=spec.metric,
        singly=asked.row.size <= FEW,
    )
    query, rank = np.nonzero(found.places >= 0)
    return arranged.rows[rows[found.places[query, rank]]].with_columns(
        pl.Series("__row", asked.row[query], pl.Int64), pl.Series(SCORE, found.scores[query, rank], pl.Float64)
    )


def own_of(parts: Sequence[Part], keys: Sequence[pl.Series], names: Sequence[str], time: Array) -> Queries:
    """Return the rows of a spine whose key has a vector at their time, and these vectors."""
    found = [_own(part.arranged, part.codes(keys, names), time) for part in parts]
    row, vectors = np.concatenate([one.row for one in found]), np.concatenate([one.vectors for one in found])
    order = np.argsort(row, kind="stable")
    return Queries(row[order], vectors[order])


def _own(arranged: Arranged, own: Array, time: Array) -> Queries:
    spans = arranged.spans
    if not spans.row.size:
        return Queries(np.empty(0, np.int64), np.empty((0, arranged.vectors.shape[1]), np.float32))
    moments = np.unique(np.concatenate([spans.begins, time]))
    begins = arranged.key[spans.row] * moments.size + np.searchsorted(moments, spans.begins)
    place = np.searchsorted(begins, own * moments.size + np.searchsorted(moments, time), side="right") - 1
    span = np.maximum(place, 0)
    row = spans.row[span]
    lasts = (spans.ends[span] == FOREVER) | (time < spans.ends[span])
    has = (place >= 0) & (own >= 0) & (arranged.key[row] == own) & lasts & (arranged.vector[row] >= 0)
    asked = np.flatnonzero(has)
    return Queries(asked, np.asarray(arranged.vectors[arranged.vector[row[asked]]]))


def given(context: Context, standing: Standing, column: pl.Series, dimension: int) -> Queries:
    """Return the rows of a column of texts or vectors that can be searched for, and their vectors.

    Args:
        context: The workspace's state.
        standing: Where the embedding stands.
        column: m texts or vectors; null for none.
        dimension: How many numbers a vector has.

    Raises:
        DataError: If the column is of another type, or a value is not a vector of the embedding.
    """
    spec = standing.spec
    if spec.text is not None and column.dtype not in (pl.String, pl.Null):
        raise DataError(
            f"of={column.name!r} is {column.dtype}, and embedding {spec.name!r} is one of texts", hint="give texts"
        )
    if spec.text is None and not isinstance(column.dtype, pl.List | pl.Array) and column.dtype != pl.Null:
        raise DataError(
            f"of={column.name!r} is {column.dtype}, and embedding {spec.name!r} has vectors of its own",
            hint="give lists",
        )
    if spec.text is not None and standing.until is not None and standing.texts is not None:
        matrix = standing.texts.matrix_of(column.cast(pl.String))
    elif spec.text is not None:
        matrix = matrix_of(vectors_for(context, spec, column).column, dimension)
    else:
        numbers = column.cast(pl.List(pl.Float64), strict=False) if column.dtype == pl.Null else column
        matrix = matrix_of(numbers, dimension)
    for row, why in matrix.refused.items():
        raise DataError(
            f"of={column.name!r} is not a vector of embedding {spec.name!r} in row {row}: {why}",
            hint="make it with the model that made the others, or leave it null",
        )
    asked = np.flatnonzero(matrix.of_row >= 0)
    return Queries(asked, matrix.values[matrix.of_row[asked]])


def _require_possible(queries: int, candidates: int, dimension: int, k: int) -> None:
    if queries * k > _MOST_FOUND:
        raise DataError(
            f"{queries:,} rows with {k:,} neighbours each are {queries * k:,} neighbours, more than {_MOST_FOUND:,}",
            hint=f"take k={max(1, _MOST_FOUND // queries):,}, or {max(1, _MOST_FOUND // k):,} rows at a time",
        )
    products = queries * candidates * dimension
    if products > _MOST_PRODUCTS:
        minutes = products / _PER_SECOND / 60
        raise DataError(
            f"{queries:,} rows by {candidates:,} vectors of {dimension} numbers would take about {minutes:,.0f} minutes",
            hint=f"ask for {max(1, queries * _MOST_PRODUCTS // products):,} rows at a time, or for a sample of them",
        )
