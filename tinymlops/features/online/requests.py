"""The input of an online read: entity keys and request fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError
from tinymlops.frames import Frame, to_polars
from tinymlops.keys import kind_of
from tinymlops.presence import absent_columns

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Request"]

_PLAIN = frozenset((int, str, float, bool))
_NONE: Mapping[str, int] = {}


class Request:
    """Columns of plain Python values, or a frame for anything else.

    Args:
        given: Any table: rows, columns, or a frame.

    Attributes:
        columns: Column name to its values.
        kinds: The Python type of each column's values, without nulls; None for a column that Polars must read.
        absent: Column that some rows have to the first row that lacks it.

    Raises:
        DataError: If there are no keys, or they are not a table.
    """

    __slots__ = ("_frame", "_given", "absent", "columns", "kinds")

    def __init__(self, given: Frame) -> None:
        self._given = given
        self._frame: pl.DataFrame | None = None
        columns: Any = dict(given) if type(given) is dict else _columns_of(given)
        self.absent = absent_columns(given) if columns is None else _NONE
        kinds = None if columns is None else _kinds_of(columns)
        if kinds is None:
            columns = dict(self.frame().to_dict())
            kinds = dict.fromkeys(columns)
        else:
            self._given = columns  # their owner may fill them again
        if not columns:
            raise DataError("no keys were given", hint='write [{"customer": 7}], or {"customer": [7, 8]}')
        self.columns: Mapping[str, Sequence[Any]] = columns
        self.kinds: Mapping[str, type | None] = kinds

    @property
    def height(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values())))

    def frame(self) -> pl.DataFrame:
        """Return keys and request fields as a Polars frame."""
        if self._frame is None:
            self._frame = to_polars(self._given)
        return self._frame

    def lists(self) -> dict[str, list[Any]]:
        """Return them as Python values."""
        if self._frame is not None:
            return self._frame.to_dict(as_series=False)
        return {name: list(values) for name, values in self.columns.items()}


def _columns_of(given: Frame) -> dict[str, Any] | None:
    """Turn rows into columns; None for a frame, or if the rows have different columns."""
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, list | tuple) or not given:
        return None
    if not all(isinstance(row, dict) and row.keys() == given[0].keys() for row in given):
        return None
    return {name: [row[name] for row in given] for name in given[0]}


def _kinds_of(columns: Mapping[str, Any]) -> dict[str, type | None] | None:
    """Return the type of each column's values; None if a column's type is not enough to read it."""
    kinds: dict[str, type | None] = {}
    for name, values in columns.items():
        if type(name) is not str or type(values) not in (list, tuple):
            return None
        kinds[name] = kind = kind_of(values)
        if kind not in _PLAIN:
            return None
    return kinds if len(kinds) == 1 or len(set(map(len, columns.values()))) == 1 else None
