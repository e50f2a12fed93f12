"""How a classifier decides: by its greatest probability, or by a rule of its own.

A model that decides by its probabilities is only asked for these. Which models do so is known for scikit-learn's own
classes, from its source. Any other class, even one derived from them, is asked for both. (A network's `predict` may
answer several labels at once, which its probabilities do not show.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["decided", "decided_one", "decides_by_probability"]

_CLEAR = 1e-6
"""How much greater the greatest probability must be: closer ones may be equal although the scores behind them differ."""

_BY_PROBABILITY = frozenset(
    f"sklearn.{name}"
    for name in (
        "calibration.CalibratedClassifierCV",
        "discriminant_analysis.LinearDiscriminantAnalysis",
        "discriminant_analysis.QuadraticDiscriminantAnalysis",
        "ensemble._bagging.BaggingClassifier",
        "ensemble._forest.ExtraTreesClassifier",
        "ensemble._forest.RandomForestClassifier",
        "ensemble._gb.GradientBoostingClassifier",
        "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "linear_model._logistic.LogisticRegression",
        "linear_model._logistic.LogisticRegressionCV",
        "naive_bayes.BernoulliNB",
        "naive_bayes.CategoricalNB",
        "naive_bayes.ComplementNB",
        "naive_bayes.GaussianNB",
        "naive_bayes.MultinomialNB",
        "tree._classes.DecisionTreeClassifier",
        "tree._classes.ExtraTreeClassifier",
    )
)
_LAST_STEP = "sklearn.pipeline.Pipeline"
_SEARCHES = ("sklearn.model_selection._search.GridSearchCV", "sklearn.model_selection._search.RandomizedSearchCV")


def decides_by_probability(model: Any) -> bool:
    """Return whether a fitted model's `predict` is the class of the greatest of its `predict_proba`.

    Args:
        model: A fitted estimator; in a pipeline the last step decides, in a search the best estimator.
    """
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    if name == _LAST_STEP:
        return decides_by_probability(model.steps[-1][1])
    if name in _SEARCHES:
        return decides_by_probability(getattr(model, "best_estimator_", None))
    return name in _BY_PROBABILITY


def decided(probabilities: np.ndarray[Any, Any], classes: int) -> np.ndarray[Any, Any] | None:
    """Return the index of the greatest probability of each row; None if a row has no clear one.

    Args:
        probabilities: The model's probabilities, n rows.
        classes: The number of the model's classes.
    """
    import numpy as np

    if probabilities.ndim != 2 or probabilities.shape[1] != classes or classes < 2 or not len(probabilities):
        return None
    two = np.partition(probabilities, classes - 2, axis=1)[:, -2:]
    if not (two[:, 1] - two[:, 0] > _CLEAR).all():  # NaN is not greater either
        return None
    return np.asarray(probabilities.argmax(axis=1))


def decided_one(probabilities: list[float]) -> int | None:
    """Return the index of the greatest probability of one row; None if none is clear."""
    if len(probabilities) < 2:
        return None
    *_, second, first = sorted(probabilities)
    # A NaN may be anywhere among them, and then the sum is not one.
    if not first - second > _CLEAR or math.isnan(sum(probabilities)):
        return None
    return probabilities.index(first)
