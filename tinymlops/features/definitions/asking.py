"""What may be asked for as features: views, picked features, roles, on-demand views and services, as objects or by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from tinymlops.errors import DefinitionError, NotFoundError, near
from tinymlops.features.definitions.nouns import (
    FeatureRole,
    FeatureView,
    OnDemandVersion,
    OnDemandView,
    Service,
    title_of,
)
from tinymlops.features.definitions.nouns import requests_of as requests_of_objects
from tinymlops.features.definitions.specs import FeatureRequest, OnDemandSpec, ServiceSpec, ViewSpec
from tinymlops.references import Reference

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["Askable", "Asked", "requests_of", "require_features"]

Askable: TypeAlias = FeatureView[..., Any] | FeatureRole | OnDemandView[..., Any] | OnDemandVersion | Service
"""Features as an object."""
Asked: TypeAlias = Sequence[Askable | str]
"""Features as a user asks for them: objects, or "view", "view:feature", "view@v1:feature", "on_demand_view" and "service"."""


def requests_of(
    asked: Asked, definitions: Definitions, *, check: Callable[[Askable], None] | None = None
) -> tuple[FeatureRequest, ...]:
    """Return what is asked for as data; a service is what it names.

    Args:
        asked: Objects or names.
        definitions: Where names are looked up.
        check: Called with each object.

    Raises:
        NotFoundError: If a name is unknown, with the near match. A version is not looked up here.
        DefinitionError: If something is not features.
    """
    if isinstance(asked, str):
        raise DefinitionError(f"features={asked!r} is not a list", hint=f"write features=[{asked!r}]")
    requests: list[FeatureRequest] = []
    for item in asked:
        if isinstance(item, str):
            requests += _named(item, definitions)
            continue
        requests += requests_of_objects([item])
        if check is not None:
            check(item)
    return tuple(requests)


def require_features(view: ViewSpec, request: FeatureRequest) -> None:
    """Refuse a request for a feature that its view does not have.

    Raises:
        NotFoundError: Naming the view and the feature, with the near match.
    """
    for feature in request.features or ():
        if feature not in view.features:
            raise NotFoundError(
                f"feature view {title_of(request)!r} has no feature {feature!r}", hint=near(feature, view.features)
            )


def _named(text: str, definitions: Definitions) -> Sequence[FeatureRequest]:
    """Read "spending", "spending:last", "spending@v1" or "spending@v1:last"; features of a version get it as a prefix."""
    said = Reference.parse(text)
    on_demand, views = definitions.of(OnDemandSpec), definitions.of(ViewSpec)
    services = definitions.of(ServiceSpec)
    if said.name in services:
        if said != Reference(said.name):
            raise NotFoundError(
                f"service {said.name!r} is asked for as a whole, and not as {text!r}",
                hint=f"ask for {said.name!r}, or for a view",
            )
        return services[said.name].features
    request = FeatureRequest(view=said.name, on_demand=said.name in on_demand)
    if said.part is not None:
        if request.on_demand:
            raise NotFoundError(
                f"on-demand view {said.name!r} is asked for as a whole, and not as {text!r}",
                hint=f"ask for {str(said._replace(part=None))!r}",
            )
        request = msgspec.structs.replace(request, features=(said.part,))
    if said.chosen is not None:
        prefix = f"{said.mark or f'v{said.version}'}_"
        return [msgspec.structs.replace(request, version=said.chosen, prefix=prefix)]
    if said.name in views:
        require_features(views[said.name], request)
    elif not request.on_demand:
        known: Mapping[str, object] = {**views, **on_demand, **services}
        if not definitions.all:
            definitions.get(ViewSpec, said.name)  # which says to apply first
        raise NotFoundError(f"there is no feature view {said.name!r}", hint=near(said.name, known))
    return [request]
