"""What PIVOT and UNPIVOT give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlglot import exp

from tinymlops.features.definitions.sql_nodes import name_of
from tinymlops.features.definitions.sql_scopes import (
    NOTHING,
    NotReadError,
    Relation,
    Rest,
    Scope,
    indirect,
    unique_names,
    used_as,
)
from tinymlops.features.definitions.sql_select_lists import SelectLists
from tinymlops.stores.engine import fold

__all__ = ["Pivots"]


class Pivots(SelectLists):
    """Reads PIVOT and UNPIVOT."""

    def pivoted(self, node: Any, relation: Relation, outer: Scope | None, ctes: Mapping[str, Relation]) -> Relation:
        """Return what a PIVOT or UNPIVOT of a table gives."""
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
                items.append((f"{value}_{name_of(one)}" if named else value, depends))
        return Relation(unique_names(items), relation.rows | groups)

    def _pivot_groups(self, node: Any, relation: Relation, scope: Scope, used: list[Any]) -> list[Any]:
        """Return the columns of a PIVOT that its rows are made for: those of GROUP BY, or all that it does not use."""
        group = node.args.get("group")
        if group is not None:
            return self.items_of(group.expressions, scope)
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
        items = self.items_of(columns, scope)
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
        return Relation([*kept, (name.name, NOTHING), (values[0].name, used_as(read, "transformation"))], rows)


def _combinations(lists: list[list[str]]) -> list[str]:
    """Return the names of the columns that PIVOT makes of the values of several columns."""
    found = lists[0]
    for names in lists[1:]:
        found = [f"{first}_{second}" for first in found for second in names]
    return found
