"""scikit-learn's own types that skops refuses and tinymlops loads, each with the reason.

skops builds an object of a named class and fills it; no listed class runs code that a file brings, and a function
listed here is scikit-learn's own, found by name. What indexes memory without bounds is in `GUARDED`:
`tinymlops.training._guards` checks its numbers before the model is handed out. Found by saving every estimator of
scikit-learn 1.9 with its options and asking skops 0.16 which types it does not trust.

Left out on purpose, for a user to list: scipy's BSpline (SplineTransformer), csr_matrix (SparseRandomProjection)
and distributions (RandomizedSearchCV), and MinkowskiDistance with p other than 1 and 2: compiled code that trusts
its indices.
"""

from __future__ import annotations

__all__ = ["GUARDED", "REVIEWED"]

_COMPILED = "compiled and walks by index; every index is checked after loading"
_PLAIN = "plain Python around estimators or arrays, which are judged by themselves"
_STATELESS = "a stateless distance, without an array of its own"
_LOSS = "a loss with numbers as its only state; used in fit, not in predict"
_SCORER = "a scoring function of scikit-learn by name; not called in predict"
_SELECTOR = "a scoring function of scikit-learn by name; called in fit only"
_KERNEL = "a covariance function in plain NumPy, with numbers as its state"

GUARDED: dict[str, str] = {
    "sklearn.tree._tree.Tree": _COMPILED,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": _COMPILED,
    "sklearn.neighbors._kd_tree.KDTree": _COMPILED,
    "sklearn.neighbors._ball_tree.BallTree": _COMPILED,
}


def _in(module: str, reason: str, *names: str) -> dict[str, str]:
    return {f"{module}.{name}": reason for name in names}


REVIEWED: dict[str, str] = {
    **GUARDED,
    "functools.partial": "a call of one function that is judged by itself (HistGradientBoosting with categories)",
    "sklearn.utils.validation.check_array": "checks an array and returns it; called in predict with its own options",
    "numpy.dtype": "the description of an array's type, by name",
    **_in("sklearn._loss.loss", _LOSS, "HalfTweedieLoss", "HalfTweedieLossIdentity"),
    **_in("sklearn.calibration", _PLAIN, "_CalibratedClassifier", "_SigmoidCalibration", "_TemperatureScaling"),
    "sklearn.utils._bunch.Bunch": "a dict whose keys are attributes",
    **_in("sklearn.utils._metadata_requests", _PLAIN, "MetadataRequest", "MethodMetadataRequest"),
    "sklearn.multiclass._ConstantPredictor": _PLAIN,
    **_in("sklearn.impute._iterative", _PLAIN, "IterativeImputer", "_ImputerTriplet"),
    **_in("sklearn.neural_network._stochastic_optimizers", _PLAIN, "AdamOptimizer", "SGDOptimizer"),
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace": _PLAIN,
    **_in(
        "sklearn.gaussian_process.kernels",
        _KERNEL,
        *("ConstantKernel", "DotProduct", "ExpSineSquared", "Exponentiation", "Matern", "Product", "RBF"),
        *("RationalQuadratic", "Sum", "WhiteKernel"),
    ),
    **_in(
        "sklearn.metrics._dist_metrics", _STATELESS, "ChebyshevDistance64", "EuclideanDistance64", "ManhattanDistance64"
    ),
    **_in("sklearn.metrics._scorer", _SCORER, "_CurveScorer", "_PassthroughScorer", "_Scorer"),
    **_in(
        "sklearn.metrics._classification",
        _SCORER,
        *("accuracy_score", "balanced_accuracy_score", "brier_score_loss", "f1_score", "log_loss"),
        *("precision_score", "recall_score"),
    ),
    **_in("sklearn.metrics._ranking", _SCORER, "average_precision_score", "roc_auc_score"),
    **_in(
        "sklearn.metrics._regression",
        _SCORER,
        *("mean_absolute_error", "mean_squared_error", "r2_score", "root_mean_squared_error"),
    ),
    **_in("sklearn.model_selection._split", _PLAIN, "KFold", "StratifiedKFold", "TimeSeriesSplit"),
    **_in(
        "sklearn.feature_selection._univariate_selection",
        _SELECTOR,
        "chi2",
        "f_classif",
        "f_regression",
        "r_regression",
    ),
    **_in("sklearn.feature_selection._mutual_info", _SELECTOR, "mutual_info_classif", "mutual_info_regression"),
}
"""Type to the reason that it may be loaded."""
