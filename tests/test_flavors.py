"""Model files: bit for bit the same answers, and only reviewed types are loaded."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import polars as pl
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier, TweedieRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, LocalOutlierFactor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tinymlops.errors import DataError, IntegrityError, UntrustedModelError
from tinymlops.training._guards import check_bounds
from tinymlops.training._reviewed import GUARDED, REVIEWED
from tinymlops.training.flavors import load, save

RNG = np.random.default_rng(0)
X = RNG.random((150, 4))
CLASSES = (X[:, 0] * 3).astype(int)
NUMBERS = X[:, 0] * 2 + 0.1
FRAME = pl.DataFrame(X, schema=list("abcd")).with_columns(
    kind=pl.Series(np.array(["u", "v"])[CLASSES % 2], dtype=pl.Enum(["u", "v"]))
)


def double(values):
    return values * 2


class Own(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X))


CLASSIFIERS = [
    HistGradientBoostingClassifier(max_iter=5),
    GradientBoostingClassifier(n_estimators=5),
    RandomForestClassifier(n_estimators=5),
    DecisionTreeClassifier(),
    AdaBoostClassifier(n_estimators=3),
    LogisticRegression(),
    SGDClassifier(loss="modified_huber"),
    GaussianNB(),
    SVC(),
    KNeighborsClassifier(),
    KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"),
    MLPClassifier((4,), solver="lbfgs", max_iter=500),
    CalibratedClassifierCV(LogisticRegression(), cv=3),
    StackingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier())], cv=2),
    GridSearchCV(RandomForestClassifier(n_estimators=2), {"max_depth": [1, 2]}, cv=2, scoring="accuracy"),
    make_pipeline(SimpleImputer(), StandardScaler(), PCA(2), LogisticRegression()),
    make_pipeline(KBinsDiscretizer(quantile_method="averaged_inverted_cdf"), SelectKBest(k=3), LogisticRegression()),
]
REGRESSORS = [
    *(GradientBoostingRegressor(loss=loss, n_estimators=3) for loss in ("squared_error", "huber", "quantile")),
    *(HistGradientBoostingRegressor(loss=loss, max_iter=3) for loss in ("poisson", "gamma", "absolute_error")),
    ExtraTreesRegressor(n_estimators=3),
    TweedieRegressor(power=1.5, link="log"),
    GaussianProcessRegressor(RBF() + WhiteKernel(), optimizer=None),
    VotingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor())]),
    TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    make_pipeline(FunctionTransformer(np.sqrt), LinearRegression()),
]


@pytest.mark.parametrize("model", [*CLASSIFIERS, *REGRESSORS], ids=lambda model: type(model).__name__)
def test_the_answers_are_the_same_to_the_bit(model):
    model.fit(X, CLASSES if model in CLASSIFIERS else NUMBERS)
    back = load(save(model))
    assert type(back) is type(model)
    assert back.predict(X).tobytes() == model.predict(X).tobytes()
    if hasattr(model, "predict_proba"):
        assert back.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=5),
        make_pipeline(
            ColumnTransformer(
                [("number", StandardScaler(), ["a", "b"]), ("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"])]
            ),
            LogisticRegression(),
        ),
    ],
)
def test_a_model_of_a_polars_frame_is_the_same_to_the_bit(model):
    model.fit(FRAME, pl.Series(CLASSES))
    assert load(save(model)).predict_proba(FRAME).tobytes() == model.predict_proba(FRAME).tobytes()


def test_an_outlier_forest_passes_the_guards():
    model = IsolationForest(n_estimators=3, max_features=2).fit(X)
    assert np.array_equal(load(save(model)).predict(X), model.predict(X))


def test_every_reviewed_type_has_a_reason_and_is_refused_without_the_list():
    assert all(len(reason) > 20 for reason in REVIEWED.values())
    model = HistGradientBoostingClassifier(max_iter=2).fit(X, CLASSES)
    with pytest.raises(TypeError, match="TreePredictor"):
        skops.io.loads(skops.io.dumps(model), trusted=[])
    assert GUARDED.keys() <= REVIEWED.keys()


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (make_pipeline(FunctionTransformer(double), Ridge()), f"{__name__}.double"),
        (make_pipeline(FunctionTransformer(lambda x: x), Ridge()), "<lambda>"),
        (Own(), f"{__name__}.Own"),
        (make_pipeline(StandardScaler(), Own()), f"{__name__}.Own"),
    ],
)
def test_a_users_function_or_class_is_refused_by_name(model, named):
    model.fit(X, CLASSES)
    with pytest.raises(UntrustedModelError, match=named) as caught:
        save(model)
    assert "trust=[" in caught.value.hint
    with pytest.raises(UntrustedModelError, match=named):
        load(skops.io.dumps(model))


def test_a_listed_type_is_loaded_and_only_that_one():
    model = make_pipeline(FunctionTransformer(double), Own()).fit(X, CLASSES)
    both = [f"{__name__}.double", f"{__name__}.Own"]
    back = load(save(model, both), both)
    assert np.array_equal(back.predict(X), model.predict(X))
    with pytest.raises(UntrustedModelError, match="Own"):
        load(save(model, both), both[:1])
    with pytest.raises(DataError, match="is not a list"):
        save(model, "double")


def test_what_cannot_be_kept_says_so():
    with pytest.raises(DataError, match="not fitted"):
        save(Ridge())
    with pytest.raises(DataError, match="cannot be logged"):
        save({"a": 1})
    with pytest.raises(DataError, match="scoring"):
        save(HistGradientBoostingClassifier(max_iter=2, early_stopping=True, scoring="roc_auc").fit(X, CLASSES > 1))


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\3\4"])
def test_what_is_no_model_is_an_integrity_error(data):
    with pytest.raises(IntegrityError):
        load(data)


def test_an_unknown_flavour_and_a_file_of_something_else():
    with pytest.raises(IntegrityError, match="flavour"):
        load(b"", flavor="pickle")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("schema.json", "{}")
    with pytest.raises(IntegrityError):
        load(packed.getvalue())


def _broken(field, value):
    model = HistGradientBoostingClassifier(max_iter=2).fit(X, CLASSES)
    model._predictors[0][0].nodes[field][0] = value
    return model


@pytest.mark.parametrize(("field", "value"), [("left", 10**6), ("right", 0), ("feature_idx", 4), ("feature_idx", -1)])
def test_a_tree_that_points_outside_itself_is_not_handed_out(field, value):
    with pytest.raises(IntegrityError, match="points outside"):
        load(skops.io.dumps(_broken(field, value)))


@pytest.mark.parametrize(("field", "value"), [("left_child", 10**6), ("right_child", 0), ("feature", 7)])
def test_a_decision_tree_that_points_outside_itself_is_refused(field, value):
    model = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=2)).fit(X, CLASSES)
    tree = model[-1].estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    with pytest.raises(IntegrityError, match="points outside"):
        check_bounds(model)


def _shape(model, **changed):
    for name, value in changed.items():
        setattr(model, name, value)
    return model


def _boosted(**changed):
    return _shape(GradientBoostingClassifier(n_estimators=2).fit(X, CLASSES), **changed)


def _widened():
    model = _boosted()
    model.estimators_ = np.hstack([model.estimators_] * 4)
    return model


def _wide_values():
    model = _boosted()
    model.estimators_[1, 2] = DecisionTreeRegressor(max_depth=2).fit(X, np.column_stack([NUMBERS, NUMBERS]))
    return model


def _shape_last(outer):
    pipeline = make_pipeline(StandardScaler(), outer)
    pipeline[0].fit(X)
    return pipeline


def _categorical(mutate):
    model = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=2).fit(FRAME.select("kind", "a"), CLASSES)
    mutate(model)
    return model


def _dropped(model):
    steps = model._preprocessor.transformers_
    model._preprocessor.transformers_ = [
        (name, "drop" if name == "numerical" else step, at) for name, step, at in steps
    ]


def _neighbours(**changed):
    return _shape(KNeighborsClassifier(algorithm="brute").fit(X, CLASSES), **changed)


CRAFTED = {
    "more trees a stage than classes": _widened,
    "one column of trees": lambda: _boosted(estimators_=_boosted().estimators_[:, :1]),
    "no trees": lambda: _boosted(estimators_=_boosted().estimators_[:0]),
    "trees in a list": lambda: _boosted(estimators_=_boosted().estimators_.tolist()),
    "other estimators than trees": lambda: _boosted(estimators_=np.full((2, 3), Ridge().fit(X, NUMBERS), object)),
    "trees of several values": _wide_values,
    "fewer classes at the start": lambda: _boosted(init_="zero", n_trees_per_iteration_=1),
    "one output at the start": lambda: _boosted(init_=GradientBoostingClassifier(n_estimators=1).fit(X, CLASSES > 1)),
    "a crafted one as the start of another": lambda: _shape_last(_boosted(init_=_widened())),
    "fewer columns than features": lambda: _categorical(_dropped),
    "fewer features in the bins": lambda: _categorical(
        lambda one: _shape(one._bin_mapper, is_categorical_=np.zeros(1, np.uint8))
    ),
    "a category of no categorical feature": lambda: _categorical(
        lambda one: _shape(one._bin_mapper, is_categorical_=np.zeros(2, np.uint8))
    ),
    "neighbours of fewer columns": lambda: _neighbours(_fit_X=X[:, :2].copy()),
    "no neighbours": lambda: _shape(
        LocalOutlierFactor(novelty=True, algorithm="brute").fit(X), _fit_X=X[:0].copy(), n_samples_fit_=0
    ),
    "more neighbours than rows": lambda: _shape(
        KNeighborsRegressor(algorithm="brute").fit(X, NUMBERS), _fit_X=X[:2].copy()
    ),
    "neighbours of a class that is not there": lambda: _neighbours(_y=np.full(150, 10**6)),
    "a negative class": lambda: _neighbours(_y=np.full(150, -1)),
    "fewer classes than neighbours": lambda: _neighbours(_y=np.zeros(3, np.int64)),
    "centres of fewer columns": lambda: _shape(KMeans(2, n_init=1).fit(X), cluster_centers_=X[:2, :1].copy()),
    "more support than vectors": lambda: _shape(SVC().fit(X, CLASSES), _n_support=np.full(3, 10**6, np.int32)),
    "vectors of fewer columns": lambda: _shape(SVC().fit(X, CLASSES), support_vectors_=X[:, :1].copy()),
    "fewer coefficients": lambda: _shape(SVC().fit(X, CLASSES), _dual_coef_=np.zeros((1, 1))),
    "fewer intercepts": lambda: _shape(SVC().fit(X, CLASSES), _intercept_=np.zeros(1)),
    "odd probabilities": lambda: _shape(SVC().fit(X, CLASSES), _probA=np.zeros(2)),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_a_file_whose_arrays_do_not_fit_to_each_other_is_not_handed_out(case):
    with pytest.raises(IntegrityError):
        load(skops.io.dumps(CRAFTED[case]()))


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=2, init="zero"),
        GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()),
        GradientBoostingRegressor(n_estimators=2, init=make_pipeline(StandardScaler(), Ridge())),
        AdaBoostClassifier(GradientBoostingClassifier(n_estimators=2), n_estimators=2),
        make_pipeline(StandardScaler(), KMeans(3, n_init=1)),
        KNeighborsClassifier(algorithm="brute", weights="distance"),
        KNeighborsRegressor(algorithm="brute"),
        NuSVC(nu=0.1),
        SVR(),
        NuSVR(),
        OneClassSVM(),
        SVC(kernel="linear", decision_function_shape="ovo"),
        LocalOutlierFactor(novelty=True),
    ],
    ids=repr,
)
def test_what_fit_made_passes_the_guards(model):
    model.fit(
        X, NUMBERS if isinstance(model, GradientBoostingRegressor | KNeighborsRegressor | SVR | NuSVR) else CLASSES
    )
    assert load(save(model)).predict(X).tobytes() == model.predict(X).tobytes()


def _schema(change):
    """Write a model file again with another description of what is in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(save(Ridge().fit(X, NUMBERS)))) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(json.loads(content)) if name == "schema.json" else content)
    return packed.getvalue()


