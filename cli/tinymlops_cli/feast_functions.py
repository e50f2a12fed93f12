"""The functions of Feast's on-demand views, written as Polars expressions if they only do arithmetic of columns."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tinymlops_cli.feast_reading import UnreadableError

__all__ = ["expressions_of"]

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def expressions_of(
    function: ast.FunctionDef,
    columns: Mapping[str, tuple[str, str]],
    used: dict[tuple[str, str], None],
    schema: Mapping[str, str] | None,
) -> dict[str, str]:
    """Return the features of a function, each with the text of its expression.

    Args:
        function: It fills a new frame with columns, and returns that.
        columns: Column of its inputs to view and feature; the view is empty for a request field.
        used: Takes those that it reads.
        schema: What it gives, column to feature; None for all that it assigns.

    Raises:
        UnreadableError: If it does anything else.
    """
    inputs = function.args.args[0].arg
    assigned = dict(_outputs(function, inputs))
    if not assigned:
        raise UnreadableError("its function assigns no column: write it as Polars expressions")
    names = schema or {one: re.sub(r"[^a-z0-9_-]", "_", one.lower()).lstrip("_-0123456789") for one in assigned}
    missing = [one for one in names if one not in assigned]
    if missing or len({*names.values()}) < len(names):
        raise UnreadableError(f"its function does not assign {missing[0]!r}" if missing else "two columns of one name")
    return {feature: _expression(assigned[one], inputs, columns, used) for one, feature in names.items()}


def _outputs(function: ast.FunctionDef, inputs: str) -> Iterator[tuple[str, ast.expr]]:
    """Yield the columns that a function assigns to the frame that it returns, if it does nothing else."""
    frame, returned = "", False
    for statement in function.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
        value = getattr(statement, "value", None)
        if returned or _is_text(statement):
            continue
        if isinstance(target, ast.Name) and not frame and target.id != inputs and _is_new_frame(value):
            frame = target.id
        elif isinstance(statement, ast.Return) and isinstance(value, ast.Name) and value.id == frame:
            returned = True
        elif (
            isinstance(target, ast.Subscript)
            and isinstance(target.value, ast.Name)
            and target.value.id == frame
            and isinstance(target.slice, ast.Constant)
            and isinstance(target.slice.value, str)
            and isinstance(value, ast.expr)
        ):
            yield target.slice.value, value
        else:
            raise UnreadableError(f"its function does more than arithmetic ({ast.unparse(statement)[:60]})")


def _is_new_frame(value: ast.expr | None) -> bool:
    return (
        isinstance(value, ast.Call)
        and not value.args
        and ast.unparse(value.func) in ("pd.DataFrame", "pandas.DataFrame", "DataFrame")
    )


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _expression(
    node: ast.expr, inputs: str, columns: Mapping[str, tuple[str, str]], used: dict[tuple[str, str], None]
) -> str:
    """Write arithmetic of input columns and numbers as that of Polars expressions."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and math.isfinite(node.value):
        return repr(node.value)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = (_expression(one, inputs, columns, used) for one in (node.left, node.right))
        return f"({left} {_OPERATORS[type(node.op)]} {right})"
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == inputs:
        column: Any = node.slice.value if isinstance(node.slice, ast.Constant) else None
        if column in columns:
            view, feature = columns[column]
            used[view, feature] = None
            return f"{view}[{feature!r}]" if view else feature
    raise UnreadableError(f"its function does more than arithmetic ({ast.unparse(node)[:60]})")
