"""Constants of modules: names that are bound once, to what is the same value in every process."""

from __future__ import annotations

import ast
from datetime import tzinfo
from types import ModuleType
from typing import TYPE_CHECKING

from tinymlops.features.definitions.code_text import chains_in
from tinymlops.features.definitions.code_values import Unseen, written

if TYPE_CHECKING:
    from tinymlops.features.definitions.code_names import Names, Space

__all__ = ["literal_of"]

_CONSTANT = (
    ast.Constant
    | ast.Tuple
    | ast.List
    | ast.Set
    | ast.Dict
    | ast.UnaryOp
    | ast.BinOp
    | ast.keyword
    | ast.operator
    | ast.unaryop
    | ast.expr_context
)
_MAKERS = frozenset(
    (
        "date",
        "datetime",
        "time",
        "timedelta",
        "timezone",
        "ZoneInfo",
        "Decimal",
        "Fraction",
        "frozenset",
        "range",
        "UUID",
    )
)
"""What makes the same value of the same constants."""


def literal_of(names: Names, space: Space, statements: list[ast.stmt]) -> str | None:
    """Return the value of a name that is bound once, to what is the same in every process; None for any other.

    A notebook, which has no text of all its names, writes such a value alike.
    """
    if len(statements) != 1 or not isinstance(statements[0], ast.Assign | ast.AnnAssign):
        return None
    (one,) = statements
    assert isinstance(one, ast.Assign | ast.AnnAssign), "it is asked above"
    targets = one.targets if isinstance(one, ast.Assign) else [one.target]
    if len(targets) != 1 or not isinstance(targets[0], ast.Name) or one.value is None:
        return None
    if not all(_is_constant(names, space, part) for part in ast.walk(one.value)):
        return None
    try:
        return written(space.values.get(targets[0].id), lambda _: None)
    except (Unseen, RecursionError):
        return None


def _is_constant(names: Names, space: Space, node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return bool(node.args) and (chains_in([node.func]) or [("",)])[0][-1] in _MAKERS
    if isinstance(node, ast.Name | ast.Attribute):
        value = names.runtime(space, node)
        return isinstance(value, tzinfo | ModuleType) or getattr(value, "__name__", "") in _MAKERS
    return isinstance(node, _CONSTANT)
