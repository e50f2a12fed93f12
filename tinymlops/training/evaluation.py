"""Evaluate predictions: a few metrics for each task, each left out where it is not defined, never NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinymlops.records import Evaluation, Scalar, Signature

if TYPE_CHECKING:
    import polars as pl

__all__ = ["evaluate", "metrics_for"]


def evaluate(y: pl.Series, predictions: pl.DataFrame, signature: Signature, *, split: str) -> Evaluation:
    """Compare predictions with outcomes.

    Args:
        y: The outcomes; a null is left out.
        predictions: As `tinymlops.training.answers.predict` returns them, in the same order.
        signature: The model's task and classes.
        split: `test` or `train`.
    """
    known = y.is_not_null()
    y, predictions = y.filter(known), predictions.filter(known)
    return Evaluation(split, len(y), metrics_for(signature.task, y, predictions, signature.classes))


def metrics_for(
    task: str, y: pl.Series, predictions: pl.DataFrame, classes: Sequence[Scalar] | None = None
) -> dict[str, float]:
    """Return the metrics of a task.

    Args:
        task: `binary` (auc, log_loss, accuracy), `multiclass` (accuracy, f1_macro, log_loss) or `regression`
            (mae, rmse, r2).
        y: The outcomes, without nulls.
        predictions: `prediction`, and `probability` or `probabilities` where there are some.
        classes: The classes in order; the second of two is the positive one.
    """
    if not len(y):
        return {}
    compute: Callable[[pl.Series, pl.DataFrame, Sequence[Scalar]], dict[str, float]] = {
        "binary": _binary,
        "multiclass": _multiclass,
        "regression": _regression,
    }[task]
    found = compute(y, predictions, classes or [])
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def _binary(y: pl.Series, predictions: pl.DataFrame, classes: Sequence[Scalar]) -> dict[str, float]:
    import numpy as np
    from sklearn.metrics import log_loss, roc_auc_score

    positive = classes[-1] if classes else True
    truth = np.array([value == positive for value in _values(y)])
    predicted = np.array([value == positive for value in predictions["prediction"].to_list()])
    found = {"accuracy": float((truth == predicted).mean())}
    if "probability" in predictions.columns:
        probability = predictions["probability"].to_numpy()
        if np.isfinite(probability).all():
            found["log_loss"] = log_loss(truth, probability, labels=[False, True])
            if truth.any() and not truth.all():
                found["auc"] = roc_auc_score(truth, probability)
    return found


def _multiclass(y: pl.Series, predictions: pl.DataFrame, classes: Sequence[Scalar]) -> dict[str, float]:
    import numpy as np
    from sklearn.metrics import f1_score, log_loss

    truth, predicted = _values(y), predictions["prediction"].to_list()
    found = {"accuracy": float(np.mean([left == right for left, right in zip(truth, predicted, strict=True)]))}
    places = {value: place for place, value in enumerate(dict.fromkeys([*classes, *truth, *predicted]))}
    coded = [places[value] for value in truth]
    answers = [places[value] for value in predicted]
    found["f1_macro"] = f1_score(coded, answers, average="macro", zero_division=0.0)
    if "probabilities" in predictions.columns and len(classes) > 1 and max(coded) < len(classes):
        probabilities = np.array(predictions["probabilities"].to_list())
        if np.isfinite(probabilities).all():
            found["log_loss"] = log_loss(coded, probabilities, labels=list(range(len(classes))))
    return found


def _regression(y: pl.Series, predictions: pl.DataFrame, classes: Sequence[Scalar]) -> dict[str, float]:  # noqa: ARG001
    import numpy as np
    import polars as pl
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    truth, predicted = y.cast(pl.Float64).to_numpy(), predictions["prediction"].cast(pl.Float64).to_numpy()
    known = np.isfinite(truth) & np.isfinite(predicted)
    truth, predicted = truth[known], predicted[known]
    if not len(truth):
        return {}
    found = {"mae": mean_absolute_error(truth, predicted), "rmse": root_mean_squared_error(truth, predicted)}
    if truth.min() != truth.max():
        found["r2"] = r2_score(truth, predicted)
    return found


def _values(y: pl.Series) -> list[Any]:
    return y.to_list()
