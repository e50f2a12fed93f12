"""Which rows a search may find: a condition, or what some columns must be."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from functools import reduce

from tinymlops.errors import DataError
from tinymlops.features.definitions.expressions import Operand, col

__all__ = ["condition_of"]


def condition_of(where: object) -> Operand | None:
    """Return a condition; None for all rows.

    Args:
        where: A condition, or a dict of column to text, number, truth value or None, all of which must hold.

    Raises:
        DataError: If it is something else.
    """
    if where is None or isinstance(where, Operand):
        return where
    if not isinstance(where, Mapping):
        raise DataError(f"where={where!r} is not a condition", hint='write where=tm.col("country") == "AT"')
    return reduce(operator.and_, [_is(name, value) for name, value in where.items()]) if where else None


def _is(name: object, value: object) -> Operand:
    if not isinstance(name, str) or not name or not isinstance(value, bool | int | float | str | None):
        raise DataError(
            f"where={{{name!r}: {value!r}}} is not a column and its value",
            hint="give a text, a number, true, false or null for each column",
        )
    column = col(name)
    return column.is_null() if value is None else column == value
