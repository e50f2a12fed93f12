"""Check a fitted model against its training data: it must take these features and answer this label to be logged."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError
from tinymlops.training.answers import class_values, predict

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.records import Scalar, Signature


__all__ = ["answer_training_rows", "fitted_signature"]

_TRIED_ROWS = 2_000
"""The number of rows on which a Polars frame is compared with a pandas frame."""


def fitted_signature(signature: Signature, model: Any, y: pl.Series) -> Signature:
    """Return the signature with the task that the model was fitted for, among those that the label allows.

    Args:
        signature: The signature of the training data.
        model: A fitted estimator.
        y: The label that it was fitted to.

    Raises:
        DataError: If it was fitted to other features, to several outputs, or to values other than the label's.
    """
    _check_features(signature, model)
    if not hasattr(model, "predict"):
        raise DataError(
            f"a {_name(model)} has no predict, so it is not a model",
            hint="log a classifier or a regressor that uses it",
        )
    classes = class_values(model)
    if classes is None and not _is_classifier(model):
        return _as_regression(signature, model, y)
    if classes is None:
        raise DataError(
            f"the {_name(model)} is a classifier without classes_",
            hint="keep the classes in order in fit, as NumPy array",
        )
    return _as_classifier(signature, model, y, classes)


def answer_training_rows(signature: Signature, model: Any, X: pl.DataFrame) -> tuple[Signature, pl.DataFrame]:
    """Let a model answer its training rows, and find out which kind of table it was fitted to.

    scikit-learn does not store it, and null text differs: NaN in pandas, None in Polars. A model that accepts both kinds
    and answers them differently would serve wrong numbers with the wrong one.

    Args:
        signature: As `fitted_signature` returns it.
        model: A fitted estimator.
        X: The training rows.

    Returns:
        The signature with the kind of table, and the answers as `predict` returns them.

    Raises:
        DataError: If the model accepts no kind of table, or its answers are not one finite number, or class, for each row.
    """
    first, *others = (msgspec.structs.replace(signature, frame=kind) for kind in _kinds(model))
    try:
        found, answers = first, predict(model, X, first)
    except DataError as refused:
        found, answers = _first_taken(model, X, others, refused)
    else:
        for other in others:
            if other.frame == "pandas" and first.frame == "polars" and _needs_pandas(model, X, first, other):
                found, answers = other, predict(model, X, other)
    predict(model, X.head(1), found)  # one row has the shape of one answer
    _require_finite(model, answers)
    return found, answers


def _check_features(signature: Signature, model: Any) -> None:
    names = [field.name for field in signature.features]
    unknown = [name for name in getattr(model, "feature_names_in_", names) if name not in names]
    if unknown:
        raise DataError(
            f"the model was fitted to a feature {unknown[0]!r} that its training data does not have",
            hint="fit it to data.train.X; put what computes the feature into an on-demand view or the pipeline",
        )
    if not hasattr(model, "feature_names_in_") and getattr(model, "n_features_in_", len(names)) != len(names):
        raise DataError(
            f"the model was fitted to {model.n_features_in_} features, and its training data has {len(names)}",
            hint="fit it to data.train.X, whose columns have names",
        )


def _as_regression(signature: Signature, model: Any, y: pl.Series) -> Signature:
    if not y.dtype.is_numeric():
        raise DataError(
            f"label {y.name!r} has the classes {_shown(signature.classes)}, and a {_name(model)} answers numbers",
            hint="fit a classifier, or make the label a number where it is defined",
        )
    return msgspec.structs.replace(signature, task="regression", classes=None)


def _as_classifier(signature: Signature, model: Any, y: pl.Series, classes: list[Any]) -> Signature:
    several = next((value for value in classes if isinstance(value, list)), None)
    if several is not None:
        raise DataError(
            f"the {_name(model)} was fitted to {len(classes)} outputs, and label {y.name!r} is one",
            hint="fit it to data.train.y; make a training set and a model for each other label",
        )
    expected = _label_classes(signature, model, y, classes)
    other = [value for value in classes if value not in expected]
    # Text that is in the label is a class. A number may be a code: 0 and 1 for 'none' and 'some' of 0, 1, 2, 5.
    lacking = [value for value in expected if value not in classes and not isinstance(value, str)]
    if len(classes) < 2:
        raise DataError(
            f"the {_name(model)} knows one class only, {_shown(classes)}; the classes of label {y.name!r} are "
            f"{_shown(expected)}",
            hint="fit it to rows of every class",
        )
    if other or lacking:
        raise DataError(
            f"the {_name(model)} answers {_shown(classes)}, and the classes of label {y.name!r} are {_shown(expected)}",
            hint="fit it to data.train.y as it is: scikit-learn takes text and booleans as classes",
        )
    task = "binary" if len(expected) == 2 else "multiclass"
    return msgspec.structs.replace(signature, task=task, classes=expected)


def _label_classes(signature: Signature, model: Any, y: pl.Series, classes: list[Any]) -> list[Scalar]:
    """Return the classes that the label has; a label of many numbers has none."""
    if signature.classes is not None:
        return signature.classes
    values = y.drop_nulls().unique().sort()
    if len(values) > 2:
        raise DataError(
            f"label {y.name!r} is a number with {len(values)} values, and the {_name(model)} answers one of the classes "
            f"{_shown(classes)}",
            hint="fit a regressor, or make the label a comparison such as amount > 50 where it is defined",
        )
    return values.to_list()


def _is_classifier(model: Any) -> bool:
    from sklearn.base import is_classifier

    return bool(is_classifier(model))


def _kinds(model: Any) -> list[str]:
    """Return the kinds of table that a model may have been fitted to, the most likely one first."""
    frames = ["polars", *(["pandas"] if "pandas" in sys.modules else [])]
    if hasattr(model, "feature_names_in_"):
        return frames
    if hasattr(model, "n_features_in_"):
        return ["array"]
    return [*frames, "array"] if hasattr(model, "steps") else ["array", *frames]


def _first_taken(
    model: Any, X: pl.DataFrame, signatures: list[Signature], refused: DataError
) -> tuple[Signature, pl.DataFrame]:
    for signature in signatures:
        try:
            return signature, predict(model, X, signature)
        except DataError:
            continue
    raise refused


def _needs_pandas(model: Any, X: pl.DataFrame, as_polars: Signature, as_pandas: Signature) -> bool:
    """Return whether a model that takes both kinds of frame was fitted to a pandas frame."""
    import polars as pl

    holes = X.filter(pl.any_horizontal(pl.all().is_null()))
    tried = pl.concat([X.head(_TRIED_ROWS), holes.head(_TRIED_ROWS)])
    try:
        other = predict(model, tried, as_pandas)
    except DataError:
        return False
    return not _alike(predict(model, tried, as_polars), other) and not _expects_none(model)


def _alike(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Return whether answers are the same up to the order in which BLAS sums."""
    from polars.testing import assert_frame_equal

    try:
        assert_frame_equal(left, right, rel_tol=1e-6, abs_tol=1e-9)
    except AssertionError:
        return False
    return True


