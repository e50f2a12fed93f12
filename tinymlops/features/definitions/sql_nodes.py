"""Single nodes of a parsed query: what they are called, what they stand for, and whether they aggregate."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import sqlglot
from sqlglot import exp

from tinymlops.stores.engine import fold

__all__ = [
    "aggregates",
    "alias_of",
    "columns_in",
    "field_of",
    "is_aggregate",
    "is_star",
    "matching",
    "name_of",
    "names_in",
    "shown",
    "unnested_in",
]

_AGGREGATES = frozenset(
    """arbitrary arg_max_null arg_max_nulls_last arg_min_null arg_min_nulls_last bitstring_agg count_star decimal_average
    entropy favg fsum histogram histogram_exact kahan_sum kurtosis_pop lttb mad mean product reservoir_quantile sem
    sum_no_overflow sumkahan variant_group_object""".split()  # noqa: SIM905 - a list of strings is twice as long
)
"""Aggregates of DuckDB that sqlglot takes for plain functions."""


def names_in(node: Any) -> list[str] | None:
    """Return names joined by dots; None if anything else is among them."""
    if isinstance(node, exp.Identifier):
        return [node.name]
    before = names_in(node.this) if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier) else None
    return None if before is None else [*before, node.expression.name]


def is_star(node: Any) -> bool:
    """Say whether a node is `*` or `table.*`."""
    return isinstance(node, exp.Star) or (isinstance(node, exp.Column) and isinstance(node.this, exp.Star))


def columns_in(node: Any) -> Any:
    """Return the COLUMNS that an expression is repeated for; None if there is none."""
    found = [one for one in node.find_all(exp.Columns) if not one.args.get("unpack")]
    top = node if isinstance(node, exp.Columns) else None
    return top or (found[0] if found else None)


def unnested_in(node: Any) -> Iterator[Any]:
    """Give the lists that a select list makes rows of, as many as they have elements."""
    if isinstance(node, exp.Explode):
        yield node
    elif not isinstance(node, exp.Query):
        for child in node.iter_expressions():
            yield from unnested_in(child)


def matching(node: Any) -> Any:
    """Return whether a name is one that a star with LIKE, ILIKE, GLOB or SIMILAR TO stands for."""
    if node.args.get("negate"):
        wanted = matching(type(node)(this=node.this, expression=node.expression))
        return lambda name: not wanted(name)
    pattern = node.expression.name
    if isinstance(node, exp.SimilarTo):
        return lambda name: re.fullmatch(pattern, name) is not None
    if isinstance(node, exp.Glob):
        return lambda name: fnmatchcase(name, pattern)
    parts = [{"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern]
    flags = re.DOTALL | (re.IGNORECASE if isinstance(node, exp.ILike) else re.NOFLAG)
    return lambda name: re.fullmatch("".join(parts), name, flags) is not None


def field_of(node: Any) -> tuple[Any, str] | None:
    """Return the struct and the name of the field that an expression takes of it; None if it is another expression."""
    if isinstance(node, exp.Bracket) and len(node.expressions) == 1:
        key = node.expressions[0]
        return (node.this, key.name) if isinstance(key, exp.Literal) and key.is_string else None
    if isinstance(node, exp.StructExtract) and isinstance(node.expression, exp.Literal) and node.expression.is_string:
        return node.this, node.expression.name
    return None


def is_aggregate(node: Any) -> bool:
    """Say whether a node is a function that aggregates rows."""
    if isinstance(node, exp.Anonymous):
        return fold(node.name) in _AGGREGATES
    return isinstance(node, exp.AggFunc)


def aggregates(node: Any) -> bool:
    """Say whether an expression aggregates rows, outside of windows and of queries of its own."""
    if isinstance(node, exp.Window | exp.Query | exp.Subquery):
        return False
    return is_aggregate(node) or any(aggregates(child) for child in node.iter_expressions())


def name_of(node: Any) -> str:
    """Return the name that DuckDB gives to an item of a select list; of what it makes of a function, a guess."""
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        return str(node.expression.name)
    name: str = node.alias_or_name if isinstance(node, exp.Alias | exp.Column) else ""
    return name or text_of(node).lower()


def alias_of(node: Any) -> tuple[str, list[str]]:
    """Return the alias of a table and those of its columns; DuckDB's `unnest(...) as u` names the table."""
    alias = node.args.get("alias")
    if alias is None:
        return "", []
    return alias.name, [column.name for column in alias.args.get("columns") or ()]


def text_of(node: Any) -> str:
    text: str = node.sql(dialect="duckdb", unsupported_level=sqlglot.ErrorLevel.IGNORE)
    return text


def shown(node: Any) -> str:
    """Return the text of a node, as far as a message has room for it."""
    text = " ".join(text_of(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
