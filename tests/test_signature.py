"""The signature of a model: the types that it was fitted to, at every prediction; and runs that log it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tinymlops.errors import DataError, UntrustedModelError
from tinymlops.records import RequestField, Signature
from tinymlops.registry.runs import Runs
from tinymlops.registry.scope import Scope
from tinymlops.signature import build_signature, cast, task_of
from tinymlops.stores.environment import open_environment
from tinymlops.training.answers import predict
from tinymlops.training.baseline import histogram_of, read_baseline
from tinymlops.training.fitted import fitted_signature
from tinymlops.training.flavors import load
from tinymlops.training.tracking import ActiveRun

NOW = datetime(2013, 10, 1, tzinfo=UTC)
RNG = np.random.default_rng(0)
N = 300
KINDS = pl.Enum(["u", "v", "w"])
FULL = pl.DataFrame(
    {
        "a": RNG.random(N),
        "b": RNG.integers(0, 9, N),
        "c": RNG.random(N) < 0.5,
        "kind": pl.Series(np.array(["u", "v", "w"])[RNG.integers(0, 3, N)], dtype=KINDS),
    }
)
Y = pl.Series("late", (FULL["a"] > 0.5) ^ FULL["c"] ^ (FULL["kind"] == "u"))
HOLES = FULL.with_row_index().select(
    pl.when((pl.col("index") + place) % 7 != 0).then(pl.col(name)).alias(name)
    for place, name in enumerate(FULL.columns)
)
SIGNATURE = build_signature(HOLES, Y, {"a": "sky:a"}, [RequestField("origin", "String", "key")])


def encoded():
    return ColumnTransformer(
        [
            ("number", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "c"]),
            ("kind", OneHotEncoder(handle_unknown="ignore"), ["kind"]),
        ]
    )


def test_the_signature_says_types_origins_and_classes():
    assert [(one.name, one.dtype, one.source) for one in SIGNATURE.features] == [
        ("a", "Float64", "sky:a"),
        ("b", "Int64", "request"),
        ("c", "Boolean", "request"),
        ("kind", "Enum", "request"),
    ]
    assert SIGNATURE.features[3].categories == ["u", "v", "w"]
    assert (SIGNATURE.task, SIGNATURE.classes) == ("binary", [False, True])
    assert msgspec.json.decode(msgspec.json.encode(SIGNATURE), type=Signature) == SIGNATURE
    with pytest.raises(DataError, match="'t' is Date"):
        build_signature(pl.DataFrame({"t": [NOW.date()]}), Y, {})


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (pl.Series([True, True]), ("binary", [False, True])),
        (pl.Series([0, 1, 0]), ("binary", [0, 1])),
        (pl.Series(["b", "a"]), ("binary", ["a", "b"])),
        (pl.Series(["b", "a"], dtype=pl.Enum(["b", "a"])), ("binary", ["a", "b"])),
        (pl.Series([3, 1, 2]), ("multiclass", [1, 2, 3])),
        (pl.Series([0.0, 1.0]), ("regression", None)),
        (pl.Series(range(100)), ("regression", None)),
    ],
)
def test_the_label_says_the_task(y, expected):
    assert task_of(y) == expected


def test_cast_gives_the_types_of_training():
    sent = pl.DataFrame(
        {
            "more": [1, 2, 3],
            "kind": ["w", "unseen", None],
            "c": [1, 0, None],
            "b": [2.0, float("nan"), None],
            "a": [1, None, 3],
        }
    )
    found = cast(sent, SIGNATURE)
    assert found.schema == HOLES.schema
    assert found.rows() == [(1.0, 2, True, "w"), (None, None, False, None), (3.0, None, None, None)]
    empty = cast(pl.DataFrame({name: [None] for name in HOLES.columns}), SIGNATURE)
    assert empty.schema == HOLES.schema
    assert cast(found, SIGNATURE).equals(found)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("a", "1.5"), ("b", 1.5), ("b", 2.0**63), ("b", float("inf")), ("b", "3"), ("c", 2), ("c", "true")),
        *(("kind", 3), ("a", NOW), ("a", [1.0])),
    ],
)
def test_cast_refuses_what_is_of_another_type(column, value):
    row = {"a": 1.0, "b": 1, "c": True, "kind": "u", column: value}
    with pytest.raises(DataError, match=f"column '{column}' is"):
        cast(pl.DataFrame({name: [one] for name, one in row.items()}), SIGNATURE)


def test_cast_names_a_missing_column():
    with pytest.raises(DataError, match="no column 'kind'") as caught:
        cast(HOLES.rename({"kind": "kinds"}), SIGNATURE)
    assert "did you mean 'kinds'" in caught.value.hint


@pytest.mark.parametrize("frame", [FULL, HOLES], ids=["full", "holes"])
@pytest.mark.parametrize("columns", [["a"], ["b"], ["a", "b"], ["c"], ["a", "c"], ["kind"], ["a", "b", "c", "kind"]])
@pytest.mark.parametrize("regression", [False, True])
def test_hist_gradient_boosting_answers_one_row_as_it_answers_all(frame, columns, regression):
    X, y = frame.select(columns), FULL["a"] * 2 if regression else Y
    model = (HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier)(max_iter=5).fit(X, y)
    if "kind" in columns:
        assert model.is_categorical_[-1]
    signature = fitted_signature(build_signature(X, y, {}), model, y)
    found = predict(model, X, signature)
    expected = model.predict(X)
    assert found["prediction"].to_list() == expected.tolist()
    if not regression:
        assert found["probability"].to_list() == model.predict_proba(X)[:, 1].tolist()
    ones = pl.concat([predict(model, X.slice(i, 1), signature) for i in range(15)])
    assert ones.equals(found.head(15))
    # As a request brings it: text instead of an Enum, and no column typed as in training.
    sent = pl.DataFrame(X.head(15).to_dicts(), schema_overrides={"kind": pl.String} if "kind" in columns else None)
    assert predict(model, sent, signature).equals(found.head(15))


@pytest.mark.parametrize(
    ("model", "frame"),
    [
        (make_pipeline(encoded(), LogisticRegression()), FULL),
        (make_pipeline(encoded(), LogisticRegression()), HOLES),
        (make_pipeline(SimpleImputer(), LogisticRegression()), HOLES.select("c")),
        (make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), HOLES.select("a", "b", "c")),
        (RandomForestClassifier(n_estimators=5), HOLES.select("a", "b", "c")),
        (LogisticRegression(), FULL.select("c")),
    ],
)
def test_pipelines_answer_one_row_as_they_answer_all(model, frame):
    model.fit(frame, Y)
    signature = fitted_signature(build_signature(frame, Y, {}), model, Y)
    found = predict(model, frame, signature)
    assert found["prediction"].to_list() == model.predict(frame).tolist()
    ones = pl.concat([predict(model, frame.slice(i, 1), signature) for i in range(15)])
    assert ones["prediction"].equals(found["prediction"].head(15))
    # BLAS may sum one row in another order than a batch.
    assert np.allclose(ones["probability"], found["probability"].head(15), rtol=1e-12, atol=0)


def test_an_unseen_category_is_a_null():
    model = HistGradientBoostingClassifier(max_iter=5).fit(HOLES, Y)
    row = HOLES.head(1).with_columns(pl.lit("unseen").alias("kind"))
    null = HOLES.head(1).with_columns(pl.lit(None, dtype=KINDS).alias("kind"))
    assert predict(model, row, SIGNATURE).equals(predict(model, null, SIGNATURE))


def test_a_model_without_column_names_gets_an_array():
    X = FULL.select("a", "b", "c")
    model = RandomForestClassifier(n_estimators=3).fit(X.cast(pl.Float64).to_numpy(), Y)
    signature = fitted_signature(build_signature(X, Y, {}), model, Y)
    assert predict(model, X, signature)["prediction"].to_list() == model.predict(X.cast(pl.Float64).to_numpy()).tolist()


def test_a_model_of_some_of_the_features_gets_those():
    model = RandomForestClassifier(n_estimators=3).fit(HOLES.select("b", "a"), Y)
    assert fitted_signature(SIGNATURE, model, Y) == SIGNATURE
    found = predict(model, HOLES, SIGNATURE)
    assert found["prediction"].to_list() == model.predict(HOLES.select("b", "a")).tolist()
    other = RandomForestClassifier(n_estimators=3).fit(FULL.select("a", x="b"), Y)
    with pytest.raises(DataError, match="a feature 'x'"):
        fitted_signature(SIGNATURE, other, Y)
    with pytest.raises(DataError, match="fitted to 1 features"):
        fitted_signature(SIGNATURE, RandomForestClassifier(n_estimators=3).fit(FULL.select("a").to_numpy(), Y), Y)


def test_a_null_that_a_model_does_not_take_is_named():
    X = FULL.select("a", "b")
    model = LogisticRegression().fit(X, Y)
    sent = X.head(2).with_columns(b=pl.lit(None, dtype=pl.Int64))
    with pytest.raises(DataError, match="have some: b"):
        predict(model, sent, build_signature(X, Y, {}))


def test_classes_are_given_as_the_label_has_them():
    X = FULL.select("a", "b")
    words = pl.Series(np.array(["late", "on time"])[Y.to_numpy().astype(int)])
    model = HistGradientBoostingClassifier(max_iter=3).fit(X, words)
    found = predict(model, X, build_signature(X, words, {}))
    assert found.schema == {"prediction": pl.String, "probability": pl.Float64}
    three = pl.Series((FULL["a"] * 3).cast(pl.Int64))
    model = HistGradientBoostingClassifier(max_iter=3).fit(X, three)
    found = predict(model, X, build_signature(X, three, {}))
    assert found.schema == {"prediction": pl.Int64, "probabilities": pl.List(pl.Float64)}
    assert found["probabilities"].list.sum().to_numpy() == pytest.approx(1.0)
    model = HistGradientBoostingClassifier(max_iter=3).fit(X, Y.cast(pl.Int64))
    assert predict(model, X, build_signature(X, Y, {})).schema["prediction"] == pl.Boolean
    assert predict(model, X.head(0), build_signature(X, Y, {})).schema["prediction"] == pl.Boolean


def test_the_model_says_what_it_learnt():
    X = FULL.select("a", "b")
    counts, flags = FULL["b"] % 3, Y.cast(pl.Float64)
    regression = fitted_signature(build_signature(X, counts, {}), LinearRegression().fit(X, counts), counts)
    assert (regression.task, regression.classes) == ("regression", None)
    found = fitted_signature(build_signature(X, flags, {}), LogisticRegression().fit(X, flags), flags)
    assert (found.task, found.classes) == ("binary", [0.0, 1.0])


class Split(NamedTuple):
    X: pl.DataFrame
    y: pl.Series


class Data:
    def __init__(self, test=True):
        self.train = Split(HOLES.head(200), Y.head(200))
        self.test = Split(HOLES.tail(100), Y.tail(100)) if test else None
        self.signature = SIGNATURE
        self.build_id = "build"
        self.definitions = {"feature_view:sky": "f"}


@pytest.fixture
def runs(tmp_path):
    environment = open_environment(tmp_path / "flights.tm", create=True, clock=lambda: NOW)
    yield Runs(Scope(environment, lambda: NOW, "anna"))
    environment.release()


def start(runs, data=None, **options):
    run = runs.start("baseline", training_set=data.build_id if data else None, **options)
    return ActiveRun(runs, run, clock=lambda: NOW, data=data)


def test_a_run_logs_a_model_with_all_it_needs(runs):
    data = Data()
    with start(runs, data, params={"depth": 3}) as run:
        model = HistGradientBoostingClassifier(max_iter=10).fit(data.train.X, data.train.y)
        run.log_params(rate=0.1)
        run.log_metrics(auc=0.5)
        run.log_metrics({"val/auc": 0.6}, step=3)
        run.log_artifact("notes.txt", b"x")
        logged = run.log_model(model)
        assert "running, auc 0.5" in repr(run)
        assert "metrics.auc" in run._repr_html_()
    assert runs.get(run.id).status == "finished"
    assert runs.models(run.id) == [logged]
    assert (
        logged.model_class
        == "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier"
    )
    assert (logged.training_set, logged.definitions) == ("build", data.definitions)
    assert (logged.evaluation.split, logged.evaluation.rows) == ("test", 100)
    assert logged.evaluation.metrics.keys() == {"auc", "log_loss", "accuracy"}
    back = load(runs._blobs.read(logged.sha256), logged.trusted_types, flavor=logged.flavor)
    assert predict(back, data.test.X, logged.signature).equals(predict(model, data.test.X, SIGNATURE))
    baseline = read_baseline(runs._blobs.read(logged.baseline_sha256))
    assert baseline.rows == 200
    for name, histogram in baseline.features.items():
        assert sum(histogram.counts) == 200
        assert histogram.counts[-1] == data.train.X[name].null_count()
    assert baseline.features["kind"].categories == ["u", "v", "w"]
    assert sum(baseline.prediction.counts) == 200


def test_a_model_without_test_rows_is_evaluated_on_its_training_rows_and_says_so(runs):
    data = Data(test=False)
    with start(runs, data) as run:
        logged = run.log_model(HistGradientBoostingClassifier(max_iter=2).fit(*data.train), name="small")
    assert (logged.name, logged.evaluation.split, logged.evaluation.rows) == ("small", "train", 200)


def test_an_exception_fails_the_run_and_passes_on(runs):
    with pytest.raises(ZeroDivisionError), start(runs) as run:
        run.log_metrics(auc=0.5)
        1 / 0  # noqa: B018
    assert runs.get(run.id).status == "failed"
    assert runs.get(run.id).error == "ZeroDivisionError: division by zero"
    assert runs.get(run.id).metrics == {"auc": 0.5}


def test_a_model_needs_its_training_data_and_reviewed_types(runs):
    model = LogisticRegression().fit(FULL.select("a"), Y)
    with start(runs) as run, pytest.raises(DataError, match="training data"):
        run.log_model(model)
    own = make_pipeline(FunctionTransformer(same), HistGradientBoostingClassifier(max_iter=2)).fit(HOLES, Y)
    with start(runs, Data()) as run:
        with pytest.raises(UntrustedModelError, match="same"):
            run.log_model(own)
        logged = run.log_model(own, trust=[f"{__name__}.same"])
    assert logged.trusted_types == [f"{__name__}.same"]
    assert logged.model_class == "sklearn.pipeline.Pipeline[HistGradientBoostingClassifier]"


def same(frame):
    return frame


def test_html_is_escaped(runs):
    run = start(runs, params={"<b>": "<script>"})
    assert "<script>" not in run._repr_html_()
    assert run.finish().status == "finished"


def test_histograms_of_odd_columns():
    assert histogram_of(pl.Series([1.0, None, float("inf"), float("-inf"), float("nan")])).counts[-1] == 2
    assert histogram_of(pl.Series([None, None], dtype=pl.Float64)).counts == [0, 2]
    assert histogram_of(pl.Series([True, None, True])).counts == [0, 2, 1]
    assert histogram_of(pl.Series(["b", "a", "b"])).categories == ["a", "b"]
