"""`plan` and `apply`: resolve a project's names, check what can be checked without data, compare, write."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tinymlops._time import format_duration
from tinymlops.errors import DefinitionError, LeakageError, NotFoundError, near
from tinymlops.features import specs
from tinymlops.features.specs import (
    AnySpec,
    EntitySpec,
    LabelSpec,
    OnDemandSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.records import Definition

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.registry.catalog import Catalog
    from tinymlops.stores.database import Database

__all__ = ["Change", "Definitions", "Plan", "apply", "plan"]

S = TypeVar("S", EntitySpec, SourceSpec, ViewSpec, OnDemandSpec, LabelSpec, TrainingSetSpec)


class Definitions:
    """Definitions by kind and name, with their names resolved.

    Args:
        all_specs: The definitions of a project, or those in force in a workspace.
    """

    def __init__(self, all_specs: Iterable[AnySpec]) -> None:
        self.all = list(all_specs)

    def of(self, cls: type[S]) -> dict[str, S]:
        """Return the definitions of one kind by name."""
        return {spec.name: spec for spec in self.all if isinstance(spec, cls)}

    def get(self, cls: type[S], name: str, *, used_by: str = "") -> S:
        """Return one definition.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        known = self.of(cls)
        if name not in known:
            where = f", which {used_by} names" if used_by else ""
            kind = str(cls.__struct_config__.tag).replace("_", " ")
            raise NotFoundError(f"there is no {kind} {name!r}{where}", hint=near(name, known))
        return known[name]

    def base_sources(self, name: str) -> set[str]:
        """Return the sources that a source is, or is derived from, anywhere in its lineage."""
        source = self.get(SourceSpec, name)
        if not source.inputs:
            return {name}
        return {base for parent in source.inputs for base in self.base_sources(parent)}

    def derived_in_order(self) -> list[SourceSpec]:
        """Return the transformations, inputs before what reads them."""
        sources = self.of(SourceSpec)
        order = TopologicalSorter({name: source.inputs for name, source in sources.items()}).static_order()
        return [sources[name] for name in order if sources[name].inputs]

    def key_columns(self, entity: EntitySpec, source: SourceSpec) -> list[str]:
        """Return a source's columns that hold an entity's key."""
        return [source.keys.get(column, column) for column in entity.key]


class Change(msgspec.Struct, frozen=True):
    """What apply would do with one definition."""

    action: str
    """`add`, `change`, `remove` or `keep`."""
    kind: str
    name: str
    detail: str = ""


class Plan:
    """What `apply` would change, and what is worth knowing about the definitions.

    Args:
        changes: One for each definition of the project or the workspace.
        notes: Facts about them: static sources, boundaries, modes of transformations.
    """

    def __init__(self, changes: list[Change], notes: list[str]) -> None:
        self.changes = changes
        self.notes = notes

    def __bool__(self) -> bool:
        return any(change.action != "keep" for change in self.changes)

    def __str__(self) -> str:
        marks = {"add": "+", "change": "~", "remove": "-"}
        lines = [
            f"  {marks[change.action]} {change.kind.replace('_', ' ')} {change.name}"
            + (f"  ({change.detail})" if change.detail else "")
            for change in self.changes
            if change.action in marks
        ]
        kept = sum(change.action == "keep" for change in self.changes)
        lines.insert(0, f"{len(lines)} to apply, {kept} unchanged")
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    __repr__ = __str__


def plan(new: Iterable[AnySpec], catalog: Catalog, *, project: str) -> Plan:
    """Check a project's definitions and compare them with those in force.

    Args:
        new: The project's definitions.
        catalog: What is applied.
        project: The project's name: only its own definitions count as removed.

    Raises:
        NotFoundError: If a name resolves to nothing.
        DefinitionError: If definitions do not fit together.
        LeakageError: If a label has no time, or a feature is derived from one.
    """
    definitions = Definitions(new)
    notes = check(definitions)
    applied = {(row.kind, row.name): row for row in catalog.list() if row.project == project}
    changes = []
    for spec in definitions.all:
        known = applied.pop((kind_of(spec), spec.name), None)
        changes.append(_change(spec, known))
    changes += [Change("remove", kind, name) for kind, name in applied]
    return Plan(changes, notes)


def apply(
    planned: Plan, new: Iterable[AnySpec], database: Database, catalog: Catalog, *, project: str, at: datetime
) -> None:
    """Write what a plan said, in one transaction."""
    by_name = {(kind_of(spec), spec.name): spec for spec in new}
    with database.write(actor="local") as tx:
        for change in planned.changes:
            if change.action == "remove":
                catalog.remove(tx, catalog.get(change.kind, change.name), at=at)
            elif change.action != "keep":
                spec = by_name[change.kind, change.name]
                catalog.put(
                    tx,
                    Definition(
                        kind=change.kind,
                        name=change.name,
                        version=0,
                        fingerprint=specs.fingerprint(spec),
                        spec=msgspec.json.decode(specs.encode(spec)),
                        project=project,
                        applied_at=at,
                    ),
                )
            if change.action != "keep":
                tx.audit(f"definition.{change.action}", f"{change.kind}:{change.name}", project=project)


def kind_of(spec: AnySpec) -> str:
    """Return the word for a definition's kind, as the catalog has it."""
    return str(spec.__struct_config__.tag)


