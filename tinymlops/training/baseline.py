"""The histogram of each training feature, stored with a model to measure drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import IntegrityError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Baseline", "Histogram", "baseline_of", "histogram_of", "read_baseline"]


class Histogram(msgspec.Struct, frozen=True):
    """The distribution of the values of one column."""

    counts: list[int]
    """Counts of the bins from low to high or of the categories, then of the nulls."""
    edges: list[float] | None = None
    """The cuts between the bins of numbers, as `tinymlops.kernels.drift.bin_edges` makes them."""
    categories: list[str] | None = None


class Baseline(msgspec.Struct, frozen=True):
    """The distributions of the training rows."""

    rows: int
    features: dict[str, Histogram]
    prediction: Histogram | None = None
    """The histogram of the model's own answers: the probability for two classes, else the number or the class."""


def baseline_of(X: pl.DataFrame, predictions: pl.DataFrame | None = None) -> Baseline:
    """Describe training rows and the model's answers to them."""
    answers = None
    if predictions is not None:
        name = "probability" if "probability" in predictions.columns else "prediction"
        answers = histogram_of(predictions[name])
    return Baseline(X.height, {column.name: histogram_of(column) for column in X.get_columns()}, answers)


def histogram_of(column: pl.Series) -> Histogram:
    """Count a column's values: numbers in about ten bins (`bin_edges`), text and booleans by value."""
    import numpy as np
    import polars as pl

    from tinymlops.kernels.drift import bin_counts, bin_edges

    if column.dtype.is_numeric():
        values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        # An infinite value is not used for quantiles; it falls into the first or the last bin.
        edges = bin_edges(values[np.isfinite(values)])
        return Histogram(bin_counts(values, edges).tolist(), edges=edges.tolist())
    if isinstance(column.dtype, pl.Enum):
        categories = column.dtype.categories.to_list()
    elif column.dtype == pl.Boolean:
        categories = ["false", "true"]
    else:
        categories = column.cast(pl.String).drop_nulls().unique().sort().to_list()
    text = column.cast(pl.String)
    counts = dict(text.alias("value").value_counts().iter_rows())
    return Histogram([counts.get(value, 0) for value in categories] + [text.null_count()], categories=categories)


def read_baseline(content: bytes) -> Baseline:
    """Read the JSON file of a baseline.

    Raises:
        IntegrityError: If it is not a baseline.
    """
    try:
        return msgspec.json.decode(content, type=Baseline)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"a model's baseline cannot be read: {error}") from error