def _expects_none(model: Any) -> bool:
    """Return whether a model's encoders and imputers were fitted to None for null text, or to NaN."""
    from tinymlops.training._guards import parts

    every = [part for part, _ in parts(model)]
    known = {type(value) for part in every for value in _categories(part) if value is None or _is_nan(value)}
    if known:
        return known == {type(None)}
    return any(getattr(part, "missing_values", "") is None for part in every)


def _categories(part: Any) -> Iterator[Any]:
    for values in getattr(part, "categories_", ()):
        yield from values.tolist() if hasattr(values, "tolist") else values


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _require_finite(model: Any, answers: pl.DataFrame) -> None:
    import polars as pl

    lacking = [
        column.list.eval(pl.element().is_null()).list.any() if name == "probabilities" else column.is_null()
        for name in answers.columns
        for column in [pl.col(name)]
    ]
    wrong = answers.select(pl.any_horizontal(lacking)).to_series().arg_true()
    if len(wrong):
        raise DataError(
            f"the {_name(model)} gives no finite number for {len(wrong):,} of {answers.height:,} training rows, the first is "
            f"row {wrong[0]}",
            hint="fit it to finite numbers, or scale the features: NaN and infinity are not predictions",
        )


def _name(model: Any) -> str:
    return type(model).__name__


def _shown(classes: list[Any] | None) -> str:
    text = repr(classes or [])
    return text if len(text) <= 200 else f"{text[:200]}..."
