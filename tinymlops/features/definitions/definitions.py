"""`Definitions`: definitions by kind and name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, TypeVar, cast

import msgspec

from tinymlops.errors import DefinitionError, NotFoundError, near
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
    TermSpec,
    TrainingSetSpec,
    ViewSpec,
)

__all__ = ["Definitions", "Older", "in_words", "key_of", "kind_of", "labelled"]

_APPLY = "apply the project first: tinymlops apply, or ws.apply(project)"

S = TypeVar(
    "S",
    EntitySpec,
    SourceSpec,
    ViewSpec,
    OnDemandSpec,
    LabelSpec,
    TrainingSetSpec,
    CheckSpec,
    ServiceSpec,
    SinkSpec,
    EmbeddingSpec,
    TermSpec,
)

Older: TypeAlias = Callable[[str, str, int | str], "Definitions"]
"""Gives a version of a definition, by kind, name and number or name of a variant, with all that it stands on."""
_NONE: Mapping[str, int] = {}
_NOWHERE: Mapping[str, str] = {}


class Definitions:
    """Definitions by kind and name, with their names resolved.

    Args:
        all_specs: The definitions of a project, or those in force in a workspace.
        versions: `kind:name` to version, where they are known.
        older: Gives other versions than these.
        places: Renamed source to the name that its rows are stored under.
    """

    def __init__(
        self,
        all_specs: Iterable[AnySpec],
        *,
        versions: Mapping[str, int] = _NONE,
        older: Older | None = None,
        places: Mapping[str, str] = _NOWHERE,
    ) -> None:
        self.all = tuple(all_specs)
        self.versions = dict(versions)
        self.older = older
        self.places = places
        self._by_kind: dict[type[AnySpec], dict[str, AnySpec]] = {}
        for spec in self.all:
            self._by_kind.setdefault(type(spec), {})[spec.name] = spec
        self._variants: dict[tuple[str, str, int | str], Definitions] = {}
        self.plans: dict[object, object] = {}
        """Plans for online reads, made from them."""
        self.checked: set[str] = set()
        """Sources whose row-wise transformations this process has verified as row-wise."""

    def of(self, cls: type[S]) -> Mapping[str, S]:
        """Return the definitions of one kind by name."""
        return cast("Mapping[str, S]", self._by_kind.get(cls, {}))

    def for_request(self, request: FeatureRequest) -> Definitions:
        """Return what a request is read by: these, or the version of its view that it names with all that it stands on.

        Raises:
            NotFoundError: If there is no such version.
        """
        if request.version is msgspec.UNSET:
            return self
        kind = "on_demand" if request.on_demand else "feature_view"
        key = (kind, request.view, request.version)
        found = self._variants.get(key)
        if found is None:
            if self.older is None:
                raise NotFoundError(
                    f"no other version of {in_words(kind)} {request.view!r} can be read here",
                    hint="versions are in the workspace that they were applied to",
                )
            found = self._variants[key] = self.older(*key)
        return found

    def get(self, cls: type[S], name: str, *, used_by: str = "") -> S:
        """Return one definition.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        known = self.of(cls)
        if name not in known:
            where = f", which {used_by} names" if used_by else ""
            kind = in_words(str(cls.__struct_config__.tag))
            raise NotFoundError(f"there is no {kind} {name!r}{where}", hint=near(name, known) or self._hint())
        return known[name]

    def require_any(self) -> None:
        """Refuse to go on without any definitions.

        Raises:
            DefinitionError: If no project was applied.
        """
        if not self.all:
            raise DefinitionError("nothing is applied to this workspace yet", hint=_APPLY)

    def _hint(self) -> str:
        return "" if self.all else f"nothing is applied to this workspace yet: {_APPLY}"

    def key_columns(self, entity: EntitySpec, source: SourceSpec) -> list[str]:
        """Return a source's columns that hold an entity's key."""
        return [source.keys.get(column, column) for column in entity.key]

    def features_of(self, request: FeatureRequest) -> tuple[str, ...]:
        """Return the requested features of a view, in order, without its prefix."""
        return request.features or tuple(self.for_request(request).get(ViewSpec, request.view).features)


def kind_of(spec: AnySpec) -> str:
    """Return the word for a definition's kind in the catalog."""
    return str(spec.__struct_config__.tag)


def key_of(spec: AnySpec) -> str:
    """Return `kind:name`, by which closures and manifests name a definition."""
    return f"{kind_of(spec)}:{spec.name}"


def labelled(key: str) -> str:
    """Write a key of a closure for people.

    Example:
        >>> labelled("feature_view:spending@v1")
        'feature view spending@v1'
    """
    kind, _, name = key.partition(":")
    return f"{in_words(kind)} {name}"


def in_words(kind: str) -> str:
    """Write a definition's kind for people.

    Example:
        >>> in_words("on_demand"), in_words("feature_view")
        ('on-demand view', 'feature view')
    """
    return "on-demand view" if kind == "on_demand" else kind.replace("_", " ")
