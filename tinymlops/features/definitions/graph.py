"""Walks over definitions: a source's inputs, what is derived from it, and what a version of a view depends on.

A transformation's inputs are the edges between sources. A view or a label reads one source, an on-demand view reads
views. Walks from a source to its readers follow only row-wise transformations: any other transformation has rows of
its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

import msgspec

from tinymlops.features.definitions.definitions import key_of
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.definitions.specs import (
    AnySpec,
    CheckSpec,
    EmbeddingSpec,
    EntitySpec,
    FeatureRequest,
    LabelSpec,
    OnDemandSpec,
    ServiceSpec,
    SinkSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
    fingerprint,
)

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = [
    "base_sources",
    "below",
    "derived_in_order",
    "downstream",
    "embeddings_of",
    "features_stand_on",
    "fingerprints",
    "labels_reading",
    "lineage",
    "named_versions",
    "neighbours_under",
    "origin",
    "parameter_of",
    "rebuilt_under",
    "row_wise_inputs",
    "row_wise_over",
    "shared_sources",
    "stands_on",
    "upstream",
    "version_of",
    "views_reading",
    "views_under",
]


def upstream(definitions: Definitions, names: Iterable[str]) -> dict[str, SourceSpec]:
    """Return sources and all that they are derived from, by name.

    Raises:
        NotFoundError: If a name is not that of a source.
    """
    found: dict[str, SourceSpec] = {}
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = definitions.get(SourceSpec, name)
            todo += found[name].inputs
    return found


def base_sources(definitions: Definitions, name: str) -> set[str]:
    """Return the base sources of a source: itself, or those that it is finally derived from."""
    return {one.name for one in upstream(definitions, [name]).values() if not one.inputs}


def shared_sources(definitions: Definitions, one: str, other: str) -> set[str]:
    """Return the base sources that two sources share."""
    return base_sources(definitions, one) & base_sources(definitions, other)


def derived_in_order(definitions: Definitions) -> list[SourceSpec]:
    """Return the transformations, inputs before their readers.

    Raises:
        graphlib.CycleError: If they read each other in a circle.
    """
    sources = definitions.of(SourceSpec)
    order = TopologicalSorter({name: source.inputs for name, source in sources.items()}).static_order()
    return [sources[name] for name in order if sources[name].inputs]


def rebuilt_under(definitions: Definitions, views: Iterable[ViewSpec]) -> list[SourceSpec]:
    """Return the rebuilt transformations that views depend on, inputs before their readers."""
    needed = upstream(definitions, [view.source for view in views])
    return [one for one in derived_in_order(definitions) if one.name in needed and not one.row_wise]


def lineage(definitions: Definitions, source: SourceSpec) -> list[SourceSpec]:
    """Return a source, then for a row-wise transformation its input, and so on: the last one defines times and ids."""
    found = [source]
    while found[-1].row_wise:
        found.append(definitions.get(SourceSpec, found[-1].inputs[0]))
    return found


def origin(definitions: Definitions, source: SourceSpec) -> SourceSpec:
    """Return the source that defines the times and ids of a source's rows: a row-wise transformation keeps its input's."""
    return lineage(definitions, source)[-1]


def row_wise_inputs(definitions: Definitions, source: SourceSpec) -> list[SourceSpec]:
    """Return the row-wise transformations between a rebuilt one and stored rows, each once."""
    found: dict[str, SourceSpec] = {}
    for name in source.inputs:
        *row_wise, _ = lineage(definitions, definitions.get(SourceSpec, name))
        found |= {one.name: one for one in row_wise}
    return list(found.values())


def row_wise_over(definitions: Definitions, name: str) -> list[SourceSpec]:
    """Return the row-wise transformations that read a source directly, in the order of their definitions."""
    return [one for one in definitions.of(SourceSpec).values() if one.row_wise and one.inputs[0] == name]


def downstream(definitions: Definitions, name: str) -> list[str]:
    """Return the names of a source and of all row-wise transformations of it, inputs before their readers."""
    found = [name]
    for one in row_wise_over(definitions, name):
        found += downstream(definitions, one.name)
    return found


def views_reading(definitions: Definitions, *names: str) -> list[ViewSpec]:
    """Return the views that read one of these sources directly, in the order of their definitions."""
    return [view for view in definitions.of(ViewSpec).values() if view.source in names]


def labels_reading(definitions: Definitions, *names: str) -> list[LabelSpec]:
    """Return the labels that read one of these sources directly, in the order of their definitions."""
    return [label for label in definitions.of(LabelSpec).values() if label.source in names]


def parameter_of(request: FeatureRequest) -> str | None:
    """Return the parameter name of a request's view in on-demand views, that of its role; None for an on-demand view."""
    return None if request.on_demand else request.prefix + request.view


