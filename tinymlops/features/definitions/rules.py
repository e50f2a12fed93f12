"""Rules for checks on data: what rows, or a batch of them, must be like.

A rule is data, as every definition is. Values are compared as Python compares them. Null passes every rule but `not_null`,
and NaN counts as null.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.expressions import AnyOperand, Operand
from tinymlops.times import format_duration, parse_duration

__all__ = [
    "AnyRule",
    "Between",
    "Fresh",
    "Holds",
    "HoldsInPolars",
    "Matches",
    "NotNull",
    "OneOf",
    "RowRule",
    "SameDistribution",
    "Typed",
    "Unique",
    "Value",
    "Volume",
    "between",
    "column_of",
    "fresh",
    "in_code",
    "matches",
    "not_null",
    "one_of",
    "rule_of",
    "same_distribution",
    "shortened",
    "unique",
    "value_of",
    "volume",
]


_LONGEST = 84
"""Characters of a rule that people are shown."""


class Typed(msgspec.Struct, frozen=True):
    """A value that JSON has no type for."""

    type: Literal["Decimal", "date", "datetime", "time", "timedelta"]
    text: str
    """ISO 8601; of a timedelta its microseconds."""


Value: TypeAlias = bool | int | float | str | Typed


class _Rule(msgspec.Struct, frozen=True, kw_only=True, tag_field="rule"):
    def __repr__(self) -> str:
        return f"<check {in_code(self)}>"  # type: ignore[arg-type]  # only its children are made


class NotNull(_Rule, frozen=True, kw_only=True, tag="not_null"):
    """No value of a column is null."""

    column: str


class Between(_Rule, frozen=True, kw_only=True, tag="between"):
    """Values lie between two bounds, which belong to the range; None is no bound."""

    column: str
    low: Value | None
    high: Value | None


class OneOf(_Rule, frozen=True, kw_only=True, tag="one_of"):
    """Values are among these."""

    column: str
    values: tuple[Value, ...]


class Matches(_Rule, frozen=True, kw_only=True, tag="matches"):
    """Text matches a regular expression from its beginning to its end."""

    column: str
    pattern: str


class Holds(_Rule, frozen=True, kw_only=True, tag="expression"):
    """An expression over the columns of a row is not false."""

    operand: AnyOperand


class HoldsInPolars(_Rule, frozen=True, kw_only=True, tag="polars"):
    """A Polars expression of a row is not false."""

    json: str
    """As Polars writes it."""
    text: str
    """As people read it."""


class Unique(_Rule, frozen=True, kw_only=True, tag="unique"):
    """No two rows of a batch have the same values in these columns."""

    columns: tuple[str, ...]


class Fresh(_Rule, frozen=True, kw_only=True, tag="fresh"):
    """The newest event is not older than this."""

    within: int
    """Microseconds."""


class Volume(_Rule, frozen=True, kw_only=True, tag="volume"):
    """A batch has so many rows; None is no bound."""

    min_rows: int | None
    max_rows: int | None


class SameDistribution(_Rule, frozen=True, kw_only=True, tag="same_distribution"):
    """The values of a batch are distributed as those that were known some time ago."""

    column: str
    as_of: int
    """Microseconds before now."""


RowRule: TypeAlias = NotNull | Between | OneOf | Matches | Holds | HoldsInPolars
"""What each row says of itself."""
AnyRule: TypeAlias = RowRule | Unique | Fresh | Volume | SameDistribution


def not_null(column: str) -> NotNull:
    """Say that no value of a column is null; NaN counts as null.

    Args:
        column: Its name.

    Example:
        >>> not_null("customer_id")
        <check not_null("customer_id")>
    """
    return NotNull(column=_column(column, "not_null"))


def between(column: str, low: Any = None, high: Any = None) -> Between:
    """Say that the values of a column lie between two bounds, which belong to the range; null passes.

    Args:
        column: Its name.
        low: The least value: a number, text, a date, a time, a datetime (with a zone where the column has one) or a
            timedelta. None for no bound.
        high: The greatest value.

    Raises:
        DefinitionError: If there is no bound, one cannot be compared, or no value lies between them.

    Example:
        >>> between("amount", 0, 1e5)
        <check between("amount", 0, 100000.0)>
    """
    where = f"between({column!r}, ...)"
    if low is None and high is None:
        raise DefinitionError(f"{where} has no bound", hint='write between("amount", 0, 100), or one of the two')
    rule = Between(
        column=_column(column, "between"),
        low=None if low is None else _stored(low, where),
        high=None if high is None else _stored(high, where),
    )
    try:
        empty = low is not None and high is not None and low > high
    except TypeError as error:
        raise DefinitionError(f"{where}: {error}", hint="give two bounds of one type") from error
    if empty:
        raise DefinitionError(f"{where}: {low!r} is greater than {high!r}", hint="give the lower bound first")
    return rule


def one_of(column: str, values: Iterable[Any]) -> OneOf:
    """Say that the values of a column are among these; null passes.

    Args:
        column: Its name.
        values: Numbers, texts, booleans, dates, times or decimals.

    Raises:
        DefinitionError: If there are none, or one cannot be compared.

    Example:
        >>> one_of("status", ["open", "paid"])
        <check one_of("status", ["open", "paid"])>
    """
    where = f"one_of({column!r}, ...)"
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DefinitionError(
            f"{where} has {values!r} in place of a list", hint=f'write one_of({column!r}, ["a", "b"])'
        )
    stored = tuple(_stored(value, where) for value in values)
    if not stored:
        raise DefinitionError(f"{where} has no values", hint="list those that are allowed")
    return OneOf(column=_column(column, "one_of"), values=stored)


def matches(column: str, pattern: str) -> Matches:
    r"""Say that the text of a column matches a regular expression from its beginning to its end; null passes.

    Args:
        column: Its name.
        pattern: In the syntax of Rust's regex, which Polars has: no look-around and no back references.

    Example:
        >>> matches("email", r".+@.+")
        <check matches("email", ".+@.+")>
    """
    if not isinstance(pattern, str):
        raise DefinitionError(f"matches({column!r}, ...) has the pattern {pattern!r}", hint="give it as text")
    return Matches(column=_column(column, "matches"), pattern=pattern)


def unique(*columns: str) -> Unique:
    """Say that no two rows of a batch have the same values in these columns; a row with a null among them passes.

    Args:
        columns: One name or more.

    Example:
        >>> unique("order_id")
        <check unique("order_id")>
    """
    if not columns or len(set(columns)) != len(columns):
        raise DefinitionError(f"unique{columns} needs different columns", hint='write unique("order_id")')
    return Unique(columns=tuple(_column(column, "unique") for column in columns))


def fresh(within: str | timedelta) -> Fresh:
    """Say that the newest event of a source is not older than this, by the workspace's clock.

    Args:
        within: Such as "2h".

    Example:
        >>> fresh("2h")
        <check fresh("2h")>
    """
    return Fresh(within=parse_duration(within, name="within"))


def volume(min_rows: int | None = None, max_rows: int | None = None) -> Volume:
    """Say how many rows a batch has: those that one ingest reads, one push sends or one rebuild makes.

    Args:
        min_rows: At least so many; None for no bound.
        max_rows: At most so many.

    Example:
        >>> volume(1_000)
        <check volume(1000)>
    """
    bounds = [bound for bound in (min_rows, max_rows) if bound is not None]
    if not bounds or any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in bounds):
        raise DefinitionError(
            f"volume({min_rows!r}, {max_rows!r}) is not a range of rows", hint="write volume(1, 1_000)"
        )
    if bounds != sorted(bounds):
        raise DefinitionError(f"volume({min_rows}, {max_rows}) is an empty range", hint="give the lower bound first")
    return Volume(min_rows=min_rows, max_rows=max_rows)


def same_distribution(column: str, *, as_of: str | timedelta) -> SameDistribution:
    """Say that the new values of a column are distributed as those that were known some time ago.

    They are compared by the population stability index, less what so few rows would show by chance: 0.25 and more fails.
    Where nothing was known then, or there are fewer than five rows a bin, the check is skipped.

    Args:
        column: Of numbers, booleans, text, dates or times.
        as_of: How long before now, such as "30d".

    Example:
        >>> same_distribution("amount", as_of="30d")
        <check same_distribution("amount", as_of="30d")>
    """
    return SameDistribution(column=_column(column, "same_distribution"), as_of=parse_duration(as_of, name="as_of"))


def rule_of(given: Any) -> AnyRule:
    """Return what a user gives as a rule: one of ours, an expression over `tm.Rows()`, or a Polars expression.

    Raises:
        DefinitionError: If it is none of these, or a Polars expression that is not one row's own.
    """
    if isinstance(given, _Rule):
        return given  # type: ignore[return-value]  # only its children are made
    if isinstance(given, Operand):
        return Holds(operand=given)  # type: ignore[arg-type]  # only its children are made
    if type(given).__module__.startswith("polars") and hasattr(given, "meta"):
        from tinymlops.features.definitions.polars_rules import written

        return HoldsInPolars(json=written(given), text=str(given))
    raise DefinitionError(
        f"{given!r} is not a check",
        hint='write tm.not_null("customer_id"), a Polars expression such as pl.col("amount") >= 0, or tm.Rows()["amount"] >= 0',
    )


def column_of(rule: AnyRule) -> str | None:
    """Return the column that a rule is about; None for a rule about several, or about the batch."""
    if isinstance(rule, Unique):
        return rule.columns[0] if len(rule.columns) == 1 else None
    return getattr(rule, "column", None)


def value_of(stored: Value) -> Any:
    """Return a stored value as the Python object that the user wrote."""
    if not isinstance(stored, Typed):
        return stored
    if stored.type == "Decimal":
        return Decimal(stored.text)
    if stored.type == "timedelta":
        return timedelta(microseconds=int(stored.text))
    if stored.type == "time":
        return time.fromisoformat(stored.text)
    return (date if stored.type == "date" else datetime).fromisoformat(stored.text)


def in_code(rule: AnyRule) -> str:
    """Write a rule as it is written in a definition.

    Example:
        >>> from tinymlops import Rows
        >>> in_code(rule_of(Rows()["amount"] > 0))
        "rows['amount'] > 0"
    """
    match rule:
        case Between():
            if rule.low is None:
                return f"between({_quoted(rule.column)}, high={_quoted(rule.high)})"
            high = "" if rule.high is None else f", {_quoted(rule.high)}"
            return f"between({_quoted(rule.column)}, {_quoted(rule.low)}{high})"
        case OneOf():
            return f"one_of({_quoted(rule.column)}, [{', '.join(map(_quoted, rule.values))}])"
        case Matches():
            return f"matches({_quoted(rule.column)}, {_quoted(rule.pattern)})"
        case Unique():
            return f"unique({', '.join(map(_quoted, rule.columns))})"
        case Fresh():
            return f'fresh("{format_duration(rule.within)}")'
        case Volume():
            if rule.min_rows is None:
                return f"volume(max_rows={rule.max_rows})"
            return f"volume({rule.min_rows}{'' if rule.max_rows is None else f', {rule.max_rows}'})"
        case SameDistribution():
            return f'same_distribution({_quoted(rule.column)}, as_of="{format_duration(rule.as_of)}")'
        case NotNull():
            return f"not_null({_quoted(rule.column)})"
        case HoldsInPolars():
            return rule.text
    return repr(rule.operand)[1:-1]


def shortened(rule: str) -> str:
    """Write a rule in code for people, who need not see a long list to know it.

    Example:
        >>> shortened(in_code(one_of("status", [f"status {number}" for number in range(100)])))
        'one_of("status", ["status 0", "status 1", "status 2", "status 3", "status 4", ...'
    """
    return rule if len(rule) <= _LONGEST else f"{rule[: _LONGEST - 4].rpartition(' ')[0] or rule[: _LONGEST - 4]} ..."


def _quoted(value: Value | None) -> str:
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return repr(value_of(value)) if value is not None else "None"


def _column(name: object, rule: str) -> str:
    if not isinstance(name, str) or not name or name.startswith("__"):
        raise DefinitionError(
            f"{rule}({name!r}, ...) does not name a column", hint=f'write {rule}("amount", ...); names with __ are ours'
        )
    return name


def _stored(value: Any, where: str) -> Value:
    """Bring a value to what JSON keeps exactly."""
    if hasattr(value, "dtype") and hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise DefinitionError(f"{where} has {value!r}, which no stored value is", hint="use None for no bound")
    if isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else Typed("Decimal", str(value))
    if isinstance(value, Decimal) and value.is_finite():
        return Typed("Decimal", str(value))
    if isinstance(value, timedelta):
        return Typed("timedelta", str(value // timedelta(microseconds=1)))
    if isinstance(value, datetime):
        return Typed("datetime", value.isoformat())
    if isinstance(value, date | time):
        return Typed("date" if isinstance(value, date) else "time", value.isoformat())
    raise DefinitionError(
        f"{where} has {value!r}, which no column is compared with",
        hint="use numbers, text, booleans, dates, times, datetimes, timedeltas or decimals",
    )
