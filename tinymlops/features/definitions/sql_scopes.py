"""What a part of a query knows: the columns of each table that it sees, and the input columns that each comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from tinymlops.stores.engine import fold

__all__ = [
    "EVERY",
    "NOTHING",
    "Dependency",
    "Item",
    "Kind",
    "NotReadError",
    "Relation",
    "Rest",
    "Scope",
    "Value",
    "indirect",
    "part_of",
    "stem_of",
    "unique_names",
    "used_as",
]

Kind: TypeAlias = Literal["DIRECT", "INDIRECT"]
_NUMBERED = re.compile(r"(.+)_\d+", re.DOTALL)
EVERY = "*"
"""In place of a column: every column of its input."""
_STRENGTH = {"identity": 0, "transformation": 1, "aggregation": 2}


class Dependency(NamedTuple):
    """One column of an input that an output column depends on."""

    input: str
    column: str
    """`info.city` is a field of a struct; `*` is every column."""
    kind: Kind
    subtype: str
    """DIRECT: identity, transformation or aggregation. INDIRECT: filter, join, group, sort or window."""


Value: TypeAlias = frozenset[Dependency]
NOTHING: Value = frozenset()


class NotReadError(Exception):
    """A part of a query that is not understood, so that the answer is every column of its inputs."""


class Rest(NamedTuple):
    """The columns of inputs whose names are not known: each passes through under its own name."""

    inputs: tuple[str, ...]
    prefix: str = ""
    """Of a struct whose fields these are, such as `info.`."""
    without: frozenset[str] = frozenset()
    """Folded names that do not pass."""
    also: Value = frozenset()
    """What each of them depends on besides."""

    def column(self, name: str) -> Value:
        """Return what the column of a name comes from."""
        own = {Dependency(one, self.prefix + name, "DIRECT", "identity") for one in self.inputs}
        return frozenset(own) | self.also

    def every(self) -> Value:
        """Return what all of them come from."""
        return self.column(EVERY)


Item: TypeAlias = tuple[str, Value] | Rest


@dataclass
class Relation:
    """A table or the result of a query."""

    items: list[Item]
    """Its columns in order."""
    rows: Value = frozenset()
    """What decides which rows it has and in which order: INDIRECT for each of its columns."""
    by_name: dict[str, Value] = field(init=False)
    rests: list[Rest] = field(init=False)
    behind: set[str] = field(init=False)
    """Names of columns that stand behind columns that are not known: another may have the name, then they have not."""

    def __post_init__(self) -> None:
        self.by_name, self.rests, self.behind = {}, [], set()
        for item in self.items:
            if isinstance(item, Rest):
                self.rests.append(item)
            elif (key := fold(item[0])) not in self.by_name:
                self.by_name[key] = item[1]
                self.behind |= {key} if self.rests else set()

    def column(self, name: str, *, alone: bool = False) -> Value | None:
        """Return what one of its columns comes from; None if it has no such column.

        Args:
            name: Its name.
            alone: That no other column has this name, not even one that is not known.
        """
        key = fold(name)
        known = self.by_name.get(key)
        if known is not None and (alone or key not in self.behind):
            return known
        found = [] if known is None else [known]
        found += [rest.column(name) for rest in self.rests if key not in rest.without]
        if self.rests and len(self.items) > 1 and (stem := stem_of(name)):
            found.append(self.column(stem) or NOTHING)  # `k_1` is the second `k` of a join or of a list
        return frozenset().union(*found) if found else None

    def every(self) -> Value:
        """Return what all of its columns come from."""
        return frozenset().union(*self.by_name.values(), *(rest.every() for rest in self.rests))

    def renamed(self, names: Sequence[str]) -> Relation:
        """Return it with other names for its first columns.

        Raises:
            NotReadError: If these are not known.
        """
        if not names:
            return self
        if any(isinstance(item, Rest) for item in self.items[: len(names)]) or len(names) > len(self.items):
            raise NotReadError("it gives names to columns that are not known before it runs")
        items: list[Item] = list(self.items)
        for place, name in enumerate(names):
            items[place] = (name, items[place][1])  # type: ignore[assignment]  # no Rest, as checked
        return Relation(items, self.rows)


@dataclass
class Scope:
    """What one SELECT sees."""

    ctes: Mapping[str, Relation]
    """By folded name."""
    outer: Scope | None = None
    """Of the query that this one stands in, for correlation."""
    relations: dict[str, Relation] = field(default_factory=dict)
    """By folded alias."""
    merged: dict[str, Value] = field(default_factory=dict)
    """Columns of USING by folded name."""
    dropped: dict[str, set[str]] = field(default_factory=dict)
    """Alias to the columns of it that a star leaves out, for they are merged."""
    aliases: dict[str, Value] = field(default_factory=dict)
    """Of the select list, by folded name."""
    windows: dict[str, Value] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    """Names of the elements of a list that is walked through."""

    def add(self, alias: str, relation: Relation) -> None:
        """Let a table be seen.

        Raises:
            NotReadError: If another has its name.
        """
        if fold(alias) in self.relations:
            raise NotReadError(f"two of its tables are named {alias}")
        self.relations[fold(alias)] = relation

    def plain(self, name: str) -> Value | None:
        """Return what an unqualified column comes from, here or in the queries around; None if it is nowhere."""
        key = fold(name)
        if key in self.merged:
            return self.merged[key]
        exact = [relation for relation in self.relations.values() if key in relation.by_name]
        found = [relation.column(name) for relation in exact or self.relations.values()]
        values = [value for value in found if value is not None]
        if values:
            value = frozenset[Dependency]().union(*values)
            if exact:
                return value
            # It is not known whether a table has the column: an alias of the list, or the query around, may be meant as well.
            around = None if self.outer is None else self.outer.plain(name)
            table = self.relations[key].every() if key in self.relations else NOTHING
            return value | self.aliases.get(key, NOTHING) | table | (around or NOTHING)
        if key in self.aliases:
            return self.aliases[key]
        if key in self.relations:
            return self.relations[key].every()
        return None if self.outer is None else self.outer.plain(name)

    def resolve(self, parts: Sequence[str]) -> Value:
        """Return what a column comes from: `column`, `table.column`, `column.field`, `table.column.field`, ...

        Raises:
            NotReadError: If there is none.
        """
        first, *rest = parts
        if fold(first) in self.hidden:
            return frozenset()
        scope: Scope | None = self
        while scope is not None and rest:
            relation = scope.relations.get(fold(first))
            value = None if relation is None else relation.column(rest[0])
            if value is not None:
                return part_of(value, rest[1:])
            if any(fold(first) in one.by_name for one in scope.relations.values()):
                break  # the field of a column goes before a table of the query around
            scope = scope.outer
        if fold(first) == "main" and len(parts) > 2:
            return self.resolve(rest)
        value = self.plain(first)
        if value is None:
            raise NotReadError(f"none of its tables has a column {'.'.join(parts)}")
        return part_of(value, rest)


def used_as(value: Value, subtype: str) -> Value:
    """Return what an expression comes from that computes with a value: what is DIRECT has at least this subtype."""
    return frozenset(
        one._replace(subtype=max(one.subtype, subtype, key=_STRENGTH.__getitem__)) if one.kind == "DIRECT" else one
        for one in value
    )


def indirect(value: Value, subtype: str) -> Value:
    """Return what depends on a value that only decides about rows: nothing of it is DIRECT."""
    return frozenset(
        Dependency(one.input, one.column, "INDIRECT", subtype) if one.kind == "DIRECT" else one for one in value
    )


def part_of(value: Value, fields: Sequence[str]) -> Value:
    """Return what a field of a struct comes from: the field, where the struct is a column as it is."""
    direct = [one for one in value if one.kind == "DIRECT"]
    if not fields:
        return value
    if len({(one.column, one.subtype) for one in direct}) != 1 or direct[0].subtype != "identity":
        return used_as(value, "transformation")
    name = ".".join(fields)
    return frozenset(
        one._replace(column=f"{one.column}.{name}") if one.kind == "DIRECT" and one.column != EVERY else one
        for one in value
    )


def stem_of(name: str) -> str | None:
    """Return the `k` of `k_1`, as DuckDB calls the second of two columns; None if it is called otherwise."""
    numbered = _NUMBERED.fullmatch(name)
    return numbered and numbered[1]


def unique_names(items: Iterable[Item]) -> list[Item]:
    """Name the columns of a result as DuckDB makes them unique: a, a_1, a_2."""
    counts: dict[str, int] = {}
    found: list[Item] = []
    for item in items:
        if isinstance(item, Rest):
            found.append(item)
            continue
        name, unique = item[0], item[0]
        while fold(unique) in counts:
            unique = f"{name}_{counts[fold(name)]}"
            counts[fold(name)] += 1
        counts[fold(unique)] = 1
        found.append((unique, item[1]))
    return found
