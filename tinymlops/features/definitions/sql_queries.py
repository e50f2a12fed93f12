"""The walk over the tree of a parsed SELECT, which finds what its columns and its rows depend on."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import zip_longest
from posixpath import normpath
from typing import Any

import sqlglot
from sqlglot import exp

from tinymlops.features.definitions.sql_scopes import (
    Dependency,
    Item,
    NotReadError,
    Relation,
    Rest,
    Scope,
    Value,
    indirect,
    part_of,
    unique_names,
    used_as,
)
from tinymlops.stores.engine import FUNCTIONS, READS_FILES, fold

__all__ = ["Reader"]

_NONE: Value = frozenset()
_IS_FILE = re.compile(r"\.(parquet|csv|tsv|txt|json|jsonl|ndjson)(\.(gz|zst))?$", re.IGNORECASE)
_ROUNDS = 10
"""Of a recursive query, until what its columns depend on stays the same."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_AGGREGATES = _words(
    """
    arbitrary arg_max_null arg_max_nulls_last arg_min_null arg_min_nulls_last bitstring_agg count_star decimal_average entropy
    favg fsum histogram histogram_exact kahan_sum kurtosis_pop lttb mad mean product reservoir_quantile sem sum_no_overflow
    sumkahan variant_group_object
    """
)
"""Aggregates of DuckDB that sqlglot takes for plain functions."""


_SET = _words("this expression distinct by_name with_ order limit offset")
_PARTS = {
    exp.Union: _SET,
    exp.Intersect: _SET,
    exp.Except: _SET,
    exp.With: _words("expressions recursive"),
    exp.CTE: _words("this alias materialized"),
    exp.Subquery: _words("this alias pivots joins order limit offset with_ sample"),
    exp.Window: _words("this partition_by order spec alias over"),
    exp.Unnest: _words("expressions alias"),
    exp.Lateral: _words("this alias"),
    exp.Select: _words(
        "expressions from_ joins windows where having qualify group order limit offset distinct with_ sample"
    ),
    exp.Join: _words("this side kind using on method"),
    exp.Table: _words("this alias db pivots joins sample"),
    exp.Pivot: _words(
        """
        this expressions fields using group unpivot into columns with_ include_nulls default_on_null identify_pivot_strings
        prefixed_pivot_columns pivot_column_naming value_columns_first
        """
    ),
}
"""The parts of a query that the walk knows; one that it does not know may name columns."""


