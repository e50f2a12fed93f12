"""`ws.vectors.search`: the rows nearest to a query, by vectors or by words, as they were known at a time.

The rule is that of every read: of each key the row that `kernels/asof.py` finds, without what was ended or deleted. Where rows
are many, an image has them arranged; keys with later rows are arranged anew, and both are merged. What is found is compared
with the store before it is returned, and if the image is not what the store has any more, all rows are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import polars as pl

from tinymlops.errors import DataError, near
from tinymlops.features.compute.evaluating import TooGreatError, evaluate
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.embedded.column import query_vector
from tinymlops.features.vectors.answer import Nearest, SearchMode
from tinymlops.features.vectors.arranged import arrange
from tinymlops.features.vectors.by_words import find_by_words, postings_of, query_words
from tinymlops.features.vectors.conditions import condition_of
from tinymlops.features.vectors.fits import standing_at
from tinymlops.features.vectors.fusing import DEPTH, fused
from tinymlops.features.vectors.generation import are_enough, find_generation
from tinymlops.features.vectors.parts import part_of
from tinymlops.features.vectors.query import embedded
from tinymlops.features.vectors.reading import are_stored, read
from tinymlops.features.vectors.reranking import require_callable, reranked
from tinymlops.features.vectors.rows import read_rows
from tinymlops.features.vectors.standing import Standing, standing_of
from tinymlops.kernels.nearest import nearest
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.expressions import Operand
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.arranged import Arranged
    from tinymlops.features.vectors.bm25 import Postings
    from tinymlops.features.vectors.generation import Generation
    from tinymlops.features.vectors.parts import Part
    from tinymlops.records import VectorIndex

__all__ = ["MOST", "search"]

Array = np.ndarray[Any, Any]
MOST = 10_000
"""The most rows that one search returns."""
_SCORE = "__score"
_WAYS: tuple[SearchMode, ...] = ("text", "vector")
"""Words first: what is wrong with a query that is not a text is said before a model is asked."""


class _Asked(NamedTuple):
    """A search, checked."""

    mode: SearchMode
    """vector or text."""
    query: Any
    """A vector, or a list of words."""
    k: int
    t: int
    sequence: int
    where: Operand | None
    exact: bool


class _Read(NamedTuple):
    """What one way of reading found."""

    hits: pl.DataFrame
    """At most k rows for each part that was searched, with their scores."""
    waiting: int
    by: VectorIndex | None = None
    """The index that has chosen what was compared; None where every vector was."""


def search(
    context: Context,
    spec: EmbeddingSpec,
    query: Any,
    *,
    k: int,
    at: int | None,
    as_of: int | None,
    where: object,
    mode: SearchMode = "vector",
    rerank: Callable[[Any, pl.DataFrame], Any] | None = None,
    exact: bool = False,
) -> Nearest:
    """Return the rows that are nearest to a query.

    Args:
        context: The workspace's state.
        spec: The embedding.
        query: A text, or a vector.
        k: How many at most.
        at: `t`, microseconds UTC; None for now.
        as_of: `Q`, which the workspace has reached; None for all rows.
        where: A condition on columns of the source, or a dict of values by column; None for all rows.
        mode: By vectors, by words, or both.
        rerank: Gives the best of what was found other scores.
        exact: Compare every vector, though there is an index.

    Raises:
        DataError: If the query, `k`, the condition or the mode cannot be used, or `rerank` fails.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MOST:
        raise DataError(f"k={k!r} is not a number of rows that a search returns", hint=f"use 1 to {MOST:,}")
    if mode not in get_args(SearchMode):
        raise DataError(f"mode={mode!r} is not a way to search", hint=f"use one of {', '.join(get_args(SearchMode))}")
    require_callable(rerank)
    # Words are compared with no vector, so the fit of then means nothing for them.
    by_vectors = None if mode == "text" else standing_at(context, spec, at=at, as_of=as_of)
    standing, t = standing_of(context, spec), context.now() if at is None else at
    by = {"text": standing, "vector": by_vectors or standing}
    sequence = context.environment.database.sequence() if as_of is None else as_of  # never less than what is covered
    deep = k if mode != "hybrid" and rerank is None else max(k, DEPTH)
    condition = condition_of(where)
    ways = {one: _query(context, by[one], query, one) for one in _WAYS if mode in (one, "hybrid")}
    reads = [
        _found(context, by[one], _Asked(one, asked, deep, t, sequence, condition, exact)) for one, asked in ways.items()
    ]
    index = next((read.by for read in reads if read.by is not None), None)
    return Nearest(
        rows=_answered(context, spec, reads, query, k=k, deep=deep, rerank=rerank),
        timestamp=from_micros(t),
        sequence=sequence,
        covered=min(by["vector"].covered, sequence),
        generation=None if index is None else index.generation,
        indexed=None if index is None else index.covered,
        waiting=reads[-1].waiting,
        failed=sum(n <= sequence for n in standing.failed),
        fitted_at=None if by_vectors is None else by_vectors.fitted_at,
    )


