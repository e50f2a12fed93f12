"""`get_historical_features`: the features of a spine as they were known at each of its times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops._warn import warn
from tinymlops.errors import DataError, DefinitionError, near
from tinymlops.features.compute.evaluating import without_infinities
from tinymlops.features.compute.views import asked_of, compute_arranged, compute_view, plan_view
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.about import is_open
from tinymlops.features.definitions.applied import require_applied
from tinymlops.features.definitions.asking import Askable, Asked, requests_of, require_features
from tinymlops.features.definitions.definitions import in_words, kind_of, labelled
from tinymlops.features.definitions.nouns import FeatureRole, OnDemandVersion, Service, title_of
from tinymlops.features.definitions.on_demand import FEATURE, TIMESTAMP, computed, expressions_of, inputs_of
from tinymlops.features.definitions.specs import (
    EntitySpec,
    FeatureRequest,
    OnDemandSpec,
    ServiceSpec,
    SourceSpec,
    ViewSpec,
)
from tinymlops.features.history.embedding_columns import embedded_names, told_status, vectors_for
from tinymlops.features.history.in_place import reading_once
from tinymlops.features.history.neighbour_columns import neighbour_columns
from tinymlops.features.history.prepared import history_from_store
from tinymlops.features.history.ranges import Range, spine_of_range
from tinymlops.features.history.stored import columns_now, require_past
from tinymlops.frames import give_back, require_no_nulls, times_to_micros, to_polars
from tinymlops.presence import absent_columns

if TYPE_CHECKING:
    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import AnySpec
    from tinymlops.frames import Frame

__all__ = [
    "FeatureColumns",
    "features_for",
    "get_historical_features",
    "in_order",
    "key_types",
    "names_of",
    "parse_features",
    "request_by_number",
    "require_present",
    "same_name",
    "spine_times",
    "view_columns",
    "with_vectors",
]

RowsOf = Callable[["Context", ViewSpec, Sequence[pl.Series]], pl.DataFrame]
"""Returns the rows that a view needs for some keys, read by the definitions of a context."""


class FeatureColumns(NamedTuple):
    """The features of a spine."""

    columns: dict[str, pl.Series]
    origins: dict[str, str]
    """Column to `view:feature`."""
    details: dict[str, pl.Series]
    """`<column>_status` and `<column>_event_time`, if requested."""
    not_finite: dict[str, int]
    """Column to the number of values that are null because the result is NaN or infinite; only columns with any."""
    embedded: Mapping[str, pl.Series] = MappingProxyType({})
    """Column of vectors to what was read, of which they were made."""

    def read(self, name: str) -> pl.Series:
        """Return a column of a view as it was read from rows: of vectors, what they were made of."""
        return self.embedded.get(name, self.columns[name])


def get_historical_features(
    context: Context,
    spine: Frame | Range,
    asked: Asked,
    *,
    timestamp: str,
    tz: str | None,
    details: bool,
    as_of: int | None,
) -> Frame:
    """Give each row of a user's spine, or each moment of a range, the features as they were known at its time.

    Args:
        context: The workspace's state.
        spine: Key columns, request fields and a time column: any table; or the range that it is made of.
        asked: The features.
        timestamp: The time column, of the spine or of the answer.
        tz: Zone of times that carry none; None if there must be no such times.
        details: Add `<feature>_status` and `<feature>_event_time`.
        as_of: Of history only the rows with a sequence up to this one; None for all.

    Returns:
        The spine's rows, in their order, with a column for each feature; the kind of frame the spine is. Of a
        range a Polars frame of keys, time and features, sorted by time and then by key.

    Raises:
        DataError: If the spine lacks its time column, a key column or a request field, or a time is null or has no zone.
        DefinitionError: If the views of a range have different keys.
    """
    requests, past = parse_features(context, asked), require_past(context, as_of)
    with reading_once() as operation:
        if isinstance(spine, Range):
            if past is None:
                past = context.environment.database.sequence()
                operation.as_of.add(past)
            spine = spine_of_range(context, requests, spine, timestamp=timestamp, as_of=past)
        return _with_features(context, spine, requests, timestamp=timestamp, tz=tz, details=details, past=past)


def _with_features(
    context: Context,
    spine: Frame,
    requests: Sequence[FeatureRequest],
    *,
    timestamp: str,
    tz: str | None,
    details: bool,
    past: int | None,
) -> Frame:
    rows = to_polars(spine)
    time = spine_times(rows, timestamp, tz=tz)
    absent = absent_columns(spine)
    if absent:
        require_present(context, requests, absent)
    table = features_for(context, rows, time, requests, details=details, as_of=past)
    result = rows.with_columns(*table.columns.values(), *table.details.values())
    assert result.height == rows.height, "a spine row has exactly one row of features"
    return give_back(result, spine)


def spine_times(rows: pl.DataFrame, timestamp: str, *, tz: str | None) -> Array:
    """Return int64[m], the times of a user's spine, microseconds UTC.

    Args:
        rows: The spine.
        timestamp: Its time column.
        tz: Zone of times that carry none; None if there must be no such times.

    Raises:
        DataError: If the column is missing, or a time is null or has no zone.
    """
    if timestamp not in rows.columns:
        raise DataError(
            f"the spine has no time column {timestamp!r}",
            hint=near(timestamp, rows.columns) + ' Name it with timestamp="..."',
        )
    time = times_to_micros(rows[timestamp], role="spine", tz=tz, name=timestamp)
    require_no_nulls(time, name=timestamp)
    return time.to_numpy()


def require_present(context: Context, requests: Sequence[FeatureRequest], absent: Mapping[str, int]) -> None:
    """Refuse a row that lacks a key column or request field which others have: alone it would be refused as well.

    Args:
        context: The workspace's state.
        requests: What is asked for.
        absent: Column to the first row that lacks it.

    Raises:
        DataError: If there is such a row, naming it and the column.
    """
    views = [request for request in requests if not request.on_demand]
    needed = [(column, f"the key of {request.view!r}") for request in views for column in _key_of(context, request)]
    for request in requests:
        if request.on_demand:
            fields = context.definitions.for_request(request).get(OnDemandSpec, request.view).request
            needed += [(name, f"a request field of on-demand view {title_of(request)!r}") for name in fields]
    for column, what in needed:
        if column in absent:
            raise DataError(
                f"row {absent[column]} has no column {column!r}, {what}, which other rows have",
                hint="send it in every row; null where it is not known",
            )


def _key_of(context: Context, request: FeatureRequest) -> tuple[str, ...]:
    reader = context.definitions.for_request(request)
    return request.on or reader.get(EntitySpec, reader.get(ViewSpec, request.view).entity).key


def parse_features(context: Context, asked: Asked) -> tuple[FeatureRequest, ...]:
    """Resolve the features that a user requests: nouns or names.

    Raises:
        NotFoundError: If a name is unknown, with the near match, or a noun was not applied.
        DefinitionError: If a noun has changed since it was applied.
    """
    found: list[FeatureRequest] = []
    for item in [asked] if isinstance(asked, str) else asked:  # a text in place of a list is refused
        given = asked if isinstance(asked, str) else [item]
        requests = requests_of(given, context.definitions, check=lambda noun: _require_applied(context, noun))
        service = context.definitions.of(ServiceSpec).get(item.spec.name if isinstance(item, Service) else str(item))
        if service is not None and not is_open(service):
            raise _closed(f"service {service.name!r}", service)
        found += [_checked(context, request, service) for request in requests]
    return tuple(found)


def _require_applied(context: Context, noun: Askable) -> None:
    """Refuse a noun that is not in force; another version of a view is not, and is in the workspace by its name."""
    if not isinstance(noun, FeatureRole | OnDemandVersion) or noun.request.version is msgspec.UNSET:
        require_applied(noun, context.definitions)


def _checked(context: Context, request: FeatureRequest, service: ServiceSpec | None) -> FeatureRequest:
    """Return a request with the number of the version that it names; refuse what is not there or not open.

    A service in force has read what it names since before that was closed, so that it is told and goes on.
    """
    reader = context.for_request(request).definitions
    spec = reader.get(OnDemandSpec, request.view) if request.on_demand else reader.get(ViewSpec, request.view)
    if isinstance(spec, ViewSpec):
        require_features(spec, request)
    title = f"{in_words(kind_of(spec))} {title_of(request)!r}"
    for key, under in {"": spec, **graph.below(reader, spec)}.items():
        if is_open(under):
            continue
        if service is not None:
            warn(
                f"service {service.name} reads {labelled(key) if key else title}, which is not enabled: move on from it"
            )
        else:
            raise _closed(f"{title} reads {labelled(key)}, which" if key else title, under)
    return request_by_number(context.definitions, request)


def _closed(title: str, spec: AnySpec) -> DefinitionError:
    owner = "its owner" if spec.about is msgspec.UNSET else spec.about.owner or "its owner"
    return DefinitionError(
        f"{title} is not enabled: it takes no new readers",
        hint=f"read another version of it, or ask {owner}; models, training sets and services that have it still do",
    )


def request_by_number(definitions: Definitions, request: FeatureRequest) -> FeatureRequest:
    """Return a request that names its version by number, which stays when a variant gets another name."""
    reader = definitions.for_request(request)
    if reader is definitions:
        return request
    kind = "on_demand" if request.on_demand else "feature_view"
    return msgspec.structs.replace(request, version=reader.versions[f"{kind}:{request.view}"])


def names_of(context: Context, asked: Asked) -> list[str]:
    """Return what a user asks for by name: "view", "view:feature", "view@v1"; a service is what it names."""
    names: list[str] = []
    for request in requests_of(asked, context.definitions):
        names += [f"{title_of(request)}:{name}" for name in request.features or ()] or [title_of(request)]
    return names


def features_for(
    context: Context,
    spine: pl.DataFrame,
    time: Array,
    requests: Sequence[FeatureRequest],
    *,
    spine_source: str | None = None,
    details: bool = False,
    rows: RowsOf | None = None,
    as_of: int | None = None,
) -> FeatureColumns:
    """Compute every requested feature for every spine row.

    Args:
        context: The workspace's state.
        spine: Key columns and request fields.
        time: int64[m] spine times, microseconds UTC.
        requests: The features to compute, in order.
        spine_source: The source the spine comes from: a view that shares a base source with it sees only what
            was known strictly before each row.
        details: Whether to return the status of each cell as well.
        rows: Returns a view's rows for some keys; None for history.
        as_of: Read only rows with a sequence up to this one; None for all.

    Raises:
        DataError: If the spine lacks a key column or request field.
    """
    table = FeatureColumns({}, {}, {}, {})
    for request in requests:
        if request.on_demand:
            continue
        found = view_columns(
            context, spine, time, request, spine_source=spine_source, details=details, rows=rows, as_of=as_of
        )
        table.columns.update(found.columns)
        table.details.update(found.details)
        table.not_finite.update(found.not_finite)
    return in_order(context, spine, time, requests, table, spine_source=spine_source, as_of=as_of)


def in_order(
    context: Context,
    spine: pl.DataFrame,
    time: Array,
    requests: Sequence[FeatureRequest],
    table: FeatureColumns,
    *,
    spine_source: str | None,
    as_of: int | None,
) -> FeatureColumns:
    """Add vectors and the on-demand views to the features of a spine, and put all in the requested order.

    Args:
        context: The workspace's state.
        spine: Key columns and request fields.
        time: int64[m] spine times, microseconds UTC.
        requests: The features, in order.
        table: Those of the feature views.
        spine_source: As for `features_for`: of views of neighbours.
        as_of: Of neighbours only the rows with a sequence up to this one; None for all.

    Raises:
        DataError: If two columns have one name.
    """
    table = with_vectors(context, requests, table)
    ordered = FeatureColumns({}, {}, table.details, table.not_finite, table.embedded)
    for request in requests:
        names = (
            _on_demand(context, spine, time, request, requests, table, spine_source=spine_source, as_of=as_of)
            if request.on_demand
            else _columns(context, request)
        )
        for name, origin in names.items():
            if name in ordered.columns or name in spine.columns:
                raise same_name(name, origin)
            ordered.columns[name] = table.columns[name]
            ordered.origins[name] = origin
    return ordered


def with_vectors(context: Context, requests: Sequence[FeatureRequest], table: FeatureColumns) -> FeatureColumns:
    """Put vectors in the place of what they are made of; a column that has vectors already stays."""
    names = {name: spec for one in requests for name, spec in embedded_names(context.definitions, one).items()}
    made, columns, details = dict(table.embedded), dict(table.columns), dict(table.details)
    for name, spec in names.items():
        if name not in columns or name in made:
            continue
        made[name] = columns[name]
        columns[name], missing = vectors_for(context, spec, columns[name])
        if f"{name}_status" in details:
            details[f"{name}_status"] = told_status(details[f"{name}_status"], missing)
    return table._replace(columns=columns, details=details, embedded=made) if names else table


def key_types(context: Context, asked: Asked) -> dict[str, str]:
    """Return the spine's key columns of some features, and the dtype names that the rows have for them."""
    types: dict[str, str] = {}
    for request in parse_features(context, asked):
        if request.on_demand:
            continue
        definitions = context.definitions.for_request(request)
        view = definitions.get(ViewSpec, request.view)
        entity, source = definitions.get(EntitySpec, view.entity), definitions.get(SourceSpec, view.source)
        names = definitions.key_columns(entity, source)
        origin = graph.origin(definitions, source)
        known = columns_now(context.with_definitions(definitions), origin)
        found = zip(request.on or entity.key, names, strict=True)
        types |= {column: known[name] for column, name in found if name in known}
    return types