def views_under(definitions: Definitions, on_demand: OnDemandSpec) -> list[FeatureRequest]:
    """Return the whole views that an on-demand view reads, each in the role of its parameter.

    Raises:
        NotFoundError: If a parameter names no view, with the near match.
    """
    views, requests = definitions.of(ViewSpec), []
    for parameter in on_demand.views:
        named = max((name for name in views if parameter.endswith(name)), key=len, default=parameter)
        view = definitions.get(ViewSpec, named, used_by=f"on-demand view {on_demand.name!r}")
        requests.append(FeatureRequest(view=view.name, prefix=parameter.removesuffix(view.name)))
    return requests


def neighbours_under(definitions: Definitions, on_demand: OnDemandSpec) -> list[EmbeddingSpec | ViewSpec]:
    """Return the embedding and the views that a view of neighbours reads; nothing for one of expressions.

    Raises:
        NotFoundError: If there is no such embedding, with the near match.
    """
    if on_demand.nearest is msgspec.UNSET:
        return []
    views = definitions.of(ViewSpec)
    named = sorted(
        {name.partition(":")[0] for name in set().union(*map(columns_of, on_demand.nearest.features.values()))}
    )
    embedding = definitions.get(
        EmbeddingSpec, on_demand.nearest.embedding, used_by=f"on-demand view {on_demand.name!r}"
    )
    return [embedding, *(views[name] for name in named if name in views)]


def below(definitions: Definitions, spec: AnySpec) -> dict[str, AnySpec]:
    """Return every definition that one stands on, directly or through others.

    Returns:
        `kind:name` to definition, in order; `kind:name@v1` for what stands there in a version that is named.

    Raises:
        NotFoundError: If a name resolves to nothing.
    """
    found: dict[str, AnySpec] = {}
    if isinstance(spec, SourceSpec):
        found = _keyed(upstream(definitions, spec.inputs).values())
    elif isinstance(spec, ViewSpec | LabelSpec):
        entity = definitions.get(EntitySpec, spec.entity)
        found = _keyed([entity, *upstream(definitions, [spec.source]).values()])
        for name in embeddings_of(spec) if isinstance(spec, ViewSpec) else ():
            found |= _with_below(definitions, definitions.get(EmbeddingSpec, name))
    elif isinstance(spec, OnDemandSpec):
        for request in views_under(definitions, spec):
            found |= _with_below(definitions, definitions.get(ViewSpec, request.view))
        for one in neighbours_under(definitions, spec):
            found |= _with_below(definitions, one)
    elif isinstance(spec, TrainingSetSpec):
        found = _with_below(definitions, definitions.get(LabelSpec, spec.label))
        found |= _keyed(upstream(definitions, [spec.spine]).values())
        for request in spec.features:
            found |= _requested(definitions, request)
    elif isinstance(spec, ServiceSpec):
        for request in spec.features:
            found |= _requested(definitions, request)
    elif isinstance(spec, CheckSpec):
        target = spec.target
        checked = definitions.get(ViewSpec, target) if spec.of_view else definitions.get(SourceSpec, target)
        found = _with_below(definitions, checked)
    elif isinstance(spec, SinkSpec) and spec.writes == "features":
        found = _with_below(definitions, definitions.get(ViewSpec, spec.of))
    elif isinstance(spec, EmbeddingSpec):
        entities = [] if spec.entity is None else [definitions.get(EntitySpec, spec.entity)]
        found = _keyed([*entities, *upstream(definitions, [spec.source]).values()])
    return dict(sorted(found.items()))