def _query(context: Context, standing: Standing, query: Any, mode: SearchMode) -> Any:
    """Return what one way of searching looks for: a vector, or words."""
    return query_words(standing.spec, query) if mode == "text" else embedded(context, standing, query)


def _found(context: Context, standing: Standing, asked: _Asked) -> _Read:
    image = None if standing.until is not None else _from_image(context, standing, asked)
    return image or _from_rows(context, standing, asked)


def _from_rows(context: Context, standing: Standing, asked: _Asked) -> _Read:
    """Read all rows: always right, whatever an image says."""
    rows = read_rows(context, standing.spec, as_of=asked.sequence)
    dimension = standing.dimension(rows)
    kept, vectors = standing.with_vectors(rows, dimension)
    part = part_of(arrange(context.definitions, standing.spec, kept, vectors))
    waiting = standing.waiting(kept)
    return _Read(pl.concat(_hits([part], standing.spec, asked, dimension)), waiting)


def _from_image(context: Context, standing: Standing, asked: _Asked) -> _Read | None:
    """Read the image and the rows after it; None where there is no image, or it is not what the store has."""
    reading = read(context, standing, asked.sequence)
    if reading is None:
        return None
    spec, (first, *others) = standing.spec, reading.parts
    dimension = first.arranged.vectors.shape[1]
    generation = None if asked.exact or asked.mode != "vector" else find_generation(context, standing, reading.image)
    near = None if generation is None else _near(first, spec, asked, generation)
    postings = postings_of(context, spec, reading.image) if asked.mode == "text" else None
    if near is None:
        hits, by = _hits(reading.parts, spec, asked, dimension, postings), None
    else:
        assert generation is not None, "it has found them"
        hits, by = [near, *_hits(others, spec, asked, dimension)], generation.row
    if not all(are_stored(context, standing, one) for one in hits):
        return None
    return _Read(pl.concat(hits) if len(hits) > 1 else hits[0], reading.waiting, by)


def _hits(
    parts: list[Part], spec: EmbeddingSpec, asked: _Asked, dimension: int | None, postings: Postings | None = None
) -> list[pl.DataFrame]:
    """Return the best rows of each part and their scores.

    Args:
        parts: Together all that is searched.
        spec: The embedding.
        asked: The search.
        dimension: Of the vectors; None where there are none.
        postings: The words of the first part; None to read its texts.
    """
    if asked.mode == "vector":
        return [_searched(part, spec, asked, dimension) for part in parts]
    assert spec.text is not None, "asked for words of texts"

    def fulfilled(frame: pl.DataFrame, rows: Array) -> Array:
        return (
            np.ones(rows.size, np.bool_) if asked.where is None else _fulfilled(asked.where, frame, rows, spec.source)
        )

    return find_by_words(
        parts, spec.text, asked.query, postings=postings, t=asked.t, k=asked.k, fulfilled=fulfilled, score=_SCORE
    )


def _searched(part: Part, spec: EmbeddingSpec, asked: _Asked, dimension: int | None) -> pl.DataFrame:
    """Return the nearest rows of a part and their scores."""
    if dimension is None:
        return part.arranged.rows[:0].with_columns(pl.lit(None, pl.Float64).alias(_SCORE))
    rows, vector = part.searched_at(asked.t)
    if asked.where is not None:
        kept = _fulfilled(asked.where, part.arranged.rows, rows, spec.source)
        rows, vector = rows[kept], vector[kept]
    return _scored(part.arranged, spec, asked, rows, vector, query_vector(asked.query, dimension, spec.name))


