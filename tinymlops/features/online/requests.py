"""What an online read is asked with: entity keys and request fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

import polars as pl

from tinymlops.errors import DataError
from tinymlops.frames import to_polars

__all__ = ["Keys", "Request"]

Keys = Sequence[Mapping[str, object]] | Mapping[str, Sequence[object]]

_PLAIN = ({int}, {str}, {float}, {bool})


class Request:
    """Columns of plain Python values, or a frame of anything else.

    Args:
        given: Rows, columns, or a frame.

    Attributes:
        columns: Column name to its values.
        kinds: The Python types of each column's values, null left out; empty for a column that must be looked at by
            Polars.
        height: How many rows there are.

    Raises:
        DataError: If there are no keys, or they are no table.
    """

    __slots__ = ("_frame", "_given", "columns", "height", "kinds")

    def __init__(self, given: Keys | pl.DataFrame) -> None:
        self._given = given
        self._frame: pl.DataFrame | None = None
        columns: Any = None
        if isinstance(given, pl.DataFrame):
            self._frame = given
        else:
            columns = dict(given) if isinstance(given, Mapping) else _columns_of(given)
        kinds = None if columns is None else _kinds_of(columns)
        if kinds is None:
            columns = dict(self.frame().to_dict())
            kinds = {name: set() for name in columns}
        if not columns:
            raise DataError("no keys were given", hint='write [{"customer": 7}], or {"customer": [7, 8]}')
        self.columns: Mapping[str, Sequence[Any]] = columns
        self.kinds = kinds
        self.height = len(next(iter(columns.values())))

    def frame(self) -> pl.DataFrame:
        """Return keys and request fields as Polars has them."""
        if self._frame is None:
            given = self._given
            assert not isinstance(given, pl.DataFrame), "that is the frame"
            self._frame = to_polars(dict(given) if isinstance(given, Mapping) else [dict(row) for row in given])
        return self._frame

    def lists(self) -> dict[str, list[Any]]:
        """Return them as Python has them."""
        if self._frame is not None:
            return self._frame.to_dict(as_series=False)
        return {name: list(values) for name, values in self.columns.items()}


def _columns_of(rows: Sequence[Mapping[str, object]]) -> dict[str, list[Any]] | None:
    """Turn rows into columns; None where they have not the same."""
    if not rows or not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        return None
    return {name: [row[name] for row in rows] for name in rows[0]}


def _kinds_of(columns: Mapping[str, Any]) -> dict[str, set[type]] | None:
    """Return the type of each column's values; None where some column needs more than a look at its types."""
    kinds, heights = {}, set()
    for name, values in columns.items():
        if type(name) is not str or type(values) not in (list, tuple):
            return None
        found: set[type] = set(map(type, values))
        found.discard(NoneType)
        if found not in _PLAIN:
            return None
        kinds[name] = found
        heights.add(len(values))
    return kinds if len(heights) == 1 else None
