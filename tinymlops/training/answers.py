"""The answers of a fitted estimator: it gets the kind of table it was fitted to, and its answers are checked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError, TinyMLOpsError
from tinymlops.signature import cast
from tinymlops.training.deciding import decided, decides_by_probability

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.records import Scalar, Signature


__all__ = ["class_values", "kind_of_table", "predict", "table_of", "threads_for"]

_FEW_ROWS = 1_000


def predict(model: Any, frame: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """Answer for each row.

    Args:
        model: A fitted estimator.
        frame: A column for each feature.
        signature: The model's signature, as `tinymlops.training.fitted` returns it.

    Returns:
        `prediction`; for two classes also `probability`, of the second, and for more `probabilities`, a list in the
        order of the signature's classes, if the model has them. A number that is not finite is null.

    Raises:
        DataError: If a feature is missing or has the wrong type, the model does not accept a null, or the model's answer
            is not one number or one of the signature's classes for each row.
    """
    import numpy as np
    import polars as pl

    features = cast(frame, signature)
    if not features.height:
        return _empty(model, signature)
    if signature.task == "regression" or not hasattr(model, "predict_proba"):
        answers = _call(model, "predict", features, signature)
        return pl.DataFrame([_predictions(model, answers, signature, features.height)])
    answers = None if decides_by_probability(model) else _call(model, "predict", features, signature)
    probabilities = _call(model, "predict_proba", features, signature)
    if answers is None and (places := decided(probabilities, len(model.classes_))) is not None:
        answers = np.asarray(model.classes_)[places]
    if answers is None:
        answers = _call(model, "predict", features, signature)
    return pl.DataFrame(
        [
            _predictions(model, answers, signature, features.height),
            _probabilities(model, probabilities, signature, features.height),
        ]
    )


def class_values(model: Any) -> list[Any] | None:
    """Return the classes of a fitted classifier as Python values, a list for each of several outputs; None if it has none."""
    classes = getattr(model, "classes_", None)
    return None if classes is None else [value.tolist() if hasattr(value, "tolist") else value for value in classes]


def _call(model: Any, method: str, features: pl.DataFrame, signature: Signature) -> Any:
    import numpy as np
    import polars as pl

    def answer(frame: pl.DataFrame) -> Any:
        table = table_of(frame, model, kind_of_table(model, signature.frame))
        with threads_for(features.height):
            return np.asarray(getattr(model, method)(table))

    # A model is user code: whatever it raises, the error names the features that it was given.
    try:
        return answer(features)
    except TinyMLOpsError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        booleans = [name for name, dtype in features.schema.items() if dtype == pl.Boolean]
        if not booleans or "bool" not in str(error):
            raise _refused(error, features) from error
    # SimpleImputer accepts a Boolean with nulls and refuses one without; as numbers they are the same to it.
    try:
        return answer(features.with_columns(pl.col(booleans).cast(pl.Float64)))
    except (Exception, pl.exceptions.PanicException) as error:
        raise _refused(error, features) from error


def kind_of_table(model: Any, kind: str | None) -> str:
    """Return the kind of table that a model was fitted to: `array`, `polars` or `pandas`.

    Args:
        model: A fitted estimator.
        kind: The kind in its signature; None for models logged before that was stored.
    """
    if kind is not None:
        return kind
    named = getattr(model, "feature_names_in_", None) is not None
    return "polars" if named or (hasattr(model, "steps") and not hasattr(model, "n_features_in_")) else "array"


def table_of(frame: pl.DataFrame, model: Any, kind: str) -> Any:
    """Return the features as the kind of table that a model was fitted to."""
    if kind == "array":
        return _matrix(frame)
    names = list(getattr(model, "feature_names_in_", frame.columns))
    chosen = frame if names == frame.columns else frame.select(names)
    return chosen if kind == "polars" else _to_pandas(chosen)


def _matrix(frame: pl.DataFrame) -> Any:
    import polars as pl

    if any(isinstance(dtype, pl.Enum) for dtype in frame.dtypes):
        return frame.with_columns(pl.col(pl.Enum).cast(pl.String)).to_numpy()
    return frame.cast(pl.Float64).to_numpy()


def _to_pandas(frame: pl.DataFrame) -> Any:
    try:
        return frame.to_pandas()
    except ModuleNotFoundError as error:
        raise TinyMLOpsError(
            "the model was fitted to a pandas frame, and pandas is not installed", hint="pip install pandas"
        ) from error


def threads_for(rows: int) -> AbstractContextManager[Any]:
    """Limit OpenMP to this thread for a few rows: waking the others took a hundred times as long on a busy machine."""
    return _OneThread() if rows < _FEW_ROWS else nullcontext()


class _OneThread:
    """OpenMP with one thread inside the block, and with the same number as before after it."""

    def __enter__(self) -> None:
        self._before = [(library, library.num_threads) for library in _openmp()]
        for library, _ in self._before:
            library.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        for library, count in self._before:
            library.set_num_threads(count)


@cache
def _openmp() -> list[Any]:
    """Return the OpenMP libraries of the process."""
    from threadpoolctl import ThreadpoolController  # scikit-learn brings it

    return [library for library in ThreadpoolController().lib_controllers if library.user_api == "openmp"]


def _refused(error: BaseException, features: pl.DataFrame) -> DataError:
    nulls = [name for name in features.columns if features[name].null_count()]
    said = str(error)[:500]
    if nulls and isinstance(error, ValueError | TypeError) and ("NaN" in said or "None" in said):
        return DataError(
            f"the model takes no nulls, and these features have some: {', '.join(nulls[:8])}",
            hint="refit it with a SimpleImputer in its pipeline, or with HistGradientBoosting",
        )
    named = said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}"
    holes = f" (nulls in {', '.join(nulls[:8])})" if nulls else ""
    return DataError(
        f"the model refuses these features{holes}: {named}",
        hint="fit it to data.train.X, or to data.train.X.to_pandas(), as they are",
    )


def _predictions(model: Any, array: Any, signature: Signature, rows: int) -> pl.Series:
    import polars as pl

    if array.shape not in ((rows,), (rows, 1)):
        raise _shapeless(model, "predict", array, f"one value for each of {rows} rows")
    array = array.reshape(rows)
    if signature.task == "regression":
        return _numbers(model, "prediction", array)
    # A label fitted as 0 and 1 is the same class as False and True.
    classes = signature.classes or []
    named = {value: value for value in classes}
    answers = array.tolist()
    try:
        found = [named[value] for value in answers]
    except (KeyError, TypeError) as error:  # a list is not a key
        row, value = next((row, value) for row, value in enumerate(answers) if value not in classes)
        raise DataError(
            f"the {type(model).__name__} answers {value!r:.100} in row {row}, which is not one of {classes!r:.200}, its label's",
            hint="fit it to data.train.y as it is, and log it again",
        ) from error
    return pl.Series("prediction", found, dtype=_class_dtype(classes))


def _probabilities(model: Any, array: Any, signature: Signature, rows: int) -> pl.Series:
    import numpy as np
    import polars as pl

    fitted = class_values(model) or []
    if array.shape != (rows, len(fitted)):
        raise _shapeless(model, "predict_proba", array, f"{len(fitted)} probabilities for each of {rows} rows")
    # A class that the training rows did not have is never predicted.
    columns = [
        _numbers(model, "probability", array[:, fitted.index(value)])
        if value in fitted
        else pl.Series("probability", np.zeros(rows))
        for value in signature.classes or []
    ]
    if signature.task == "binary":
        return columns[-1]
    each = [column.alias(str(place)) for place, column in enumerate(columns)]
    return pl.DataFrame(each).select(pl.concat_list(pl.all()).alias("probabilities")).to_series()


def _numbers(model: Any, name: str, array: Any) -> pl.Series:
    """Return numbers as a column; numbers that are not finite become null, because JSON and metrics cannot hold them."""
    import numpy as np
    import polars as pl

    if array.dtype.kind in "SU":  # text that looks like a number is not one
        raise _shapeless(model, "predict", array, "numbers")
    try:
        found = pl.Series(name, array.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise _shapeless(model, "predict", array, "numbers") from error
    return found if found.is_finite().all() else found.set(~found.is_finite(), None)


def _shapeless(model: Any, method: str, array: Any, expected: str) -> DataError:
    return DataError(
        f"{method} of the {type(model).__name__} gives {array.dtype} of shape {array.shape}; expected {expected}",
        hint="fit it to data.train.y, which has one value for each row",
    )


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