def embeddings_of(view: ViewSpec) -> list[str]:
    """Return the embeddings that make vectors of a view's features, each once."""
    named = [one.embedding for one in view.features.values() if one.embedding is not msgspec.UNSET]
    return list(dict.fromkeys(named))


def _with_below(definitions: Definitions, spec: AnySpec) -> dict[str, AnySpec]:
    return {key_of(spec): spec, **below(definitions, spec)}


def _requested(definitions: Definitions, request: FeatureRequest) -> dict[str, AnySpec]:
    reader = definitions.for_request(request)
    spec = reader.get(OnDemandSpec, request.view) if request.on_demand else reader.get(ViewSpec, request.view)
    found = _with_below(reader, spec)
    if reader is definitions:
        return found
    return {f"{key}@v{reader.versions[key]}": spec for key, spec in found.items()}


def _keyed(found: Iterable[AnySpec]) -> dict[str, AnySpec]:
    return {key_of(spec): spec for spec in found}


def named_versions(definitions: Definitions) -> list[Definitions]:
    """Return the versions that training sets and services name beside the definitions, each as all that it stands on."""
    every: list[TrainingSetSpec | ServiceSpec] = [
        *definitions.of(TrainingSetSpec).values(),
        *definitions.of(ServiceSpec).values(),
    ]
    requests = [request for one in every for request in one.features]
    return [definitions.for_request(request) for request in requests if request.version is not msgspec.UNSET]


def version_of(definitions: Definitions, view: ViewSpec) -> tuple[AnySpec, ...]:
    """Return the definitions that make one version of a view: if one of them changes, so do its rows.

    Returns:
        The view, its entity, its source, then for a row-wise transformation its input, and so on.
    """
    entity = definitions.get(EntitySpec, view.entity)
    return view, entity, *lineage(definitions, definitions.get(SourceSpec, view.source))


def fingerprints(version: Sequence[AnySpec]) -> tuple[str, ...]:
    """Return the identity of a view's version: two are the same if these are."""
    return tuple(map(fingerprint, version))


def stands_on(definitions: Definitions, asking: TrainingSetSpec | ServiceSpec) -> dict[str, str]:
    """Return the fingerprint of every definition that a training set or a service depends on, itself included.

    Returns:
        `kind:name` to fingerprint, in order; `kind:name@v1` for what stands there in a version that is named.
    """
    found: dict[str, AnySpec] = {key_of(asking): asking}
    if isinstance(asking, TrainingSetSpec):
        found |= _with_below(definitions, definitions.get(LabelSpec, asking.label))
        found |= _keyed(upstream(definitions, [asking.spine]).values())
    return dict(sorted({**_fingerprinted(found), **features_stand_on(definitions, asking.features)}.items()))


def features_stand_on(definitions: Definitions, requests: Iterable[FeatureRequest]) -> dict[str, str]:
    """Return the fingerprint of every definition that some features depend on; keys as of `stands_on`, in order."""
    found: dict[str, AnySpec] = {}
    for request in requests:
        spec = definitions.of(OnDemandSpec).get(request.view) if request.on_demand else None
        if spec is not None and request.version is msgspec.UNSET and spec.nearest is msgspec.UNSET:
            found[f"on_demand:{request.view}"] = spec  # the views that it reads are in the list themselves
        else:
            found |= _requested(definitions, request)
    return dict(sorted(_fingerprinted(found).items()))


def _fingerprinted(found: Mapping[str, AnySpec]) -> dict[str, str]:
    return {key: fingerprint(spec) for key, spec in found.items()}
