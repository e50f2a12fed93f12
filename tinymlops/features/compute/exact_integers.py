"""Integers of 64 signed bits that never wrap around: a result that does not fit is an error that names the row.

The least and greatest values show whether a result can be too great; only then is it computed in 128 bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import product
from typing import Any

import polars as pl

__all__ = ["OPERATORS", "TooGreatError", "are_flags", "are_whole", "beside_float", "comparable", "computed", "widened"]

_LEAST, _GREATEST = -(2**63), 2**63 - 1
_EXACT_IN_FLOATS = 2**53
_BEYOND = 2.0**64
"""Beyond every integer there is, and within 128 bits."""
_POWERS = 64
"""For 0, 1 and -1 this power and the next tell all greater ones; no other number has such a power within 64 bits."""

_WIDE = {pl.UInt64(), pl.Int128(), pl.UInt128()}
"""Types whose integers may not fit."""
OPERATORS = ("+", "-", "*", "//", "%", "**")
"""The functions of two integers that `computed` knows."""

_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "neg": lambda left, _: 0 - left,
    "abs": lambda left, _: left.abs(),
}


class TooGreatError(ArithmeticError):
    """An integer does not fit 64 signed bits; its argument is the number of the row."""


def are_whole(*values: object) -> bool:
    """Return whether all are integers or booleans."""
    return all(map(_is_whole, values))


def are_flags(*values: object) -> bool:
    """Return whether all are booleans."""
    return all((value.dtype if isinstance(value, pl.Series) else type(value)) in (pl.Boolean, bool) for value in values)


def widened(value: Any) -> Any:
    """Return integers or booleans as Int64.

    Raises:
        TooGreatError: If one does not fit.
    """
    if not isinstance(value, pl.Series):
        return int(value)
    narrow = value if value.dtype == pl.Int64 else value.cast(pl.Int64, strict=False)
    if value.dtype in _WIDE:
        _require(narrow, value.is_not_null())
    return narrow


def computed(name: str, left: Any, right: Any) -> pl.Series:
    """Compute integers as Python does; the result of a division by zero is null.

    Args:
        name: The name of the operator.
        left: n integers or booleans, or one for all.
        right: The same; at least one of the two has n. For a power: one number, not negative. Ignored for `neg` and
            `abs`.

    Returns:
        Int64[n].

    Raises:
        TooGreatError: If a result does not fit.
    """
    left, right = widened(left), widened(right)
    if name == "**":
        return _power(left, right)
    if _fits(name, left, right):
        return _apply(name, left, right, pl.Int64())
    wide = _apply(name, left, right, pl.Int128())
    narrow = wide.cast(pl.Int64, strict=False)
    _require(narrow, wide.is_not_null())
    return narrow


def comparable(left: Any, right: Any) -> tuple[Any, Any]:
    """Return integers of any two types as two of one type that holds both."""
    kinds = {value.dtype if isinstance(value, pl.Series) else pl.Int64() for value in (left, right)}
    if len(kinds) == 1:
        return left, right
    kind = pl.Int128() if kinds & _WIDE else pl.Int64()
    return _as(left, kind), _as(right, kind)


def beside_float(name: str, left: Any, right: Any) -> tuple[Any, Any] | None:
    """Return an integer and a float as two integers that compare alike; None for other pairs, or where floats compare right.

    A float is between two whole numbers: `i < x` where `i` is less than the one above, `i <= x` where it is not more
    than the one below.
    """
    if _is_float(left) and are_whole(right):
        swapped = beside_float({"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(name, name), right, left)
        return None if swapped is None else swapped[::-1]
    if not (are_whole(left) and _is_float(right)) or max(map(abs, _bounds(left))) <= _EXACT_IN_FLOATS:
        return None
    number = _column(right, len(left) if isinstance(left, pl.Series) else len(right)).cast(pl.Float64)
    nearest = number.ceil() if name in ("<", ">=") else number.floor()
    whole = nearest.clip(-_BEYOND, _BEYOND).cast(pl.Int128, strict=False)
    if name in ("==", "!="):  # a float with a fraction equals no integer, as 2**64 does not
        whole = whole.set(nearest != number, int(_BEYOND))
    return _column(left, len(number)).cast(pl.Int128), whole


def _is_whole(value: object) -> bool:
    if isinstance(value, pl.Series):
        return value.dtype.is_integer() or value.dtype == pl.Boolean
    return isinstance(value, int)


def _is_float(value: object) -> bool:
    return value.dtype.is_float() if isinstance(value, pl.Series) else isinstance(value, float)


def _column(value: Any, height: int) -> pl.Series:
    if isinstance(value, pl.Series):
        return value if len(value) == height else value.new_from_index(0, height)
    return pl.Series([value]).new_from_index(0, height)


def _bounds(value: Any) -> tuple[int, int]:
    if not isinstance(value, pl.Series):
        return int(value), int(value)
    least, greatest = value.min(), value.max()
    if not isinstance(least, int) or not isinstance(greatest, int):
        return 0, 0
    return least, greatest


def _fits(name: str, left: Any, right: Any) -> bool:
    """Return whether every result is within 64 bits, as far as the least and greatest values tell."""
    lefts = _bounds(left)
    if name not in ("+", "-", "*"):
        return lefts[0] > _LEAST
    results = [_FUNCTIONS[name](a, b) for a, b in product(lefts, _bounds(right))]
    return bool(min(results) >= _LEAST and max(results) <= _GREATEST)


def _apply(name: str, left: Any, right: Any, kind: pl.DataType) -> pl.Series:
    values = {"left": _as(left, kind), "right": _as(right, kind)}
    frame = pl.DataFrame({side: value for side, value in values.items() if isinstance(value, pl.Series)})
    given = [pl.col(side) if side in frame.columns else pl.lit(value, dtype=kind) for side, value in values.items()]
    return frame.select(_FUNCTIONS[name](*given).alias("value")).to_series()


def _as(value: Any, kind: pl.DataType) -> Any:
    return value.cast(kind) if isinstance(value, pl.Series) else int(value)


def _power(left: pl.Series, exponent: int) -> pl.Series:
    exponent = min(exponent, _POWERS + exponent % 2)
    if max(map(abs, _bounds(left))) ** exponent <= _GREATEST:
        return (left**exponent).cast(pl.Int64)
    powers = [None if base is None else base**exponent for base in left]
    narrow = pl.Series([p if p is not None and _LEAST <= p <= _GREATEST else None for p in powers], dtype=pl.Int64)
    _require(narrow, left.is_not_null())
    return narrow


def _require(narrow: pl.Series, there: pl.Series) -> None:
    lost = narrow.is_null() & there
    if lost.any():
        raise TooGreatError(int(lost.arg_max() or 0))
