"""Other names that clients may send for the key columns of entities; they are no part of what is defined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.specs import EntitySpec, OnDemandSpec, ServiceSpec, TrainingSetSpec, ViewSpec

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["aliases_of", "check_aliases", "parse_aliases"]


def parse_aliases(
    entity: str, key: Sequence[str], aliases: Mapping[str, Sequence[str]] | Sequence[str]
) -> dict[str, str] | msgspec.UnsetType:
    """Return alias to key column.

    Args:
        entity: Whose key it is, for the error.
        key: Its columns.
        aliases: Of the one key column, or key column to its aliases.

    Raises:
        DefinitionError: If they do not say of which column they are, or one is not a name.
    """
    if not aliases:
        return msgspec.UNSET
    if isinstance(aliases, str) or (len(key) > 1 and not isinstance(aliases, Mapping)):
        raise DefinitionError(
            f"aliases={aliases!r} of entity {entity!r} do not say of which key column they are",
            hint=f'write aliases={{"{key[0]}": ["{key[0]}Alias"]}}' if len(key) > 1 else f"write aliases=[{aliases!r}]",
        )
    by_column: Mapping[str, Any] = aliases if isinstance(aliases, Mapping) else {key[0]: aliases}
    found: dict[str, str] = {}
    for column, names in by_column.items():
        if column not in key or isinstance(names, str):
            raise DefinitionError(
                f"aliases={aliases!r} of entity {entity!r} are not lists by key column",
                hint=f"its key is {', '.join(key)}",
            )
        for name in names:
            if not isinstance(name, str) or not name or name in key or name in found:
                raise DefinitionError(
                    f"entity {entity!r} cannot have the alias {name!r}",
                    hint="each alias is a name of its own, which no key column has",
                )
            found[name] = column
    return found


def aliases_of(definitions: Definitions) -> dict[str, str]:
    """Return alias to key column, of all entities."""
    known = definitions.plans.get(aliases_of)
    if known is None:
        known = definitions.plans[aliases_of] = dict(_every(definitions))
    assert isinstance(known, dict)
    return known


def check_aliases(definitions: Definitions) -> None:
    """Refuse an alias that could mean something else in a request.

    Args:
        definitions: All that are or will be in force.

    Raises:
        DefinitionError: If it is one of two columns, or the name of a key column, a request field or a feature, roles included.
    """
    taken: dict[str, str] = {}
    for view in definitions.of(ViewSpec).values():
        taken.update(dict.fromkeys(view.features, f"a feature of {view.name!r}"))
    for on_demand in definitions.of(OnDemandSpec).values():
        taken.update(dict.fromkeys(on_demand.request, f"a request field of {on_demand.name!r}"))
    sets: list[ServiceSpec | TrainingSetSpec] = [*definitions.of(ServiceSpec).values()]
    for spec in [*sets, *definitions.of(TrainingSetSpec).values()]:
        for request in spec.features:
            named = f"what {spec.name!r} calls"
            taken.update(dict.fromkeys(request.on or (), f"{named} the key of {request.view!r}"))
            if request.prefix and not request.on_demand:
                view = definitions.for_request(request).get(ViewSpec, request.view)
                taken.update({request.prefix + one: f"{named} a feature of {view.name!r}" for one in view.features})
    for entity in definitions.of(EntitySpec).values():
        taken.update(dict.fromkeys(entity.key, f"a key column of {entity.name!r}"))
    columns: dict[str, str] = {}
    for alias, column in _every(definitions):
        if alias in taken:
            raise DefinitionError(f"the alias {alias!r} is also {taken[alias]}", hint="choose another alias")
        if columns.setdefault(alias, column) != column:
            raise DefinitionError(
                f"the alias {alias!r} stands for both {columns[alias]!r} and {column!r}", hint="choose another for one"
            )


def _every(definitions: Definitions) -> Iterator[tuple[str, str]]:
    for entity in definitions.of(EntitySpec).values():
        if entity.aliases is not msgspec.UNSET:
            yield from entity.aliases.items()
