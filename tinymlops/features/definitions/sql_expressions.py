"""What an expression depends on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlglot import exp

from tinymlops.features.definitions.sql_nodes import field_of, is_aggregate, names_in, shown
from tinymlops.features.definitions.sql_scopes import (
    NOTHING,
    Item,
    NotReadError,
    Relation,
    Scope,
    Value,
    indirect,
    part_of,
    used_as,
)
from tinymlops.stores.engine import FUNCTIONS, fold

__all__ = ["Expressions"]


class Expressions(ABC):
    """Reads expressions.

    Args:
        sql: The text of the whole query.
    """

    def __init__(self, sql: str) -> None:
        self._arrows = "->" in sql

    @abstractmethod
    def query(self, node: Any, outer: Scope | None, ctes: Mapping[str, Relation]) -> Relation:
        """Return what a query gives."""

    @abstractmethod
    def chosen(self, columns: Any, scope: Scope) -> list[Item]:
        """Return the columns that COLUMNS stands for."""

    def value(self, node: Any, scope: Scope) -> Value:
        """Return what an expression depends on.

        Raises:
            NotReadError: If a part of it is not understood.
        """
        if isinstance(node, exp.Column):
            return self._column(node, scope)
        if isinstance(node, exp.Paren | exp.Alias | exp.Collate):
            return self.value(node.this, scope)
        if isinstance(node, exp.Identifier | exp.Dot):
            return self._path(node, scope)
        if isinstance(node, exp.Subquery | exp.Query | exp.Exists):
            return self._subquery(node, scope)
        if isinstance(node, exp.Columns):
            chosen = Relation(self.chosen(node, scope))
            return chosen.every()
        if isinstance(node, exp.Window):
            return used_as(self.value(node.this, scope), "aggregation") | self.window_of(node, scope)
        if isinstance(node, exp.Filter):
            return self.value(node.this, scope) | indirect(self.value(node.expression.this, scope), "filter")
        if isinstance(node, exp.WithinGroup):
            keys = [self.value(one.this, scope) for one in node.expression.expressions]
            return used_as(self.value(node.this, scope).union(*keys), "aggregation")
        if isinstance(node, exp.Order):
            keys = [self.value(one.this, scope) for one in node.expressions]
            own = self.value(node.this, scope) if node.this is not None else NOTHING
            return own | indirect(frozenset().union(*keys), "sort")
        if (path := field_of(node)) is not None:
            return part_of(self.value(path[0], scope), [path[1]])
        if isinstance(node, exp.Lambda | exp.Comprehension):
            return self._over_elements(node, scope)
        if isinstance(node, exp.Explode) and node.expressions:
            raise NotReadError("it unnests the fields of structs, which are not known before it runs")
        if isinstance(node, exp.PositionalColumn):
            raise NotReadError("it names a column by its place")
        if isinstance(node, exp.Anonymous) and fold(node.name) not in FUNCTIONS:
            raise NotReadError(f"{node.name}() is a macro or not known")
        return self.computed(node, scope)

    def _column(self, node: Any, scope: Scope) -> Value:
        if isinstance(node.this, exp.Star):
            raise NotReadError(f"{shown(node)} stands where one value does")
        return scope.resolve([part.name for part in node.parts])

    def _path(self, node: Any, scope: Scope) -> Value:
        """Return what names joined by dots depend on, which sqlglot leaves so before a call: `seen.epoch()`, `t.seen.epoch()`."""
        names = names_in(node)
        if names is not None:
            return scope.resolve(names)
        own = self.value(node.this, scope)
        if isinstance(node.expression, exp.Identifier):
            return part_of(own, [node.expression.name])
        called = self.value(node.expression, scope)
        return used_as(own, "aggregation" if is_aggregate(node.expression) else "transformation") | called

    def computed(self, node: Any, scope: Scope) -> Value:
        """Return what a function or an operator of other expressions depends on."""
        found: list[Value] = []
        for child in node.iter_expressions():
            if isinstance(child, exp.Star | exp.DataType):
                continue  # count(*) counts rows
            if isinstance(child, exp.PropertyEQ):
                if not isinstance(child.this, exp.Identifier) or isinstance(node.parent, exp.ToMap):
                    found.append(self.value(child.this, scope))  # the key of a map, else the name of a field
                child = child.expression  # noqa: PLW2901
            found.append(self.value(child, scope))
        return used_as(frozenset().union(*found), "aggregation" if is_aggregate(node) else "transformation")

    def _over_elements(self, node: Any, scope: Scope) -> Value:
        """Return what a lambda or a comprehension depends on besides the elements that it is called with."""
        names = node.expressions if isinstance(node, exp.Lambda) else [node.expression, node.args.get("position")]
        elements = [one.name for one in names if isinstance(one, exp.Identifier | exp.Column)]
        inner = replace(scope, hidden=scope.hidden | {fold(name) for name in elements})
        parts = [node.this, node.args.get("condition")]
        found = [self.value(part, inner) for part in parts if part is not None]
        if self._arrows:
            # `f(j -> '$.a')` takes a part of JSON, and to sqlglot looks like a lambda.
            found += [value for value in map(scope.plain, elements) if value is not None]
        if isinstance(node, exp.Comprehension):
            found.append(self.value(node.args["iterator"], scope))
        return used_as(frozenset().union(*found), "transformation")

    def window_of(self, node: Any, scope: Scope) -> Value:
        """Return what a window's partition, order and frame depend on: INDIRECT."""
        name = node.args.get("alias")
        found = [NOTHING]
        if name is not None:
            if fold(name.name) not in scope.windows:
                raise NotReadError(f"there is no window {name.name}")
            found.append(scope.windows[fold(name.name)])
        parts = list(node.args.get("partition_by") or ())
        parts += [one.this for one in getattr(node.args.get("order"), "expressions", ())]
        frame = node.args.get("spec")
        parts += [part for part in frame.args.values() if isinstance(part, exp.Expression)] if frame is not None else []
        found += [self.value(part, scope) for part in parts]
        return indirect(frozenset().union(*found), "window")

    def _subquery(self, node: Any, scope: Scope) -> Value:
        """Return what a query that stands for a value depends on: its columns, and what decides about its rows."""
        if isinstance(node, exp.Exists):
            return indirect(self.query(node.this, scope, scope.ctes).rows, "filter")
        found = self.query(node, scope, scope.ctes)
        return used_as(found.every(), "transformation") | found.rows
