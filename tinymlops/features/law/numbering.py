"""Which version each definition of a project would be: a version is its content and all that it stands on.

Where something below a definition changes, the definition becomes its next version too, so that a version never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.errors import ConflictError, DefinitionError
from tinymlops.features.context import filled, older_in, spec_of
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.about import is_open
from tinymlops.features.definitions.code import settled
from tinymlops.features.definitions.definitions import Definitions, in_words, key_of, kind_of, labelled
from tinymlops.features.definitions.specs import (
    AnySpec,
    EmbeddingSpec,
    EntitySpec,
    LabelSpec,
    OnDemandSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.features.law.differences import differences

if TYPE_CHECKING:
    from tinymlops.records import Definition
    from tinymlops.registry.catalog import Catalog

__all__ = ["Numbered", "alike", "causes", "check_enabled", "check_variants", "definitions_to_apply", "number"]


class Numbered(NamedTuple):
    """A definition of a project beside the one in force."""

    spec: AnySpec
    known: Definition | None
    """In force, of this kind and name."""
    version: int
    """What it is, or would become."""
    below: dict[str, int]
    """`kind:name` to version of what it stands on."""

    @property
    def has_new_content(self) -> bool:
        """Whether it is not there yet, or says something else than what is in force."""
        return self.known is None or self.known.fingerprint != specs.fingerprint(self.spec)

    @property
    def is_new(self) -> bool:
        """Whether it becomes another version."""
        return self.known is None or self.version != self.known.version


def number(
    definitions: Definitions, in_force: Iterable[Definition], newest: Mapping[tuple[str, str], int]
) -> dict[str, Numbered]:
    """Say which version each definition is or would become, and note it in `definitions.versions`.

    Args:
        definitions: Of one project.
        in_force: What is applied.
        newest: Kind and name to the greatest version that there ever was.

    Returns:
        `kind:name` to what it would be.
    """
    known = {(row.kind, row.name): row for row in filled(list(in_force))}
    found: dict[str, Numbered] = {}
    for spec in _in_order(definitions):
        row = known.get((kind_of(spec), spec.name))
        below = {key: _version_in(key, definitions) for key in graph.below(definitions, spec)}
        same = row is not None and row.fingerprint == specs.fingerprint(spec) and row.below == below
        version = row.version if row is not None and same else newest.get((kind_of(spec), spec.name), 0) + 1
        definitions.versions[key_of(spec)] = version
        found[key_of(spec)] = Numbered(spec, row, version, below)
    return found


def causes(one: Numbered, everything: Mapping[str, Numbered]) -> list[str]:
    """Say what changed below a definition whose own content is the same, such as "source orders v1 -> v2"."""
    before = {} if one.known is None else one.known.below
    moved = [key for key in one.below if before.get(key) != one.below[key]]
    first = [key for key in moved if key in everything and everything[key].has_new_content]
    return [f"{labelled(key)} v{before.get(key, 0)} -> v{one.below[key]}" for key in first or moved]


def definitions_to_apply(new: Iterable[AnySpec], catalog: Catalog) -> Definitions:
    """Return a project's definitions, which may name versions that are applied, and those that they would become.

    Args:
        new: The project's definitions.
        catalog: What is applied.
    """
    in_force, ever = {(row.kind, row.name): row for row in catalog.list()}, catalog.newest()

    def as_known(spec: AnySpec) -> AnySpec:
        key = kind_of(spec), spec.name
        return _settled(spec, in_force.get(key), catalog) if key in ever else settled(spec, [])

    definitions = Definitions(map(as_known, new))
    definitions.older = partial(_older, definitions, catalog)
    return definitions


def _settled(spec: AnySpec, row: Definition | None, catalog: Catalog) -> AnySpec:
    """Return a definition with the digest of the version whose code it has: of that in force, else of an earlier one."""
    if getattr(spec, "code", None) is None:
        return spec
    in_force = [] if row is None else [spec_of(row)]
    found = settled(spec, in_force)
    if row is not None and specs.fingerprint(found) == row.fingerprint:
        return found
    return settled(spec, [*in_force, *map(spec_of, reversed(catalog.versions(kind_of(spec), spec.name)))])


def check_variants(numbered: Iterable[Numbered], catalog: Catalog) -> None:
    """Refuse the name of a variant that stands for other content already.

    Raises:
        ConflictError: Naming the difference.
    """
    for one in numbered:
        name = _variant_name(one.spec)
        if name:
            _check_variant(one, name, catalog.versions(kind_of(one.spec), one.spec.name))


def check_enabled(numbered: Mapping[str, Numbered], definitions: Definitions) -> list[str]:
    """Refuse new readers of what is not enabled.

    Returns:
        A note for each definition that read it before.

    Raises:
        DefinitionError: If something new reads it, or something reads it that did not.
    """
    notes = []
    for key, one in numbered.items():
        for under, spec in graph.below(definitions, one.spec).items():
            if is_open(spec):
                continue
            if one.known is None or under not in one.known.below:
                raise DefinitionError(
                    f"{labelled(key)} would read {labelled(under)}, which is not enabled: it takes no new readers",
                    hint=f"read another version of it, or ask {_owner_of(spec)} to enable it",
                )
            notes.append(f"{labelled(key)} reads {labelled(under)}, which is not enabled: move on from it")
    return notes


def _owner_of(spec: AnySpec) -> str:
    return "its owner" if spec.about is msgspec.UNSET else spec.about.owner or "its owner"


def alike(numbered: Mapping[str, Numbered], others: Iterable[Definition]) -> list[str]:
    """Name definitions that compute the same under several names, where one of them is new.

    Args:
        numbered: The definitions of a project.
        others: Those in force of other projects.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for row in others:
        found.setdefault((row.kind, row.logic), []).append(labelled(f"{row.kind}:{row.name}"))
    fresh = set()
    for key, one in numbered.items():
        if isinstance(one.spec, EntitySpec) or (isinstance(one.spec, SourceSpec) and one.spec.via == "push"):
            continue  # what these are is told apart by name alone
        same = (kind_of(one.spec), specs.logic(one.spec))
        found.setdefault(same, []).append(labelled(key))
        if one.has_new_content:
            fresh.add(same)
    return [f"equal logic: {' and '.join(found[same])}" for same in found if same in fresh and len(found[same]) > 1]


