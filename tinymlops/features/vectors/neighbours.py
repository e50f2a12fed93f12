"""The neighbours of many rows, each as known at its own time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.errors import DataError, near
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.specs import EntitySpec
from tinymlops.features.embedded.column import matrix_of
from tinymlops.features.history.embedding_columns import vectors_for
from tinymlops.features.history.historical import spine_times
from tinymlops.features.vectors.arranged import Arranged, arrange
from tinymlops.features.vectors.fits import standings_at
from tinymlops.features.vectors.reading import read_rows
from tinymlops.frames import to_polars
from tinymlops.kernels.neighbours import Candidates, neighbours
from tinymlops.kernels.records import FOREVER
from tinymlops.keys import encode

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.standing import Standing
    from tinymlops.frames import Frame

__all__ = ["find_neighbours"]

Array = np.ndarray[Any, Any]

_MOST_NEIGHBOURS = 1_000
_MOST_PRODUCTS = 100_000 * 100_000 * 512
"""Products of two numbers: 100,000 rows by 100,000 vectors of 512 numbers."""
_PER_SECOND = 10_000_000_000
"""Products in a second on a small machine, with all that comes after them."""
_ADDED = ("row", "score")


def find_neighbours(
    context: Context,
    spec: EmbeddingSpec,
    spine: Frame,
    *,
    k: int,
    of: str | None,
    timestamp: str,
    tz: str | None,
    as_of: int | None,
) -> pl.DataFrame:
    """Return the neighbours of each row of a spine; see `ws.vectors.neighbours`."""
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= _MOST_NEIGHBOURS:
        raise DataError(f"k={k!r} is not a number of neighbours", hint=f"use 1 to {_MOST_NEIGHBOURS:,}")
    rows = to_polars(spine)
    time = spine_times(rows, timestamp, tz=tz)
    names, columns = key_of_rows(context.definitions, spec), _key_of_spine(context, spec)
    _require_columns(rows, columns, of, timestamp)
    stored = read_rows(context, spec, as_of=as_of)
    found = []
    for standing, part in standings_at(context, spec, time, as_of=as_of):
        some = _Spine(rows[part], time[part], names, columns, of, timestamp)
        of_part = _neighbours(context, standing, stored, some, k)
        found.append(of_part.with_columns(row=pl.Series(part, dtype=pl.Int64).gather(of_part["row"])))
    return found[0] if len(found) == 1 else pl.concat(found).sort("row", maintain_order=True)


class _Spine(NamedTuple):
    """Rows whose neighbours are asked for, checked."""

    rows: pl.DataFrame
    time: Array
    """int64[n], microseconds UTC."""
    names: list[str]
    """The key columns of the embedding's rows."""
    columns: list[str]
    """The same of the spine."""
    of: str | None
    timestamp: str


def _neighbours(context: Context, standing: Standing, stored: pl.DataFrame, spine: _Spine, k: int) -> pl.DataFrame:
    """Return the neighbours of rows at whose times the same model was in force."""
    spec, (rows, time, names, columns, of, timestamp) = standing.spec, spine
    dimension = standing.dimension(stored)
    if dimension is None:
        raise DataError(
            f"embedding {spec.name!r} has no vectors yet",
            hint=f"push or ingest rows of {spec.source!r} that have one"
            if spec.vector is not None
            else f"call ws.vectors.follow({spec.name!r}) when it has rows",
        )
    arranged = arrange(context.definitions, spec, *standing.with_vectors(stored, dimension))
    known = [name for name in columns if name in rows.columns]
    own = _codes(arranged.keys, [rows[name] for name in columns], names) if known == columns else None
    asked, queries = _own(arranged, own, time) if of is None else _given(context, standing, rows[of], dimension)
    span = arranged.spans.row
    candidates = Candidates(arranged.vector[span], arranged.key[span], arranged.spans.begins, arranged.spans.ends)
    candidates = Candidates(*(part[candidates.vector >= 0] for part in candidates))
    _require_possible(asked.size, candidates.key.size, dimension)
    found = neighbours(
        arranged.vectors,
        arranged.lengths,
        candidates,
        queries,
        time[asked],
        np.full(asked.size, -1) if own is None else own[asked],
        k,
        metric=spec.metric,
    )
    row, rank = np.nonzero(found.places >= 0)
    keys = arranged.keys[candidates.key[found.places[row, rank]]]
    return pl.DataFrame(
        [
            pl.Series("row", asked[row], pl.Int64),
            *(keys[:, place].alias(name) for place, name in enumerate(columns)),
            rows[timestamp].gather(asked[row]),
            pl.Series("score", found.scores[row, rank], pl.Float64),
        ]
    )


