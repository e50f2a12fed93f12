"""Tables of any kind as rows that JSON can carry, exactly or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from tinymlops.client.answers import Row

__all__ = ["rows_of"]


def rows_of(table: Any) -> list[Row]:
    """Return rows of any kind as dicts of values that JSON can carry.

    Raises:
        DataError: If it is no table, or a value has no JSON that says the same; it names the row and the column.
    """
    nan_is_null = False
    rows: Any
    if isinstance(table, Mapping):
        rows = _of_columns(table)
    elif hasattr(table, "to_dicts"):
        rows = table.to_dicts()
    elif hasattr(table, "to_pylist"):
        rows = table.to_pylist()
    elif hasattr(table, "to_dict") and hasattr(table, "columns"):
        rows, nan_is_null = table.to_dict(orient="records"), True  # pandas says NaN where nothing is known
    else:
        rows = table
    if isinstance(rows, str | bytes) or not isinstance(rows, Sequence):
        raise DataError(f"a {type(table).__name__} is no table", hint="send dicts, a dict of columns, or a data frame")
    return [_row(row, place, nan_is_null=nan_is_null) for place, row in enumerate(rows)]


def _of_columns(table: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a dict of columns; a dict of single values is one row."""
    columns = {name: _listed(values) for name, values in table.items()}
    if not any(isinstance(values, list) for values in columns.values()):
        return [columns]
    lengths = {name: len(values) for name, values in columns.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1 or len(lengths) < len(columns):
        raise DataError(f"the columns do not have one length: {lengths}", hint="send as many values in each")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _listed(values: Any) -> Any:
    tolist: Callable[[], Any] | None = getattr(values, "tolist", None) or getattr(values, "to_list", None)
    return tolist() if tolist is not None else list(values) if isinstance(values, tuple) else values


def _row(row: Any, place: int, *, nan_is_null: bool) -> Row:
    if not isinstance(row, Mapping):
        raise DataError(f"row {place} is a {type(row).__name__}, not a dict", hint="send a dict of column to value")
    made = {}
    for name, value in row.items():
        if not isinstance(name, str):
            raise DataError(f"row {place} has the column name {name!r}, which is not text", hint="use text")
        try:
            made[name] = _value(value, nan_is_null=nan_is_null)
        except _NoJsonError as error:
            raise DataError(f"row {place}, column {name!r}: {error}", hint=error.hint) from None
    return made


class _NoJsonError(Exception):
    """A value that JSON cannot carry."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _value(value: Any, *, nan_is_null: bool) -> Any:
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        if nan_is_null and math.isnan(value):
            return None
        raise _NoJsonError(f"{value} has no JSON", "send None where nothing is known")
    if isinstance(value, int):
        return int(value)
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise _NoJsonError(f"{value} has no time zone", "say which: value.replace(tzinfo=UTC)")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_value(one, nan_is_null=nan_is_null) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _value(one, nan_is_null=nan_is_null) for name, one in value.items()}
    tolist = getattr(value, "tolist", None)  # NumPy's scalars and arrays
    if tolist is not None:
        return _value(tolist(), nan_is_null=nan_is_null)
    raise _NoJsonError(
        f"a {type(value).__name__} has no JSON that says the same", "send text, a number, a list or a time"
    )
