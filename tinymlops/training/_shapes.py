"""Shapes that scikit-learn's compiled code assumes: it reads one array of a model by the size of another.

`fit` makes them agree. In a file from elsewhere they may differ, and `predict` would write outside its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinymlops.errors import IntegrityError

__all__ = ["check_shapes"]

_TRIED_ROWS = 3


def check_shapes(part: Any) -> None:
    """Compare the arrays of one estimator, whose own parts were checked before it.

    Raises:
        IntegrityError: If one does not fit another.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.ensemble._gb import BaseGradientBoosting
    from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
    from sklearn.neighbors._base import NeighborsBase
    from sklearn.svm._base import BaseLibSVM

    checks: list[tuple[type | tuple[type, ...], str, Callable[[Any], None]]] = [
        (BaseGradientBoosting, "estimators_", _check_stages),
        (BaseHistGradientBoosting, "_predictors", _check_histograms),
        (NeighborsBase, "_fit_X", _check_neighbors),
        (BaseLibSVM, "support_", _check_support),
        ((KMeans, MiniBatchKMeans), "cluster_centers_", _check_centers),
    ]
    for kind, fitted, check in checks:
        if isinstance(part, kind) and hasattr(part, fitted):  # an unfitted one is a parameter of another
            check(part)


def _check_stages(model: Any) -> None:
    """Check boosting: the trees of a stage add to the columns of one array, which the first estimator makes."""
    from sklearn.tree import DecisionTreeRegressor

    stages = model.estimators_
    _require(model, "estimators_", isinstance(stages, np.ndarray) and stages.ndim == 2 and stages.size > 0)
    for tree in stages.flat:
        _require(model, "estimators_", type(tree) is DecisionTreeRegressor)
        _require(model, "the features of a tree", tree.n_features_in_ == model.n_features_in_)
        _require(model, "the values of a tree", tree.tree_.value.shape[1:] == (1, 1))
    with np.errstate(all="ignore"):
        start = model._raw_predict_init(np.zeros((_TRIED_ROWS, model.n_features_in_), np.float32))  # noqa: SLF001
    _require(model, "estimators_ and init_", start.shape == (_TRIED_ROWS, stages.shape[1]))


def _check_histograms(model: Any) -> None:
    """Check histogram boosting: a node's feature is looked up among the categorical ones; the preprocessor keeps all columns."""
    features, mapper = model.n_features_in_, model._bin_mapper  # noqa: SLF001
    categorical = np.asarray(mapper.is_categorical_)
    _require(model, "is_categorical_", categorical.shape == (features,))
    _require(model, "bin_thresholds_", len(mapper.bin_thresholds_) == features)
    for stage in model._predictors:  # noqa: SLF001
        for predictor in stage:
            nodes = predictor.nodes
            asked = nodes["feature_idx"][(nodes["is_leaf"] == 0) & (nodes["is_categorical"] != 0)]
            _require(model, "a categorical feature", bool((categorical[asked] != 0).all()))
    if model._preprocessor is not None:  # noqa: SLF001
        _check_preprocessor(model, model._preprocessor)  # noqa: SLF001


def _check_preprocessor(model: Any, preprocessor: Any) -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

    _require(model, "_preprocessor", type(preprocessor) is ColumnTransformer)
    kept = [(step, np.asarray(columns)) for _, step, columns in preprocessor.transformers_ if step != "drop"]
    _require(model, "_preprocessor", all(type(step) in (OrdinalEncoder, FunctionTransformer) for step, _ in kept))
    masks = [columns for _, columns in kept if columns.dtype == np.bool_ and columns.shape == (model.n_features_in_,)]
    _require(model, "_preprocessor", len(masks) == len(kept) and bool((np.sum(masks, axis=0) == 1).all()))


def _check_neighbors(model: Any) -> None:
    """Check neighbours: distances are computed over the columns of both sides, and votes are counted by class number."""
    fitted = model._fit_X  # noqa: SLF001
    if not isinstance(fitted, np.ndarray):
        return  # a tree, which is checked by itself
    _require(model, "_fit_X", fitted.ndim == 2 and fitted.shape[1] == model.n_features_in_)
    # Zero rows end in a division by zero outside Python.
    _require(model, "n_samples_fit_", model.n_samples_fit_ == len(fitted) > 0)
    classes, votes = getattr(model, "classes_", None), getattr(model, "_y", None)
    if isinstance(classes, np.ndarray) and votes is not None:
        labels = np.asarray(votes)
        _require(model, "_y", len(labels) == len(fitted) and labels.dtype.kind in "iu")
        _require(model, "_y", bool(((labels >= 0) & (labels < len(classes))).all()))


def _check_support(model: Any) -> None:
    """Check support vector machines: libsvm derives every size from the number of classes and of support vectors."""
    support, vectors, counts = model.support_, model.support_vectors_, np.asarray(model._n_support)  # noqa: SLF001
    if model._sparse:  # noqa: SLF001
        raise IntegrityError(
            "a support vector machine of sparse vectors cannot be checked", hint="fit it to dense rows"
        )
    count, kinds = len(support), len(counts)
    pairs = kinds * (kinds - 1) // 2
    if model.kernel == "precomputed" or callable(model.kernel):
        _require(model, "support_", bool(((support >= 0) & (support < model.shape_fit_[0])).all()))
    else:
        _require(model, "support_vectors_", vectors.shape == (count, model.n_features_in_))
    _require(model, "_dual_coef_", model._dual_coef_.shape == (kinds - 1, count))
    _require(model, "_intercept_", np.shape(model._intercept_) == (pairs,))
    for probabilities in (model._probA, model._probB):  # noqa: SLF001
        _require(model, "_probA", np.shape(probabilities) in ((0,), (pairs,)))
    if hasattr(model, "classes_"):
        _require(model, "_n_support", kinds == len(model.classes_))
        _require(model, "_n_support", bool((counts >= 0).all()) and int(counts.sum()) == count)


def _check_centers(model: Any) -> None:
    _require(model, "cluster_centers_", np.shape(model.cluster_centers_)[1:] == (model.n_features_in_,))


def _require(model: Any, what: str, holds: bool) -> None:  # noqa: FBT001
    if not holds:
        raise IntegrityError(
            f"{what} of the {type(model).__name__} does not fit the rest of it",
            hint="the file was not written by tinymlops; refit",
        )
