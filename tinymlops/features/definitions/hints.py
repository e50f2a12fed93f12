"""Read the signature of a definition's function, and say what it should be instead."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.expressions import Aggregate, Operand, Rows, aggregates_of
from tinymlops.features.definitions.nouns import check_name

__all__ = ["check_aggregates", "check_features", "evaluated", "read_hints", "require_expressions", "require_table"]

_INSTEAD = {
    "source": "write `-> str` for SQL, `-> pl.LazyFrame` for a frame, `-> tm.Schema` for a source of pushes",
    "transformation": "write `def name(orders: tm.Rows) -> str` for SQL, or `(orders: pl.LazyFrame) -> pl.LazyFrame`",
    "feature view": "write `def name(orders: tm.Rows) -> tm.Features`",
    "label": "write `def name(orders: tm.Rows) -> tm.Label`",
    "view of neighbours": "write `def name(tickets: tm.Rows) -> tm.Features`",
    "on-demand view": "write `def name(sky: tm.Inputs, distance: pl.Expr) -> dict[str, pl.Expr]`",
}
_NO_TABLES = (bool, int, float, complex, bytes, tuple, set, type(None))


def read_hints(function: Callable[..., Any], what: str) -> tuple[dict[str, Any], Mapping[str, inspect.Parameter]]:
    """Return a function's hints and parameters.

    Args:
        function: The user's function.
        what: The kind of definition, for the error.

    Raises:
        DefinitionError: If a hint is missing or cannot be read.
    """
    parameters = inspect.signature(function).parameters
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise DefinitionError(
            f"a hint of {what} {function.__name__!r} cannot be read: {error}",
            hint="import the name at the top of the module, not under TYPE_CHECKING",
        ) from error
    for name in (*parameters, "return"):
        if name not in hints:
            where = "return type" if name == "return" else f"type of parameter {name!r}"
            raise DefinitionError(f"{what} {function.__name__!r} does not say the {where}", hint=_INSTEAD[what])
    return hints, parameters


def evaluated(function: Callable[..., Any], what: str, returns: object) -> tuple[str, Any]:
    """Call a definition's function on symbolic rows; return its source's name and its result.

    Raises:
        DefinitionError: If its hints are not one `tm.Rows` and `returns`.
    """
    hints, parameters = read_hints(function, what)
    if len(parameters) != 1 or hints[next(iter(parameters), "return")] is not Rows:
        raise DefinitionError(
            f"{what} {function.__name__!r} must take one parameter, named as its source and hinted tm.Rows",
            hint=_INSTEAD[what],
        )
    if hints["return"] != returns:
        raise DefinitionError(
            f"{what} {function.__name__!r} is hinted to return {hints['return']!r}", hint=_INSTEAD[what]
        )
    source = next(iter(parameters))
    return source, function(Rows(source))


def require_table(function: Callable[..., Any], what: str, returns: Any) -> None:
    """Refuse a function hinted to return a type that cannot be a table.

    Raises:
        DefinitionError: If it is a number, bytes, a tuple, a set or nothing.
    """
    if returns in _NO_TABLES:
        raise DefinitionError(
            f"{what} {function.__name__!r} is hinted to return {returns.__name__}, which is not a table",
            hint=_INSTEAD[what],
        )


def require_expressions(function: Callable[..., Any], returns: Any) -> None:
    """Refuse an on-demand view hinted to return anything but names and expressions.

    Raises:
        DefinitionError: If the hint is not `dict[str, pl.Expr]` or a `Mapping` of the same.
    """
    arguments = typing.get_args(returns)
    if len(arguments) != 2 or arguments[0] is not str or getattr(arguments[1], "__name__", "") != "Expr":
        raise DefinitionError(
            f"on-demand view {function.__name__!r} is hinted to return {returns!r}", hint=_INSTEAD["on-demand view"]
        )


def check_features(view: str, features: object) -> dict[str, Aggregate]:
    """Return the result of a feature view's function, if it consists of features.

    Raises:
        DefinitionError: If there are none, or one has no name, is not an aggregate, or lacks a window.
    """
    found = check_aggregates(view, features)
    for name, expression in found.items():
        for part in aggregates_of(expression):
            if part.window is None and part.function not in ("first", "last"):
                raise DefinitionError(
                    f"feature {name!r} of {view!r}: {part.function} needs a window",
                    hint=f'write .{part.function}(window="30d")',
                )
    return found


def check_aggregates(view: str, features: object) -> dict[str, Aggregate]:
    """Return the result of a view's function, if it consists of aggregates.

    Raises:
        DefinitionError: If there are none, or one has no name or is not an aggregate.
    """
    if not isinstance(features, Mapping) or not features:
        raise DefinitionError(
            f"feature view {view!r} returned no features", hint='return {"name": rows["column"].last()}'
        )
    for name, expression in features.items():
        check_name(name, "feature")
        if not isinstance(expression, Aggregate):
            given = "a column" if isinstance(expression, Operand) else repr(expression)
            raise DefinitionError(
                f"feature {name!r} of {view!r} is {given}, not an aggregate",
                hint='aggregate it: .last(), .mean(window="7d"), ...',
            )
    return dict(features)
