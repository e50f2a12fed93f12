"""What a model takes and gives: the types of its features, kept from training to every prediction.

scikit-learn 1.9 takes Polars frames as they are (measured): null becomes NaN, a Boolean with nulls an object
column that estimators turn to 0, 1 and NaN, and HistGradientBoosting with `categorical_features="from_dtype"`
makes an Enum a category. So a prediction hands over the very frame types that `fit` saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError, near
from tinymlops.records import FeatureField, RequestField, Scalar, Signature

if TYPE_CHECKING:
    import polars as pl

__all__ = ["build_signature", "cast", "fitted_signature", "predict", "task_of", "to_estimator"]

_FEW_ROWS = 1_000
_MOST_CLASSES = 20
_LARGEST_EXACT = 2**63


def build_signature(
    X: pl.DataFrame, y: pl.Series, origins: Mapping[str, str], request: Sequence[RequestField] = ()
) -> Signature:
    """Describe what a model fitted to these rows takes.

    Args:
        X: Features only: Float64, Int64, Boolean or Enum.
        y: The label, without nulls.
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
    """Say what kind of learning a label asks for, and its classes in order; the last of two is the positive one."""
    import polars as pl

    if y.dtype == pl.Boolean:
        return "binary", [False, True]
    if isinstance(y.dtype, pl.Enum | pl.Categorical):
        y = y.cast(pl.String)
    classes = y.drop_nulls().unique().sort()
    if y.dtype == pl.String or (y.dtype.is_integer() and len(classes) <= _MOST_CLASSES):
        return "binary" if len(classes) == 2 else "multiclass", classes.to_list()
    return "regression", None


def fitted_signature(signature: Signature, model: Any) -> Signature:
    """Return the signature with the task that the model learnt, which its user chose and not the label.

    Raises:
        DataError: If it was fitted to other features.
    """
    from sklearn.base import is_classifier

    names = [field.name for field in signature.features]
    unknown = [name for name in getattr(model, "feature_names_in_", names) if name not in names]
    if unknown:
        raise DataError(
            f"the model was fitted to a feature {unknown[0]!r} that its training data has not",
            hint="fit it to data.train.X; put what computes the feature into an on-demand view or the pipeline",
        )
    if not hasattr(model, "feature_names_in_") and getattr(model, "n_features_in_", len(names)) != len(names):
        raise DataError(
            f"the model was fitted to {model.n_features_in_} features, and its training data has {len(names)}",
            hint="fit it to data.train.X, whose columns have names",
        )
    if not is_classifier(model):
        return msgspec.structs.replace(signature, task="regression", classes=None)
    if signature.task != "regression":
        return signature
    classes = [value.item() for value in model.classes_]
    return msgspec.structs.replace(signature, task="binary" if len(classes) == 2 else "multiclass", classes=classes)