class Reader:
    """Reads one query.

    Args:
        sql: Its text.
        inputs: The tables that it may name, with their columns, or None where these are not known.

    Attributes:
        tree: Its tree.
        tables: The inputs that it reads, in order, each once.
        files: Those that are files.

    Raises:
        sqlglot.errors.SqlglotError: If it cannot be parsed.
        NotReadError: If it has a part that is not known.
    """

    def __init__(self, sql: str, inputs: Mapping[str, Collection[str] | None]) -> None:
        self.tree: Any = sqlglot.parse_one(sql, dialect="duckdb")
        self.tables: dict[str, None] = {}
        self.files: set[str] = set()
        self._arrows = "->" in sql
        self._inputs = {fold(name): (name, columns) for name, columns in inputs.items()}
        for node in self.tree.walk():
            _require_known_parts(node)

    # Queries

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
            self._add(node.this, scope)
            return self._pivot(node, self._star(scope, None), outer, ctes)
        if isinstance(node, exp.Values):
            return self._values(node, Scope(ctes, outer))
        if isinstance(node, exp.Table):
            scope = Scope(ctes, outer)
            self._add(node, scope)
            return self._star(scope, None)
        raise NotReadError(f"{_shown(node)} is not understood")

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
        if node.args.get("by_name") or left.rests or right.rests:
            names = {fold(item[0]): item[0] for item in (*left.items, *right.items) if not isinstance(item, Rest)}
            sides = [(name, (left.column(name), right.column(name))) for name in names.values()]
            items = [(name, frozenset().union(*filter(None, values))) for name, values in sides]
            items += [*left.rests, *right.rests]
        elif len(left.items) != len(right.items):
            raise NotReadError("its parts have different numbers of columns")
        else:
            pairs = zip(left.items, right.items, strict=True)
            items = [(mine[0], mine[1] | other[1]) for mine, other in pairs]  # type: ignore[misc,operator]
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
        rows = _NONE
        from_ = node.args.get("from_")
        if from_ is not None:
            rows |= self._add(from_.this, scope)
        for join in node.args.get("joins") or ():
            rows |= self._join(join, scope)
        for window in node.args.get("windows") or ():
            scope.windows[fold(window.this.name)] = self._window_of(window, scope)
        items = unique_names(self._items(node.expressions, scope))
        where, having, qualify = (node.args.get(part) for part in ("where", "having", "qualify"))
        for part in (where, having, qualify):
            if part is not None:
                rows |= indirect(self.value(part.this, scope), "filter")
        for unnested in (one for part in node.expressions for one in _unnested_in(part)):
            rows |= indirect(self.value(unnested, scope), "filter")
        rows |= self._grouped(node, scope, items)
        rows |= self._sorted(node, scope, items)
        rows |= self._limits(node, scope)
        rows |= self._distinct(node, scope, items)
        return Relation(items, rows)

    def _grouped(self, node: Any, scope: Scope, items: list[Item]) -> Value:
        group = node.args.get("group")
        if group is None:
            return _NONE
        if group.args.get("all"):
            plain = [part for part in node.expressions if not _aggregates(part)]
            return indirect(Relation(self._items(plain, scope)).every(), "group")
        return indirect(self._referred(group.iter_expressions(), scope, items, aliases_first=False), "group")

    def _sorted(self, node: Any, scope: Scope, items: list[Item]) -> Value:
        order = node.args.get("order")
        if order is None:
            return _NONE
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
            return _NONE
        on = distinct.args.get("on")
        keys = (
            Relation(items).every() if on is None else self._referred(on.expressions, scope, items, aliases_first=True)
        )
        return indirect(keys, "group")

    # The select list

    def _items(self, expressions: Iterable[Any], scope: Scope) -> list[Item]:
        found: list[Item] = []
        for one in expressions:
            plain = one.unalias()
            pattern = plain.this if isinstance(plain, exp.Like | exp.ILike | exp.Glob | exp.SimilarTo) else None
            if _is_star(plain):
                found += self._star(scope, plain).items
            elif pattern is not None and _is_star(pattern):
                found += self._star(scope, pattern, _matching(plain)).items
            elif (columns := _columns_in(plain)) is not None:
                found += self._each_column(one, columns, scope)
            else:
                value = self.value(plain, scope)
                if isinstance(one, exp.Alias):
                    scope.aliases.setdefault(fold(one.alias), value)
                found.append((_name_of(one), value))
        return found

    def _each_column(self, one: Any, columns: Any, scope: Scope) -> Iterator[Item]:
        """Give a column for each that COLUMNS stands for."""
        chosen = self._chosen(columns, scope)
        plain = one.unalias()
        if plain is columns and not isinstance(one, exp.Alias):
            yield from chosen
            return
        for item in chosen:
            if isinstance(item, Rest):
                raise NotReadError("COLUMNS stands for columns that are not known before it runs")
            copied = plain.transform(lambda node: exp.column("") if isinstance(node, exp.Columns) else node)
            inner = replace(scope, relations={**scope.relations, "": Relation([("", item[1])])})
            yield one.alias if isinstance(one, exp.Alias) else item[0], self.value(copied, inner)

    def _chosen(self, columns: Any, scope: Scope) -> list[Item]:
        what = columns.this
        if _is_star(what):
            return self._star(scope, what).items
        if isinstance(what, exp.Literal):
            return self._star(scope, None, lambda name: re.search(what.name, name) is not None).items
        raise NotReadError("COLUMNS with a function is not understood")

    def _star(self, scope: Scope, star: Any, keeps: Any = None) -> Relation:
        """Return what a star stands for, with EXCLUDE, REPLACE and RENAME.

        Args:
            scope: What it is a star of.
            star: `*` or `table.*`; None for a plain one.
            keeps: Which names it stands for; None for all.
        """
        table = fold(star.table) if isinstance(star, exp.Column) else None
        plain = star.this if isinstance(star, exp.Column) else star
        if table is not None and table not in scope.relations:
            return self._fields(scope, star)
        arguments = plain.args if plain is not None else {}
        without = {fold(one.name) for one in arguments.get("except_") or ()}
        other = {fold(one.alias): self.value(one.this, scope) for one in arguments.get("replace") or ()}
        names = {fold(one.this.name): one.alias for one in arguments.get("rename") or ()}
        items: list[Item] = []
        rows: Value = _NONE
        for alias, relation in scope.relations.items():
            rows |= relation.rows
            if table not in (None, alias):
                continue
            dropped = scope.dropped.get(alias, set()) if table is None else set[str]()
            for item in relation.items:
                if isinstance(item, Rest):
                    if keeps is not None:
                        raise NotReadError("it takes some of the columns that are not known before it runs")
                    items += other.items()
                    items += [(name, item.column(key)) for key, name in names.items()]
                    hidden = item.without | without | dropped | set(other) | set(names)
                    items.append(item._replace(without=hidden))
                    continue
                name, key = item[0], fold(item[0])
                if key in without or key in dropped or (keeps is not None and not keeps(name)):
                    continue
                merged = scope.merged.get(key) if table is None else None
                items.append((names.get(key, name), other.get(key) or merged or item[1]))
        return Relation(items, rows)

    def _fields(self, scope: Scope, star: Any) -> Relation:
        """Return the fields of a struct, `info.*`: they are not known, and each passes under its own name."""
        value = scope.resolve([part.name for part in star.parts[:-1]])
        direct = [one for one in value if one.kind == "DIRECT"]
        if len(direct) != 1 or direct[0].subtype != "identity":
            raise NotReadError("it takes all fields of a struct that it computes")
        also = frozenset(one for one in value if one.kind == "INDIRECT")
        return Relation([Rest((direct[0].input,), f"{direct[0].column}.", also=also)])

    # Expressions

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
            chosen = Relation(self._chosen(node, scope))
            return chosen.every()
        if isinstance(node, exp.Window):
            return used_as(self.value(node.this, scope), "aggregation") | self._window_of(node, scope)
        if isinstance(node, exp.Filter):
            return self.value(node.this, scope) | indirect(self.value(node.expression.this, scope), "filter")
        if isinstance(node, exp.WithinGroup):
            keys = [self.value(one.this, scope) for one in node.expression.expressions]
            return used_as(self.value(node.this, scope).union(*keys), "aggregation")
        if isinstance(node, exp.Order):
            keys = [self.value(one.this, scope) for one in node.expressions]
            own = self.value(node.this, scope) if node.this is not None else _NONE
            return own | indirect(frozenset().union(*keys), "sort")
        if (path := _field_of(node)) is not None:
            return part_of(self.value(path[0], scope), [path[1]])
        if isinstance(node, exp.Lambda | exp.Comprehension):
            return self._over_elements(node, scope)
        if isinstance(node, exp.Explode) and node.expressions:
            raise NotReadError("it unnests the fields of structs, which are not known before it runs")
        if isinstance(node, exp.PositionalColumn):
            raise NotReadError("it names a column by its place")
        if isinstance(node, exp.Anonymous) and fold(node.name) not in FUNCTIONS:
            raise NotReadError(f"{node.name}() is a macro or not known")
        return self._computed(node, scope)

    def _column(self, node: Any, scope: Scope) -> Value:
        if isinstance(node.this, exp.Star):
            raise NotReadError(f"{_shown(node)} stands where one value does")
        return scope.resolve([part.name for part in node.parts])

    def _path(self, node: Any, scope: Scope) -> Value:
        """Return what names joined by dots depend on, which sqlglot leaves so before a call: `seen.epoch()`, `t.seen.epoch()`."""
        names = _names_in(node)
        if names is not None:
            return scope.resolve(names)
        own = self.value(node.this, scope)
        if isinstance(node.expression, exp.Identifier):
            return part_of(own, [node.expression.name])
        called = self.value(node.expression, scope)
        return used_as(own, "aggregation" if _is_aggregate(node.expression) else "transformation") | called

    def _computed(self, node: Any, scope: Scope) -> Value:
        """Return what a function or an operator of other expressions depends on."""
        found: list[Value] = []
        for child in node.iter_expressions():
            if isinstance(child, exp.Star | exp.DataType):
                continue  # count(*) counts rows
            if isinstance(child, exp.PropertyEQ):
                child = child.expression  # noqa: PLW2901 - the name is a field's
            found.append(self.value(child, scope))
        return used_as(frozenset().union(*found), "aggregation" if _is_aggregate(node) else "transformation")

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

    def _window_of(self, node: Any, scope: Scope) -> Value:
        """Return what a window's partition, order and frame depend on: INDIRECT."""
        name = node.args.get("alias")
        found = [_NONE]
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

    # Tables

    def _add(self, node: Any, scope: Scope) -> Value:
        """Let a scope see a table of FROM; return what decides about the rows of it."""
        alias, names = _alias_of(node)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table) and not alias:
            rows = self._add(node.this, scope)  # a join in parentheses
        else:
            relation, own = self._relation(node, scope)
            for pivot in node.args.get("pivots") or ():
                relation = self._pivot(pivot, relation, scope.outer, scope.ctes)
            relation = relation.renamed(names)
            scope.add(alias or own or f" {len(scope.relations)}", relation)
            rows = relation.rows
        for join in node.args.get("joins") or ():
            rows |= self._join(join, scope)
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
        raise NotReadError(f"{_shown(node)} is not understood")

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
            value = self._computed(node, scope)
            return Relation([(name, value)], indirect(value, "filter")), name
        raise NotReadError(f"{name}() is a macro or not known")

    def _values(self, node: Any, scope: Scope) -> Relation:
        rows = [[self.value(one, scope) for one in row.expressions] for row in node.expressions]
        columns = [frozenset[Dependency]().union(*filter(None, cells)) for cells in zip_longest(*rows)]
        return Relation([(f"col{place}", value) for place, value in enumerate(columns)])

    def _join(self, join: Any, scope: Scope) -> Value:
        """Let a scope see a joined table; return what decides about the rows of the join."""
        kind, side, method = (fold(join.args.get(part) or "") for part in ("kind", "side", "method"))
        before = dict(scope.relations)
        rows = self._add(join.this, scope)
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

    # PIVOT and UNPIVOT

    def _pivot(self, node: Any, relation: Relation, outer: Scope | None, ctes: Mapping[str, Relation]) -> Relation:
        scope = Scope(ctes, outer)
        scope.add(" pivoted", relation)
        if node.args.get("unpivot"):
            return self._unpivoted(node, relation, scope)
        fields = node.args.get("fields")
        on = fields or node.expressions
        using = node.expressions if fields else node.args.get("using") or []
        if not using or not all(isinstance(one, exp.In) and one.expressions for one in on):
            raise NotReadError("the columns of its PIVOT are not known before it runs")
        keys = [self.value(one.this, scope) for one in on]
        chosen = indirect(frozenset().union(*keys), "filter")
        aggregates = [(one, self.value(one, scope) | chosen) for one in using]
        items = self._pivot_groups(node, relation, scope, [*on, *using])
        groups = indirect(Relation(items).every(), "group")
        for value in _combinations([[item.alias_or_name for item in one.expressions] for one in on]):
            for one, depends in aggregates:
                named = isinstance(one, exp.Alias) or len(using) > 1
                items.append((f"{value}_{_name_of(one)}" if named else value, depends))
        return Relation(unique_names(items), relation.rows | groups)

    def _pivot_groups(self, node: Any, relation: Relation, scope: Scope, used: list[Any]) -> list[Any]:
        """Return the columns of a PIVOT that its rows are made for: those of GROUP BY, or all that it does not use."""
        group = node.args.get("group")
        if group is not None:
            return self._items(group.expressions, scope)
        gone = {fold(column.name) for one in used for column in one.find_all(exp.Column)}
        kept = [item for item in relation.items if isinstance(item, Rest) or fold(item[0]) not in gone]
        return [item._replace(without=item.without | gone) if isinstance(item, Rest) else item for item in kept]

    def _unpivoted(self, node: Any, relation: Relation, scope: Scope) -> Relation:
        into, fields = node.args.get("into"), node.args.get("fields")
        if into is not None:
            name, values, columns = into.this, into.expressions, node.expressions
        elif fields:
            name, values, columns = fields[0].this, node.expressions, fields[0].expressions
        else:
            name, values, columns = exp.to_identifier("name"), [exp.to_identifier("value")], node.expressions
        if len(values) != 1:
            raise NotReadError("its UNPIVOT makes several columns of values")
        items = self._items(columns, scope)
        taken = {fold(item[0]) for item in items if not isinstance(item, Rest)}
        if len(taken) != len(items):
            raise NotReadError("the columns of its UNPIVOT are not known before it runs")
        read = Relation(items).every()
        kept: list[Any] = [
            item._replace(without=item.without | taken) if isinstance(item, Rest) else item
            for item in relation.items
            if isinstance(item, Rest) or fold(item[0]) not in taken
        ]
        # Rows whose value is null are left out.
        rows = relation.rows | indirect(read, "filter")
        return Relation([*kept, (name.name, _NONE), (values[0].name, used_as(read, "transformation"))], rows)