def same_name(name: str, origin: str) -> DataError:
    """Return the error for a feature with the name of another column."""
    return DataError(
        f"feature {name!r} ({origin}) has the name of another column",
        hint='use the view in a role, .on(..., prefix="..."), or rename the spine column',
    )


def _columns(context: Context, request: FeatureRequest) -> dict[str, str]:
    view = context.definitions.for_request(request).get(ViewSpec, request.view)
    return {request.prefix + name: f"{title_of(request)}:{name}" for name in asked_of(view, request)}


def view_columns(
    context: Context,
    spine: pl.DataFrame,
    time: Array,
    request: FeatureRequest,
    *,
    spine_source: str | None,
    details: bool,
    rows: RowsOf | None = None,
    as_of: int | None = None,
) -> FeatureColumns:
    """Compute the features of one view and the status of each cell; the arguments are those of `features_for`."""
    plan = plan_view(context.definitions, request, spine_source=spine_source)
    keys = plan.keys_of(spine)
    context = context.for_request(request)
    view = context.definitions.get(ViewSpec, request.view)
    if rows is not None:
        found = compute_view(plan, rows(context, view, keys), spine, time, details=details)
    else:
        entity = context.definitions.get(EntitySpec, view.entity)
        source = context.definitions.get(SourceSpec, view.source)
        history = history_from_store(context, source, entity, keys, plan.columns, as_of=as_of)
        found = compute_arranged(plan, history, time, details=details)
    return FeatureColumns(found.columns, {}, found.details, found.not_finite)


