"""What is known of one definition in force, as data: pages of the catalog show it. Nothing is computed over rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import NotFoundError, near
from tinymlops.features.columns import known_types, types_of
from tinymlops.features.definitions.data_checks import checks_on
from tinymlops.features.definitions.definitions import in_words, kind_of
from tinymlops.features.definitions.reads import reads
from tinymlops.features.definitions.rules import in_code
from tinymlops.features.definitions.specs import About, AnySpec, LabelSpec, SourceSpec, ViewSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.stored import state_of
from tinymlops.features.law.pages import about_said, facts_of, said_of_values, values_of
from tinymlops.records import CheckResult, ColumnStatistics, Definition, Note
from tinymlops.registry.checks import newest_results_on
from tinymlops.registry.documentation import marks_of, notes_of, statistics_of, versions_of
from tinymlops.schema import dtype_name

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = ["AskedRule", "Described", "Entry", "Value", "described", "entries"]

_KEY = "entries of the catalog"
_READERS = "readers of definitions"
Key = tuple[str, str]


class Entry(msgspec.Struct, frozen=True):
    """One definition in force, as a list of them shows it."""

    kind: str
    name: str
    version: int | None
    owner: str
    tags: tuple[str, ...]
    text: str
    """The first line of its docstring."""
    readers: int
    """Definitions that read it."""


class Value(msgspec.Struct, frozen=True):
    """A column of a source, a feature of a view, or the value of a label."""

    name: str
    dtype: str
    """"" where it is not known yet."""
    unit: str
    text: str
    """How it is computed; "" of a column."""
    about: str
    """What the docstring says of it."""
    statistics: ColumnStatistics | None = None
    """Of a column, from the last ingest that stored rows."""


class AskedRule(msgspec.Struct, frozen=True):
    """A rule of a check, and what it said last."""

    check: str
    rule: str
    action: str
    last: CheckResult | None


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A definition in force, and what the workspace knows of it."""

    row: Definition
    spec: AnySpec
    about: About
    facts: dict[str, str]
    """Of its kind, such as the ttl of a view; in words."""
    values: list[Value]
    rules: list[AskedRule]
    reads: list[Key]
    """Kind and name of what it reads itself."""
    readers: list[Key]
    """Kind and name of the definitions that read it themselves."""
    versions: list[Definition]
    """The newest first."""
    marks: dict[int, str]
    """Version to mark."""
    notes: list[Note]
    """On any of its versions, the newest first."""


def entries(context: Context) -> list[Entry]:
    """Return all definitions in force, in the order in which they were declared; made again only when they change."""
    definitions = context.definitions
    known = definitions.plans.get(_KEY)
    if not isinstance(known, list):
        readers = _readers(context)
        known = [_entry(spec, definitions.versions, len(readers.get(_key(spec), ()))) for spec in definitions.all]
        definitions.plans[_KEY] = known
    return known


def described(context: Context, kind: str, name: str) -> Described:
    """Return what is known of a definition in force.

    Args:
        context: The workspace's state.
        kind: Such as `feature_view`.
        name: Its name.

    Raises:
        NotFoundError: If there is none, with the near match.
    """
    found = [spec for spec in context.definitions.all if kind_of(spec) == kind]
    spec = next((one for one in found if one.name == name), None)
    database = context.environment.database
    versions = versions_of(database, kind, name) if spec is not None else []
    if spec is None or not versions:
        known = [one.name for one in found]
        raise NotFoundError(
            f"there is no {in_words(kind)} {name!r}", hint=near(name, known, otherwise="tinymlops apply makes it")
        )
    return Described(
        row=next((one for one in versions if one.removed_at is None), versions[0]),
        spec=spec,
        about=about_said(spec),
        facts={what: fact for what, fact in facts_of(spec).items() if fact},
        values=_values(context, spec),
        rules=_rules(context, spec),
        reads=reads(context.definitions, spec),
        readers=_readers(context).get((kind, name), []),
        versions=versions,
        marks=marks_of(database, kind, name),
        notes=notes_of(database, kind, name),
    )


def _entry(spec: AnySpec, versions: dict[str, int], readers: int) -> Entry:
    about, kind = about_said(spec), kind_of(spec)
    first = next((line.strip() for line in spec.description.splitlines() if line.strip()), "")
    return Entry(kind, spec.name, versions.get(f"{kind}:{spec.name}"), about.owner, about.tags, first, readers)


def _readers(context: Context) -> dict[Key, list[Key]]:
    known = context.definitions.plans.get(_READERS)
    if isinstance(known, dict):
        return known
    found: dict[Key, list[Key]] = {}
    for spec in context.definitions.all:
        for one in reads(context.definitions, spec):
            found.setdefault(one, []).append(_key(spec))
    context.definitions.plans[_READERS] = found
    return found


def _key(spec: AnySpec) -> Key:
    return kind_of(spec), spec.name


def _values(context: Context, spec: AnySpec) -> list[Value]:
    units, database = about_said(spec).units, context.environment.database
    if isinstance(spec, SourceSpec):
        state = None if spec.row_wise else state_of(context, spec.name)
        columns = spec.columns if state is None else state.columns
        known = statistics_of(database, place_of(database, spec.name))
        said = said_of_values(spec.description)
        return [
            Value(name, dtype, units.get(name, ""), "", said.get(name, ""), known.get(name))
            for name, dtype in columns.items()
        ]
    values, said = values_of(spec), said_of_values(spec.description)
    if not values:
        return []
    types = (
        types_of(context, spec) if isinstance(spec, ViewSpec | LabelSpec) else known_types(context).get(spec.name, {})
    )
    return [
        Value(
            name,
            dtype_name(types[name]) if name in types else "",
            units.get(name, ""),
            text,
            said.get(name, ""),
        )
        for name, text in values.items()
    ]


def _rules(context: Context, spec: AnySpec) -> list[AskedRule]:
    if not isinstance(spec, SourceSpec | ViewSpec):
        return []
    last = {(one.definition, one.rule): one for one in newest_results_on(context.environment.database, spec.name)}
    return [
        AskedRule(check.name, in_code(rule), check.action, last.get((check.name, in_code(rule))))
        for check in checks_on(context.definitions, spec)
        for rule in check.rules
    ]
