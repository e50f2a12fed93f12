"""What rows must be like, asked of a frame: all rules of a check in one pass over its columns.

Values are compared as Python compares them, whatever the column's type: a bound is brought to the type of the column, rounded
so that no value changes sides. Null passes every rule but `not_null`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import polars as pl

from tinymlops.errors import DataError, near
from tinymlops.features.compute.evaluating import TooGreatError, evaluate
from tinymlops.features.definitions import polars_rules
from tinymlops.features.definitions.data_checks import whole
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.definitions.rules import (
    AnyRule,
    Between,
    Fresh,
    Holds,
    HoldsInPolars,
    Matches,
    NotNull,
    OneOf,
    RowRule,
    SameDistribution,
    Unique,
    Volume,
    in_code,
    shortened,
    value_of,
)
from tinymlops.schema import dtype_name
from tinymlops.times import to_micros

__all__ = ["Broken", "broken", "columns_read", "repeated", "require_fits"]

_EPOCH = date(1970, 1, 1)
_NANOS = {"ns": 1, "us": 1_000, "ms": 1_000_000}
"""Nanoseconds of a unit."""


class Broken(NamedTuple):
    """What one rule says of the rows of a frame."""

    rule: RowRule
    rows: pl.Series | None
    """True for each row that does not pass; None where all pass."""
    failed: int
    """How many there are."""


def broken(rules: Sequence[RowRule], frame: pl.DataFrame, *, where: str) -> list[Broken]:
    """Ask all rows of a frame.

    The failures are counted in one pass; only of a rule that has some the rows are looked for.

    Args:
        rules: Each about one row.
        frame: n rows, NaN made null.
        where: Whose rows and check they are, for the error, such as "check 'sane' on source 'orders'".

    Returns:
        One for each rule, in order.

    Raises:
        DataError: If a column is missing or of a type that a rule does not fit, or an expression cannot be computed.
    """
    computed = {f"__rule_{place}": _computed(rule, frame, where) for place, rule in enumerate(rules)}
    series = {name: value for name, value in computed.items() if isinstance(value, pl.Series)}
    asked = frame.with_columns(**series) if series else frame
    failing = {name: ~pl.col(name) if isinstance(value, pl.Series) else value for name, value in computed.items()}
    counts = _counted(asked, failing, rules, where)
    wrong = [name for name in failing if counts[name]]
    rows = asked.select(failing[name].fill_null(value=False).alias(name) for name in wrong) if wrong else None
    return [
        Broken(rule, rows[name] if rows is not None and counts[name] else None, counts[name])
        for rule, name in zip(rules, failing, strict=True)
    ]


def repeated(rule: Unique, frame: pl.DataFrame, *, where: str, first: pl.Series | None = None) -> pl.Series | None:
    """Say which rows repeat the values of an earlier one; None if none does. A row with a null among them does not.

    Args:
        rule: Which columns.
        frame: n rows.
        where: As for `broken`.
        first: bool[n]: rows that count as earlier than all others; None for none.

    Raises:
        DataError: If a column is missing.
    """
    for column in rule.columns:
        _dtype(column, frame, rule, where)
    if first is None and len(rule.columns) == 1 and frame[rule.columns[0]].n_unique() == frame.height:
        return None  # which is told faster than which row is the first
    key = pl.col(rule.columns[0]) if len(rule.columns) == 1 else pl.struct(rule.columns)
    known = pl.all_horizontal(pl.col(column).is_not_null() for column in rule.columns)
    ordered = frame.select(*rule.columns).with_row_index("__place")
    if first is not None:
        ordered = ordered.with_columns(__first=first).sort("__first", descending=True, maintain_order=True)
    again = ordered.select("__place", __again=known & ~key.is_first_distinct())
    if not again["__again"].any():
        return None
    return again.sort("__place")["__again"]


def require_fits(rules: Sequence[AnyRule], frame: pl.DataFrame, *, where: str) -> None:
    """Refuse rules about columns that a frame does not have, or of types that they do not fit; no row is needed.

    Raises:
        DataError: With the near match of a column that is missing.
    """
    nothing = frame.clear()
    for rule in rules:
        if isinstance(rule, Unique):
            repeated(rule, nothing, where=where)
        elif isinstance(rule, SameDistribution):
            dtype = _dtype(rule.column, nothing, rule, where)
            if dtype.is_nested() or dtype == pl.Binary:
                raise _unfit(rule, dtype, where, "name a column of numbers, booleans, text or times")
        elif not isinstance(rule, Fresh | Volume):
            broken([rule], nothing, where=where)


def columns_read(rule: AnyRule, frame: pl.DataFrame) -> list[str]:
    """Return the columns of a frame that a rule reads, in the order of the frame."""
    if isinstance(rule, Unique):
        names = set(rule.columns)
    elif isinstance(rule, Holds):
        names = columns_of(rule.operand)
    elif isinstance(rule, HoldsInPolars):
        names = set(polars_rules.read(rule.json, "the check").meta.root_names())
    else:
        names = {getattr(rule, "column", "")}
    return [name for name in frame.columns if name in names]


def _counted(frame: pl.DataFrame, failing: dict[str, pl.Expr], rules: Sequence[RowRule], where: str) -> dict[str, int]:
    """Count the rows that fail, of all rules at once; if that cannot be computed, say of which."""
    try:
        return frame.select(rows.sum().alias(name) for name, rows in failing.items()).row(0, named=True)
    except pl.exceptions.PolarsError:
        for (name, rows), rule in zip(failing.items(), rules, strict=True):
            try:
                frame.select(rows.sum().alias(name))
            except pl.exceptions.PolarsError as error:
                raise _uncomputable(rule, where, error) from error
        raise


def _computed(rule: RowRule, frame: pl.DataFrame, where: str) -> pl.Expr | pl.Series:
    """Return which rows fail as an expression, or which pass as a series of what was computed of them."""
    if isinstance(rule, Holds):
        return _held(rule, frame, where)
    if isinstance(rule, HoldsInPolars):
        return _held_in_polars(rule, frame, where)
    dtype = _dtype(rule.column, frame, rule, where)
    column = pl.col(rule.column)
    if isinstance(rule, NotNull):
        return column.is_null()
    if dtype == pl.Null:  # a column of which no value has come yet
        return column.is_not_null()
    if isinstance(rule, Matches):
        if not isinstance(dtype, pl.String | pl.Enum | pl.Categorical):
            raise _unfit(rule, dtype, where, "name a column of text")
        return ~column.cast(pl.String).str.contains(whole(rule.pattern))
    compared = _comparison(rule, column, dtype, where)
    if isinstance(rule, OneOf):
        return ~compared.among([value_of(value) for value in rule.values])
    low = None if rule.low is None else compared.at_least(value_of(rule.low))
    high = None if rule.high is None else compared.at_most(value_of(rule.high))
    bounds = [bound for bound in (low, high) if bound is not None]
    return ~bounds[0] if len(bounds) == 1 else ~(bounds[0] & bounds[1])


def _held(rule: Holds, frame: pl.DataFrame, where: str) -> pl.Series:
    for name in sorted(columns_of(rule.operand)):
        _dtype(name, frame, rule, where)
    try:
        series = evaluate(rule.operand, frame).series
    except TooGreatError as error:
        raise DataError(
            f"{where}: {shortened(in_code(rule))} does not fit 64 bits in row {error.args[0]}",
            hint="make one side of the expression a float, for example by * 1.0",
        ) from error
    except pl.exceptions.PolarsError as error:
        raise _uncomputable(rule, where, error) from error
    if series.dtype not in (pl.Boolean, pl.Null):
        raise _no_answer(rule, series.dtype, where)
    return series.cast(pl.Boolean)


def _held_in_polars(rule: HoldsInPolars, frame: pl.DataFrame, where: str) -> pl.Expr:
    expression = polars_rules.read(rule.json, where)
    for name in expression.meta.root_names():
        _dtype(name, frame, rule, where)
    try:
        dtype = frame.lazy().select(expression.alias("value")).collect_schema()["value"]
    except pl.exceptions.PolarsError as error:
        raise _uncomputable(rule, where, error) from error
    if dtype not in (pl.Boolean, pl.Null):
        raise _no_answer(rule, dtype, where)
    return ~expression.cast(pl.Boolean)


def _dtype(column: str, frame: pl.DataFrame, rule: AnyRule, where: str) -> pl.DataType:
    if column not in frame.columns or column.startswith("__"):
        known = [name for name in frame.columns if not name.startswith("__")]
        raise DataError(
            f"{where}: {shortened(in_code(rule))} reads {column!r}, and there is no such column",
            hint=near(column, known),
        )
    return frame.schema[column]


class _Comparison(NamedTuple):
    """How the values of a column are compared: as whole numbers of some unit, or as what they are."""

    values: pl.Expr
    dtype: pl.DataType
    """Of `values`."""
    number: Callable[[Any], Any]
    """What a value of the user's is in that unit, exactly: a fraction of whole numbers, text or a boolean."""
    literal: Callable[[int], Any] | None = None
    """From a whole number to what stands for it in an expression; by default itself."""

    def at_least(self, low: Any) -> pl.Expr:
        """Compare with a lower bound, rounded up to the next value that the column can have."""
        return self._beside(low, up=True)

    def at_most(self, high: Any) -> pl.Expr:
        """Compare with an upper bound, rounded down."""
        return self._beside(high, up=False)

    def among(self, values: Sequence[Any]) -> pl.Expr:
        """Compare with values; one that the column cannot have is left out."""
        exact = [self._exact(self.number(value)) for value in values]
        found = [value for value in exact if value is not None]
        if self.literal is not None:
            found = [self.literal(value) for value in found]
        return self.values.is_in(pl.lit(pl.Series(found, dtype=self.dtype).implode()))

    def _beside(self, bound: Any, *, up: bool) -> pl.Expr:
        number = self.number(bound)
        if isinstance(number, Fraction):
            if self.dtype.is_float():
                number = _nearest(number, up=up)
            else:
                number = math.ceil(number) if up else math.floor(number)
                least, greatest = _range(self.dtype)
                if (number < least) == up and not least <= number <= greatest:
                    return pl.lit(value=True) | self.values.is_null()
                if not least <= number <= greatest:
                    return pl.when(self.values.is_not_null()).then(pl.lit(value=False))
                number = number if self.literal is None else self.literal(number)
        literal = pl.lit(number, dtype=self.dtype)
        return self.values >= literal if up else self.values <= literal

    def _exact(self, number: Any) -> Any:
        if not isinstance(number, Fraction):
            return number
        if self.dtype.is_float():
            nearest = _nearest(number, up=True)
            return nearest if math.isfinite(nearest) and Fraction(nearest) == number else None
        least, greatest = _range(self.dtype)
        return int(number) if number.denominator == 1 and least <= number <= greatest else None


