"""`Definitions`: definitions by kind and name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, cast

from tinymlops.errors import DefinitionError, NotFoundError, near
from tinymlops.features.definitions.specs import (
    AnySpec,
    EntitySpec,
    FeatureRequest,
    LabelSpec,
    OnDemandSpec,
    ServiceSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)

__all__ = ["Definitions", "in_words", "kind_of"]

_APPLY = "apply the project first: tinymlops apply, or ws.apply(project)"

S = TypeVar("S", EntitySpec, SourceSpec, ViewSpec, OnDemandSpec, LabelSpec, TrainingSetSpec, ServiceSpec)


class Definitions:
    """Definitions by kind and name, with their names resolved.

    Args:
        all_specs: The definitions of a project, or those in force in a workspace.
    """

    def __init__(self, all_specs: Iterable[AnySpec]) -> None:
        self.all = tuple(all_specs)
        self._by_kind: dict[type[AnySpec], dict[str, AnySpec]] = {}
        for spec in self.all:
            self._by_kind.setdefault(type(spec), {})[spec.name] = spec
        self.plans: dict[object, object] = {}
        """Plans for online reads, made from them."""
        self.checked: set[str] = set()
        """Sources whose row-wise transformations this process has verified as row-wise."""

    def of(self, cls: type[S]) -> Mapping[str, S]:
        """Return the definitions of one kind by name."""
        return cast("Mapping[str, S]", self._by_kind.get(cls, {}))

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
        return request.features or tuple(self.get(ViewSpec, request.view).features)


def kind_of(spec: AnySpec) -> str:
    """Return the word for a definition's kind in the catalog."""
    return str(spec.__struct_config__.tag)


def in_words(kind: str) -> str:
    """Write a definition's kind for people.

    Example:
        >>> in_words("on_demand"), in_words("feature_view")
        ('on-demand view', 'feature view')
    """
    return "on-demand view" if kind == "on_demand" else kind.replace("_", " ")
