"""Evaluate row expressions for a whole frame: the one place where they get their values, offline and online.

Integers are exact: they are Int64 before any computation, and a result that does not fit is an error. No value is NaN
or infinite: where an operation gives one (`v / 0`), it is null and counted. Everything else is as in Polars.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import polars as pl

from tinymlops.features.compute import exact_integers as integers
from tinymlops.features.compute.exact_integers import TooGreatError
from tinymlops.features.definitions.expressions import Binary, Call, Column, Constant, Operand, Unary
from tinymlops.frames import has_only_finite

__all__ = ["TooGreatError", "Values", "all_finite", "evaluate", "without_infinities"]

_Value: TypeAlias = pl.Series | bool | int | float | str

_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "&": operator.and_,
    "|": operator.or_,
    "fill_null": lambda left, right: left.fill_null(right),
}
_DIVISIONS = ("/", "//", "%")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_COUNTS = ("str.len_chars", "dt.total_seconds")
_WHOLE_PARTS = ("year", "month", "day", "weekday", "ordinal_day", "hour", "minute", "second")


class Values(NamedTuple):
    """The result of an expression."""

    series: pl.Series
    """A value for each row."""
    not_finite: int
    """The number of rows that are null because the result is NaN or infinite."""


def evaluate(operand: Operand, frame: pl.DataFrame) -> Values:
    """Compute an expression for each row of a frame.

    Args:
        operand: The expression, over the columns of the frame.
        frame: n rows.

    Raises:
        TooGreatError: If an integer is beyond 64 signed bits, with the number of the row.
        polars.exceptions.PolarsError: If the expression does not fit the types of the columns.

    Example:
        >>> from tinymlops import Rows
        >>> frame = pl.DataFrame({"a": [1, 3], "b": [0, 2]}, schema={"a": pl.UInt8, "b": pl.UInt8})
        >>> evaluate(Rows()["b"] - Rows()["a"], frame).series.to_list()
        [-1, -1]
        >>> evaluate(Rows()["a"] / Rows()["b"], frame)[1]
        1
    """
    if isinstance(operand, Column):  # unchanged: rows are checked when they are stored
        return Values(frame[operand.name], 0)
    evaluation = _Evaluation(frame)
    series = evaluation.series(evaluation.value(operand))
    return Values(series.alias("value"), 0 if evaluation.lost is None else int(evaluation.lost.sum()))


def without_infinities(series: pl.Series) -> Values:
    """Make NaN and infinities from outside null, those in lists and structs too, and count the rows."""
    if series.dtype.is_nested():
        if "Float" not in str(series.dtype):
            return Values(series, 0)
        cleaned = pl.Series(series.name, _cleaned(series.to_list()), dtype=series.dtype, strict=False)
        return Values(cleaned, int(cleaned.ne_missing(series).sum()))
    series, lost = _finite(series)
    return Values(series, 0 if lost is None else int(lost.sum()))


def all_finite(frame: pl.DataFrame) -> pl.DataFrame:
    """Make NaN and infinities null that user code computed for rows."""
    return frame.with_columns(without_infinities(column).series for column in frame if "Float" in str(column.dtype))


def _cleaned(value: Any) -> Any:
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _finite(series: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    """Make NaN and infinities null; return also which rows had any, None for no row."""
    if not series.dtype.is_float():
        return series, None
    if has_only_finite(series):
        return series, None
    fine = series.is_finite()
    if fine.all():
        return series, None
    return series.set(~fine, None), (~fine).fill_null(value=False)


class _Evaluation:
    """One expression over one frame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame
        self.lost: pl.Series | None = None
        """The rows with a result that is not finite, or a division by zero."""

    def value(self, operand: Operand) -> _Value:
        """Compute an expression: a series of the frame's height, or a constant."""
        if isinstance(operand, Column):
            return self._frame[operand.name]
        if isinstance(operand, Constant):
            return operand.value
        if isinstance(operand, Binary):
            left, right = self.value(operand.left), self.value(operand.right)
            left = left if isinstance(right, pl.Series) else self.series(left)
            if operand.operator in _DIVISIONS:
                right = self._divisor(left, right)
            return self._finite(_binary(operand.operator, left, right))
        if isinstance(operand, Unary):
            return self._finite(_unary(operand.operator, self.series(self.value(operand.operand))))
        assert isinstance(operand, Call)
        return self._finite(_call(operand, self.series(self.value(operand.operand))))

    def series(self, value: _Value) -> pl.Series:
        """Return a value for each row."""
        if isinstance(value, pl.Series):
            return value
        return pl.select(pl.lit(value)).to_series().new_from_index(0, self._frame.height)

    def _divisor(self, left: _Value, right: _Value) -> _Value:
        """Make zero divisors null: integers and decimals have no infinity, and a decimal refuses to divide by zero."""
        if (
            isinstance(right, float)
            or (isinstance(right, pl.Series) and not _is_exact(right.dtype))
            or isinstance(right, str)
        ):
            return right
        if not isinstance(right, pl.Series) and right != 0:
            return right
        right = self.series(right)
        zero = right == 0
        if not zero.any():
            return right
        self._lose(zero.fill_null(value=False) & (left.is_not_null() if isinstance(left, pl.Series) else True))
        return right.set(zero, None)

    def _finite(self, series: pl.Series) -> pl.Series:
        series, lost = _finite(series)
        if lost is not None:
            self._lose(lost)
        return series

    def _lose(self, rows: pl.Series) -> None:
        self.lost = rows if self.lost is None else self.lost | rows


