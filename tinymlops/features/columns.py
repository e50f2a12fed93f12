"""Find the columns of sources, as far as possible without reading a row, and check the definitions against them.

A view is computed for zero rows by the code that reads history, so the columns and types here are the same as there.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import (
    AccessError,
    DataError,
    DefinitionError,
    MissingDependencyError,
    NotFoundError,
    TinyMLOpsError,
    UnavailableError,
    near,
)
from tinymlops.features.compute.aggregates import compute
from tinymlops.features.compute.arranged import history_of
from tinymlops.features.compute.rules import require_fits
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.definitions import key_of
from tinymlops.features.definitions.expressions import with_window
from tinymlops.features.definitions.neighbours import read_by
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.on_demand import FEATURE, TIMESTAMP, check_row_by_row, inputs_of, read_as
from tinymlops.features.definitions.specs import (
    CheckSpec,
    EmbeddingSpec,
    EntitySpec,
    LabelSpec,
    OnDemandSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.features.embedded.column import require_texts, require_vectors
from tinymlops.features.history.connected import columns_of
from tinymlops.features.history.embedding_columns import dimension_of_column
from tinymlops.features.history.in_place import columns_in_place
from tinymlops.features.history.neighbour_columns import types_of_neighbours
from tinymlops.features.history.sources import SYSTEM, with_times
from tinymlops.features.history.storable import storable
from tinymlops.features.history.stored import state_of
from tinymlops.keys import require_match
from tinymlops.schema import parse_dtype

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.expressions import Aggregate
    from tinymlops.features.definitions.specs import FeatureRequest, Nearest

__all__ = ["check_columns", "check_readers", "known_types", "types_of"]

_NO_TIMES = np.zeros(0, np.int64)


def check_columns(context: Context) -> list[str]:
    """Check definitions against the columns of their sources, where these are known without reading rows.

    They are known for SQL whose files exist, for pushes, for a function hinted to return a `LazyFrame` (it is called,
    because a lazy frame has read nothing yet), for a function whose rows were ingested by the same definition, and for a
    transformation over such sources. No other user function is called.

    Args:
        context: The workspace's state, with the definitions to check.

    Returns:
        A note for each source whose columns are not known.

    Raises:
        DefinitionError: If a column does not exist or has the wrong type.
        DataError: If a source's times have no zone, or its columns cannot be stored.
    """
    known = _Known(context)
    definitions = context.definitions
    dtypes = {name: known.features_of(view) for name, view in definitions.of(ViewSpec).items()}
    for label in definitions.of(LabelSpec).values():
        known.outcome_of(label)
    for entity in definitions.of(EntitySpec).values():
        known.check_keys(entity)
    for on_demand in definitions.of(OnDemandSpec).values():
        known.neighbours_of(on_demand, dtypes)
    for training_set in definitions.of(TrainingSetSpec).values():
        known.check_training_set(training_set, dtypes)
    for check in definitions.of(CheckSpec).values():
        known.check_rules(check, dtypes)
    for embedding in definitions.of(EmbeddingSpec).values():
        known.check_embedding(embedding)
    return known.notes


def check_readers(context: Context, source: SourceSpec, columns: Mapping[str, pl.DataType]) -> None:
    """Check the views and labels that read a source directly against the columns of its rows.

    Args:
        context: The workspace's state.
        source: The source.
        columns: Its columns and their types.

    Raises:
        DefinitionError: If a column does not exist or has the wrong type.
    """
    frame = with_times(pl.DataFrame(schema=dict(columns)), source).with_columns(pl.lit(0, pl.Int64).alias("__sequence"))
    known = _Known(context, {source.name: frame})
    for view in graph.views_reading(context.definitions, source.name):
        known.features_of(view)
    for label in graph.labels_reading(context.definitions, source.name):
        known.outcome_of(label)


def known_types(context: Context) -> dict[str, dict[str, pl.DataType]]:
    """Return the types of the features of views, and of labels, as far as stored rows say them; nothing is read or called.

    Args:
        context: The workspace's state.

    Returns:
        Name of a view or a label to feature (of a label its own name) to type.
    """
    found: dict[str, dict[str, pl.DataType]] = {}
    sources = context.definitions.of(SourceSpec)
    known = _Known(context, {name: _stored_frame(context, source) for name, source in sources.items()})
    for view in context.definitions.of(ViewSpec).values():
        with suppress(DefinitionError, DataError):  # rows that were read by an earlier definition may not fit
            found[view.name] = known.features_of(view) or {}
    for label in context.definitions.of(LabelSpec).values():
        with suppress(DefinitionError, DataError):
            found[label.name] = known.outcome_of(label) or {}
    for on_demand in context.definitions.of(OnDemandSpec).values():
        with suppress(DefinitionError, DataError):
            found |= {on_demand.name: types} if (types := known.neighbours_of(on_demand, found)) else {}
    return found


def types_of(context: Context, spec: ViewSpec | LabelSpec) -> dict[str, pl.DataType]:
    """Return what `known_types` has of one view or label."""
    source = context.definitions.of(SourceSpec).get(spec.source)
    if source is None:
        return {}
    known = _Known(context, {source.name: _stored_frame(context, source)})
    with suppress(DefinitionError, DataError):
        return (known.features_of(spec) if isinstance(spec, ViewSpec) else known.outcome_of(spec)) or {}
    return {}


def _stored_frame(context: Context, source: SourceSpec) -> pl.DataFrame | None:
    """Return the columns of a source's stored rows, or of those that its row-wise transformation is made of."""
    *steps, origin = graph.lineage(context.definitions, source)
    state = state_of(context, origin.name)
    columns: Mapping[str, str] = state.columns if state is not None else origin.columns
    if origin.in_place and origin.sql is not None:
        with suppress(TinyMLOpsError):
            columns = columns_in_place(context, origin)
    if not columns or any(step.sql is None for step in steps):
        return None
    frame = pl.DataFrame(schema={name: parse_dtype(dtype) for name, dtype in columns.items()})
    with suppress(TinyMLOpsError, pl.exceptions.PolarsError):
        rows = with_times(frame, origin).with_columns(pl.lit(0, pl.Int64).alias("__sequence"))
        for step in reversed(steps):
            rows = pl.DataFrame(schema=context.query_columns(str(step.sql), {step.inputs[0]: rows}))
        return rows
    return None


