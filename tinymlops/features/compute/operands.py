"""The values of an aggregate's operand, in the types that the kernels know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from tinymlops.features.definitions.expressions import Aggregate

__all__ = ["kind_taken", "not_finite", "operand_values"]

Array = np.ndarray[Any, Any]

_KINDS = {"count": "any", "any": "flags", "all": "flags", "n_unique": "codes", "time_since_last": "times"}
"""What a function reads of an operand, where that is not its numbers."""


def kind_taken(aggregate: Aggregate) -> str:
    """Return the kind of input that an aggregate's function reads; an operand is prepared once for each kind."""
    return _KINDS.get(aggregate.function, "numbers")


def operand_values(series: pl.Series, aggregate: Aggregate, source: str) -> Array:
    """Return an aggregate's operand as int64 or float64, the types that the kernels know; null as anything.

    Raises:
        DataError: If its function does not accept such values.
    """
    kind = kind_taken(aggregate)
    if kind == "codes":
        return _codes_of(series)
    if kind in ("any", "times"):
        return np.zeros(len(series), np.int64)
    if kind == "flags" and series.dtype not in (pl.Boolean, pl.Null):
        raise DataError(
            f"{aggregate!r} of source {source!r} needs true or false and got {series.dtype}",
            hint='compare it in the expression, for example (rows["amount"] > 0).any(...)',
        )
    return _numbers(series, aggregate, source)


def _codes_of(series: pl.Series) -> Array:
    """Return int64, equal for equal values of any type; -0.0 equals 0.0."""
    if series.dtype.is_integer() and series.dtype != pl.UInt64:
        return series.cast(pl.Int64).fill_null(0).to_numpy()
    rows = pl.DataFrame({"value": series}).with_row_index("__row")
    return rows.select(pl.col("__row").min().over("value").cast(pl.Int64)).to_series().to_numpy()


def _numbers(series: pl.Series, aggregate: Aggregate, source: str) -> Array:
    """Return an operand as int64 or float64 (null as 0), the types that the kernels know."""
    dtype = series.dtype
    if dtype == pl.Boolean or dtype.is_integer():
        try:
            return series.cast(pl.Int64).fill_null(0).to_numpy()
        except pl.exceptions.InvalidOperationError as error:
            raise DataError(
                f"a column of source {source!r} has integers beyond 64 signed bits", hint="make it a float"
            ) from error
    if dtype.is_numeric():
        return series.cast(pl.Float64).fill_null(0.0).to_numpy()
    if dtype == pl.Null:
        return np.zeros(len(series), np.int64)
    raise DataError(
        f"{aggregate!r} of source {source!r} needs numbers and got {dtype}",
        hint="compare or convert it in the expression, or use count, n_unique, first or last",
    )


def not_finite(aggregate: Aggregate, source: str, event: int) -> DataError:
    """Return the error for a value that a window cannot aggregate."""
    return DataError(
        f"{aggregate!r} of source {source!r} has an infinite value, in the row of {from_micros(event).isoformat()}",
        hint="leave the row out with where=, for example where the divisor is not 0",
    )