def _is_exact(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.is_decimal()


def _binary(name: str, left: _Value, right: _Value) -> pl.Series:
    if name == "**" and not (isinstance(right, int) and right >= 0):  # the definition decides the type, not the values
        return _select(_OPERATIONS[name], _as_float(left), _as_float(right))
    if integers.are_whole(left, right) and name in integers.OPERATORS:
        return integers.computed(name, left, right)
    if integers.are_whole(left, right) and not integers.are_flags(left, right):
        if name in _COMPARISONS:
            return _select(_OPERATIONS[name], *integers.comparable(left, right))
        if name in ("&", "|", "fill_null"):
            return _select(_OPERATIONS[name], integers.widened(left), integers.widened(right))
    if name in _COMPARISONS and (both := integers.beside_float(name, left, right)) is not None:
        return _select(_OPERATIONS[name], *both)
    if name in _DIVISIONS and isinstance(left, pl.Series) and not isinstance(right, pl.Series):
        left, right = _for_division(name, left, right)
    return _select(_OPERATIONS[name], left, right)


def _for_division(name: str, left: pl.Series, right: _Value) -> tuple[pl.Series, _Value]:
    """Give each row a divisor of its own if floats are divided by a constant.

    Polars multiplies two rows and more by the reciprocal of a constant, and divides a single row: the last digits differ,
    and with them the whole numbers of `//` and `%`.
    """
    dtype = _select(_OPERATIONS[name], left.clear(), right).dtype
    if not dtype.is_float():
        return left, right
    return left.cast(dtype), pl.select(pl.lit(right).cast(dtype)).to_series().new_from_index(0, len(left))


def _as_float(value: _Value) -> _Value:
    return value.cast(pl.Float64) if isinstance(value, pl.Series) else float(value)


def _unary(name: str, value: pl.Series) -> pl.Series:
    if name in ("neg", "abs") and value.dtype.is_integer():
        return integers.computed(name, value, 0)
    if name == "not":
        return ~(integers.widened(value) if value.dtype.is_integer() else value)
    if name == "neg":
        return _select(lambda one: -one, value)
    return _select(lambda one: getattr(one, name)(), value)


def _call(call: Call, value: pl.Series) -> pl.Series:
    name = call.function
    if name == "is_in":
        return _is_in(value, call.arguments)
    if name in ("log", "log1p", "exp", "sqrt"):
        return _select(lambda one: getattr(one, name)(*call.arguments), value.cast(pl.Float64))
    if name in ("floor", "ceil"):
        return value if value.dtype.is_integer() else _select(lambda one: getattr(one, name)(), value)
    space, _, word = name.partition(".")
    options = {"literal": True} if word == "contains" else {}
    if word == "convert_time_zone" and getattr(value.dtype, "time_zone", "") is None:
        raise pl.exceptions.InvalidOperationError("convert_time_zone needs a time with a zone, and this one has none")
    if space == "str" and isinstance(value.dtype, pl.Enum | pl.Categorical):
        value = value.cast(pl.String)
    found = _select(lambda one: getattr(getattr(one, space), word)(*call.arguments, **options), value)
    return found.cast(pl.Int64) if name in _COUNTS or word in _WHOLE_PARTS else found


def _is_in(value: pl.Series, among: tuple[bool | int | float | str, ...]) -> pl.Series:
    """Return which values equal one of these, each compared as `==` does; null stays null."""
    if isinstance(value.dtype, pl.Enum | pl.Categorical):
        value = value.cast(pl.String)  # text can be compared with words that are not among the categories
    if value.dtype == pl.String and all(isinstance(one, str) for one in among):
        return value.is_in(pl.Series(among, dtype=pl.String).implode())
    found = pl.Series([False]).new_from_index(0, len(value)).set(value.is_null(), None)
    for one in among:
        found |= _binary("==", value, one)
    return found


def _select(function: Callable[..., pl.Expr], *values: _Value) -> pl.Series:
    """Apply a function of expressions, where constants adapt to the types of columns as in Polars."""
    columns = {f"{place}": value for place, value in enumerate(values) if isinstance(value, pl.Series)}
    given = [pl.col(f"{place}") if f"{place}" in columns else pl.lit(value) for place, value in enumerate(values)]
    return pl.DataFrame(columns).select(function(*given).alias("value")).to_series()