def _on_demand(
    context: Context,
    spine: pl.DataFrame,
    time: Array,
    request: FeatureRequest,
    requests: Sequence[FeatureRequest],
    table: FeatureColumns,
    *,
    spine_source: str | None,
    as_of: int | None,
) -> dict[str, str]:
    """Compute an on-demand view into the table; return its columns and their origins."""
    reader = context.for_request(request)
    spec = reader.definitions.get(OnDemandSpec, request.view)
    for name in spec.request:
        if name not in spine.columns:
            raise DataError(
                f"the spine has no column {name!r}, a request field of on-demand view {spec.name!r}",
                hint=near(name, spine.columns),
            )
    if spec.nearest is not msgspec.UNSET:
        return _of_neighbours(context, spine, time, request, table, spine_source=spine_source, as_of=as_of)
    inputs = inputs_of(spec, requests, context.definitions, prefix=request.prefix)
    found = expressions_of(spec, reader.function(spec), inputs)
    expressions = {request.prefix + name: expression for name, expression in found.items()}
    moments = pl.Series(TIMESTAMP, np.asarray(time)).cast(pl.Datetime("us", "UTC"))
    read = [series.alias(FEATURE + name) for name, series in table.columns.items()]
    frame = pl.DataFrame([moments, *(spine[name] for name in spec.request), *read])
    try:
        answered = computed(frame, expressions)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"on-demand view {spec.name!r} cannot be computed: {error}",
            hint=f"check the types and values of {', '.join((*spec.views, *spec.request))}",
        ) from error
    for name in expressions:
        table.columns[name], lost = without_infinities(answered[name])
        if lost:
            table.not_finite[name] = lost
    return {request.prefix + name: f"{title_of(request)}:{name}" for name in found}


def _of_neighbours(
    context: Context,
    spine: pl.DataFrame,
    time: Array,
    request: FeatureRequest,
    table: FeatureColumns,
    *,
    spine_source: str | None,
    as_of: int | None,
) -> dict[str, str]:
    """Compute a view of neighbours into the table; return its columns and their origins."""
    reader = context.for_request(request)
    if reader is not context:  # what was built by a model is read by it in every version
        reader = reader.with_definitions(reader.definitions.with_fitted(context.definitions.fitted))

    def features_of(keys: pl.DataFrame, at: Array, asked: Sequence[FeatureRequest]) -> Mapping[str, pl.Series]:
        return features_for(reader, keys, at, asked, spine_source=spine_source, as_of=as_of).columns

    found, not_finite = neighbour_columns(
        reader,
        reader.definitions.get(OnDemandSpec, request.view),
        spine,
        time,
        features_of,
        spine_source=spine_source,
        as_of=as_of,
    )
    table.columns.update({request.prefix + name: series.alias(request.prefix + name) for name, series in found.items()})
    table.not_finite.update({request.prefix + name: count for name, count in not_finite.items()})
    return {request.prefix + name: f"{title_of(request)}:{name}" for name in found}
