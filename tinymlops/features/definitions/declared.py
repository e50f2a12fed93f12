"""The definitions of a project by name, and what may not be defined twice; the decorators stand on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tinymlops.errors import ConflictError
from tinymlops.features.definitions.asking import Asked, requests_of
from tinymlops.features.definitions.code import is_interactive, with_cover
from tinymlops.features.definitions.data_checks import Check
from tinymlops.features.definitions.definitions import Definitions, key_of
from tinymlops.features.definitions.nouns import (
    Embedding,
    Entity,
    FeatureView,
    LabelDefinition,
    OnDemandView,
    Service,
    Source,
    TrainingSet,
    check_name,
)
from tinymlops.features.definitions.sinks import Sink
from tinymlops.features.definitions.specs import encode
from tinymlops.times import parse_zone

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import AnySpec, FeatureRequest
    from tinymlops.features.definitions.terms import Term

__all__ = ["Declared", "Definition"]

Definition = (
    Entity
    | Source[..., Any]
    | FeatureView[..., Any]
    | OnDemandView[..., Any]
    | LabelDefinition[..., Any]
    | TrainingSet
    | Service
    | Check
    | Sink
    | Embedding
)

D = TypeVar(
    "D",
    Entity,
    Source[Any, Any],
    FeatureView[Any, Any],
    OnDemandView[Any, Any],
    LabelDefinition[Any, Any],
    TrainingSet,
    Service,
    Check,
    Sink,
    Embedding,
)


class Declared:
    """What a project has defined so far, in order; the arguments and attributes are those of `Project`."""

    def __init__(self, name: str, *, tz: str = "UTC") -> None:
        self.name = check_name(name, "project")
        self.tz = parse_zone(tz).key
        self.definitions: dict[str, Definition] = {}
        self.terms: dict[str, Term] = {}

    def __repr__(self) -> str:
        return f"<project {self.name}: {len(self.definitions)} definitions>"

    def specs(self) -> list[AnySpec]:
        """Return the definitions as data, in order, with what the digests of their code cover."""
        functions = self.functions()
        return [
            with_cover(spec, functions[key_of(spec)]) if key_of(spec) in functions else spec for spec in self._specs()
        ]

    def renamed(self) -> dict[str, str]:
        """Return the sources that had another name before, each with that name."""
        sources = [noun for noun in self.definitions.values() if isinstance(noun, Source)]
        return {source.spec.name: source.was for source in sources if source.was is not None}

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the Python functions that definitions were made from, by `kind:name`."""
        return {
            key_of(noun.spec): noun.function
            for noun in self.definitions.values()
            if not isinstance(noun, Entity | TrainingSet | Service | Check | Sink | Embedding)
        }

    def _requests(self, asked: Asked) -> tuple[FeatureRequest, ...]:
        return requests_of(asked, Definitions(self._specs()))

    def _specs(self) -> list[AnySpec]:
        return [noun.spec for noun in (*self.definitions.values(), *self.terms.values())]

    def _add(self, definition: D, what: str) -> D:
        name = check_name(definition.spec.name, what)
        known = self.definitions.get(name)
        if known is not None and not _is_again(known, definition):
            raise ConflictError(
                f"project {self.name!r} already has {known!r}; {what} {name!r} needs another name",
                hint="names are shared by everything in a project: rename one of the two",
            )
        self.definitions[name] = definition
        return definition


def _is_again(known: Definition, new: Definition) -> bool:
    """Say whether a notebook cell is merely run again: the same kind of definition, made in the notebook itself.

    Where an entity, a training set, a service or a sink was made is not known, so that one is taken again when it is the same.
    """
    if type(known) is not type(new):
        return False
    if isinstance(new, Entity | TrainingSet | Service | Check | Sink | Embedding):
        return encode(known.spec) == encode(new.spec) or is_interactive("__main__")
    return is_interactive(new.function.__module__)