def _near(part: Part, spec: EmbeddingSpec, asked: _Asked, generation: Generation) -> pl.DataFrame | None:
    """Return what `_searched` does, of the rows that an index finds; None where that might not be the nearest."""
    arranged = part.arranged
    query = query_vector(asked.query, arranged.vectors.shape[1], spec.name)
    rows = generation.near(part, query, asked.t, asked.k)
    if rows is None:
        return None
    if part.without is not None:
        rows = rows[~part.without[arranged.key[rows]]]
    if asked.where is not None:
        rows = rows[_fulfilled(asked.where, arranged.rows, rows, spec.source)]
    if not are_enough(rows, asked.k):
        return None
    found = _scored(arranged, spec, asked, rows, arranged.vector[rows], query)
    # By cosine, vectors of zeros have the score 0, and the index does not have them.
    all_point_there = found.height == asked.k and found[_SCORE][-1] > 0
    return found if spec.metric != "cosine" or all_point_there else None


def _scored(
    arranged: Arranged, spec: EmbeddingSpec, asked: _Asked, rows: Array, vector: Array, query: Array
) -> pl.DataFrame:
    """Return the nearest of some rows, given their vectors, and their scores."""
    found = nearest(arranged.vectors, arranged.lengths, vector, query, asked.k, metric=spec.metric)
    return arranged.rows[rows[found.places]].with_columns(pl.Series(_SCORE, found.scores))


def _fulfilled(where: Operand, frame: pl.DataFrame, rows: Array, source: str) -> Array:
    """Return bool[m], which of some rows fulfil a condition; null does not."""
    columns, known = columns_of(where), [name for name in frame.columns if not name.startswith("__")]
    for column in sorted(columns):
        if column not in known:
            raise DataError(f"source {source!r} has no column {column!r}, which where= names", hint=near(column, known))
    if not columns:
        raise DataError(f"where={where!r} names no column", hint='write where=tm.col("country") == "AT"')
    try:
        values = evaluate(where, frame.select(sorted(columns))[rows]).series
    except TooGreatError as error:
        raise DataError(f"where={where!r} does not fit 64 bits", hint="make one side a float, by * 1.0") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"where={where!r} cannot be computed over source {source!r}: {error}", hint="check the types of its columns"
        ) from error
    if values.dtype != pl.Boolean:
        raise DataError(
            f"where={where!r} is {values.dtype} and not a condition", hint='compare: tm.col("country") == "AT"'
        )
    return values.fill_null(value=False).to_numpy()


def _answered(
    context: Context,
    spec: EmbeddingSpec,
    reads: list[_Read],
    query: Any,
    *,
    k: int,
    deep: int,
    rerank: Callable[[Any, pl.DataFrame], Any] | None,
) -> pl.DataFrame:
    """Return the best of what was found: score, key, time, and the other columns of the rows."""
    names = key_of_rows(context.definitions, spec)
    orders = [_best(read.hits, _SCORE, names, deep) for read in reads]
    best = orders[0] if len(orders) == 1 else _best(fused(orders, names, _SCORE), _SCORE, names, deep)
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, spec.source))
    first = list(dict.fromkeys([*names, *([source.timestamp] if source.timestamp in best.columns else [])]))
    others = [name for name in best.columns if name not in first and not name.startswith("__")]
    columns = [pl.col(name).alias(_shown(name)) for name in (*first, *others)]
    rows = best.select(pl.col(_SCORE).alias("score"), *columns)
    if rerank is None:
        return rows.head(k)
    return _best(reranked(rows, query, rerank, context.root), "score", [_shown(name) for name in names], k)


def _best(rows: pl.DataFrame, score: str, names: list[str], k: int) -> pl.DataFrame:
    """Return the k rows with the greatest scores; of equal ones those with the smaller keys."""
    return rows.sort([score, *names], descending=[True, *([False] * len(names))], maintain_order=True).head(k)


def _shown(name: str) -> str:
    return f"{name}_of_row" if name == "score" else name