def _variant_name(spec: AnySpec) -> str:
    """Return the name of the variant that a definition is; empty if it has none."""
    return "" if spec.about is msgspec.UNSET else spec.about.variant


def _check_variant(one: Numbered, name: str, versions: Sequence[Definition]) -> None:
    for row in versions:
        if row.variant != name or row.version == one.version:
            continue
        before = spec_of(row)
        differing = differences(before, one.spec) if row.fingerprint != specs.fingerprint(one.spec) else []
        differing += [
            f"{labelled(key)} v{row.below.get(key, 0)} -> v{version}"
            for key, version in one.below.items()
            if row.below and row.below.get(key) != version
        ]
        if differing:
            title = f"{in_words(kind_of(one.spec))} {one.spec.name!r}"
            raise ConflictError(
                f"variant {name!r} of {title} is version {row.version} already, and differs from this one in "
                f"{', '.join(differing)}",
                hint=f'a variant does not change: give this one another name, variant="...", or none; {one.spec.name}@{name} '
                "stays what it is",
            )


_ORDERED = (EntitySpec, SourceSpec, EmbeddingSpec, ViewSpec, LabelSpec, OnDemandSpec, TrainingSetSpec)


def _in_order(definitions: Definitions) -> list[AnySpec]:
    """Return definitions, what one stands on before it."""
    derived = graph.derived_in_order(definitions)
    return [
        *definitions.of(EntitySpec).values(),
        *(source for source in definitions.of(SourceSpec).values() if not source.inputs),
        *derived,
        *definitions.of(EmbeddingSpec).values(),
        *definitions.of(ViewSpec).values(),
        *definitions.of(LabelSpec).values(),
        *definitions.of(OnDemandSpec).values(),
        *(spec for spec in definitions.all if not isinstance(spec, _ORDERED)),
        *definitions.of(TrainingSetSpec).values(),
    ]


def _version_in(key: str, definitions: Definitions) -> int:
    _, at, number = key.rpartition("@v")
    return int(number) if at else definitions.versions[key]


def _older(definitions: Definitions, catalog: Catalog, kind: str, name: str, chosen: int | str) -> Definitions:
    key = f"{kind}:{name}"
    spec = next((spec for spec in definitions.all if key_of(spec) == key), None)
    if spec is not None and not definitions.versions:  # which takes it before those who can name a version of it
        number(definitions, catalog.list(), catalog.newest())
    if spec is None or chosen not in (definitions.versions.get(key), _variant_name(spec)):
        return older_in(catalog, kind, name, chosen)
    found = {key: spec, **graph.below(definitions, spec)}
    return Definitions(found.values(), versions={one: definitions.versions[one] for one in found})
