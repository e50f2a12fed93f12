"""The parts of a query that the walk knows: one that it does not know may name columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlglot import Dialect, TokenType, exp

from tinymlops.features.definitions.sql_scopes import NotReadError
from tinymlops.stores.engine import fold

__all__ = ["require_known_parts", "require_names"]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SET = words("this expression distinct by_name with_ order limit offset")
_PARTS = {
    exp.Union: _SET,
    exp.Intersect: _SET,
    exp.Except: _SET,
    exp.With: words("expressions recursive"),
    exp.CTE: words("this alias materialized"),
    exp.Subquery: words("this alias pivots joins order limit offset with_ sample"),
    exp.Window: words("this partition_by order spec alias over"),
    exp.Unnest: words("expressions alias"),
    exp.Lateral: words("this alias"),
    exp.Select: words(
        "expressions from_ joins windows where having qualify group order limit offset distinct with_ sample"
    ),
    exp.Join: words("this side kind using on method"),
    exp.Table: words("this alias db pivots joins sample"),
    exp.Pivot: words(
        """
        this expressions fields using group unpivot into columns with_ include_nulls default_on_null identify_pivot_strings
        prefixed_pivot_columns pivot_column_naming value_columns_first
        """
    ),
}
"""The parts of a query that the walk knows; one that it does not know may name columns."""


_BEFORE = (TokenType.L_PAREN, TokenType.COMMA, TokenType.DOT)
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER)
_AFTER = (TokenType.R_PAREN, TokenType.COMMA)


def require_known_parts(node: Any) -> None:
    """Check that a node has no part that the walk does not look at.

    Raises:
        NotReadError: If it has one.
    """
    known = _PARTS.get(type(node))
    unknown = [] if known is None else [name for name, part in node.args.items() if part and name not in known]
    if unknown:
        raise NotReadError(f"a part of it is not understood: {unknown[0].rstrip('_')}")


def require_names(sql: str, nodes: Iterable[Any]) -> None:
    """Check that every name that is an argument of a call is a name in the tree as well.

    sqlglot takes the column of `date_trunc(unit, seen)` for a word such as `DAY`, and leaves out what it does not expect.

    Args:
        sql: The text.
        nodes: All nodes of its tree.

    Raises:
        NotReadError: If one is not.
    """
    tokens = Dialect.get_or_raise("duckdb").tokenize(sql)
    written: Counter[str] = Counter()
    arguments: set[str] = set()
    for before, token, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if token.token_type in _NAMES and after.token_type != TokenType.L_PAREN:
            written[fold(token.text)] += 1
            if before.token_type in _BEFORE and after.token_type in _AFTER:
                arguments.add(fold(token.text))
    found = Counter(fold(node.name) for node in nodes if isinstance(node, exp.Identifier))
    for name in sorted(arguments):
        if found[name] < written[name]:
            raise NotReadError(f"sqlglot does not take {name} for a column")
