"""Versions of views that stay beside the newest: because something names them, or because they say `keep=True`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.context import definitions_of
from tinymlops.features.definitions.definitions import in_words, kind_of
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import FeatureRequest, ServiceSpec, TrainingSetSpec, ViewSpec
from tinymlops.features.history.ended import Ended, ended
from tinymlops.features.online.variants import Variant
from tinymlops.registry.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.registry.models import Models

__all__ = ["VersionState", "pinned_versions", "variants_of", "version_states"]


class VersionState(msgspec.Struct, frozen=True):
    """A version of a view that stays beside the newest."""

    version: str
    """Such as `spending@v1`."""
    pinned_by: tuple[str, ...]
    """Training sets, services, models, or `keep=True`."""
    covered: int | None
    """`Q` of the online store; None if it is not materialized."""
    ended: Ended | None
    """Since when it gets no new rows; None if it still does."""


def variants_of(definitions: Definitions) -> list[Variant]:
    """Return the views of definitions, and the versions that their training sets name beside them."""
    found = [Variant.of(definitions, view) for view in definitions.of(ViewSpec).values()]
    return found + [_variant(definitions, request) for request in _named(definitions)]


def pinned_versions(context: Context) -> list[FeatureRequest]:
    """Return the versions that a training set or a service in force names, and those out of force that say `keep=True`.

    One that is computed as the newest is not among them.
    """
    return [request for request, _ in _pinned(context)]


def version_states(context: Context, models: Models) -> list[VersionState]:
    """Return the versions that stay beside the newest, why, what the online store has of them, and since when they ended.

    Args:
        context: The workspace's state.
        models: Registered ones; each pins the versions that it was trained on.
    """
    found = [*_pinned(context), *_pinned_by_models(context, models)]
    owners: dict[FeatureRequest, list[str]] = {}
    for request, owner in found:
        owners.setdefault(request, []).append(owner)
    with context.environment.online.read() as snapshot:
        coverages = {request: snapshot.coverage(_variant(context.definitions, request).name) for request in owners}
    return [
        VersionState(
            title_of(request),
            tuple(dict.fromkeys(by)),
            None if (coverage := coverages[request]) is None or coverage.is_hidden else coverage.sequence,
            ended(context, request),
        )
        for request, by in owners.items()
    ]


def _pinned(context: Context) -> list[tuple[FeatureRequest, str]]:
    definitions = context.definitions
    newest = {Variant.of(definitions, view).id for view in definitions.of(ViewSpec).values()}
    found = [
        (request, f"{in_words(kind_of(asking))} {asking.name}")
        for asking in _asking(definitions)
        for request in _named(definitions, asking)
    ]
    found += [
        (FeatureRequest(view=row.name, version=row.version), "keep=True")
        for row in Catalog(context.scope).kept()
        if row.kind == "feature_view"
    ]
    return [(request, owner) for request, owner in found if _variant(definitions, request).id not in newest]


def _pinned_by_models(context: Context, models: Models) -> Iterator[tuple[FeatureRequest, str]]:
    """Give the versions that models were trained on and that are not the newest any more."""
    newest = {Variant.of(context.definitions, view).id for view in context.definitions.of(ViewSpec).values()}
    for model in models.list():
        for version in models.versions(model.name):
            try:
                manifest = models.manifest(version)
            except TinyMLOpsError:
                continue  # loading the model reports it
            pinned = definitions_of(manifest.definitions, manifest.variants)
            own = [
                FeatureRequest(view=name, version=pinned.versions[f"feature_view:{name}"])
                for name in pinned.of(ViewSpec)
            ]
            for request in (*own, *_named(pinned)):
                if _variant(context.definitions, request).id not in newest:
                    yield request, f"model {version.name}@v{version.version}"


def _asking(definitions: Definitions) -> list[TrainingSetSpec | ServiceSpec]:
    return [*definitions.of(TrainingSetSpec).values(), *definitions.of(ServiceSpec).values()]


def _named(definitions: Definitions, asking: TrainingSetSpec | ServiceSpec | None = None) -> list[FeatureRequest]:
    """Return the versions of views that training sets and services name, by number and whole."""
    every = _asking(definitions) if asking is None else [asking]
    found = []
    for one in every:
        for request in one.features:
            if request.version is not msgspec.UNSET and not request.on_demand:
                number = definitions.for_request(request).versions[f"feature_view:{request.view}"]
                found.append(FeatureRequest(view=request.view, version=number))
    return list(dict.fromkeys(found))


def _variant(definitions: Definitions, request: FeatureRequest) -> Variant:
    reader = definitions.for_request(request)
    return Variant.of(reader, reader.get(ViewSpec, request.view))
