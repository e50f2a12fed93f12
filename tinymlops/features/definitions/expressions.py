"""The expressions of a feature view, as data: what is written once and evaluated offline and online.

`rows["arr_delay"]` is an operand, computed row by row; `.mean(window="7d")` makes an aggregate of it. Both are
msgspec Structs, so a definition is stored as JSON and needs no code to be served.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, TypeAlias

import msgspec

from tinymlops._time import format_duration, parse_duration
from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Aggregate",
    "Binary",
    "Column",
    "Constant",
    "Features",
    "Label",
    "Operand",
    "Rows",
    "Unary",
    "columns_of",
    "to_polars",
]

Scalar: TypeAlias = bool | int | float | str
Function = Literal[
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "var",
    "std",
    "first",
    "last",
    "n_unique",
    "quantile",
    "any",
    "all",
    "time_since_last",
]
UnaryOperator = Literal["not", "neg", "abs", "is_null", "is_not_null"]
BinaryOperator = Literal["+", "-", "*", "/", "//", "%", "==", "!=", "<", "<=", ">", ">=", "&", "|", "fill_null"]


class Operand(msgspec.Struct, frozen=True, eq=False, tag_field="op"):
    """A value computed from one row, with the operators and names that Polars gives its expressions.

    Example:
        >>> rows = Rows()
        >>> rate = rows["errors"].fill_null(0) / rows["requests"]
        >>> sorted(columns_of(rate))
        ['errors', 'requests']
    """

    __hash__ = object.__hash__
    __array_ufunc__: ClassVar[None] = None
    """Leaves an operator between a NumPy number and an operand to the operand."""

    def __add__(self, other: Operand | Scalar) -> Operand:
        return _combine("+", self, other)

    def __radd__(self, other: Scalar) -> Operand:
        return _combine("+", other, self)

    def __sub__(self, other: Operand | Scalar) -> Operand:
        return _combine("-", self, other)

    def __rsub__(self, other: Scalar) -> Operand:
        return _combine("-", other, self)

    def __mul__(self, other: Operand | Scalar) -> Operand:
        return _combine("*", self, other)

    def __rmul__(self, other: Scalar) -> Operand:
        return _combine("*", other, self)

    def __truediv__(self, other: Operand | Scalar) -> Operand:
        return _combine("/", self, other)

    def __rtruediv__(self, other: Scalar) -> Operand:
        return _combine("/", other, self)

    def __floordiv__(self, other: Operand | Scalar) -> Operand:
        return _combine("//", self, other)

    def __rfloordiv__(self, other: Scalar) -> Operand:
        return _combine("//", other, self)

    def __mod__(self, other: Operand | Scalar) -> Operand:
        return _combine("%", self, other)

    def __rmod__(self, other: Scalar) -> Operand:
        return _combine("%", other, self)

    def __eq__(self, other: object) -> Operand:  # type: ignore[override]  # an expression, as in Polars
        return _combine("==", self, other)

    def __ne__(self, other: object) -> Operand:  # type: ignore[override]  # an expression, as in Polars
        return _combine("!=", self, other)

    def __lt__(self, other: Operand | Scalar) -> Operand:
        return _combine("<", self, other)

    def __le__(self, other: Operand | Scalar) -> Operand:
        return _combine("<=", self, other)

    def __gt__(self, other: Operand | Scalar) -> Operand:
        return _combine(">", self, other)

    def __ge__(self, other: Operand | Scalar) -> Operand:
        return _combine(">=", self, other)

    def __and__(self, other: Operand | Scalar) -> Operand:
        return _combine("&", self, other)

    def __rand__(self, other: Scalar) -> Operand:
        return _combine("&", other, self)

    def __or__(self, other: Operand | Scalar) -> Operand:
        return _combine("|", self, other)

    def __ror__(self, other: Scalar) -> Operand:
        return _combine("|", other, self)

    def __invert__(self) -> Operand:
        return _apply("not", self)

    def __neg__(self) -> Operand:
        return _apply("neg", self)

    def __abs__(self) -> Operand:
        return _apply("abs", self)

    def __bool__(self) -> bool:
        raise DefinitionError(
            "an expression over rows has no truth value while it is being defined",
            hint="combine conditions with & | ~ and put each in parentheses, not with and, or, not",
        )

    def abs(self) -> Operand:
        """Return the absolute value of a number; null stays null."""
        return _apply("abs", self)

    def is_null(self) -> Operand:
        """Return whether the value is missing."""
        return _apply("is_null", self)

    def is_not_null(self) -> Operand:
        """Return whether there is a value."""
        return _apply("is_not_null", self)

    def fill_null(self, value: Scalar) -> Operand:
        """Return the value, or this constant where it is missing."""
        return _combine("fill_null", self, value)

    def last(
        self,
        *,
        window: str | timedelta | None = None,
        where: Operand | None = None,
        skip_nulls: bool = False,
    ) -> Aggregate:
        """Take the newest visible row's value, of any type.

        Args:
            window: Only rows with `t - window <= event time < t`; without it, any earlier row within the ttl.
            where: Only rows for which this holds.
            skip_nulls: Take the newest row that has a value, instead of the newest row's null.

        Returns:
            The feature, of the operand's dtype; null when there is no such row.

        Raises:
            DefinitionError: If the window is no duration, or the condition no expression over rows.

        Example:
            >>> Rows()["balance"].last(skip_nulls=True)
            <last of ['balance']>
        """
        return _aggregate("last", self, window, where, skip_nulls=skip_nulls)

    def first(
        self,
        *,
        window: str | timedelta | None = None,
        where: Operand | None = None,
        skip_nulls: bool = False,
    ) -> Aggregate:
        """Take the oldest visible row's value; arguments, result and errors are those of `last`.

        Example:
            >>> Rows()["page"].first(window="30m")
            <first of ['page'] over 30m>
        """
        return _aggregate("first", self, window, where, skip_nulls=skip_nulls)

    def count(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Count the rows of the window that have a value.

        Args:
            window: Rows with `t - window <= event time < t`, such as "7d". Only a label has none: its horizon is
                its window.
            where: Only rows for which this holds.

        Returns:
            The feature, Int64; 0 when there is no such row.

        Raises:
            DefinitionError: If the window is no duration, or the condition no expression over rows.

        Example:
            >>> rows = Rows()
            >>> rows["coupon"].count(window="30d", where=rows["amount"] > 100)
            <count of ['amount', 'coupon'] over 30d>
        """
        return _aggregate("count", self, window, where)

    def sum(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Add up the window's values; arguments and errors are those of `count`.

        Returns:
            The feature: Int64 and exact for integers and booleans, Float64 and the correctly rounded exact sum
            (what `math.fsum` gives) for floats; 0 when there is no value.

        Example:
            >>> Rows()["amount"].sum(window="30d")
            <sum of ['amount'] over 30d>
        """
        return _aggregate("sum", self, window, where)

    def mean(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Divide the window's exact sum by the count of its values; arguments and errors are those of `count`.

        Returns:
            The feature, Float64; null when there is no value. The mean of a condition is the share it holds for.

        Example:
            >>> (Rows()["delay"] > 15).mean(window="7d")
            <mean of ['delay'] over 7d>
        """
        return _aggregate("mean", self, window, where)

    def min(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Take the window's smallest value; arguments and errors are those of `count`.

        Returns:
            The feature, Int64 for integers and booleans and Float64 for floats; null when there is no value.
        """
        return _aggregate("min", self, window, where)

    def max(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Take the window's greatest value; arguments and errors are those of `count`, the result is as of `min`."""
        return _aggregate("max", self, window, where)

    def var(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Take the window's sample variance (ddof=1); arguments and errors are those of `count`.

        Returns:
            The feature, Float64, exact until it is rounded once; null below two values.
        """
        return _aggregate("var", self, window, where)

    def std(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Take the window's sample standard deviation (ddof=1); arguments and errors are those of `count`.

        Returns:
            The feature, Float64, exact until it is rounded once; null below two values.
        """
        return _aggregate("std", self, window, where)

    def n_unique(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Count the window's different values, of any type; arguments and errors are those of `count`.

        Returns:
            The feature, Int64; 0 when there is no value. -0.0 and 0.0 are one value.

        Example:
            >>> Rows()["merchant"].n_unique(window="7d")
            <n_unique of ['merchant'] over 7d>
        """
        return _aggregate("n_unique", self, window, where)

    def quantile(self, q: float, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Take a quantile of the window by linear interpolation (type 7, as numpy, Polars' "linear" and R).

        Args:
            q: From 0.0, the smallest value, to 1.0, the greatest.
            window: As in `count`.
            where: As in `count`.

        Returns:
            The feature, Float64; null when there is no value.

        Raises:
            DefinitionError: If q is not from 0 to 1; and as `count`.

        Example:
            >>> Rows()["delay"].quantile(0.9, window="7d")
            <quantile of ['delay'] over 7d>
        """
        if isinstance(q, bool) or not isinstance(q, int | float) or not 0 <= q <= 1:
            raise DefinitionError(f"q={q!r} is no quantile", hint="use a number from 0.0 to 1.0, such as 0.5")
        return _aggregate("quantile", self, window, where, q=float(q))

    def any(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Say whether a condition holds for any row of the window; arguments and errors are those of `count`.

        Returns:
            The feature, Boolean; false when there is no value.

        Example:
            >>> (Rows()["amount"] > 100).any(window="7d")
            <any of ['amount'] over 7d>
        """
        return _aggregate("any", self, window, where)

    def all(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Say whether a condition holds for all rows of the window; arguments and errors are those of `count`.

        Returns:
            The feature, Boolean; true when there is no value.
        """
        return _aggregate("all", self, window, where)

    def time_since_last(self, *, window: str | timedelta, where: Operand | None = None) -> Aggregate:
        """Measure the time since the window's newest row that has a value; arguments and errors are those of `count`.

        Returns:
            The feature, Float64, seconds from that row's event time to `t`; null when there is none.

        Example:
            >>> Rows()["coupon"].time_since_last(window="30d")
            <time_since_last of ['coupon'] over 30d>
        """
        return _aggregate("time_since_last", self, window, where)


class Column(Operand, frozen=True, eq=False, tag="column"):
    """A column of the source."""

    name: str


class Constant(Operand, frozen=True, eq=False, tag="constant"):
    """A fixed value."""

    value: Scalar


class Unary(Operand, frozen=True, eq=False, tag="unary"):
    """An operation on one operand."""

    operator: UnaryOperator
    operand: AnyOperand


class Binary(Operand, frozen=True, eq=False, tag="binary"):
    """An operation on two operands."""

    operator: BinaryOperator
    left: AnyOperand
    right: AnyOperand


AnyOperand: TypeAlias = Column | Constant | Unary | Binary


class Aggregate(msgspec.Struct, frozen=True, eq=False):
    """One feature: an operand reduced over the rows of a key that are visible at `t`."""

    function: Function
    operand: AnyOperand | None = None
    """Null for a count of rows."""
    window: int | None = None
    """Microseconds; null for `first` and `last` over all visible rows."""
    where: AnyOperand | None = None
    skip_nulls: bool = False
    q: float | msgspec.UnsetType = msgspec.UNSET
    """Which quantile; of quantiles alone, and in no other aggregate's JSON."""

    def __repr__(self) -> str:
        window = f" over {format_duration(self.window)}" if self.window else ""
        return f"<{self.function} of {sorted(columns_of(self)) or 'rows'}{window}>"


class Rows:
    """The rows of a source, inside a definition: `rows["column"]` is an operand, `rows.count()` counts them.

    Example:
        >>> late = Rows()["arr_delay"] > 15
        >>> late.mean(window="7d")
        <mean of ['arr_delay'] over 7d>
    """

    def __getitem__(self, column: str) -> Operand:
        """Return one column as an operand.

        Raises:
            DefinitionError: If it is no text, or begins with two underscores.
        """
        if not isinstance(column, str) or not column or column.startswith("__"):
            raise DefinitionError(
                f"{column!r} is not the name of a column of rows",
                hint='write rows["amount"]; names that begin with __ are ours',
            )
        return Column(column)

    def __iter__(self) -> NoReturn:
        raise DefinitionError(
            "the rows of a definition cannot be walked through: there are none until it is computed",
            hint='name the columns, for example [rows[name].last() for name in ("temp", "wind")]',
        )

    def count(self, *, window: str | timedelta | None = None, where: Operand | None = None) -> Aggregate:
        """Count the rows of the window, nulls included; arguments, result and errors are those of `Operand.count`."""
        return _aggregate("count", None, window, where)

    def time_since_last(self, *, window: str | timedelta, where: Operand | None = None) -> Aggregate:
        """Measure the time since the window's newest row; arguments, result and errors are those of an operand's."""
        return _aggregate("time_since_last", None, window, where)


Features: TypeAlias = Mapping[str, Aggregate]
"""What a feature view returns: feature name to aggregate."""

Label: TypeAlias = Aggregate
"""What a label returns: one aggregate over the look-ahead window."""


def columns_of(expression: Aggregate | Operand) -> set[str]:
    """Return the names of the columns that an expression reads.

    Example:
        >>> rows = Rows()
        >>> sorted(columns_of(rows["amount"].last(where=rows["paid"])))
        ['amount', 'paid']
    """
    return {node.name for node in _walk(expression) if isinstance(node, Column)}


def to_polars(operand: Operand) -> pl.Expr:
    """Translate an operand to the Polars expression that computes it for a whole frame.

    Example:
        >>> print(to_polars(Rows()["delay"] > 15))
        [(col("delay")) > (dyn int: 15)]
    """
    import polars as pl

    if isinstance(operand, Column):
        return pl.col(operand.name)
    if isinstance(operand, Constant):
        return pl.lit(operand.value)
    if isinstance(operand, Unary):
        return _unary(operand.operator, to_polars(operand.operand))
    assert isinstance(operand, Binary)
    return _binary(operand.operator, to_polars(operand.left), to_polars(operand.right))


def _unary(operator: UnaryOperator, value: pl.Expr) -> pl.Expr:
    if operator == "not":
        return ~value
    if operator == "neg":
        return -value
    result: pl.Expr = getattr(value, operator)()
    return result


_METHODS: dict[BinaryOperator, str] = {
    "+": "__add__",
    "-": "__sub__",
    "*": "__mul__",
    "/": "__truediv__",
    "//": "__floordiv__",
    "%": "__mod__",
    "==": "__eq__",
    "!=": "__ne__",
    "<": "__lt__",
    "<=": "__le__",
    ">": "__gt__",
    ">=": "__ge__",
    "&": "__and__",
    "|": "__or__",
    "fill_null": "fill_null",
}


def _binary(operator: BinaryOperator, left: pl.Expr, right: pl.Expr) -> pl.Expr:
    result: pl.Expr = getattr(left, _METHODS[operator])(right)
    return result


def _combine(operator: BinaryOperator, left: object, right: object) -> Operand:
    return Binary(operator, _operand(left), _operand(right))


def _apply(operator: UnaryOperator, operand: object) -> Operand:
    return Unary(operator, _operand(operand))


def _operand(value: object) -> AnyOperand:
    if isinstance(value, Column | Constant | Unary | Binary):
        return value
    return Constant(_scalar(value))


def _scalar(value: object) -> Scalar:
    """Return a constant as a definition can hold it: exactly, or not at all."""
    if getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]  # a NumPy number
    if not isinstance(value, bool | int | float | str):
        raise DefinitionError(
            f"{value!r} cannot stand in an expression over rows",
            hint="use columns such as rows['amount'], numbers, strings and booleans",
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise DefinitionError(
            f"{value!r} cannot be a constant of an expression over rows",
            hint="sources hold no infinities, and NaN there is null: use .is_null(), or leave the comparison out",
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise DefinitionError(f"{value!r} is beyond 64 bits", hint="write it as a float")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise DefinitionError(f"{value!r} is no valid text: it has half a character", hint="correct its encoding")
    return value


def _aggregate(
    function: Function,
    operand: Operand | None,
    window: str | timedelta | None,
    where: Operand | None,
    *,
    skip_nulls: bool = False,
    q: float | msgspec.UnsetType = msgspec.UNSET,
) -> Aggregate:
    return Aggregate(
        function,
        None if operand is None else _operand(operand),
        None if window is None else parse_duration(window, name="window"),
        None if where is None else _operand(where),
        skip_nulls,
        q,
    )


def _walk(expression: Aggregate | Operand | None) -> Iterator[Any]:
    if expression is None:
        return
    yield expression
    for name in expression.__struct_fields__:
        child = getattr(expression, name)
        if isinstance(child, msgspec.Struct):
            yield from _walk(child)  # type: ignore[arg-type]  # only operands nest in operands
