"""Statistics of the columns that an ingest stores: exact where one pass over the values says them, else of a sample."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import polars as pl

from tinymlops.records import ColumnStatistics
from tinymlops.schema import dtype_name

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["describe"]

_SAMPLED = 20_000
_BINS = 12
_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
_LEAST_SHARE = 0.01
_LEAST_ROWS = 5
"""A value that fewer rows of a small table share may be that of one person."""
_MOST_VALUES = 20
_LONGEST_VALUE = 100


def describe(rows: pl.DataFrame, *, source: str, identifying: Collection[str], at: datetime) -> list[ColumnStatistics]:
    """Describe the columns of rows; deletes are left out.

    Args:
        rows: As they are stored.
        source: The name they are stored under.
        identifying: Columns of which only counts are kept: keys and ids.
        at: When they came.

    Returns:
        One record a column; none if there are no rows.
    """
    if "__deleted" in rows.columns and rows["__deleted"].any():
        rows = rows.filter(~pl.col("__deleted"))
    if not rows.height:
        return []
    rows = rows.select(name for name in rows.columns if not name.startswith("__"))
    step = -(-rows.height // _SAMPLED)
    samples = rows.gather_every(step)
    return [
        ColumnStatistics(
            source=source,
            name=values.name,
            dtype=dtype_name(values.dtype),
            rows=rows.height,
            nulls=values.null_count(),
            sampled=samples.height,
            at=at,
            distinct=_distinct(sample),
            **({} if values.name in identifying else _details(values, sample)),
        )
        for values, sample in zip(rows.iter_columns(), samples.iter_columns(), strict=True)
    ]


def _distinct(sample: pl.Series) -> int | None:
    if sample.dtype.is_nested() or sample.dtype in (pl.Binary, pl.Object, pl.Null):
        return None
    return sample.drop_nulls().n_unique()


def _details(values: pl.Series, sample: pl.Series) -> dict[str, Any]:
    """Describe the values of a column whose type says how."""
    dtype = values.dtype
    if dtype == pl.Boolean:
        mean = values.mean()
        return {"mean": mean, "top": _top(sample)}
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return {"top": _top(sample)}
    if dtype.is_numeric():
        return _of_numbers(_finite(values), _finite(sample))
    if dtype.is_temporal():
        return _of_times(values, sample)
    return {}


def _of_times(values: pl.Series, sample: pl.Series) -> dict[str, Any]:
    numbers = values.to_physical()
    told = _of_numbers(numbers, sample.to_physical())
    # Through whole numbers: Python has no times of year 10,000 and no nanoseconds.
    points = [numbers.min(), numbers.max(), *map(round, told["quantiles"].values())]
    low, high, *others = pl.Series(points, dtype=numbers.dtype).cast(values.dtype).dt.to_string("iso:strict")
    quantiles = dict(zip(told["quantiles"], others, strict=True))
    return {"minimum": low, "maximum": high, "quantiles": quantiles, "histogram": told["histogram"]}


def _finite(values: pl.Series) -> pl.Series:
    """Return numbers as they are, or as floats; without NaN and the infinities."""
    if values.dtype.is_decimal():
        return values.cast(pl.Float64)
    if values.dtype.is_float() and not values.is_finite().all():
        return values.filter(values.is_finite())
    return values


def _of_numbers(values: pl.Series, sample: pl.Series) -> dict[str, Any]:
    numbers = sample.drop_nulls().cast(pl.Float64).sort()
    if values.null_count() == len(values) or not len(numbers):
        return {"quantiles": {}, "histogram": []}
    quantiles = {str(share): float(numbers.quantile(share, "nearest") or 0.0) for share in _QUANTILES}
    return {
        "minimum": float(values.min()),  # type: ignore[arg-type]  # of numbers
        "maximum": float(values.max()),  # type: ignore[arg-type]  # of numbers
        "mean": _mean(values),
        "quantiles": quantiles,
        "histogram": _histogram(numbers, quantiles["0.01"], quantiles["0.99"]),
    }


def _mean(values: pl.Series) -> float | None:
    mean = values.mean()
    return float(mean) if isinstance(mean, int | float) and abs(mean) < float("inf") else None


def _histogram(numbers: pl.Series, low: float, high: float) -> list[int]:
    """Count numbers in bins of one width; one bin where there is no width, or none that a float can hold."""
    width = (high - low) / _BINS
    if not 0 < width < float("inf") or 1 / width == float("inf"):  # Polars divides by its reciprocal
        return [len(numbers)]
    places = ((numbers - low) / width).clip(0, _BINS - 1).cast(pl.Int64)
    counts = dict(places.alias("value").value_counts().iter_rows())
    return [counts.get(place, 0) for place in range(_BINS)]


def _top(sample: pl.Series) -> dict[str, float]:
    """Return the values that many rows share, with their share of all rows, the most frequent first."""
    counted = pl.DataFrame({"value": sample.cast(pl.String)}).drop_nulls().group_by("value").len()
    shared = counted.filter(pl.col("len") >= max(_LEAST_ROWS, _LEAST_SHARE * len(sample)))
    shared = shared.sort("len", "value", descending=[True, False]).head(_MOST_VALUES)
    return {value[:_LONGEST_VALUE]: count / len(sample) for value, count in shared.iter_rows()}
