"""Polars expressions as checks: kept as the JSON that Polars writes, and read back only where they hold no code.

A catalog may come from a stranger's backup, and Polars unpickles the Python functions of an expression that it reads.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import polars as pl

from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.definitions.row_by_row import is_row_wise

__all__ = ["columns_in", "read", "written"]

_PARTS = {"Column", "Literal", "BinaryExpr", "Cast", "Ternary", "Function", "Alias", "Eval"}
"""What an expression of one row consists of."""
_CODE = {"AnonymousFunction", "FfiPlugin", "Object"}


def written(expression: pl.Expr) -> str:
    """Return an expression as JSON.

    Raises:
        DefinitionError: If it is not one row's own, or calls Python.
    """
    where = f"the check {expression}"
    if expression.meta.has_multiple_outputs():
        raise DefinitionError(f"{where} reads several columns at once", hint="write one check for each column")
    text = expression.meta.serialize(format="json")
    tree = msgspec.json.decode(text)
    if _CODE & set(_keys(tree)):
        raise DefinitionError(
            f"{where} calls Python, and a check is stored as data",
            hint="write it with Polars' own functions, or compute a column in a transformation and check that",
        )
    if not is_row_wise(expression) or not _is_plain(tree):
        raise DefinitionError(
            f"{where} depends on other rows, and a check asks each row by itself",
            hint="what a batch must be like is said by tm.unique, tm.volume, tm.fresh and tm.same_distribution",
        )
    return text


def read(text: str, where: str) -> pl.Expr:
    """Read what `written` wrote.

    Args:
        text: The JSON.
        where: Whose check it is, for the error.

    Raises:
        DataError: If this version of Polars cannot read it, or it holds code.
    """
    tree = msgspec.json.decode(text)
    if _CODE & set(_keys(tree)) or not _is_plain(tree):
        raise DataError(f"{where} holds code or what is not a row's own", hint="apply the project again")
    try:
        return pl.Expr.deserialize(io.StringIO(text), format="json")
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise DataError(
            f"{where} was written by another version of Polars, and {pl.__version__} cannot read it",
            hint="apply the project again: tinymlops apply",
        ) from error


def columns_in(text: str) -> list[str]:
    """Return the columns that an expression reads, from what `written` wrote; nothing of it is run.

    Example:
        >>> columns_in(written(pl.col("paid") >= pl.col("price")))
        ['paid', 'price']
    """
    return sorted(set(_named(msgspec.json.decode(text))))


def _named(tree: Any) -> Iterator[str]:
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for name, part in parts:
        if name == "Column" and isinstance(part, str):
            yield part
        else:
            yield from _named(part)


def _keys(tree: Any) -> list[str]:
    """Return the name of every field in the JSON: what calls code is one."""
    if isinstance(tree, dict):
        return [*tree, *(name for part in tree.values() for name in _keys(part))]
    return [name for part in tree for name in _keys(part)] if isinstance(tree, list) else []


def _is_plain(node: Any) -> bool:
    """Say whether an expression consists of known parts alone; an element is that of a list."""
    if node == "Element":
        return True
    if not isinstance(node, dict) or len(node) != 1:
        return False
    ((kind, inner),) = node.items()
    if kind not in _PARTS:
        return False
    if kind in ("Column", "Literal"):
        return True
    if kind == "Function":
        return all(map(_is_plain, inner["input"]))
    if kind == "Alias":
        return _is_plain(inner[0])
    names = {
        "BinaryExpr": ("left", "right"),
        "Cast": ("expr",),
        "Eval": ("expr", "evaluation"),
        "Ternary": ("predicate", "truthy", "falsy"),
    }[kind]
    return all(_is_plain(inner[name]) for name in names)
