"""The operators and row functions of a definition's expressions, with the names of Polars.

Operands and aggregates share them. Each function returns the same for a row alone as for that row among a million, and
is stored as data: a function that needs other rows, or code, is a transformation or an on-demand view.
"""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, TypeAlias, TypeVar, get_args

from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["BinaryOperator", "Operators", "RowFunction", "Scalar", "Text", "Times", "UnaryOperator", "scalar_of"]

R = TypeVar("R")

Scalar: TypeAlias = bool | int | float | str
UnaryOperator = Literal["not", "neg", "abs", "is_null", "is_not_null"]
BinaryOperator = Literal["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "&", "|", "fill_null"]
RowFunction = Literal[
    "is_in",
    "log",
    "log1p",
    "exp",
    "sqrt",
    "floor",
    "ceil",
    "str.to_lowercase",
    "str.to_uppercase",
    "str.strip_chars",
    "str.len_chars",
    "str.contains",
    "str.starts_with",
    "str.ends_with",
    "dt.convert_time_zone",
    "dt.year",
    "dt.month",
    "dt.day",
    "dt.weekday",
    "dt.ordinal_day",
    "dt.hour",
    "dt.minute",
    "dt.second",
    "dt.total_seconds",
]


class _NoSuchWordError(DefinitionError, AttributeError):
    """A function that expressions do not have; `hasattr` and `getattr` treat it as a missing attribute."""


class Operators(Generic[R]):
    """The operators and row functions; each gives a new expression `R`."""

    __slots__ = ()
    __hash__ = object.__hash__
    __array_ufunc__: ClassVar[None] = None
    """Makes NumPy leave an operator between its number and an expression to the expression."""

    def _combine(self, operator: BinaryOperator, left: object, right: object) -> R:
        raise NotImplementedError

    def _apply(self, operator: UnaryOperator) -> R:
        raise NotImplementedError

    def _call(self, function: RowFunction, arguments: tuple[Scalar, ...] = ()) -> R:
        raise NotImplementedError

    def __add__(self, other: R | Scalar) -> R:
        return self._combine("+", self, other)

    def __radd__(self, other: Scalar) -> R:
        return self._combine("+", other, self)

    def __sub__(self, other: R | Scalar) -> R:
        return self._combine("-", self, other)

    def __rsub__(self, other: Scalar) -> R:
        return self._combine("-", other, self)

    def __mul__(self, other: R | Scalar) -> R:
        return self._combine("*", self, other)

    def __rmul__(self, other: Scalar) -> R:
        return self._combine("*", other, self)

    def __truediv__(self, other: R | Scalar) -> R:
        return self._combine("/", self, other)

    def __rtruediv__(self, other: Scalar) -> R:
        return self._combine("/", other, self)

    def __floordiv__(self, other: R | Scalar) -> R:
        return self._combine("//", self, other)

    def __rfloordiv__(self, other: Scalar) -> R:
        return self._combine("//", other, self)

    def __mod__(self, other: R | Scalar) -> R:
        return self._combine("%", self, other)

    def __rmod__(self, other: Scalar) -> R:
        return self._combine("%", other, self)

    def __pow__(self, other: R | Scalar) -> R:
        return self._combine("**", self, other)

    def __rpow__(self, other: Scalar) -> R:
        return self._combine("**", other, self)

    def __eq__(self, other: object) -> R:  # type: ignore[override]  # an expression, as in Polars
        return self._combine("==", self, other)

    def __ne__(self, other: object) -> R:  # type: ignore[override]  # an expression, as in Polars
        return self._combine("!=", self, other)

    def __lt__(self, other: R | Scalar) -> R:
        return self._combine("<", self, other)

    def __le__(self, other: R | Scalar) -> R:
        return self._combine("<=", self, other)

    def __gt__(self, other: R | Scalar) -> R:
        return self._combine(">", self, other)

    def __ge__(self, other: R | Scalar) -> R:
        return self._combine(">=", self, other)

    def __and__(self, other: R | Scalar) -> R:
        return self._combine("&", self, other)

    def __rand__(self, other: Scalar) -> R:
        return self._combine("&", other, self)

    def __or__(self, other: R | Scalar) -> R:
        return self._combine("|", self, other)

    def __ror__(self, other: Scalar) -> R:
        return self._combine("|", other, self)

    def __invert__(self) -> R:
        return self._apply("not")

    def __neg__(self) -> R:
        return self._apply("neg")

    def __abs__(self) -> R:
        return self._apply("abs")

    def __bool__(self) -> bool:
        raise DefinitionError(
            "an expression has no truth value while it is being defined",
            hint="write & for and, | for or, ~ for not, each condition in parentheses; .is_in([...]) for in; "
            "where= in place of if",
        )

    def __iter__(self) -> NoReturn:
        raise DefinitionError("an expression cannot be iterated", hint="it is one value of each row")

    if not TYPE_CHECKING:  # for a type checker these names do not exist

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise _no_such_word(name, dir(type(self)))

    def abs(self) -> R:
        """Return the absolute value of a number; null stays null."""
        return self._apply("abs")

    def is_null(self) -> R:
        """Return whether the value is missing."""
        return self._apply("is_null")

    def is_not_null(self) -> R:
        """Return whether there is a value."""
        return self._apply("is_not_null")

    def fill_null(self, value: Scalar) -> R:
        """Return the value, or this constant where it is missing."""
        return self._combine("fill_null", self, value)

    def is_in(self, values: Iterable[Scalar]) -> R:
        """Return whether the value equals one of these; null stays null.

        Raises:
            DefinitionError: If they are one text, which would mean its letters, or not constants.
        """
        if isinstance(values, str | bytes | Operators) or not hasattr(values, "__iter__"):
            raise DefinitionError(f"is_in({values!r}) names no values", hint='write a list: .is_in(["AA", "UA"])')
        return self._call("is_in", tuple(map(scalar_of, values)))

    def log(self, base: float = math.e) -> R:
        """Return the logarithm, Float64; null where the number is not positive.

        Raises:
            DefinitionError: If the base is not a positive number other than 1.
        """
        if isinstance(base, bool) or not isinstance(base, int | float) or not 0 < base < math.inf or base == 1:
            raise DefinitionError(
                f"{base!r} cannot be the base of a logarithm", hint="use a positive number, such as 10"
            )
        return self._call("log", () if base == math.e else (float(base),))

    def log1p(self) -> R:
        """Return the natural logarithm of 1 plus the value, Float64; null where that is not positive."""
        return self._call("log1p")

    def exp(self) -> R:
        """Return e to this power, Float64; null where the result is beyond float64."""
        return self._call("exp")

    def sqrt(self) -> R:
        """Return the square root, Float64; null of a negative number."""
        return self._call("sqrt")

    def floor(self) -> R:
        """Return the greatest whole number not above the value, of the same type."""
        return self._call("floor")

    def ceil(self) -> R:
        """Return the smallest whole number not below the value, of the same type."""
        return self._call("ceil")

    @property
    def str(self) -> Text[R]:
        """Functions of text, such as `.str.contains("sale")`."""
        return Text(self._call)

    @property
    def dt(self) -> Times[R]:
        """Functions of times, such as `.dt.weekday()`."""
        return Times(self._call)


class _Words(Generic[R]):
    def __init__(self, call: Callable[[RowFunction, tuple[Scalar, ...]], R]) -> None:
        self._call = call

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise _no_such_word(name, dir(type(self)))


class Text(_Words[R]):
    """Functions of text."""

    def to_lowercase(self) -> R:
        """Return it in lower case."""
        return self._call("str.to_lowercase", ())

    def to_uppercase(self) -> R:
        """Return it in upper case."""
        return self._call("str.to_uppercase", ())

    def strip_chars(self) -> R:
        """Return it without white space at its ends."""
        return self._call("str.strip_chars", ())

    def len_chars(self) -> R:
        """Return the number of its characters, Int64."""
        return self._call("str.len_chars", ())

    def contains(self, text: str) -> R:
        """Return whether it contains this text, taken literally, not as a pattern."""
        return self._call("str.contains", (_text(text),))

    def starts_with(self, prefix: str) -> R:
        """Return whether it begins with this text."""
        return self._call("str.starts_with", (_text(prefix),))

    def ends_with(self, suffix: str) -> R:
        """Return whether it ends with this text."""
        return self._call("str.ends_with", (_text(suffix),))


class Times(_Words[R]):
    """Functions of times and durations; the parts of an aware time are those in its zone, by default UTC."""

    def convert_time_zone(self, zone: str) -> R:
        """Return the same moment in this zone, such as "Europe/Berlin"."""
        from tinymlops.times import parse_zone

        return self._call("dt.convert_time_zone", (str(parse_zone(zone)),))

    def year(self) -> R:
        """Return the year, Int64."""
        return self._call("dt.year", ())

    def month(self) -> R:
        """Return the month from 1 to 12, Int64."""
        return self._call("dt.month", ())

    def day(self) -> R:
        """Return the day of the month from 1 on, Int64."""
        return self._call("dt.day", ())

    def weekday(self) -> R:
        """Return the day of the week from 1 for Monday to 7, Int64."""
        return self._call("dt.weekday", ())

    def ordinal_day(self) -> R:
        """Return the day of the year from 1 on, Int64."""
        return self._call("dt.ordinal_day", ())

    def hour(self) -> R:
        """Return the hour from 0 to 23, Int64."""
        return self._call("dt.hour", ())

    def minute(self) -> R:
        """Return the minute from 0 to 59, Int64."""
        return self._call("dt.minute", ())

    def second(self) -> R:
        """Return the second from 0 to 59, Int64."""
        return self._call("dt.second", ())

    def total_seconds(self) -> R:
        """Return the whole seconds of a duration, Int64."""
        return self._call("dt.total_seconds", ())


def scalar_of(value: Any) -> Scalar:
    """Return a constant exactly as a definition can hold it, or refuse it.

    Raises:
        DefinitionError: If it is not a number, text or boolean that JSON and 64 bits can hold.
    """
    if getattr(value, "shape", None) == ():
        value = value.item()  # a NumPy number
    if not isinstance(value, bool | int | float | str):
        raise DefinitionError(
            f"{value!r} cannot be part of an expression",
            hint="use columns such as rows['amount'], numbers, strings and booleans",
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise DefinitionError(
            f"{value!r} cannot be a constant of an expression",
            hint="no value of an expression is infinite or NaN: use .is_null(), or leave the comparison out",
        )
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise DefinitionError(f"{value!r} is beyond 64 bits", hint="write it as a float")
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise DefinitionError(f"{value!r} is not valid text: it has half a character", hint="correct its encoding")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise DefinitionError(f"{value!r} is not text", hint='write text, such as .str.contains("sale")')
    return str(scalar_of(value))


def _no_such_word(name: str, known: Iterable[str]) -> _NoSuchWordError:
    words = [word for word in known if not word.startswith("_")]
    words += [word for word in get_args(RowFunction) if "." in word]
    close = [word for word in words if word.rpartition(".")[2] == name] or difflib.get_close_matches(
        name, words, 1, 0.75
    )
    instead = f"did you mean .{close[0]}()? " if close else ""
    return _NoSuchWordError(
        f"expressions have no {name!r}",
        hint=f"{instead}What needs other rows is a transformation (SQL or Polars); what needs other functions is a "
        "transformation or an on-demand view",
    )
