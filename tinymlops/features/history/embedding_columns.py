"""Features that an embedding makes vectors of: what was read as of each row's time becomes a column of arrays.

The rule of time is that of any feature: the text is read by it, and a text always has the same vector by the same model. So a
vector is looked up, offline and online alike. Which model that is, a build says, and the model that was trained on it keeps it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops._status import Status
from tinymlops.errors import DataError, DefinitionError, IntegrityError
from tinymlops.features.compute.views import asked_of
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.neighbours import views_read
from tinymlops.features.definitions.specs import EmbeddingSpec, OnDemandSpec, SourceSpec, ViewSpec, fingerprint
from tinymlops.features.embedded.column import Matrix, matrix_of, require_vectors
from tinymlops.features.embedded.made import made_vectors
from tinymlops.features.embedded.models import TFIDF
from tinymlops.features.embedded.texts import KnownTexts
from tinymlops.features.history.generations import place_of
from tinymlops.records import FittedModel
from tinymlops.registry.vectors import state_of_embedding

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.records import EmbeddingFit, EmbeddingState

__all__ = [
    "array_of",
    "dimension_of_column",
    "embedded_names",
    "embeddings_asked",
    "fitted_now",
    "matrix_of_texts",
    "model_of",
    "reads_of",
    "require_kept",
    "told_status",
    "vectors_for",
    "with_models",
]

Array = np.ndarray[Any, Any]


def reads_of(context: Context, spec: EmbeddingSpec) -> str:
    """Return the digest of what an embedding reads, and of how its model is named."""
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, spec.source))
    place = place_of(context.environment.database, source.name)
    content: tuple[object, ...] = spec.source, place, spec.text, spec.model, spec.dimension
    if spec.fitted_at is not msgspec.UNSET:
        content = (*content, spec.fitted_at)
    computed = graph.lineage(context.definitions, context.definitions.get(SourceSpec, spec.source))[:-1]
    if computed:  # row by row, from what is stored: by another function, the texts are others
        content = (*content, [fingerprint(one) for one in computed])
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()


def model_of(context: Context, spec: EmbeddingSpec) -> FittedModel:
    """Return the model by which texts are read: that of the build whose definitions these are, else the one in force.

    Raises:
        DataError: If the embedding has none yet.
        IntegrityError: If the workspace no longer has that of the build.
    """
    database, pinned = context.environment.database, context.definitions.fitted.get(spec.name)
    state = state_of_embedding(database, spec.name)
    if state is not None and (state.model == pinned if pinned else state.reads == reads_of(context, spec)):
        return _of_state(state)
    if pinned is None:
        raise DataError(
            f"embedding {spec.name!r} has no vectors yet",
            hint=f"push or ingest rows of {spec.source!r} that have a text, and call ws.vectors.follow({spec.name!r})",
        )
    kept = database.get(FittedModel, model=pinned)
    if kept is None:
        raise IntegrityError(
            f"the model {pinned[:12]} of embedding {spec.name!r}, by which this was built, is gone",
            hint="build the training set again, and fit the model to it",
        )
    return kept


def embeddings_asked(definitions: Definitions, requests: Iterable[FeatureRequest]) -> Iterator[EmbeddingSpec]:
    """Yield the embeddings by which requested features are vectors, or of neighbours, each once."""
    seen = set[str]()
    for request in _with_neighbours(definitions, requests):
        reader = definitions.for_request(request)
        if request.on_demand:
            on_demand = reader.get(OnDemandSpec, request.view)
            if on_demand.nearest is not msgspec.UNSET and on_demand.nearest.embedding not in seen:
                seen.add(on_demand.nearest.embedding)
                yield reader.get(EmbeddingSpec, on_demand.nearest.embedding)
            continue
        for feature in asked_of(reader.get(ViewSpec, request.view), request).values():
            if feature.embedding is not msgspec.UNSET and feature.embedding not in seen:
                seen.add(feature.embedding)
                yield reader.get(EmbeddingSpec, feature.embedding)


def _with_neighbours(definitions: Definitions, requests: Iterable[FeatureRequest]) -> Iterator[FeatureRequest]:
    """Yield requests, and after one for neighbours what is read of these."""
    for request in requests:
        yield request
        if request.on_demand and request.version is msgspec.UNSET:
            on_demand = definitions.get(OnDemandSpec, request.view)
            yield from [] if on_demand.nearest is msgspec.UNSET else views_read(definitions, on_demand)


def fitted_now(context: Context, requests: Iterable[FeatureRequest]) -> dict[str, FittedModel]:
    """Return the model of each embedding of texts that features ask for: what a build is made by, and stays made by."""
    return {
        spec.name: model_of(context, spec)
        for spec in embeddings_asked(context.definitions, requests)
        if spec.text is not None
    }


def with_models(context: Context, models: Mapping[str, str]) -> Context:
    """Return the same state, in which embeddings are read by these models.

    Args:
        context: The workspace's state.
        models: Embedding to the fingerprint of its model.
    """
    return context.with_definitions(context.definitions.with_fitted(models)) if models else context


def require_kept(context: Context, models: Mapping[str, FittedModel]) -> list[FittedModel]:
    """Return the models as they are recorded with what was built by them; to be called where no `gc` runs.

    Raises:
        IntegrityError: If the state of one was removed meanwhile.
    """
    for name, model in models.items():
        if model.fitted is not None and not context.environment.blobs.exists(model.fitted):
            raise IntegrityError(
                f"the model of embedding {name!r} was made anew while this was built", hint="build it again"
            )
    return list({model.model: model for model in models.values()}.values())


def embedded_names(definitions: Definitions, request: FeatureRequest) -> dict[str, EmbeddingSpec]:
    """Return the columns of a request that are vectors, and their embeddings."""
    if request.on_demand:
        return {}
    reader = definitions.for_request(request)
    return {
        request.prefix + name: reader.get(EmbeddingSpec, feature.embedding)
        for name, feature in asked_of(reader.get(ViewSpec, request.view), request).items()
        if feature.embedding is not msgspec.UNSET
    }


class Vectors(NamedTuple):
    """A column of vectors."""

    column: pl.Series
    """n values: Array(Float32, d), null for none."""
    missing: Array
    """bool[n]: whether there is a value that has no vector."""


def vectors_for(context: Context, spec: EmbeddingSpec, column: pl.Series) -> Vectors:
    """Return the vectors of a column that was read.

    A text that waits for its vector gets it here where the model is TF-IDF, which is in memory; no other model is asked.

    Args:
        context: The workspace's state, by the definitions that were asked.
        spec: The embedding.
        column: n texts, or vectors of the user's own.

    Raises:
        DataError: If the embedding has no model yet, or cannot give vectors by the one that was built with.
        DefinitionError: If nothing says how many numbers a vector has.
    """
    if spec.text is not None and isinstance(column.dtype, pl.Array):
        return Vectors(column, np.zeros(column.len(), np.bool_))  # they are vectors already
    if spec.vector is not None:
        dimension = dimension_of_column(spec, column.dtype)
        matrix = matrix_of(column if column.dtype != pl.Null else column.cast(pl.List(pl.Float32)), dimension)
    else:
        model = model_of(context, spec)
        dimension, matrix = model.dimension, matrix_of_texts(context, spec, model, column.cast(pl.String))
    has = matrix.of_row >= 0
    return Vectors(array_of(column.name, matrix, dimension), ~has & column.is_not_null().to_numpy())


def dimension_of_column(spec: EmbeddingSpec, dtype: pl.DataType) -> int:
    """Return how many numbers a vector of the user's own has.

    Raises:
        DefinitionError: If neither the embedding nor the type of the column says it.
    """
    if dtype != pl.Null:
        require_vectors(spec, dtype)
    dimension = dtype.size if isinstance(dtype, pl.Array) else spec.dimension
    if dimension is None:
        raise DefinitionError(
            f"embedding {spec.name!r} does not say how many numbers a vector has, and a feature is of one type",
            hint="write dimension=384, or store arrays: pl.Array(pl.Float32, 384)",
        )
    return dimension


def array_of(name: str, matrix: Matrix, dimension: int) -> pl.Series:
    """Return vectors as a column, null for a row without one."""
    has = matrix.of_row >= 0
    values = np.zeros((has.size, dimension), np.float32)
    values[has] = matrix.values[matrix.of_row[has]]
    column = pl.Series(name, values.reshape(-1), pl.Float32).reshape((has.size, dimension)) if has.size else None
    if column is None:
        return pl.Series(name, [], pl.Array(pl.Float32, dimension))
    found = pl.DataFrame({"has": has, "column": column}).select(pl.when("has").then("column"))
    return found.to_series().alias(name)


def matrix_of_texts(
    context: Context, spec: EmbeddingSpec, model: FittedModel | EmbeddingFit | EmbeddingState, column: pl.Series
) -> Matrix:
    """Return the vectors of texts by one model. TF-IDF makes what is missing, and no other model is asked.

    Args:
        context: The workspace's state.
        spec: The embedding.
        model: Of it.
        column: n texts.

    Raises:
        DataError: If a text has no vector by a model that nothing makes vectors by any more.
    """
    known = KnownTexts(context.environment, model.model, model.dimension)
    matrix = known.matrix_of(column)
    left = column.filter(pl.Series(matrix.of_row < 0)).drop_nulls().unique(maintain_order=True).to_list()
    if not left:
        return matrix
    if spec.model != TFIDF:
        _require_followed(context, spec, model.model)
        return matrix
    made = made_vectors(context, spec, model, left)
    numbers = {text: len(matrix.values) + place for place, text in enumerate(made)}
    of_row = matrix.of_row.copy()
    for row in np.flatnonzero(of_row < 0).tolist():
        of_row[row] = numbers.get(column[row], -1)
    vectors = np.stack([*made.values()]).astype(np.float32) if made else np.empty((0, model.dimension), np.float32)
    return Matrix(np.concatenate([matrix.values, vectors]), of_row, {})


def told_status(status: pl.Series, missing: Array) -> pl.Series:
    """Return the statuses of a column, where a value that is there has no vector."""
    return status.set(pl.Series(missing), Status.NOT_EMBEDDED.name) if missing.any() else status


def _require_followed(context: Context, spec: EmbeddingSpec, model: str) -> None:
    """Refuse a text without a vector by a model that nobody follows any more: it would stay without one, silently."""
    state = state_of_embedding(context.environment.database, spec.name)
    if state is None or state.model != model:
        raise DataError(
            f"a text of embedding {spec.name!r} has no vector by the model {model[:12]} that this was built by, and the "
            "embedding has another model by now",
            hint="build the training set again, and fit the model to it",
        )


def _of_state(state: EmbeddingState) -> FittedModel:
    return FittedModel(
        model=state.model, fitted=state.fitted, fitted_at=state.fitted_at, dimension=state.dimension, at=state.at
    )