def _nested(schema, *, times, whole):
    """Lists in lists: as truncated JSON, or complete around the model."""
    opening = '{"__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "__id__": 7, "content": ['
    rest = json.dumps({name: schema[name] for name in ("protocol", "_skops_version") if name in schema})[1:-1]
    return opening * times + (json.dumps(schema) + "]}" * (times - 1) + f"], {rest}}}" if whole else "")


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: _nested(schema, times=100_000, whole=False),
        lambda schema: _nested(schema, times=100_000, whole=True),
        lambda schema: _nested(schema, times=700, whole=True),
        lambda schema: json.dumps({**schema, "content": {}}),
        lambda schema: json.dumps({**schema, "__class__": 7}),
        lambda schema: json.dumps({**schema, "__loader__": "NoNode"}),
        lambda schema: json.dumps({**schema, "__class__": "NoSuchEstimator"}),
        lambda schema: json.dumps([schema]),
        lambda schema: "null",
        lambda schema: "",
    ],
)
def test_a_crafted_description_is_an_integrity_error_and_no_other(change):
    with pytest.raises((IntegrityError, UntrustedModelError)):
        load(_schema(change))


def test_an_array_that_claims_more_memory_than_there_is_is_an_integrity_error():
    packed = io.BytesIO()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"
    header += b" " * (118 - len(header)) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(io.BytesIO(save(Ridge().fit(X, NUMBERS)))) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            new.writestr(name, npy if name.endswith(".npy") else old.read(name))
    with pytest.raises(IntegrityError):
        load(packed.getvalue())


def test_a_tree_that_claims_more_features_than_its_forest_is_refused():
    model = RandomForestClassifier(n_estimators=2).fit(X, CLASSES)
    wide = DecisionTreeClassifier().fit(np.hstack([RNG.random((150, 40)), X]), CLASSES)
    model.estimators_[0] = wide
    with pytest.raises(IntegrityError, match="a feature"):
        load(skops.io.dumps(model))
