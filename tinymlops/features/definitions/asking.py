"""What may be asked for as features: views, picked features, roles, on-demand views and services, as objects or by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from tinymlops.errors import DefinitionError, NotFoundError, near
from tinymlops.features.definitions.nouns import FeatureRole, FeatureView, OnDemandView, Service
from tinymlops.features.definitions.specs import FeatureRequest, OnDemandSpec, ServiceSpec, ViewSpec

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["Askable", "Asked", "requests_of"]

Askable: TypeAlias = FeatureView[..., Any] | FeatureRole | OnDemandView[..., Any] | Service
"""Features as an object."""
Asked: TypeAlias = Sequence[Askable | str]
"""Features as a user asks for them: objects, or "view", "view:feature", "on_demand_view" and "service"."""


def requests_of(
    asked: Asked, definitions: Definitions, *, check: Callable[[Askable], None] | None = None
) -> tuple[FeatureRequest, ...]:
    """Return what is asked for as data; a service is what it names.

    Args:
        asked: Objects or names.
        definitions: Where names are looked up.
        check: Called with each object.

    Raises:
        NotFoundError: If a name is unknown, with the near match.
        DefinitionError: If something is not features.
    """
    if isinstance(asked, str):
        raise DefinitionError(f"features={asked!r} is not a list", hint=f"write features=[{asked!r}]")
    requests: list[FeatureRequest] = []
    for item in asked:
        if isinstance(item, str):
            requests += _named(item, definitions)
            continue
        requests += _of_object(item)
        if check is not None:
            check(item)
    return tuple(requests)


def _of_object(item: object) -> Sequence[FeatureRequest]:
    if isinstance(item, FeatureView):
        return [item.as_role().request]
    if isinstance(item, FeatureRole):
        return [item.request]
    if isinstance(item, OnDemandView):
        return [FeatureRequest(view=item.spec.name, on_demand=True)]
    if isinstance(item, Service):
        return item.spec.features
    raise DefinitionError(
        f"{item!r} is not a feature view, a feature of one, an on-demand view or a service",
        hint="list the views themselves: features=[sky, sky.on('dest', prefix='dest_'), calendar]",
    )


def _named(text: str, definitions: Definitions) -> Sequence[FeatureRequest]:
    name, _, feature = text.partition(":")
    on_demand, views = definitions.of(OnDemandSpec), definitions.of(ViewSpec)
    services = definitions.of(ServiceSpec)
    if name in on_demand:
        return [FeatureRequest(view=name, on_demand=True)]
    if name in views:
        return [FeatureRequest(view=name, features=_picked(views[name], feature))]
    if name in services:
        if feature:
            raise NotFoundError(
                f"service {name!r} is asked for as a whole, and not as {text!r}",
                hint=f"ask for {name!r}, or for a view",
            )
        return services[name].features
    known: Mapping[str, object] = {**views, **on_demand, **services}
    if not definitions.all:
        definitions.get(ViewSpec, name)  # which says to apply first
    raise NotFoundError(f"there is no feature view {name!r}", hint=near(name, known))


def _picked(view: ViewSpec, feature: str) -> tuple[str, ...] | None:
    if feature and feature not in view.features:
        raise NotFoundError(f"feature view {view.name!r} has no feature {feature!r}", hint=near(feature, view.features))
    return (feature,) if feature else None
