"""What stands in FROM: tables, files, table functions, and how they are joined."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import zip_longest
from posixpath import normpath
from typing import Any

from sqlglot import exp

from tinymlops.features.definitions.sql_nodes import alias_of, shown
from tinymlops.features.definitions.sql_pivots import Pivots
from tinymlops.features.definitions.sql_scopes import (
    Dependency,
    NotReadError,
    Relation,
    Rest,
    Scope,
    Value,
    indirect,
    used_as,
)
from tinymlops.stores.engine import READS_FILES, fold

__all__ = ["Tables"]

_IS_FILE = re.compile(r"\.(parquet|csv|tsv|txt|json|jsonl|ndjson)(\.(gz|zst))?$", re.IGNORECASE)


class Tables(Pivots):
    """Reads FROM.

    Args:
        sql: The text of the whole query.
        inputs: The tables that it may name, with their columns, or None where these are not known.

    Attributes:
        tables: The inputs that it reads, in order, each once.
        files: Those that are files.
    """

    def __init__(self, sql: str, inputs: Mapping[str, Collection[str] | None]) -> None:
        super().__init__(sql)
        self.tables: dict[str, None] = {}
        self.files: set[str] = set()
        self._inputs = {fold(name): (name, columns) for name, columns in inputs.items()}

    def add(self, node: Any, scope: Scope) -> Value:
        """Let a scope see a table of FROM; return what decides about the rows of it."""
        alias, names = alias_of(node)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table) and not alias:
            rows = self.add(node.this, scope)  # a join in parentheses
        else:
            relation, own = self._relation(node, scope)
            for pivot in node.args.get("pivots") or ():
                relation = self.pivoted(pivot, relation, scope.outer, scope.ctes)
            relation = relation.renamed(names)
            scope.add(alias or own or f" {len(scope.relations)}", relation)
            rows = relation.rows
        for join in node.args.get("joins") or ():
            rows |= self.join(join, scope)
        return rows

    def _relation(self, node: Any, scope: Scope) -> tuple[Relation, str]:
        """Return a table of FROM and the name that it has without an alias."""
        if isinstance(node, exp.Table):
            return self._table(node, scope)
        if isinstance(node, exp.Lateral):
            return self._relation(node.this, scope)
        if isinstance(node, exp.Subquery):
            # What stands before it in FROM is seen too, as if LATERAL were written.
            return self.query(node.this, scope, scope.ctes), ""
        if isinstance(node, exp.Unnest):
            value = frozenset[Dependency]().union(*(self.value(one, scope) for one in node.expressions))
            return Relation([("unnest", used_as(value, "transformation"))], indirect(value, "filter")), "unnest"
        if isinstance(node, exp.Values):
            return self._values(node, scope), "valueslist"
        raise NotReadError(f"{shown(node)} is not understood")

    def _table(self, node: Any, scope: Scope) -> tuple[Relation, str]:
        what = node.this
        if isinstance(what, exp.Func):
            return self._table_function(what, scope)
        name = node.name
        if not node.db and fold(name) in scope.ctes:
            return scope.ctes[fold(name)], name
        if fold(name) in self._inputs and fold(node.db) in ("", "main"):
            known, columns = self._inputs[fold(name)]
            return self._input(known, columns), name
        if _IS_FILE.search(name):
            return self._files([name]), name.rpartition("/")[2].partition(".")[0]
        raise NotReadError(f"{name} is not one of its inputs")

    def _input(self, name: str, columns: Collection[str] | None) -> Relation:
        self.tables[name] = None
        if columns is None:
            return Relation([Rest((name,))])
        return Relation([(one, frozenset({Dependency(name, one, "DIRECT", "identity")})) for one in columns])

    def _files(self, paths: list[str]) -> Relation:
        names = list(map(normpath, paths))
        for name in names:
            self.tables[name] = None
            self.files.add(name)
        known = [self._inputs[fold(name)] for name in names if fold(name) in self._inputs]
        if len(names) == 1 and known and known[0][1] is not None:
            return self._input(*known[0])
        return Relation([Rest(tuple(names))])

    def _table_function(self, node: Any, scope: Scope) -> tuple[Relation, str]:
        name = fold(node.name if isinstance(node, exp.Anonymous) else node.sql_name())
        if isinstance(node, exp.ReadCSV | exp.ReadParquet) or name in READS_FILES:
            first = node.this if isinstance(node, exp.ReadCSV) else node.expressions[0]
            listed = first.expressions if isinstance(first, exp.Array) else [first]
            return self._files([one.name for one in listed if isinstance(one, exp.Literal)]), name
        if isinstance(node, exp.GenerateSeries):
            name = "range" if node.args.get("is_end_exclusive") else "generate_series"
            value = self.computed(node, scope)
            return Relation([(name, value)], indirect(value, "filter")), name
        raise NotReadError(f"{name}() is a macro or not known")

    def _values(self, node: Any, scope: Scope) -> Relation:
        rows = [[self.value(one, scope) for one in row.expressions] for row in node.expressions]
        columns = [frozenset[Dependency]().union(*filter(None, cells)) for cells in zip_longest(*rows)]
        return Relation([(f"col{place}", value) for place, value in enumerate(columns)])

    def join(self, join: Any, scope: Scope) -> Value:
        """Let a scope see a joined table; return what decides about the rows of the join."""
        kind, side, method = (fold(join.args.get(part) or "") for part in ("kind", "side", "method"))
        before = dict(scope.relations)
        rows = self.add(join.this, scope)
        added = [alias for alias in scope.relations if alias not in before]
        using = [one.name for one in join.args.get("using") or ()]
        if method == "natural":
            using = _common(before.values(), [scope.relations[alias] for alias in added])
        for name in using:
            rows |= self._merge(name, before, added, side, scope)
        on = join.args.get("on")
        if on is not None:
            rows |= indirect(self.value(on, scope), "join")
        if kind in ("semi", "anti"):
            for alias in added:
                del scope.relations[alias]
        return rows

    def _merge(self, name: str, before: Mapping[str, Relation], added: list[str], side: str, scope: Scope) -> Value:
        """Make one column of the two that USING names; return what the join compares."""
        left = scope.merged.get(fold(name)) or _column_of(before.values(), name)
        right = _column_of([scope.relations[alias] for alias in added], name)
        scope.merged[fold(name)] = {"right": right, "full": left | right}.get(side, left)
        for alias in added:
            scope.dropped.setdefault(alias, set()).add(fold(name))
        return indirect(left | right, "join")


def _column_of(relations: Iterable[Relation], name: str) -> Value:
    relations = list(relations)
    exact = [relation for relation in relations if fold(name) in relation.by_name]
    found = [relation.column(name) for relation in exact or relations]
    values = [value for value in found if value is not None]
    if not values:
        raise NotReadError(f"USING names {name}, which is not a column of both tables")
    return frozenset().union(*values)


def _common(left: Iterable[Relation], right: Iterable[Relation]) -> list[str]:
    """Return the columns that both sides of a NATURAL JOIN have."""
    left, right = list(left), list(right)
    if any(relation.rests for relation in (*left, *right)):
        raise NotReadError("a NATURAL JOIN of tables whose columns are not known")
    names = {key for relation in left for key in relation.by_name}
    return [key for relation in right for key in relation.by_name if key in names]
