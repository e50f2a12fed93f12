"""Check definitions without data: names resolve, and the definitions that they name fit together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DefinitionError, LeakageError, NotFoundError, near
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.data_checks import require_sound
from tinymlops.features.definitions.declaring_embeddings import check_embedded, check_embedding
from tinymlops.features.definitions.definitions import key_of
from tinymlops.features.definitions.expressions import aggregates_in, feature_of
from tinymlops.features.definitions.in_place import notes_on_history_only, require_possible
from tinymlops.features.definitions.neighbours import check_nearest
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.on_demand import check_expressions, inputs_of
from tinymlops.features.definitions.sinks import require_sinks
from tinymlops.features.definitions.specs import (
    CheckSpec,
    EmbeddingSpec,
    EntitySpec,
    FeatureRequest,
    LabelSpec,
    OnDemandSpec,
    ServiceSpec,
    SourceSpec,
    TermSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.features.definitions.terms import check_terms
from tinymlops.times import format_duration

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["check"]

Functions = Mapping[str, Callable[..., Any]]
FunctionOf = Callable[[FeatureRequest], Callable[..., Any]]
"""Gives the function of an on-demand view in the version that a request names."""


def check(definitions: Definitions, functions: Functions, *, older: FunctionOf | None = None) -> list[str]:
    """Check that the definitions fit together.

    On-demand views are called for their expressions; no other user function is.

    Args:
        definitions: The definitions of one project.
        functions: Its Python functions by `kind:name`.
        older: Gives the function of another version of an on-demand view; needed where one is named.

    Returns:
        Notes about them.

    Raises:
        NotFoundError: If a name resolves to nothing.
        DefinitionError: If definitions do not fit together.
        LeakageError: If a label or a spine has no time.
    """
    check_terms(definitions.of(TermSpec).values())
    _check_sources(definitions)
    require_possible(definitions)
    for view in definitions.of(ViewSpec).values():
        _check_view(view, definitions)
    for label in definitions.of(LabelSpec).values():
        _check_label(label, definitions)
    for on_demand in definitions.of(OnDemandSpec).values():
        if on_demand.nearest is not msgspec.UNSET:
            check_nearest(on_demand, definitions)
            continue
        inputs = inputs_of(on_demand, graph.views_under(definitions, on_demand), definitions)
        check_expressions(on_demand, functions[key_of(on_demand)], inputs)
    for spec in definitions.of(CheckSpec).values():
        require_sound(spec, definitions)
    require_sinks(definitions)
    for embedding in definitions.of(EmbeddingSpec).values():
        check_embedding(embedding, definitions)
    notes = _notes_on_sources(definitions) + notes_on_history_only(definitions)

    def function_of(request: FeatureRequest) -> Callable[..., Any]:
        if older is not None and request.version is not msgspec.UNSET:
            return older(request)
        return functions[key_of(definitions.get(OnDemandSpec, request.view))]

    for training_set in definitions.of(TrainingSetSpec).values():
        _check_spine(training_set, definitions)
        _check_names(f"training set {training_set.name!r}", training_set.features, definitions, function_of)
        notes += _notes_on_training_set(training_set, definitions)
    for service in definitions.of(ServiceSpec).values():
        _check_names(f"service {service.name!r}", service.features, definitions, function_of)
    return notes


def _check_sources(definitions: Definitions) -> None:
    for source in definitions.of(SourceSpec).values():
        for parent in source.inputs:
            definitions.get(SourceSpec, parent, used_by=f"transformation {source.name!r}")
    try:
        graph.derived_in_order(definitions)
    except CycleError as error:
        raise DefinitionError(
            f"transformations read each other in a circle: {' -> '.join(error.args[1])}", hint="break the circle"
        ) from error


def _is_static(source: SourceSpec, definitions: Definitions) -> bool:
    return graph.origin(definitions, source).timestamp is None


def _check_view(view: ViewSpec, definitions: Definitions) -> None:
    where = f"feature view {view.name!r}"
    definitions.get(EntitySpec, view.entity, used_by=where)
    source = definitions.get(SourceSpec, view.source, used_by=where)
    check_embedded(view, definitions)
    if _is_static(source, definitions):
        parts = aggregates_in(view.features)
        windowed = [feature_of(name) for name, part in parts.items() if part.window is not None]
        if windowed or view.ttl is not None:
            what = f"a window in {windowed[0]!r}" if windowed else "a ttl"
            raise DefinitionError(
                f"{where} has {what}, but its source {source.name!r} is static",
                hint="rows without a time are always visible: use .last() and no ttl, or give the source a timestamp",
            )
    delay = graph.origin(definitions, source).delay
    if view.ttl is not None and delay >= view.ttl:
        raise DefinitionError(
            f"{where}: the delay of {source.name!r} ({format_duration(delay)}) is not shorter than the ttl "
            f"({format_duration(view.ttl)}): every value would expire before it is known",
            hint="raise ttl above the delay",
        )
    for name, feature in aggregates_in(view.features).items():
        if feature.window is not None and delay >= feature.window:
            raise DefinitionError(
                f"feature {feature_of(name)!r} of {where}: the delay of {source.name!r} ({format_duration(delay)}) is not "
                f"shorter than the window ({format_duration(feature.window)}), which would always be empty",
                hint="widen the window beyond the delay",
            )


def _check_label(label: LabelSpec, definitions: Definitions) -> None:
    where = f"label {label.name!r}"
    if label.expression.embedding is not msgspec.UNSET:
        raise DefinitionError(f"{where} is a vector, and an outcome is one value", hint="leave .embedded(...) out")
    definitions.get(EntitySpec, label.entity, used_by=where)
    source = definitions.get(SourceSpec, label.source, used_by=where)
    if _is_static(source, definitions):
        raise LeakageError(
            f"{where} reads {source.name!r}, which has no event time, so it is unknown when the outcome was known",
            hint=f'give the source one: @project.source(timestamp="...") on {source.name}',
        )


def _check_spine(training_set: TrainingSetSpec, definitions: Definitions) -> None:
    where = f"training set {training_set.name!r}"
    definitions.get(LabelSpec, training_set.label, used_by=where)
    spine = definitions.get(SourceSpec, training_set.spine, used_by=where)
    if _is_static(spine, definitions):
        raise LeakageError(
            f"the spine {spine.name!r} of {where} has no timestamp", hint="a spine says when each prediction is made"
        )


def _check_names(
    where: str, requests: Sequence[FeatureRequest], definitions: Definitions, function_of: FunctionOf
) -> None:
    """Refuse two features of one name, and a feature with the name of a required spine column."""
    taken = {"timestamp": "the prediction time"}
    for request in requests:
        if request.on_demand:
            on_demand = definitions.for_request(request).get(OnDemandSpec, request.view, used_by=where)
            taken.update(dict.fromkeys(on_demand.request, f"a request field of {on_demand.name!r}"))
        else:
            reader = definitions.for_request(request)
            view = reader.get(ViewSpec, request.view, used_by=where)
            for feature in request.features or ():
                if feature not in view.features:
                    raise NotFoundError(
                        f"feature view {title_of(request)!r}, which {where} names, has no feature {feature!r}",
                        hint=near(feature, view.features),
                    )
            taken.update(dict.fromkeys(_role_of(view, request, reader), f"a key column of {view.name!r}"))
    owners: dict[str, str] = {}
    for request in requests:
        for name in _features_of(request, requests, definitions, function_of):
            owner = f"{title_of(request)}:{name.removeprefix(request.prefix)}"
            if name in taken:
                raise DefinitionError(
                    f"{where} has a feature named {name!r} ({owner}), which is {taken[name]}",
                    hint='rename the feature, or use its view in a role, .on(..., prefix="...")',
                )
            if name in owners:
                raise DefinitionError(
                    f"{where} has two features named {name!r}: {owners[name]} and {owner}",
                    hint='rename one, or use its role with .on(..., prefix="...")',
                )
            owners[name] = owner


def _role_of(view: ViewSpec, request: FeatureRequest, definitions: Definitions) -> tuple[str, ...]:
    """Return the spine columns that hold the key."""
    entity = definitions.get(EntitySpec, view.entity)
    if request.on is not None and len(request.on) != len(entity.key):
        raise DefinitionError(
            f"{view.name}.on({', '.join(map(repr, request.on))}) names {len(request.on)} columns; entity "
            f"{entity.name!r} has {len(entity.key)} key columns",
            hint=f"name one spine column for each of {', '.join(entity.key)}",
        )
    return request.on or entity.key


def _features_of(
    request: FeatureRequest, requests: Sequence[FeatureRequest], definitions: Definitions, function_of: FunctionOf
) -> list[str]:
    if not request.on_demand:
        return [request.prefix + name for name in definitions.features_of(request)]
    on_demand = definitions.for_request(request).get(OnDemandSpec, request.view)
    if on_demand.nearest is not msgspec.UNSET:
        return [request.prefix + name for name in on_demand.nearest.features]
    inputs = inputs_of(on_demand, requests, definitions, prefix=request.prefix)
    return [request.prefix + name for name in check_expressions(on_demand, function_of(request), inputs)]


def _notes_on_sources(definitions: Definitions) -> list[str]:
    sources = definitions.of(SourceSpec).values()
    return [
        f"source {source.name} is static: edits to it are not versioned in time"
        for source in sources
        if source.timestamp is None and not source.row_wise
    ] + [
        f"transformation {source.name} is {'row-wise' if source.row_wise else 'rebuilt at ingest and materialize'}"
        for source in sources
        if source.inputs
    ]


def _notes_on_training_set(training_set: TrainingSetSpec, definitions: Definitions) -> list[str]:
    label = definitions.get(LabelSpec, training_set.label)
    notes = []
    shared = graph.shared_sources(definitions, training_set.spine, label.source)
    if shared:
        begins = f"t + {format_duration(label.gap)}" if label.gap else "t"
        notes.append(
            f"{training_set.name}: label {label.name} shares {', '.join(sorted(shared))} with the spine; a row is never "
            f"its own outcome, which lies in ({begins}, t + {format_duration(label.gap + label.horizon)}]"
        )
    requests = {title_of(request): request for request in training_set.features if not request.on_demand}
    for view, request in requests.items():
        reader = definitions.for_request(request)
        own = graph.base_sources(reader, reader.get(ViewSpec, request.view).source)
        shared = graph.base_sources(definitions, training_set.spine) & own
        if shared:
            notes.append(
                f"{training_set.name}: {view} shares {', '.join(sorted(shared))} with the spine, so a row sees "
                "only what was known strictly before it"
            )
    return notes
