"""Check that a noun that a user passes is the definition in force: a read by an older one would be silently wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from tinymlops.errors import DefinitionError, NotFoundError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.code import settled, with_cover
from tinymlops.features.definitions.definitions import Definitions, in_words, key_of, kind_of
from tinymlops.features.definitions.nouns import (
    Embedding,
    FeatureRole,
    FeatureView,
    OnDemandVersion,
    OnDemandView,
    Service,
    Source,
    TrainingSet,
)
from tinymlops.features.definitions.specs import fingerprint

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import AnySpec

__all__ = ["Noun", "applied_names", "require_applied"]

Noun: TypeAlias = (
    Source[..., Any]
    | FeatureView[..., Any]
    | FeatureRole
    | OnDemandView[..., Any]
    | OnDemandVersion
    | TrainingSet
    | Service
    | Embedding
)


def applied_names(nouns: Iterable[Noun | str], definitions: Definitions) -> list[str]:
    """Return the names of nouns, after checking that they are in force; a name stands for itself."""
    names = []
    for noun in nouns:
        if not isinstance(noun, str):
            require_applied(noun, definitions)
        names.append(noun if isinstance(noun, str) else _spec_of(noun).name)
    return names


def require_applied(noun: Noun, definitions: Definitions) -> None:
    """Refuse a noun that is not the definition in force.

    Args:
        noun: What the user passes; for a training set or a service, everything that it depends on is compared.
        definitions: The definitions in force.

    Raises:
        NotFoundError: If nothing of its kind and name was applied.
        DefinitionError: If what was applied differs.
    """
    spec = _spec_of(noun)
    if isinstance(noun, Source | OnDemandView):
        spec = with_cover(spec, noun.function)
    title = f"{in_words(kind_of(spec))} {spec.name!r}"
    known = next((other for other in definitions.all if type(other) is type(spec) and other.name == spec.name), None)
    if known is None:
        raise NotFoundError(f"{title} is not in this workspace", hint="apply the project first: ws.apply(project)")
    spec = settled(spec, [known])
    changed = [] if fingerprint(known) == fingerprint(spec) else [f"{kind_of(spec)}:{spec.name}"]
    if isinstance(noun, TrainingSet | Service) and not changed:
        applied = {key_of(one): one for one in definitions.all}
        specs = [settled(one, [applied[key_of(one)]] if key_of(one) in applied else []) for one in noun.siblings()]
        siblings = Definitions(specs, older=definitions.older)
        now, then = graph.stands_on(siblings, noun.spec), graph.stands_on(definitions, noun.spec)
        changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if changed:
        raise DefinitionError(
            f"{title} has changed since it was applied, in {', '.join(changed)}",
            hint="apply the project again: ws.apply(project)",
        )


def _spec_of(noun: Noun) -> AnySpec:
    return noun.view if isinstance(noun, FeatureRole) else noun.spec