def _require_known_parts(node: Any) -> None:
    known = _PARTS.get(type(node))
    unknown = [] if known is None else [name for name, part in node.args.items() if part and name not in known]
    if unknown:
        raise NotReadError(f"a part of it is not understood: {unknown[0].rstrip('_')}")


def _names_in(node: Any) -> list[str] | None:
    """Return names joined by dots; None if anything else is among them."""
    if isinstance(node, exp.Identifier):
        return [node.name]
    before = _names_in(node.this) if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier) else None
    return None if before is None else [*before, node.expression.name]


def _is_star(node: Any) -> bool:
    return isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))


def _columns_in(node: Any) -> Any:
    """Return the COLUMNS that an expression is repeated for; None if there is none."""
    found = [one for one in node.find_all(exp.Columns) if not one.args.get("unpack")]
    top = node if isinstance(node, exp.Columns) else None
    return top or (found[0] if found else None)


def _unnested_in(node: Any) -> Iterator[Any]:
    """Give the lists that a select list makes rows of, as many as they have elements."""
    if isinstance(node, exp.Explode):
        yield node
    elif not isinstance(node, exp.Query):
        for child in node.iter_expressions():
            yield from _unnested_in(child)


def _matching(node: Any) -> Any:
    """Return whether a name is one that a star with LIKE, ILIKE, GLOB or SIMILAR TO stands for."""
    pattern = node.expression.name
    if isinstance(node, exp.SimilarTo):
        return lambda name: re.fullmatch(pattern, name) is not None
    if isinstance(node, exp.Glob):
        return lambda name: fnmatchcase(name, pattern)
    parts = [{"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern]
    flags = re.DOTALL | (re.IGNORECASE if isinstance(node, exp.ILike) else re.NOFLAG)
    return lambda name: re.fullmatch("".join(parts), name, flags) is not None


def _field_of(node: Any) -> tuple[Any, str] | None:
    """Return the struct and the name of the field that an expression takes of it; None if it is another expression."""
    if isinstance(node, exp.Bracket) and len(node.expressions) == 1:
        key = node.expressions[0]
        return (node.this, key.name) if isinstance(key, exp.Literal) and key.is_string else None
    if isinstance(node, exp.StructExtract) and isinstance(node.expression, exp.Literal) and node.expression.is_string:
        return node.this, node.expression.name
    return None


def _is_aggregate(node: Any) -> bool:
    if isinstance(node, exp.Anonymous):
        return fold(node.name) in _AGGREGATES
    return isinstance(node, exp.AggFunc)


def _aggregates(node: Any) -> bool:
    """Say whether an expression aggregates rows, outside of windows and of queries of its own."""
    if isinstance(node, exp.Window | exp.Query | exp.Subquery):
        return False
    return _is_aggregate(node) or any(_aggregates(child) for child in node.iter_expressions())


def _name_of(node: Any) -> str:
    """Return the name that DuckDB gives to an item of a select list; of what it makes of a function, a guess."""
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        return str(node.expression.name)
    name: str = node.alias_or_name if isinstance(node, exp.Alias | exp.Column) else ""
    return name or _text_of(node).lower()


def _alias_of(node: Any) -> tuple[str, list[str]]:
    """Return the alias of a table and those of its columns; DuckDB's `unnest(...) as u` names the table."""
    alias = node.args.get("alias")
    if alias is None:
        return "", []
    return alias.name, [column.name for column in alias.args.get("columns") or ()]


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


def _combinations(lists: list[list[str]]) -> list[str]:
    """Return the names of the columns that PIVOT makes of the values of several columns."""
    found = lists[0]
    for names in lists[1:]:
        found = [f"{first}_{second}" for first in found for second in names]
    return found


def _text_of(node: Any) -> str:
    text: str = node.sql(dialect="duckdb", unsupported_level=sqlglot.ErrorLevel.IGNORE)
    return text


def _shown(node: Any) -> str:
    text = " ".join(_text_of(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
