"""Features of neighbours: aggregates of the rows that are nearest to each row of a spine, as they were known at its time.

The neighbours are the rows of a window: what a feature view makes of the rows of a key, this makes of them, by the same
code. So sums are exact, nulls are skipped and no neighbours are an empty window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DataError, near
from tinymlops.features.compute.aggregates import compute
from tinymlops.features.compute.arranged import history_of
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.expressions import with_window
from tinymlops.features.definitions.neighbours import read_by, views_read
from tinymlops.features.definitions.specs import EmbeddingSpec, EntitySpec, SourceSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import FeatureRequest, OnDemandSpec

    FeaturesOf = Callable[[pl.DataFrame, Array, Sequence[FeatureRequest]], Mapping[str, pl.Series]]
    """Gives features of views for keys at times."""

__all__ = ["aggregated", "neighbour_columns", "types_of_neighbours"]

_EVENT, _TIME, _WINDOW = 1, 2, 2
"""Neighbours are in no order of time: all are of one moment, in a window around it."""


def neighbour_columns(
    context: Context,
    spec: OnDemandSpec,
    spine: pl.DataFrame,
    time: Array,
    features_of: FeaturesOf,
    *,
    spine_source: str | None,
    as_of: int | None,
) -> tuple[dict[str, pl.Series], dict[str, int]]:
    """Compute the features of a view of neighbours.

    Args:
        context: The workspace's state, by the definitions that it is read by.
        spec: The view.
        spine: The request fields, m rows.
        time: int64[m], microseconds UTC.
        features_of: Gives the features of the neighbours that are those of feature views.
        spine_source: As for `features_for`: where the embedding shares a base source with it, a neighbour was known
            strictly before each row.
        as_of: Read only rows with a sequence up to this one; None for all.

    Returns:
        Name to m values, and name to the number of values that are null because the result is not finite.

    Raises:
        DataError: If a request field is of another type, or something cannot be computed.
    """
    nearest = spec.nearest
    assert nearest is not msgspec.UNSET, "it is one of neighbours"
    embedding = context.definitions.get(EmbeddingSpec, nearest.embedding)
    # A row that is known at exactly the time might be the spine's own; a microsecond before it is "strictly before".
    strict = _shares(context.definitions, embedding.source, spine_source)
    moments = time - 1 if strict else time
    found = context.neighbours(context, embedding, nearest, spine, moments, as_of=as_of)
    columns = {
        f"{one.name}:{name}": found.rows[name]
        for one in read_by(context.definitions, spec)
        if one.view is None
        for name in _known(spec, one.columns, found.rows)
    }
    requests = views_read(context.definitions, spec)
    if requests:
        keys = _keys(context.definitions, embedding, found.rows)
        columns |= features_of(keys, time[found.row], requests)
    return aggregated(spec, columns, found.row, spine.height)


def aggregated(
    spec: OnDemandSpec, columns: Mapping[str, pl.Series], row: Array, height: int
) -> tuple[dict[str, pl.Series], dict[str, int]]:
    """Aggregate what is known of neighbours.

    Args:
        spec: The view.
        columns: `name:column` to n values, one for each neighbour.
        row: int64[n]: the row of the spine that each is a neighbour of.
        height: How many rows the spine has.

    Returns:
        As of `neighbour_columns`.

    Raises:
        DataError: If a function does not take such values, or a result does not fit its type.
    """
    assert spec.nearest is not msgspec.UNSET, "it is one of neighbours"
    system = {"__row": row, "__event": np.full(row.size, _EVENT), "__sequence": np.arange(row.size)}
    frame = pl.DataFrame([pl.Series(name, values, pl.Int64) for name, values in system.items()]).with_columns(
        pl.lit(None, pl.Int64).alias("__created"),
        pl.lit(value=False).alias("__deleted"),
        *(series.alias(name) for name, series in columns.items()),
    )
    rows = SourceSpec(name=spec.name, via="sql", timestamp="__event")
    features = {name: with_window(feature, _WINDOW) for name, feature in spec.nearest.features.items()}
    try:
        history = history_of(frame, rows, ["__row"], [pl.Series("__row", np.arange(height), pl.Int64)])
        found = compute(history, features, np.full(height, _TIME, np.int64), strict=True, ttl=None)
    except DataError as error:
        raise DataError(f"on-demand view {spec.name!r}, of neighbours: {error.message}", hint=error.hint) from error
    return found, dict(history.not_finite)


def types_of_neighbours(spec: OnDemandSpec, dtypes: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Return the type of each feature of a view of neighbours.

    Args:
        spec: The view.
        dtypes: `name:column` to the type of what it reads.

    Raises:
        DataError: As `aggregated` does.
    """
    columns = {name: pl.Series(name, [], dtype=dtype) for name, dtype in dtypes.items()}
    found, _ = aggregated(spec, columns, np.empty(0, np.int64), 0)
    return {name: series.dtype for name, series in found.items()}


def _shares(definitions: Definitions, source: str, spine_source: str | None) -> bool:
    if spine_source is None:
        return False
    own, spine = (graph.base_sources(definitions, name) for name in (source, spine_source))
    places = definitions.places
    return not {places.get(name, name) for name in own}.isdisjoint(places.get(name, name) for name in spine)


def _known(spec: OnDemandSpec, columns: Sequence[str], rows: pl.DataFrame) -> Sequence[str]:
    known = [name for name in rows.columns if not name.startswith("__")]
    for column in columns:
        if column not in known:
            raise DataError(
                f"on-demand view {spec.name!r} reads column {column!r} of neighbours, which have none",
                hint=near(column, known),
            )
    return columns


def _keys(definitions: Definitions, embedding: EmbeddingSpec, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the keys of neighbours by the names that their entity has for them."""
    assert embedding.entity is not None, "views are of an entity"
    names = definitions.get(EntitySpec, embedding.entity).key
    return pl.DataFrame(
        [rows[column].alias(name) for name, column in zip(names, key_of_rows(definitions, embedding), strict=True)]
    )
