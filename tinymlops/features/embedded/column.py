"""Columns of vectors as matrices of float32, and why a row has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.definitions.declaring_embeddings import MOST_DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinymlops.features.definitions.specs import EmbeddingSpec

__all__ = ["Matrix", "dimension_of", "matrix_of", "query_vector", "require_texts", "require_vectors"]

Array = np.ndarray[Any, Any]


class Matrix(NamedTuple):
    """The vectors of rows."""

    values: Array
    """float32[u, d]."""
    of_row: Array
    """int64[n]: the vector of each row, -1 for none."""
    refused: Mapping[int, str]
    """Row to why its value is not a vector; a null is none and no failure."""


def require_texts(embedding: EmbeddingSpec, dtype: pl.DataType) -> None:
    """Refuse a column whose type is not one of texts; one without any value may become one.

    Raises:
        DefinitionError: If it is another type.
    """
    if dtype not in (pl.String, pl.Null) and not isinstance(dtype, pl.Categorical | pl.Enum):
        raise DefinitionError(
            f"text={embedding.text!r} of embedding {embedding.name!r}: the column is {dtype} and not text",
            hint="name a column of text, or vector= for a column of vectors",
        )


def require_vectors(embedding: EmbeddingSpec, dtype: pl.DataType) -> None:
    """Refuse a column whose type is not one of vectors.

    Raises:
        DefinitionError: If it is not a list or array of numbers, or an array of another dimension.
    """
    where = f"vector={embedding.vector!r} of embedding {embedding.name!r}"
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else None
    if inner is None or not (inner.is_numeric() if isinstance(inner, pl.DataType) else False):
        raise DefinitionError(f"{where}: the column is {dtype}, not lists of numbers", hint="store lists of float32")
    if isinstance(dtype, pl.Array) and embedding.dimension not in (None, dtype.size):
        raise DefinitionError(
            f"{where}: its arrays have {dtype.size} numbers, and dimension={embedding.dimension}",
            hint="leave dimension= out",
        )


def dimension_of(embedding: EmbeddingSpec, rows: pl.DataFrame) -> int | None:
    """Return how many numbers a vector of a column has: as defined, as the type says, or as the first row that has one.

    Args:
        embedding: With a column of vectors.
        rows: With that column and `__sequence`, in any order.
    """
    assert embedding.vector is not None, "asked of columns of vectors"
    column = rows[embedding.vector]
    if embedding.dimension is not None:
        return embedding.dimension
    if isinstance(column.dtype, pl.Array):
        return column.dtype.size
    size = pl.col(embedding.vector).list.len()
    found = rows.filter(size.is_between(1, MOST_DIMENSIONS)).sort("__sequence").head(1)
    return None if not found.height else len(found[embedding.vector][0])


def matrix_of(column: pl.Series, dimension: int | None) -> Matrix:
    """Return the vectors of a column as float32.

    Args:
        column: n lists or arrays of numbers.
        dimension: How many numbers each must have; None where no row has any.
    """
    # A cast to float64 would double what is held; of float32 it changes nothing.
    kept = isinstance(column.dtype, pl.List | pl.Array) and column.dtype.inner == pl.Float32
    values = column.cast(pl.List(pl.Float32 if kept else pl.Float64))
    sizes = values.list.len().fill_null(0).to_numpy().astype(np.int64)
    there = values.is_not_null().to_numpy()
    fits = there & (sizes == (dimension or 0)) & (sizes > 0)
    flat = (values if fits.all() else values.filter(pl.Series(fits))).explode() if fits.any() else values[:0].explode()
    with np.errstate(over="ignore"):
        found = flat.fill_null(np.nan).to_numpy().astype(np.float32, copy=False)
    found = found.reshape(int(fits.sum()), dimension or 1)
    finite = np.isfinite(found).all(axis=1)
    rows = np.flatnonzero(fits)
    refused = {
        int(row): f"it has {sizes[row]} numbers, and the vectors of this embedding have {dimension}"
        for row in np.flatnonzero(there & ~fits)
    }
    refused |= dict.fromkeys(rows[~finite].tolist(), "it holds a null, a NaN, or a number beyond float32")
    of_row = np.full(len(column), -1, np.int64)
    of_row[rows[finite]] = np.arange(int(finite.sum()))
    return Matrix(found if finite.all() else found[finite], of_row, refused)


def query_vector(query: object, dimension: int, name: str) -> Array:
    """Return a vector to search for, as float32.

    Args:
        query: A list or an array of numbers.
        dimension: How many it must have.
        name: The embedding, for errors.

    Raises:
        DataError: If it is not a vector of the embedding: another dimension, NaN, infinity, or no numbers.
    """
    try:
        given = np.asarray(query, object) if np.ma.is_masked(query) else np.asarray(query)
        numbers = given.astype(np.float64) if given.dtype.kind in "fiu" else None
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.ndim != 1:
        raise DataError(
            f"the query of embedding {name!r} is not a vector of numbers", hint="pass a list of numbers of float32"
        )
    if numbers.size != dimension:
        raise DataError(
            f"the query has {numbers.size} numbers, and the vectors of embedding {name!r} have {dimension}",
            hint="make it with the model that made the vectors",
        )
    with np.errstate(over="ignore"):
        found = numbers.astype(np.float32)
    if not np.isfinite(found).all():
        place = int(np.flatnonzero(~np.isfinite(found))[0])
        raise DataError(
            f"number {place} of the query of embedding {name!r} is {numbers[place]}, which no float32 holds",
            hint="a query has finite numbers only",
        )
    return found
