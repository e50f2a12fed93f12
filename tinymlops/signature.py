"""The signature of a model: its inputs and outputs, derived once from its training rows and fixed from then on.

scikit-learn 1.9 takes Polars frames as they are (measured): null becomes NaN, a Boolean with nulls an object
column that estimators turn to 0, 1 and NaN, and HistGradientBoosting with `categorical_features="from_dtype"`
makes an Enum a category. So a prediction passes exactly the types that `fit` saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tinymlops.errors import DataError, near
from tinymlops.records import FeatureField, RequestField, Scalar, Signature

if TYPE_CHECKING:
    import polars as pl

__all__ = ["build_signature", "cast", "task_of"]

_MOST_CLASSES = 20


def build_signature(
    X: pl.DataFrame, y: pl.Series, origins: Mapping[str, str], request: Sequence[RequestField] = ()
) -> Signature:
    """Derive the signature of a model fitted to these rows.

    Args:
        X: Features only: Float64, Int64, Boolean or Enum.
        y: The label; nulls are left out.
        origins: Feature to where it comes from, such as `view:feature`; `request` where it is not listed.
        request: What a prediction request must carry.

    Raises:
        DataError: If a feature has another type.
    """
    import polars as pl

    fields = []
    for name, dtype in X.schema.items():
        kind = type(dtype).__name__
        if kind not in ("Float64", "Int64", "Boolean", "Enum"):
            raise DataError(f"feature {name!r} is {dtype}", hint="cast it to Float64, Int64, Boolean or an Enum")
        categories = dtype.categories.to_list() if isinstance(dtype, pl.Enum) else None
        fields.append(FeatureField(name, kind, origins.get(name, "request"), categories))
    return Signature(fields, list(request), *task_of(y))


def task_of(y: pl.Series) -> tuple[str, list[Scalar] | None]:
    """Return the task that a label asks for, and its classes in order; the last of two is the positive one.

    An Enum is text: its classes are those that there are, in the order of text.
    """
    import polars as pl

    if y.dtype == pl.Boolean:
        return "binary", [False, True]
    if isinstance(y.dtype, pl.Enum | pl.Categorical):
        y = y.cast(pl.String)
    classes = y.drop_nulls().unique().sort()
    if y.dtype == pl.String or (y.dtype.is_integer() and len(classes) <= _MOST_CLASSES):
        return "binary" if len(classes) == 2 else "multiclass", classes.to_list()
    return "regression", None


def cast(frame: pl.DataFrame, signature: Signature, *, first_row: int = 0) -> pl.DataFrame:
    """Convert a frame to the columns and types that the model was fitted to, with every value unchanged, or refuse it.

    Args:
        frame: A column for each feature; others are dropped.
        signature: What the model takes.
        first_row: How many rows came before this frame, for an error.

    Returns:
        The features in order: Float64, Int64, Boolean or Enum. A category that training did not have is null.

    Raises:
        DataError: If a feature is missing, or a value is not of its type, naming the row.
    """
    import polars as pl

    missing = [field.name for field in signature.features if field.name not in frame.columns]
    if missing:
        raise DataError(
            f"there is no column {missing[0]!r}, which the model takes", hint=near(missing[0], frame.columns)
        )
    return pl.DataFrame([_cast(frame[field.name], field, first_row) for field in signature.features])


def _cast(series: pl.Series, field: FeatureField, first_row: int) -> pl.Series:
    import polars as pl

    dtype, target = series.dtype, _dtype(field)
    if dtype == target:
        return series
    if series.null_count() == len(series):  # in pandas a column of nulls alone is text
        return pl.repeat(None, len(series), dtype=target, eager=True).alias(series.name)
    if field.dtype == "Enum":
        if dtype != pl.String and not isinstance(dtype, pl.Enum | pl.Categorical):
            raise _mistyped(series, field, first_row)
        return series.cast(pl.String).cast(target, strict=False)
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise _mistyped(series, field, first_row)
    sent = series.fill_nan(None) if dtype.is_float() and field.dtype != "Float64" else series
    found = (sent.cast(pl.Float64) if field.dtype == "Boolean" else sent).cast(target, strict=False)
    # No cast may change a value: 1.5 to 1, 2 to true, 2**53 + 1 to the nearest float. Decimals have no float.
    if not (field.dtype == "Float64" and dtype.is_decimal()):
        changed = found.cast(dtype, strict=False).ne_missing(sent).arg_true()
        if len(changed):
            raise _mistyped(series, field, first_row, changed[0])
    return found


def _dtype(field: FeatureField) -> pl.DataType:
    import polars as pl

    plain = {"Float64": pl.Float64(), "Int64": pl.Int64(), "Boolean": pl.Boolean()}
    if field.dtype == "Enum":
        return pl.Enum(field.categories or [])
    if field.dtype not in plain:
        raise DataError(f"a model's signature has the type {field.dtype!r}", hint="use Float64, Int64, Boolean or Enum")
    return plain[field.dtype]


def _mistyped(series: pl.Series, field: FeatureField, first_row: int, row: int | None = None) -> DataError:
    """Return the error that names a value of another type: that of a row, or the first that is not null."""
    import polars as pl

    kind = "String" if field.dtype == "Enum" else field.dtype
    if row is None:
        row = next(iter(series.is_not_null().arg_true()), None)
    value = "" if row is None or series.dtype == pl.Object else f" {series[row]!r:.100}"
    shown = "" if row is None else f":{value} in row {first_row + row}"
    return DataError(
        f"column {field.name!r} is {series.dtype} and the model takes {kind}{shown}",
        hint=f"cast it to {kind}, or send null",
    )