class _Known:
    """The known columns of each source: a frame without rows, as history would return it.

    Args:
        context: The workspace's state.
        frames: Only these frames; None to find the columns of every source.
    """

    def __init__(self, context: Context, frames: Mapping[str, pl.DataFrame | None] | None = None) -> None:
        self.notes: list[str] = []
        self._context = context
        self._definitions = context.definitions
        self._frames: dict[str, pl.DataFrame | None] = dict(frames or {})
        if frames is not None:
            return
        sources = self._definitions.of(SourceSpec)
        plain = [source for source in sources.values() if not source.inputs]
        for source in [*plain, *graph.derived_in_order(self._definitions)]:
            self._frames[source.name] = self._read(source)

    def features_of(self, view: ViewSpec) -> dict[str, pl.DataType] | None:
        """Return the type of each feature of a view; None if its source's columns are not known."""
        where = f"of feature view {view.name!r}"
        return self._computed(view.source, view.entity, view.features, where, ttl=view.ttl)

    def outcome_of(self, label: LabelSpec) -> dict[str, pl.DataType] | None:
        """Check a label as a window that ends at its horizon, as it is read."""
        windowed = with_window(label.expression, label.horizon)
        return self._computed(label.source, label.entity, {label.name: windowed}, "as a label", ttl=None)

    def neighbours_of(
        self, on_demand: OnDemandSpec, dtypes: Mapping[str, Mapping[str, pl.DataType] | None]
    ) -> dict[str, pl.DataType] | None:
        """Return the type of each feature of a view of neighbours; None for another view, and where types are not known."""
        if on_demand.nearest is msgspec.UNSET:
            return None
        reads: dict[str, pl.DataType] = {}
        for one in read_by(self._definitions, on_demand):
            frame = self._frames.get(one.name)
            known = dtypes.get(one.name) if one.view is not None else None if frame is None else frame.schema
            if not known:
                return None
            if one.view is None and frame is not None:
                _require(frame, one.columns, f"source {one.name!r}", on_demand.name)
            reads |= {f"{one.name}:{name}": known[name] for name in one.columns}
        with _as_definition_error("features"):
            return types_of_neighbours(on_demand, reads)

    def check_keys(self, entity: EntitySpec) -> None:
        """Refuse an entity whose key has different kinds in different sources."""
        every: list[ViewSpec | LabelSpec] = [
            *self._definitions.of(ViewSpec).values(),
            *self._definitions.of(LabelSpec).values(),
        ]
        users = [user for user in every if user.entity == entity.name and self._frames[user.source] is not None]
        for user in users[1:]:
            with _as_definition_error(f"entity {entity.name!r}, in {users[0].source!r} and {user.source!r}"):
                require_match(_types(self._key(users[0])), _types(self._key(user)), entity.key)

    def check_training_set(
        self, training_set: TrainingSetSpec, dtypes: dict[str, dict[str, pl.DataType] | None]
    ) -> None:
        """Check that the spine has the columns that keys and request fields need, of types that match."""
        spine = self._frames[training_set.spine]
        if spine is None:
            return
        where = f"training set {training_set.name!r}"
        label = self._definitions.get(LabelSpec, training_set.label)
        key = self._definitions.get(EntitySpec, label.entity).key
        self._check_spine_key(spine, key, label, f"{where}, spine {training_set.spine!r}")
        for request in training_set.features:
            if request.on_demand:
                on_demand = self._definitions.for_request(request).get(OnDemandSpec, request.view)
                _require(spine, on_demand.request, f"{where}, spine {training_set.spine!r}", on_demand.name)
                self._check_on_demand(on_demand, request, training_set, spine, dtypes)
                continue
            reader = self._definitions.for_request(request)
            view = reader.get(ViewSpec, request.view)
            columns = request.on or reader.get(EntitySpec, view.entity).key
            if reader is self._definitions:
                self._check_spine_key(spine, columns, view, f"{where}, spine {training_set.spine!r}")
            else:  # the types of its rows are checked when they are joined
                _require(spine, columns, f"{where}, spine {training_set.spine!r}", title_of(request))
            names = self._definitions.features_of(request)
            self._check_clash(where, training_set.spine, spine, [request.prefix + name for name in names])

    def check_rules(self, check: CheckSpec, dtypes: dict[str, dict[str, pl.DataType] | None]) -> None:
        """Check that the rules of a check on data fit the columns that it is on."""
        frame = self._frames.get(check.target)
        if check.of_view:
            view = self._definitions.get(ViewSpec, check.target)
            features = dtypes[view.name]
            if features is None:
                return
            names = self._definitions.get(EntitySpec, view.entity).key
            frame = pl.DataFrame([*(key.alias(name) for key, name in zip(self._key(view), names, strict=True))])
            frame = frame.with_columns(pl.Series(name, [], dtype=dtype) for name, dtype in features.items())
        if frame is not None:
            with _as_definition_error(f"check {check.name!r}"):
                require_fits(
                    check.rules,
                    frame,
                    where=f"check on {'feature view' if check.of_view else 'source'} {check.target!r}",
                )

    def check_embedding(self, embedding: EmbeddingSpec) -> None:
        """Check that the source of an embedding has its columns, of types that vectors are made of."""
        frame = self._frames[embedding.source]
        if frame is None:
            return
        key = key_of_rows(self._definitions, embedding)
        made_of = embedding.text or embedding.vector
        assert made_of is not None, "it has a text or a vector"
        where = f"source {embedding.source!r}"
        _require(frame, [*key, made_of], where, embedding.name)
        dtype = frame.schema[made_of]
        if embedding.text is not None:
            require_texts(embedding, dtype)
        else:
            require_vectors(embedding, dtype)

    def _check_spine_key(
        self, spine: pl.DataFrame, columns: Sequence[str], user: ViewSpec | LabelSpec, where: str
    ) -> None:
        _require(spine, columns, where, user.name)
        if self._frames[user.source] is not None:
            with _as_definition_error(f"{where}, {user.name!r}"):
                require_match([spine.schema[column] for column in columns], _types(self._key(user)), columns)

    def _check_on_demand(
        self,
        on_demand: OnDemandSpec,
        asked: FeatureRequest,
        training_set: TrainingSetSpec,
        spine: pl.DataFrame,
        dtypes: dict[str, dict[str, pl.DataType] | None],
    ) -> None:
        if on_demand.nearest is not msgspec.UNSET:
            where, names = f"training set {training_set.name!r}", on_demand.nearest.features
            self._check_request(on_demand.nearest, spine, f"{where}, {on_demand.name!r}")
            self._check_clash(where, training_set.spine, spine, [asked.prefix + name for name in names])
            return
        reads: dict[str, pl.DataType] = {name: spine.schema[name] for name in on_demand.request}
        if on_demand.uses_timestamp:
            reads[TIMESTAMP] = pl.Datetime("us", "UTC")
        beside = training_set.features
        for request in (one for name in on_demand.views for one in read_as(name, beside, prefix=asked.prefix)):
            known = dtypes[request.view] if request.version is msgspec.UNSET else None
            if known is None:
                return
            for name in self._definitions.features_of(request):
                reads[f"{FEATURE}{request.prefix}{name}"] = known[name]
        function = self._context.for_request(asked).function(on_demand)
        check_row_by_row(
            on_demand, function, inputs_of(on_demand, beside, self._definitions, prefix=asked.prefix), reads
        )

    @staticmethod
    def _check_clash(where: str, source: str, spine: pl.DataFrame, names: Sequence[str]) -> None:
        for name in set(names) & set(spine.columns):
            raise DefinitionError(
                f"{where} has a feature named {name!r}, and so has its spine {source!r} a column",
                hint='rename the feature, use its view in a role, .on(..., prefix="..."), or leave the column out',
            )

    def _check_request(self, nearest: Nearest, spine: pl.DataFrame, where: str) -> None:
        """Check that a spine has the key of an embedding, and texts or vectors to compare with it."""
        embedding = self._definitions.get(EmbeddingSpec, nearest.embedding)
        frame = self._frames[embedding.source]
        if frame is not None:
            names = key_of_rows(self._definitions, embedding)
            with _as_definition_error(where):
                require_match(
                    [spine.schema[name] for name in nearest.key], [frame.schema[name] for name in names], nearest.key
                )
        if nearest.of is None:
            return
        dtype = spine.schema[nearest.of]
        if embedding.text is not None and dtype not in (pl.String, pl.Null):
            raise DefinitionError(
                f"{where}: of={nearest.of!r} is {dtype}, and embedding {embedding.name!r} is one of texts",
                hint="name a column of text",
            )
        if embedding.text is None and not isinstance(dtype, pl.List | pl.Array):
            raise DefinitionError(
                f"{where}: of={nearest.of!r} is {dtype}, and embedding {embedding.name!r} has vectors of its own",
                hint="name a column of lists of numbers",
            )

    def _computed(
        self, source_name: str, entity: str, features: dict[str, Aggregate], where: str, *, ttl: int | None
    ) -> dict[str, pl.DataType] | None:
        rows = self._frames[source_name]
        if rows is None:
            return None
        source = self._definitions.get(SourceSpec, source_name)
        key = self._definitions.key_columns(self._definitions.get(EntitySpec, entity), source)
        with _as_definition_error(f"the key {where}"):
            keys = [pl.Series(column, [], dtype=rows.schema.get(column, pl.Null())) for column in key]
            history = history_of(rows, graph.origin(self._definitions, source), key, keys)
        found: dict[str, pl.Series] = {}
        for name, feature in features.items():
            with _as_definition_error(f"{name!r} {where}"):
                found |= compute(history, {name: feature}, _NO_TIMES, strict=True, ttl=ttl)
        return {name: self._type_of(features[name], series.dtype) for name, series in found.items()}

    def _type_of(self, feature: Aggregate, dtype: pl.DataType) -> pl.DataType:
        """Return the type of a feature; a vector whose dimension its model says has none yet, which is Null here."""
        if feature.embedding is msgspec.UNSET:
            return dtype
        spec = self._definitions.get(EmbeddingSpec, feature.embedding)
        dimension = spec.dimension if spec.text is not None else dimension_of_column(spec, dtype)
        return pl.Null() if dimension is None else pl.Array(pl.Float32, dimension)

    def _key(self, user: ViewSpec | LabelSpec) -> list[pl.Series]:
        rows = self._frames[user.source]
        assert rows is not None, "asked only of known sources"
        entity = self._definitions.get(EntitySpec, user.entity)
        source = self._definitions.get(SourceSpec, user.source)
        return [rows[column] for column in self._definitions.key_columns(entity, source)]

    def _read(self, source: SourceSpec) -> pl.DataFrame | None:
        """Return a source's columns without a row, times and sequence included; None if they are not known."""
        if any(self._frames[name] is None for name in source.inputs):
            return None
        try:
            frame = self._frame(source)
        # A file that does not exist yet, or a database that is not reached from here.
        except (OSError, DataError, UnavailableError, NotFoundError, pl.exceptions.ComputeError) as error:
            self._note(source, error.message if isinstance(error, TinyMLOpsError) else str(error))
            return None
        except pl.exceptions.PolarsError as error:
            raise DefinitionError(
                f"source {source.name!r} cannot be computed: {error}", hint="correct its columns and their types"
            ) from error
        except (DefinitionError, AccessError, MissingDependencyError) as error:
            if source.via == "connection" and not isinstance(error, DefinitionError):
                self._note(source, error.message)
                return None
            raise type(error)(f"source {source.name!r}: {error.message}", hint=error.hint) from error
        if frame is None:
            return None
        frame = storable(frame, source)
        if not source.row_wise:
            return with_times(frame, source).with_columns(pl.lit(0, pl.Int64).alias("__sequence"))
        if not set(SYSTEM) <= set(frame.columns):
            raise DefinitionError(
                f"row-wise transformation {source.name!r} drops columns, and with them the times of its rows",
                hint="keep all columns: `select *, ...` in SQL, with_columns or filter in Polars; or leave row_wise out",
            )
        return frame

    def _note(self, source: SourceSpec, said: str) -> None:
        self.notes.append(f"the columns of source {source.name} are checked when it is {_moment(source)}: {said}")

    def _frame(self, source: SourceSpec) -> pl.DataFrame | None:
        if source.via == "push":
            return pl.DataFrame(schema={name: parse_dtype(dtype) for name, dtype in source.columns.items()})
        if source.via == "connection":
            columns = columns_of(self._context, source)
            return self._stored(source) if columns is None else pl.DataFrame(schema=columns)
        inputs = {name: self._input(source, name) for name in source.inputs}
        if source.sql is not None:
            return pl.DataFrame(schema=self._context.query_columns(source.sql, inputs))
        if _is_lazy(self._context.functions[key_of(source)]):
            return self._lazy(source, inputs)
        return self._stored(source)

    def _stored(self, source: SourceSpec) -> pl.DataFrame | None:
        """Return the columns of rows that were ingested by this definition."""
        state = state_of(self._context, source.name)
        if state is None or state.definition != specs.fingerprint(source):
            self.notes.append(f"the columns of source {source.name} are checked when it is {_moment(source)}")
            return None
        return pl.DataFrame(schema={name: parse_dtype(dtype) for name, dtype in state.columns.items()})

    def _input(self, source: SourceSpec, name: str) -> pl.DataFrame:
        frame = self._frames[name]
        assert frame is not None, "asked only of known sources"
        return frame if source.row_wise else frame.drop(SYSTEM)

    def _lazy(self, source: SourceSpec, inputs: dict[str, pl.DataFrame]) -> pl.DataFrame:
        """Call a function for its lazy frame, and return the frame's columns."""
        function = self._context.functions[key_of(source)]
        given: Any = function(None) if source.takes_since else function(**{n: f.lazy() for n, f in inputs.items()})
        if not isinstance(given, pl.LazyFrame):
            raise DefinitionError(
                f"source {source.name!r} is hinted to return a LazyFrame and returned a {type(given).__name__}",
                hint="hint what it returns, or return frame.lazy()",
            )
        return pl.DataFrame(schema=given.collect_schema())


def _moment(source: SourceSpec) -> str:
    return "read" if source.in_place else "ingested"


def _types(columns: Sequence[pl.Series]) -> list[pl.DataType]:
    return [column.dtype for column in columns]


def _is_lazy(function: Callable[..., Any]) -> bool:
    return typing.get_type_hints(function).get("return") is pl.LazyFrame


def _require(spine: pl.DataFrame, columns: Sequence[str], where: str, needed_by: str) -> None:
    known = [name for name in spine.columns if not name.startswith("__")]
    for column in columns:
        if column not in known:
            raise DefinitionError(
                f"{where} has no column {column!r}, which {needed_by!r} needs", hint=near(column, known)
            )


@contextmanager
def _as_definition_error(where: str) -> Iterator[None]:
    """Add the definition's name to an error while its rows are computed."""
    try:
        yield
    except DataError as error:
        raise DefinitionError(f"{where}: {error.message}", hint=error.hint) from error
