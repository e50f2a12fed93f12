"""Find the column type that holds every value of two others: a column may become it when its source changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

__all__ = ["inexact", "widened", "wider"]

_MOST_DIGITS = 38


def wider(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """Return the type that holds the values of both, or None if there is none.

    Some hold only most values, as floats hold integers: `inexact` finds the others.

    Args:
        one: A column's type.
        other: What it is now.

    Example:
        >>> import polars as pl
        >>> wider(pl.Int32(), pl.Float64()), wider(pl.Int64(), pl.String())
        (Float64, None)
    """
    import polars as pl

    if one == other or other == pl.Null:
        return one
    if one == pl.Null:
        return other
    texts = (pl.String, pl.Categorical, pl.Enum)
    if isinstance(one, texts) and isinstance(other, texts):
        return pl.String()
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        inner = wider(_inner(one), _inner(other))
        return None if inner is None else pl.List(inner)
    if isinstance(one, pl.Array) and isinstance(other, pl.Array) and one.size == other.size:
        inner = wider(_inner(one), _inner(other))
        return None if inner is None else pl.Array(inner, one.size)
    if isinstance(one, pl.Struct) and isinstance(other, pl.Struct):
        return _wider_struct(one, other)
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime) and one.time_zone == other.time_zone:
        return one if _finer(one.time_unit, other.time_unit) else other
    if isinstance(one, pl.Duration) and isinstance(other, pl.Duration):
        return one if _finer(one.time_unit, other.time_unit) else other
    return _wider_number(one, other) if one.is_numeric() and other.is_numeric() else None


def widened(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Cast a column to a type that `wider` returned; a value that it cannot hold becomes null."""
    return column if column.dtype == dtype else column.cast(dtype, strict=False)


def inexact(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return which values another type cannot hold exactly, such as 2**53 + 1 as a float.

    Returns:
        Booleans, one for each row.
    """
    import polars as pl

    cast = widened(column, dtype)
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        return cast.is_null() & column.is_not_null()
    if column.dtype.is_integer() and dtype.is_float():
        within = cast.is_between(-(2.0**63), 2.0**63, closed="left")  # beyond, a cast back saturates to the same
        back = cast.cast(column.dtype, strict=False)
        return ~(within & back.eq_missing(column)) & column.is_not_null()
    return ~cast.cast(column.dtype, strict=False).eq_missing(column)


def _wider_struct(one: pl.Struct, other: pl.Struct) -> pl.Struct | None:
    """Return the struct of wider fields, if both have the same names in the same order."""
    import polars as pl

    before: dict[str, Any] = dict(one.to_schema())
    after: dict[str, Any] = dict(other.to_schema())
    if [*before] != [*after]:
        return None
    fields = {name: wider(before[name], after[name]) for name in before}
    found = {name: field for name, field in fields.items() if field is not None}
    return pl.Struct(found) if len(found) == len(fields) else None


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    inner = dtype.inner
    return inner() if isinstance(inner, type) else inner


def _finer(one: str, other: str) -> bool:
    order = ("ms", "us", "ns")
    return order.index(one) >= order.index(other)


def _wider_number(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    import polars as pl

    if isinstance(one, pl.Decimal) or isinstance(other, pl.Decimal):
        return _wider_decimal(one, other)
    if one.is_float() or other.is_float():
        both = one.is_float() and other.is_float()
        return pl.Float64() if not both or pl.Float64 in (one, other) else one
    if one.is_unsigned_integer() == other.is_unsigned_integer():
        return max(one, other, key=_bits)
    unsigned, signed = (one, other) if one.is_unsigned_integer() else (other, one)
    bits = max(_bits(signed), 2 * _bits(unsigned))
    return {16: pl.Int16(), 32: pl.Int32()}.get(bits, pl.Int64())


def _bits(dtype: pl.DataType) -> int:
    return int("".join(filter(str.isdigit, str(dtype))))


def _wider_decimal(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    import polars as pl

    digits = []
    for dtype in (one, other):
        if isinstance(dtype, pl.Decimal):
            digits.append(((dtype.precision or _MOST_DIGITS) - dtype.scale, dtype.scale))
        elif dtype.is_integer():
            digits.append((20 if dtype == pl.UInt64 else 19, 0))
        else:
            return None  # a float is not a decimal, nor a decimal a float
    whole, scale = (max(parts) for parts in zip(*digits, strict=True))
    return pl.Decimal(min(whole + scale, _MOST_DIGITS), scale)
