"""What a select list gives: its stars and COLUMNS stand for several columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from sqlglot import exp

from tinymlops.features.definitions.sql_expressions import Expressions
from tinymlops.features.definitions.sql_nodes import columns_in, is_star, matching, name_of
from tinymlops.features.definitions.sql_scopes import NOTHING, Item, NotReadError, Relation, Rest, Scope, Value
from tinymlops.stores.engine import fold

__all__ = ["SelectLists"]


class SelectLists(Expressions):
    """Reads select lists."""

    def items_of(self, expressions: Iterable[Any], scope: Scope) -> list[Item]:
        """Return the columns of a select list; its aliases are then known to the scope."""
        found: list[Item] = []
        for one in expressions:
            plain = one.unalias()
            pattern = plain.this if isinstance(plain, exp.Like | exp.ILike | exp.Glob | exp.SimilarTo) else None
            if is_star(plain):
                found += self.star_of(scope, plain).items
            elif pattern is not None and is_star(pattern):
                found += self.star_of(scope, pattern, matching(plain)).items
            elif (columns := columns_in(plain)) is not None:
                found += self._each_column(one, columns, scope)
            else:
                value = self.value(plain, scope)
                if isinstance(one, exp.Alias):
                    scope.aliases.setdefault(fold(one.alias), value)
                found.append((name_of(one), value))
        return found

    def _each_column(self, one: Any, columns: Any, scope: Scope) -> Iterator[Item]:
        """Give a column for each that COLUMNS stands for."""
        chosen = self.chosen(columns, scope)
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

    def chosen(self, columns: Any, scope: Scope) -> list[Item]:
        """Return the columns that COLUMNS stands for."""
        what = columns.this
        if is_star(what):
            return self.star_of(scope, what).items
        if isinstance(what, exp.Literal):
            return self.star_of(scope, None, lambda name: re.search(what.name, name) is not None).items
        raise NotReadError("COLUMNS with a function is not understood")

    def star_of(self, scope: Scope, star: Any, keeps: Any = None) -> Relation:
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
        rows: Value = NOTHING
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