def cast(frame: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """Give a frame the columns and types that the model was fitted to.

    Args:
        frame: A column for each feature; others are dropped.
        signature: What the model takes.

    Returns:
        The features in order: Float64, Int64, Boolean or Enum. A category that training had not is null.

    Raises:
        DataError: If a feature is missing, or a value is not of its type.
    """
    import polars as pl

    missing = [field.name for field in signature.features if field.name not in frame.columns]
    if missing:
        raise DataError(
            f"there is no column {missing[0]!r}, which the model takes", hint=near(missing[0], frame.columns)
        )
    return pl.DataFrame([_cast(frame[field.name], field) for field in signature.features])


def _cast(series: pl.Series, field: FeatureField) -> pl.Series:
    import polars as pl

    dtype = series.dtype
    if dtype == pl.Null:
        return series.cast(pl.Enum(field.categories or []) if field.dtype == "Enum" else _plain(field.dtype))
    if field.dtype == "Enum":
        if dtype != pl.String and not isinstance(dtype, pl.Enum | pl.Categorical):
            raise _mistyped(series, field)
        return series.cast(pl.String).cast(pl.Enum(field.categories or []), strict=False)
    if field.dtype == "Boolean":
        return _to_boolean(series, field)
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise _mistyped(series, field)
    return series.cast(pl.Float64) if field.dtype == "Float64" else _to_integer(series, field)


def _to_boolean(series: pl.Series, field: FeatureField) -> pl.Series:
    import polars as pl

    if series.dtype == pl.Boolean:
        return series
    if not series.dtype.is_numeric():
        raise _mistyped(series, field)
    known = series.cast(pl.Float64).fill_nan(None)
    if not known.drop_nulls().is_in([0.0, 1.0]).all():
        raise _mistyped(series, field)
    return known.cast(pl.Boolean)


def _to_integer(series: pl.Series, field: FeatureField) -> pl.Series:
    import polars as pl

    if series.dtype.is_float():
        series = series.fill_nan(None)
        known = series.drop_nulls()
        # A cast would cut 1.5 down to 1.
        if not ((known == known.round()) & (known.abs() < _LARGEST_EXACT)).all():
            raise _mistyped(series, field)
    try:
        return series.cast(pl.Int64)
    except pl.exceptions.InvalidOperationError as error:
        raise _mistyped(series, field) from error


def _mistyped(series: pl.Series, field: FeatureField) -> DataError:
    import polars as pl

    kind = "String" if field.dtype == "Enum" else field.dtype
    shown = f": {series.drop_nulls().head(3).to_list()}" if series.dtype != pl.Object else ""
    return DataError(
        f"column {field.name!r} is {series.dtype} and the model takes {kind}{shown}"[:300],
        hint=f"cast it to {kind}, or send null",
    )


def to_estimator(frame: pl.DataFrame, model: Any = None) -> Any:
    """Return what a model is given for these features: the kind of table that it was fitted to.

    Args:
        frame: The features as `cast` returns them.
        model: The estimator. One that knows its column names gets those columns as a Polars frame, as `fit` did;
            one that does not was fitted to an array, and gets one.
    """
    if model is None:
        return frame
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        return frame.select(list(names))
    return frame if hasattr(model, "steps") and not hasattr(model, "n_features_in_") else _matrix(frame)


def _matrix(frame: pl.DataFrame) -> Any:
    import polars as pl

    if any(isinstance(dtype, pl.Enum) for dtype in frame.dtypes):
        return frame.with_columns(pl.col(pl.Enum).cast(pl.String)).to_numpy()
    return frame.cast(pl.Float64).to_numpy()


def predict(model: Any, frame: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """Answer for each row.

    Args:
        model: A fitted estimator.
        frame: A column for each feature.
        signature: What the model takes and gives, as `fitted_signature` returns it.

    Returns:
        `prediction`; for two classes also `probability`, of the second, and for more `probabilities`, a list in the
        order of the signature's classes, where the model gives them.

    Raises:
        DataError: If a feature is missing or mistyped, or a null reaches a model that takes none.
    """
    import polars as pl

    features = cast(frame, signature)
    if not features.height:
        return _empty(model, signature)
    predicted = _predictions(_call(model, "predict", features), signature)
    columns = [predicted]
    if signature.task != "regression" and hasattr(model, "predict_proba"):
        columns.append(_probabilities(_call(model, "predict_proba", features), model, signature))
    return pl.DataFrame(columns)


def _call(model: Any, method: str, features: pl.DataFrame) -> Any:
    import polars as pl

    def answer(table: Any) -> Any:
        with _threads_for(features.height):
            return getattr(model, method)(table)

    try:
        return answer(to_estimator(features, model))
    except (ValueError, TypeError) as error:
        booleans = [name for name, dtype in features.schema.items() if dtype == pl.Boolean]
        if not booleans or "bool" not in str(error):
            raise _refused(error, features) from error
    # SimpleImputer takes a Boolean with nulls and refuses one without; as numbers they are the same to it.
    try:
        return answer(to_estimator(features.with_columns(pl.col(booleans).cast(pl.Float64)), model))
    except (ValueError, TypeError) as error:
        raise _refused(error, features) from error


def _threads_for(rows: int) -> AbstractContextManager[Any]:
    """Keep OpenMP to this thread for a few rows: waking the others took a hundred times as long on a busy machine."""
    return _pools().limit(limits=1, user_api="openmp") if rows < _FEW_ROWS else nullcontext()


@cache
def _pools() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # scikit-learn brings it

    return ThreadpoolController()


def _refused(error: Exception, features: pl.DataFrame) -> DataError:
    nulls = [name for name in features.columns if features[name].null_count()]
    if nulls:
        return DataError(
            f"the model takes no nulls, and these features have some: {', '.join(nulls[:8])}",
            hint="refit it with a SimpleImputer in its pipeline, or with HistGradientBoosting",
        )
    return DataError(f"the model refuses these features: {error}", hint="fit it to data.train.X")


def _predictions(values: Any, signature: Signature) -> pl.Series:
    import numpy as np
    import polars as pl

    array = np.asarray(values)
    if signature.task == "regression":
        return pl.Series("prediction", array.reshape(len(array), -1)[:, 0].astype(np.float64))
    # A label fitted as 0 and 1 is the same class as False and True.
    classes = signature.classes or []
    named = {value: value for value in classes}
    return pl.Series("prediction", [named.get(value, value) for value in array.tolist()], dtype=_class_dtype(classes))


def _probabilities(values: Any, model: Any, signature: Signature) -> pl.Series:
    import numpy as np
    import polars as pl

    array = np.asarray(values, np.float64)
    fitted = [value.item() if hasattr(value, "item") else value for value in model.classes_]
    # A class that the training rows had not is never predicted.
    columns = [
        array[:, fitted.index(value)] if value in fitted else np.zeros(len(array)) for value in signature.classes or []
    ]
    if signature.task == "binary":
        return pl.Series("probability", columns[-1])
    return pl.Series("probabilities", np.column_stack(columns).tolist(), dtype=pl.List(pl.Float64))


def _empty(model: Any, signature: Signature) -> pl.DataFrame:
    import polars as pl

    if signature.task == "regression":
        return pl.DataFrame(schema={"prediction": pl.Float64})
    schema: dict[str, Any] = {"prediction": _class_dtype(signature.classes or [])}
    if hasattr(model, "predict_proba"):
        binary = signature.task == "binary"
        schema["probability" if binary else "probabilities"] = pl.Float64 if binary else pl.List(pl.Float64)
    return pl.DataFrame(schema=schema)


def _class_dtype(classes: Sequence[Scalar]) -> Any:
    import polars as pl

    for kind, dtype in ((bool, pl.Boolean), (int, pl.Int64), (float, pl.Float64)):
        if classes and all(type(value) is kind for value in classes):
            return dtype
    return pl.String


def _plain(name: str) -> Any:
    import polars as pl

    if name not in ("Float64", "Int64", "Boolean"):
        raise DataError(f"a model's signature has the type {name!r}", hint="use Float64, Int64, Boolean or Enum")
    return getattr(pl, name)