def _key_of_spine(context: Context, spec: EmbeddingSpec) -> list[str]:
    if spec.entity is None:
        return key_of_rows(context.definitions, spec)
    return list(context.definitions.get(EntitySpec, spec.entity).key)


def _require_columns(rows: pl.DataFrame, columns: list[str], of: str | None, timestamp: str) -> None:
    needed = columns if of is None else [of]
    for name in needed:
        if name not in rows.columns:
            raise DataError(
                f"the spine has no column {name!r}, whose neighbours are asked for", hint=near(name, rows.columns)
            )
    for name in _ADDED:
        if name in (*columns, timestamp):
            raise DataError(f"the answer has a column {name!r} of its own", hint="rename that of the spine")


def _codes(keys: pl.DataFrame, columns: list[pl.Series], names: list[str]) -> Array:
    """Return int64[m], the key of each row; -1 for one that no row has, and for null."""
    of_keys, of_rows, _ = encode(keys.get_columns(), columns, names)
    places = np.full(int(of_keys.max(initial=-1)) + 2, -1, np.int64)
    places[of_keys] = np.arange(of_keys.size)
    found: Array = places[np.minimum(of_rows, places.size - 1)]
    return found


def _own(arranged: Arranged, own: Array | None, time: Array) -> tuple[Array, Array]:
    """Return the rows whose key has a vector at their time, and these vectors."""
    assert own is not None, "the spine has the key"
    spans = arranged.spans
    if not spans.row.size:
        return np.empty(0, np.int64), np.empty((0, arranged.vectors.shape[1]), np.float32)
    moments = np.unique(np.concatenate([spans.begins, time]))
    begins = arranged.key[spans.row] * moments.size + np.searchsorted(moments, spans.begins)
    place = np.searchsorted(begins, own * moments.size + np.searchsorted(moments, time), side="right") - 1
    span = np.maximum(place, 0)
    row = spans.row[span]
    lasts = (spans.ends[span] == FOREVER) | (time < spans.ends[span])
    has = (place >= 0) & (own >= 0) & (arranged.key[row] == own) & lasts & (arranged.vector[row] >= 0)
    asked = np.flatnonzero(has)
    return asked, np.asarray(arranged.vectors[arranged.vector[row[asked]]])


def _given(context: Context, standing: Standing, column: pl.Series, dimension: int) -> tuple[Array, Array]:
    """Return the rows whose text or vector can be searched for, and these vectors."""
    spec = standing.spec
    if spec.text is not None and column.dtype not in (pl.String, pl.Null):
        raise DataError(
            f"of={column.name!r} is {column.dtype}, and embedding {spec.name!r} is one of texts", hint="give texts"
        )
    if spec.text is None and not isinstance(column.dtype, pl.List | pl.Array):
        raise DataError(
            f"of={column.name!r} is {column.dtype}, and embedding {spec.name!r} has vectors of its own",
            hint="give lists",
        )
    if standing.until is not None and standing.texts is not None:
        matrix = standing.texts.matrix_of(column.cast(pl.String))
    else:
        matrix = matrix_of(column if spec.text is None else vectors_for(context, spec, column).column, dimension)
    asked = np.flatnonzero(matrix.of_row >= 0)
    return asked, matrix.values[matrix.of_row[asked]]


def _require_possible(queries: int, candidates: int, dimension: int) -> None:
    products = queries * candidates * dimension
    if products > _MOST_PRODUCTS:
        minutes = products / _PER_SECOND / 60
        raise DataError(
            f"{queries:,} rows by {candidates:,} vectors of {dimension} numbers would take about {minutes:,.0f} minutes",
            hint=f"ask for {max(1, queries * _MOST_PRODUCTS // products):,} rows at a time, or for a sample of them",
        )
