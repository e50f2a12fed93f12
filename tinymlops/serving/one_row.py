"""Answer a request of one row, from dict to dict, by prepared plans.

A table, or a value that needs more than a conversion between numbers, goes through frames (`prediction.py`), which is
the reference: this path returns the same bits, logs the same values, or does not answer at all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.online.one_row import RowPlan
from tinymlops.features.online.read_plans import plan_for
from tinymlops.schema import parse_dtype
from tinymlops.training.row_answers import RowAnswers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.features.context import Context
    from tinymlops.frames import Frame
    from tinymlops.records import RequestField
    from tinymlops.serving.model import Model
    from tinymlops.stores.online_store import Snapshot

__all__ = ["ReadRow", "RowEndpoint", "read_row"]

_EXACT = 2**53
"""Up to here every integer is a float64."""


class _OtherError(Exception):
    """A value must go through frames."""


class ReadRow(NamedTuple):
    """A request of one row, and the features that were read for it."""

    now: int
    """`t`, microseconds UTC."""
    sequence: int
    """`Q`, which the online store covered."""
    request: dict[str, Any]
    """The request as it is logged."""
    features: dict[str, Any]
    """The features as they are logged, and as the model takes them, in its order."""
    endpoint: RowEndpoint

    def answer(self) -> dict[str, Any] | None:
        """Ask the model; None if a frame is needed for the answer or the error."""
        return self.endpoint.answer(self.features)


class RowEndpoint:
    """A model, prepared for requests of one row.

    Args:
        context: The workspace's state.
        model: The model.

    Raises:
        DefinitionError: If Python code that the model depends on has changed or is gone.
        IntegrityError: If the model's manifest names no training set.
    """

    def __init__(self, context: Context, model: Model) -> None:
        asked, signature = model.training_set, model.signature
        pinned = model.context(context)
        dtypes = {field.name: _request_dtype(field) for field in signature.request}
        self._plan = RowPlan(pinned, plan_for(pinned, asked.features, asked.spine), dtypes)
        self._answers = RowAnswers(model.estimator, signature)
        self._request = {name: _reader_of(dtype) for name, dtype in dtypes.items()}
        self._features = [(field.name, _FEATURES[field.dtype]) for field in signature.features]
        self._names = frozenset(name for name, _ in self._features)
        self._is_usable = self._plan.is_usable and self._answers.is_usable and self._names <= self._plan.names

    def read(self, context: Context, snapshot: Snapshot, row: dict[str, Any]) -> ReadRow | None:
        """Read the features of a row of entity keys and request fields; None if a frame is needed."""
        if not self._is_usable or not row.keys() >= self._request.keys() or not self._names.isdisjoint(row):
            return None
        readers = self._request
        try:
            request = {_text(name): readers.get(name, _plain)(value) for name, value in row.items()}
            found = self._plan.read(context, snapshot, request)
            if found is None:
                return None
            features = {name: read(found.values[name]) for name, read in self._features}
        except _OtherError:
            return None
        return ReadRow(found.now, found.sequence, request, features, self)

    def answer(self, features: dict[str, Any]) -> dict[str, Any] | None:
        """Ask the model for one row of features; None if a frame is needed for the answer or the error."""
        return self._answers.answer(list(features.values()))


def read_row(context: Context, snapshot: Snapshot, model: Model, rows: Frame) -> ReadRow | None:
    """Read the features of a request that is one row of plain values; None for any other or an invalid one.

    Args:
        context: The workspace's state.
        snapshot: A snapshot of the online store, to read in.
        model: The model.
        rows: The rows of the request.

    Raises:
        DataError: If a value is beyond its type, or rows were computed too long ago.
        DefinitionError: If the Python code of an on-demand view is no longer what was applied.
    """
    if type(rows) is not list or len(rows) != 1 or type(rows[0]) is not dict:
        return None
    endpoint = model.prepared.get(RowEndpoint)
    if endpoint is None:
        try:
            endpoint = model.prepared[RowEndpoint] = RowEndpoint(context, model)
        except TinyMLOpsError:  # a row of features needs no plan; any other gets the error
            return None
    assert isinstance(endpoint, RowEndpoint)
    return endpoint.read(context, snapshot, rows[0])


def _request_dtype(field: RequestField) -> pl.DataType:
    """Return the type that a key or request field has in a frame of requests."""
    dtype = parse_dtype(field.dtype)
    return pl.String() if isinstance(dtype, pl.Enum) else dtype


def _reader_of(dtype: pl.DataType) -> Callable[[Any], Any]:
    """Return the function that converts a value to its type in training, if a plain one is enough."""
    if dtype.is_integer() and not isinstance(dtype, pl.Int128 | pl.UInt128):
        low, high = _limits(dtype)
        return lambda value: _integer(value, low, high)
    plain: dict[type, Callable[[Any], Any]] = {pl.Float64: _number, pl.Boolean: _flag, pl.String: _words}
    return plain.get(type(dtype), _nothing)


def _limits(dtype: pl.DataType) -> tuple[int, int]:
    """Return the least and the greatest integer of a type that also fit 64 signed bits."""
    name = type(dtype).__name__
    bits = int(name.removeprefix("U").removeprefix("Int"))
    return (0, min(2**bits, 2**63) - 1) if name.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _integer(value: Any, low: int = -(2**63), high: int = 2**63 - 1) -> int | None:
    if value is None:
        return None
    if type(value) is float and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    if type(value) is int and low <= value <= high:
        return value
    raise _OtherError


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) <= _EXACT):
        return float(value)
    raise _OtherError


def _flag(value: Any) -> bool | None:
    if value is None or type(value) is bool:
        return value
    raise _OtherError


def _words(value: Any) -> str | None:
    return None if value is None else _text(value)


def _nothing(value: Any) -> None:
    if value is not None:
        raise _OtherError


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _OtherError
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half a character, which no column can hold
            raise _OtherError from error
    return value


def _plain(value: Any) -> Any:
    """Read an extra column of the caller."""
    kind = type(value)
    if value is None or kind is bool or (kind is float and math.isfinite(value)):
        return value
    return _integer(value) if kind is int else _text(value)


_FEATURES: dict[str, Callable[[Any], Any]] = {
    "Float64": lambda value: float(value) if type(value) is bool else _number(value),
    "Int64": lambda value: int(value) if type(value) is bool else _integer(value),
    "Boolean": _flag,
    "Enum": _words,
}
"""Converts a feature to the model's type."""
