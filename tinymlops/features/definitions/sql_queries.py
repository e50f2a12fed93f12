"""The walk over the tree of a parsed SELECT, which finds what its columns and its rows depend on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlglot
from sqlglot import exp

from tinymlops.features.definitions.sql_nodes import aggregates, shown, unnested_in
from tinymlops.features.definitions.sql_parts import require_known_parts, require_names
from tinymlops.features.definitions.sql_scopes import (
    NOTHING,
    Item,
    NotReadError,
    Relation,
    Rest,
    Scope,
    Value,
    indirect,
    unique_names,
)
from tinymlops.features.definitions.sql_tables import Tables
from tinymlops.stores.engine import fold

__all__ = ["Reader"]

_ROUNDS = 10
"""Of a recursive query, until what its columns depend on stays the same."""


class Reader(Tables):
    """Reads one query.

    Args:
        sql: Its text.
        inputs: The tables that it may name, with their columns, or None where these are not known.

    Attributes:
        tree: Its tree.
        tables: The inputs that it reads, in order, each once.

    Raises:
        sqlglot.errors.SqlglotError: If it cannot be parsed.
        NotReadError: If it has a part that is not known.
    """

    def __init__(self, sql: str, inputs: Mapping[str, Collection[str] | None]) -> None:
        super().__init__(sql, inputs)
        self.tree: Any = sqlglot.parse_one(sql, dialect="duckdb")
        nodes = list(self.tree.walk())
        for node in nodes:
            require_known_parts(node)
        require_names(sql, nodes)

    def query(self, node: Any, outer: Scope | None, ctes: Mapping[str, Relation]) -> Relation:
        """Return what a query gives.

        Args:
            node: Its tree.
            outer: What the query around it sees.
            ctes: The parts of a WITH that it may name, by folded name.

        Raises:
            NotReadError: If a part of it is not understood.
        """
        ctes = self._with(node, outer, ctes)
        if isinstance(node, exp.Select):
            return self._select(node, outer, ctes)
        if isinstance(node, exp.SetOperation):
            return self._limited(node, self._set(node, outer, ctes), outer, ctes)
        if isinstance(node, exp.Subquery):
            return self._limited(node, self.query(node.this, outer, ctes), outer, ctes)
        if isinstance(node, exp.Pivot):
            scope = Scope(ctes, outer)
            self.add(node.this, scope)
            return self.pivoted(node, self.star_of(scope, None), outer, ctes)
        if isinstance(node, exp.Values):
            return self._values(node, Scope(ctes, outer))
        if isinstance(node, exp.Table):
            scope = Scope(ctes, outer)
            self.add(node, scope)
            return self.star_of(scope, None)
        raise NotReadError(f"{shown(node)} is not understood")

    def _with(self, node: Any, outer: Scope | None, ctes: Mapping[str, Relation]) -> Mapping[str, Relation]:
        with_ = node.args.get("with_")
        if with_ is None:
            return ctes
        known = dict(ctes)
        for cte in with_.expressions:
            name, names = fold(cte.alias), [column.name for column in cte.args["alias"].columns]
            if with_.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                known[name] = self._recursive(cte.this, name, names, outer, known)
            else:
                known[name] = self.query(cte.this, outer, known).renamed(names)
        return known

    def _recursive(
        self, union: Any, name: str, names: list[str], outer: Scope | None, ctes: dict[str, Relation]
    ) -> Relation:
        """Read a recursive query again and again: what it depends on grows until it has all."""
        found = self.query(union.this, outer, ctes).renamed(names)
        for _ in range(_ROUNDS):
            again = self.query(union, outer, {**ctes, name: found}).renamed(names)
            if (again.items, again.rows) == (found.items, found.rows):
                return found
            found = again
        raise NotReadError(f"the recursive query {name} does not settle")

    def _set(self, node: Any, outer: Scope | None, ctes: Mapping[str, Relation]) -> Relation:
        left, right = (self.query(side, outer, ctes) for side in (node.this, node.expression))
        rows = left.rows | right.rows
        items: list[Item]
        if node.args.get("by_name"):
            names = {fold(item[0]): item[0] for item in (*left.items, *right.items) if not isinstance(item, Rest)}
            sides = [(name, (left.column(name), right.column(name))) for name in names.values()]
            items = [(name, frozenset().union(*filter(None, values))) for name, values in sides]
            items += [*left.rests, *right.rests]
        else:
            items = _one_by_one(left, right)
        if not isinstance(node, exp.Union):
            return Relation(left.items, rows | indirect(left.every() | right.every(), "filter"))
        if node.args.get("distinct"):
            rows |= indirect(left.every() | right.every(), "group")
        return Relation(items, rows)

    def _limited(self, node: Any, found: Relation, outer: Scope | None, ctes: Mapping[str, Relation]) -> Relation:
        """Add the ORDER BY and LIMIT that stand behind a whole query, and see only what it gives."""
        scope = Scope(ctes, outer)
        scope.add("", found)
        rows = found.rows | self._sorted(node, scope, found.items) | self._limits(node, scope)
        return Relation(found.items, rows)

    def _select(self, node: Any, outer: Scope | None, ctes: Mapping[str, Relation]) -> Relation:
        scope = Scope(ctes, outer)
        rows = NOTHING
        from_ = node.args.get("from_")
        if from_ is not None:
            rows |= self.add(from_.this, scope)
        for join in node.args.get("joins") or ():
            rows |= self.join(join, scope)
        for window in node.args.get("windows") or ():
            scope.windows[fold(window.this.name)] = self.window_of(window, scope)
        items = unique_names(self.items_of(node.expressions, scope))
        where, having, qualify = (node.args.get(part) for part in ("where", "having", "qualify"))
        for part in (where, having, qualify):
            if part is not None:
                rows |= indirect(self.value(part.this, scope), "filter")
        for unnested in (one for part in node.expressions for one in unnested_in(part)):
            rows |= indirect(self.value(unnested, scope), "filter")
        rows |= self._grouped(node, scope, items)
        rows |= self._sorted(node, scope, items)
        rows |= self._limits(node, scope)
        rows |= self._distinct(node, scope, items)
        return Relation(items, rows)

    def _grouped(self, node: Any, scope: Scope, items: list[Item]) -> Value:
        group = node.args.get("group")
        if group is None:
            return NOTHING
        if group.args.get("all"):
            plain = [part for part in node.expressions if not aggregates(part)]
            return indirect(Relation(self.items_of(plain, scope)).every(), "group")
        return indirect(self._referred(group.iter_expressions(), scope, items, aliases_first=False), "group")

    def _sorted(self, node: Any, scope: Scope, items: list[Item]) -> Value:
        order = node.args.get("order")
        if order is None:
            return NOTHING
        keys = [one.this for one in order.expressions]
        if any(isinstance(key, exp.Var) and fold(key.name) == "all" for key in keys):
            return indirect(Relation(items).every(), "sort")
        return indirect(self._referred(keys, scope, items, aliases_first=True), "sort")

    def _referred(self, keys: Iterable[Any], scope: Scope, items: list[Item], *, aliases_first: bool) -> Value:
        """Return what the keys of GROUP BY or ORDER BY depend on: a number is a place in the select list."""
        found: list[Value] = []
        for key in keys:
            if isinstance(key, exp.Literal) and not key.is_string:
                place = int(key.name) - 1
                before = items[: place + 1]
                if any(isinstance(item, Rest) for item in before) or not 0 <= place < len(items):
                    raise NotReadError("it names a column by its place behind columns that are not known")
                found.append(items[place][1])  # type: ignore[arg-type]  # no Rest, as checked
            elif aliases_first and isinstance(key, exp.Column) and not key.table and fold(key.name) in scope.aliases:
                found.append(scope.aliases[fold(key.name)])
            else:
                found.append(self.value(key, scope))
                if aliases_first:  # inside an expression, either may be meant
                    names = {fold(one.name) for one in key.find_all(exp.Column) if not one.table}
                    found += [scope.aliases[name] for name in names & scope.aliases.keys()]
        return frozenset().union(*found)

    def _limits(self, node: Any, scope: Scope) -> Value:
        parts = [node.args.get(name) for name in ("limit", "offset")]
        found = [self.value(part.expression, scope) for part in parts if part is not None and part.expression]
        return indirect(frozenset().union(*found), "filter")

    def _distinct(self, node: Any, scope: Scope, items: list[Item]) -> Value:
        distinct = node.args.get("distinct")
        if distinct is None:
            return NOTHING
        on = distinct.args.get("on")
        keys = (
            Relation(items).every() if on is None else self._referred(on.expressions, scope, items, aliases_first=True)
        )
        return indirect(keys, "group")


def _one_by_one(left: Relation, right: Relation) -> list[Item]:
    """Return the columns of a set operation by place; behind columns that are not known, each may be any of the others."""
    items: list[Item] = []
    for mine, other in zip(left.items, right.items, strict=False):
        if isinstance(mine, Rest) or isinstance(other, Rest):
            break
        items.append((mine[0], mine[1] | other[1]))
    place = len(items)
    if not (left.rests or right.rests) and not place == len(left.items) == len(right.items):
        raise NotReadError("its parts have different numbers of columns")
    others = Relation(right.items[place:]).every()
    rest = left.items[place:]
    items += [
        one._replace(also=one.also | others) if isinstance(one, Rest) else (one[0], one[1] | others) for one in rest
    ]
    return items
