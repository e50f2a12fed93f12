"""All rows that an embedding searches at a time, with their vectors: for what looks at every row, and not at the nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.vectors.arranged import arrange, known_at
from tinymlops.features.vectors.fits import standing_at
from tinymlops.features.vectors.rows import read_rows
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec

__all__ = ["Known", "known_rows", "without_repeats"]

Array = np.ndarray[Any, Any]


class Known(NamedTuple):
    """The rows with a vector that are known at a time, and what this rests on."""

    rows: pl.DataFrame
    """n rows in the order of their keys: the user's columns, but no column of vectors."""
    names: list[str]
    """The key columns."""
    vectors: Array
    """float32[n, d]; d is 0 where there is no vector yet."""
    rests_on: dict[str, Any]
    """What an `Answer` says of this, by name."""


def known_rows(context: Context, spec: EmbeddingSpec, *, at: int | None, as_of: int | None) -> Known:
    """Return the rows of an embedding that are known at a time. All rows are read; no image is.

    Args:
        context: The workspace's state.
        spec: The embedding.
        at: `t`, microseconds UTC; None for now.
        as_of: `Q`, which the workspace has reached; None for all rows.

    Raises:
        DataError: If no fit of the embedding was in force yet.
    """
    standing, t = standing_at(context, spec, at=at, as_of=as_of), context.now() if at is None else at
    sequence = context.environment.database.sequence() if as_of is None else as_of
    rows = read_rows(context, spec, as_of=sequence)
    dimension = standing.dimension(rows)
    kept, vectors = standing.with_vectors(rows, dimension)
    arranged = arrange(context.definitions, spec, kept, vectors)
    places = known_at(arranged.spans, t)
    places = places[arranged.vector[places] >= 0]
    return Known(
        rows=arranged.rows[places].select(pl.exclude("^__.*$")),
        names=key_of_rows(context.definitions, spec),
        vectors=arranged.vectors[arranged.vector[places]].reshape(places.size, dimension or 0),
        rests_on={
            "timestamp": from_micros(t),
            "sequence": sequence,
            "covered": min(standing.covered, sequence),
            "waiting": standing.waiting(kept),
            "failed": sum(n <= sequence for n in standing.failed),
            "fitted_at": standing.fitted_at,
        },
    )


def without_repeats(vectors: Array) -> tuple[Array, Array]:
    """Return the rows at which each different vector stands first, and for each row the number of its vector.

    Args:
        vectors: float[n, d], finite; zero and minus zero are the same.

    Returns:
        int64[u], ascending, and int64[n].
    """
    if not vectors.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    whole = np.ascontiguousarray(vectors + vectors.dtype.type(0))
    as_bytes = whole.view(np.dtype((np.void, whole.shape[1] * whole.itemsize))).reshape(-1)
    _, first, number = np.unique(as_bytes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    places = np.empty(order.size, np.int64)
    places[order] = np.arange(order.size)
    return first[order], places[number.reshape(-1)]