def check(definitions: Definitions) -> list[str]:
    """Check that the definitions fit together; return what is worth knowing about them."""
    for source in definitions.of(SourceSpec).values():
        for parent in source.inputs:
            definitions.get(SourceSpec, parent, used_by=f"transformation {source.name!r}")
    try:
        definitions.derived_in_order()
    except CycleError as error:
        raise DefinitionError(
            f"transformations read each other in a circle: {' -> '.join(error.args[1])}", hint="break the circle"
        ) from error
    for view in definitions.of(ViewSpec).values():
        _check_view(view, definitions)
    for label in definitions.of(LabelSpec).values():
        _check_label(label, definitions)
    notes = [
        f"source {source.name} is static: edits to it are not versioned in time"
        for source in definitions.of(SourceSpec).values()
        if source.timestamp is None and not source.row_wise
    ]
    notes += [
        f"transformation {source.name} is {'row-wise' if source.row_wise else 'rebuilt at ingest'}"
        for source in definitions.of(SourceSpec).values()
        if source.inputs
    ]
    for training_set in definitions.of(TrainingSetSpec).values():
        notes += _check_training_set(training_set, definitions)
    return notes


def is_static(source: SourceSpec, definitions: Definitions) -> bool:
    """Say whether a source has no time; a row-wise transformation has its input's."""
    if source.row_wise:
        return is_static(definitions.get(SourceSpec, source.inputs[0]), definitions)
    return source.timestamp is None


def _change(spec: AnySpec, known: Definition | None) -> Change:
    if known is None:
        return Change("add", kind_of(spec), spec.name)
    if known.fingerprint == specs.fingerprint(spec):
        return Change("keep", kind_of(spec), spec.name)
    before = specs.decode(msgspec.json.encode(known.spec))
    fields = [
        name
        for name in spec.__struct_fields__
        if msgspec.json.encode(getattr(spec, name)) != msgspec.json.encode(getattr(before, name))
    ]
    return Change("change", kind_of(spec), spec.name, ", ".join(fields))


def _check_view(view: ViewSpec, definitions: Definitions) -> None:
    where = f"feature view {view.name!r}"
    definitions.get(EntitySpec, view.entity, used_by=where)
    source = definitions.get(SourceSpec, view.source, used_by=where)
    if is_static(source, definitions):
        windowed = [name for name, feature in view.features.items() if feature.window is not None]
        if windowed or view.ttl is not None:
            what = f"a window in {windowed[0]!r}" if windowed else "a ttl"
            raise DefinitionError(
                f"{where} has {what}, but its source {source.name!r} is static",
                hint="rows without a time are always visible: use .last() and no ttl, or give the source a timestamp",
            )
    if view.ttl is not None and source.delay >= view.ttl:
        raise DefinitionError(
            f"{where}: the delay of {source.name!r} ({format_duration(source.delay)}) is not shorter than the ttl "
            f"({format_duration(view.ttl)}): every value would expire before it is known",
            hint="raise ttl above the delay",
        )
    for name, feature in view.features.items():
        if feature.window is not None and source.delay >= feature.window:
            raise DefinitionError(
                f"feature {name!r} of {where}: the delay of {source.name!r} ({format_duration(source.delay)}) is not "
                f"shorter than the window ({format_duration(feature.window)}), which would always be empty",
                hint="widen the window beyond the delay",
            )


def _check_label(label: LabelSpec, definitions: Definitions) -> None:
    where = f"label {label.name!r}"
    definitions.get(EntitySpec, label.entity, used_by=where)
    source = definitions.get(SourceSpec, label.source, used_by=where)
    if is_static(source, definitions):
        raise LeakageError(
            f"{where} reads {source.name!r}, which has no event time: nobody could say when the outcome was known",
            hint=f'give the source one: @project.source(timestamp="...") on {source.name}',
        )


def _check_training_set(training_set: TrainingSetSpec, definitions: Definitions) -> list[str]:
    where = f"training set {training_set.name!r}"
    spine = definitions.get(SourceSpec, training_set.spine, used_by=where)
    if is_static(spine, definitions):
        raise LeakageError(
            f"the spine {spine.name!r} of {where} has no timestamp", hint="a spine says when each prediction is made"
        )
    definitions.get(LabelSpec, training_set.label, used_by=where)
    spine_bases = definitions.base_sources(spine.name)
    columns: dict[str, str] = {}
    notes = []
    for request in training_set.features:
        if request.on_demand:
            definitions.get(OnDemandSpec, request.view, used_by=where)
            continue
        view = definitions.get(ViewSpec, request.view, used_by=where)
        if request.on is not None:
            _check_role(view, request.on, definitions)
        for feature in request.features or view.features:
            _claim(columns, request.prefix + feature, f"{view.name}:{feature}", where)
        shared = spine_bases & definitions.base_sources(view.source)
        if shared:
            notes.append(
                f"{training_set.name}: {view.name} shares {', '.join(sorted(shared))} with the spine, so a row sees "
                "only what was known strictly before it"
            )
    return notes


def _check_role(view: ViewSpec, on: tuple[str, ...], definitions: Definitions) -> None:
    entity = definitions.get(EntitySpec, view.entity)
    if len(on) != len(entity.key):
        raise DefinitionError(
            f"{view.name}.on({', '.join(map(repr, on))}) names {len(on)} columns; entity {entity.name!r} has "
            f"{len(entity.key)} key columns",
            hint=f"name one spine column for each of {', '.join(entity.key)}",
        )


def _claim(columns: dict[str, str], name: str, owner: str, where: str) -> None:
    if name in columns:
        raise DefinitionError(
            f"{where} has two features named {name!r}: {columns[name]} and {owner}",
            hint='rename one, or use its role with .on(..., prefix="...")',
        )
    columns[name] = owner