def _comparison(rule: Between | OneOf, column: pl.Expr, dtype: pl.DataType, where: str) -> _Comparison:
    """Choose how a column's values are compared with those of a rule."""

    def of(*kinds: type, unit: Callable[[Any], Any] = Fraction) -> Callable[[Any], Any]:
        def number(value: Any) -> Any:
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise _unfit(rule, dtype, where, f"compare it with {' or '.join(_WORDS[kind] for kind in kinds)}")
            if isinstance(value, datetime) and datetime not in kinds:
                raise _unfit(rule, dtype, where, "compare it with dates")
            return unit(value)

        return number

    numbers = of(int, float, Decimal)
    if dtype.is_integer():
        return _Comparison(column, dtype, numbers)
    if dtype.is_float():
        return _Comparison(column.cast(pl.Float64), pl.Float64(), numbers)
    if isinstance(dtype, pl.Decimal):
        scale = dtype.scale
        return _Comparison(
            column,
            dtype,
            of(int, float, Decimal, unit=lambda value: Fraction(value) * 10**scale),
            lambda number: Decimal(number).scaleb(-scale),
        )
    if isinstance(dtype, pl.String | pl.Enum | pl.Categorical):
        return _Comparison(column.cast(pl.String), pl.String(), of(str, unit=str))
    if dtype == pl.Boolean:
        return _Comparison(column, dtype, of(bool, unit=bool))
    if dtype == pl.Date:
        days = of(date, unit=lambda day: Fraction((day - _EPOCH).days))
        return _Comparison(column.to_physical(), pl.Int32(), days)
    if dtype == pl.Time:
        return _Comparison(column.to_physical(), pl.Int64(), of(time, unit=_nanos_of_day))
    if isinstance(dtype, pl.Duration):
        unit = _NANOS[dtype.time_unit]
        lengths = of(timedelta, unit=lambda length: Fraction(length // timedelta(microseconds=1) * 1_000, unit))
        return _Comparison(column.to_physical(), pl.Int64(), lengths)
    if isinstance(dtype, pl.Datetime):
        return _Comparison(column.to_physical(), pl.Int64(), of(datetime, unit=_moments(rule, dtype, where)))
    raise _unfit(rule, dtype, where, "name a column of numbers, text, booleans, dates or times")


_WORDS: dict[type, str] = {
    int: "integers",
    float: "floats",
    Decimal: "decimals",
    str: "text",
    bool: "booleans",
    date: "dates",
    time: "times",
    datetime: "datetimes",
    timedelta: "timedeltas",
}


def _moments(rule: AnyRule, dtype: pl.Datetime, where: str) -> Callable[[datetime], Fraction]:
    def moment(value: datetime) -> Fraction:
        if (value.tzinfo is None) != (dtype.time_zone is None):
            raise _unfit(rule, dtype, where, "give datetimes a zone if the column has one, and none if it has none")
        aware = value if value.tzinfo is not None else value.replace(tzinfo=_UTC)
        return Fraction(to_micros(aware) * 1_000, _NANOS[dtype.time_unit])

    return moment


_UTC = datetime.fromisoformat("1970-01-01T00:00:00+00:00").tzinfo


def _nanos_of_day(value: time) -> Fraction:
    return Fraction(((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond) * 1_000


def _range(dtype: pl.DataType) -> tuple[int, int]:
    """Return the least and the greatest whole number of a type; of a decimal in its last place."""
    if isinstance(dtype, pl.Decimal):
        return 1 - 10**dtype.precision, 10**dtype.precision - 1
    return pl.select(low=dtype.min(), high=dtype.max()).row(0)  # type: ignore[attr-defined]  # of integers


def _nearest(number: Fraction, *, up: bool) -> float:
    """Return the least float that is not below a number, or the greatest that is not above it."""
    try:
        nearest = float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
    if up and Fraction(nearest) < number:
        return math.nextafter(nearest, math.inf)
    if not up and Fraction(nearest) > number:
        return math.nextafter(nearest, -math.inf)
    return nearest


def _unfit(rule: AnyRule, dtype: pl.DataType, where: str, hint: str) -> DataError:
    return DataError(
        f"{where}: {shortened(in_code(rule))} does not fit a column of type {dtype_name(dtype)}", hint=hint
    )


def _no_answer(rule: AnyRule, dtype: pl.DataType, where: str) -> DataError:
    return DataError(
        f"{where}: {shortened(in_code(rule))} gives {dtype}, not true or false", hint="compare it with something"
    )


def _uncomputable(rule: AnyRule, where: str, error: BaseException) -> DataError:
    said = str(error).strip().partition("\n")[0]
    return DataError(
        f"{where}: {shortened(in_code(rule))} cannot be computed: {said}",
        hint="correct the rows or the check; nothing was stored",
    )
