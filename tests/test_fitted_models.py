"""The models that a run logs: they answer with their label's values, for the kind of table that they were fitted to."""

import hashlib
import json
import sys
from datetime import timedelta

import msgspec
import numpy as np
import polars as pl
import pytest
from conftest import at
from inside import clock_of
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, LabelEncoder, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from trained import project_of_orders, replay, train, visits_frame

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.records import Signature
from tinymlops.signature import build_signature
from tinymlops.training.answers import predict
from tinymlops.training.fitted import answer_training_rows, fitted_signature
from tinymlops.training.flavors import save

COLOURS = ["blue", "green", "red"]
LABELS = {
    "flag": pl.Boolean(),
    "colour": pl.String(),
    "level": pl.Enum(["red", "green", "blue"]),
    "count": pl.Int64(),
    "amount": pl.Float64(),
}


def next_of(column):
    def label(orders: tm.Rows) -> tm.Label:
        return orders[column].last()

    label.__name__ = f"next_{column}"
    return label


def shop_of_labels():
    """Orders whose next colour, count and amount are labels of every type."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    number = pl.int_range(300, eager=True)

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return pl.DataFrame(
            {
                "customer": pl.Series(["a", "b", "c"]).gather((number % 3).cast(pl.UInt32)),
                "at": [at(hour) for hour in range(300)],
                "amount": (number * 7 % 11).cast(pl.Float64),
                "count": number * 5 % 7,
                "colour": pl.Series(COLOURS).gather((number % 7 % 3).cast(pl.UInt32)),
                "flag": number % 5 > 2,
            }
        ).with_columns(level=pl.col("colour").cast(LABELS["level"]))

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return visits_frame(range(10, 200))

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last_amount": orders["amount"].last(), "spent_1d": orders["amount"].sum(window="1d")}

    for name in LABELS:
        made = project.label(entity=customer, horizon="8h")(next_of(name))
        project.training_set(name, spine=visits, label=made, features=[spending])
    return project


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    (folder / "tinymlops.toml").write_text(f"trusted_types = {json.dumps(TRUSTED)}\n")
    with tm.connect(folder / "shop.tm", create=True, clock=tm.ReplayClock(at(300))) as workspace:
        workspace.apply(shop_of_labels())
        workspace.ingest()
        workspace.materialize()
        yield workspace


def log(ws, data, model, **options):
    with ws.start_run("fit", data=data) as run:
        logged = run.log_model(model, **options)
    return run, logged


def served(ws, data, model, name, rows, **options):
    run, _ = log(ws, data, model, **options)
    ws.models.register(name, run)
    return ws.predict(name, rows)


class Answers(RegressorMixin, BaseEstimator):
    """A regressor of the user's own, which answers what it was told."""

    def __init__(self, what="nan"):
        self.what = what

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        found = np.arange(len(X), dtype=float)
        kinds = {
            "nan": np.where(found == 3, np.nan, found),
            "infinity": np.where(found == 3, -np.inf, found),
            "one too few": found[1:],
            "a matrix": np.column_stack([found, found]),
            "one number": 7.0,
            "text": found.astype(str),
            "nothing": None,
            "ragged": [[1.0], [1.0, 2.0]],
            "squeezed": np.squeeze(found),
        }
        return kinds[self.what]


class Sure(ClassifierMixin, BaseEstimator):
    """A classifier of the user's own, which answers what it was not fitted to, or with odd probabilities."""

    def __init__(self, what="other"):
        self.what = what

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        if self.what != "no classes":
            self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), 7 if self.what == "other" else self.classes_[0] if self.what != "no classes" else True)

    def predict_proba(self, X):
        if self.what == "three columns":
            return np.full((len(X), 3), 1 / 3)
        return np.full((len(X), 2), np.nan if self.what == "nan" else 0.5)


TRUSTED = [f"{__name__}.{name}" for name in ("Answers", "Sure", "Located", "Rows")]


# The label


def test_an_enum_label_is_text_for_the_training_set_and_for_the_model(ws):
    data = ws.get_training_data("level")
    assert data.train.y.dtype == LABELS["level"]
    assert (data.signature.task, data.signature.classes) == ("multiclass", COLOURS)
    assert data.signature == build_signature(
        data.train.X,
        data.train.y,
        {field.name: field.source for field in data.signature.features},
        data.signature.request,
    )
    answers = served(ws, data, DecisionTreeClassifier().fit(data.train.X, data.train.y), "level", [{"customer": "a"}])
    assert answers[0]["prediction"] in COLOURS
    assert len(answers[0]["probabilities"]) == 3


@pytest.mark.parametrize("name", LABELS)
def test_a_model_of_the_label_is_logged(ws, name):
    data = ws.get_training_data(name)
    kind = DecisionTreeRegressor if name == "amount" else DecisionTreeClassifier
    _, logged = log(ws, data, kind(max_depth=3).fit(data.train.X, data.train.y))
    assert logged.signature.task == data.signature.task
    assert logged.signature.classes == data.signature.classes


def test_a_count_may_be_a_number_or_a_class(ws):
    data = ws.get_training_data("count")
    _, logged = log(ws, data, LinearRegression().fit(data.train.X, data.train.y))
    assert (logged.signature.task, logged.signature.classes) == ("regression", None)
    _, logged = log(ws, data, RandomForestClassifier(3).fit(data.train.X, data.train.y))
    assert logged.signature.task == "multiclass"


def test_some_of_the_labels_words_may_be_all_that_a_model_knows(ws):
    data = ws.get_training_data("colour")
    some = data.train.y != "red"
    _, logged = log(ws, data, DecisionTreeClassifier().fit(data.train.X.filter(some), data.train.y.filter(some)))
    assert logged.signature.classes == COLOURS


TWICE = "was fitted to 2 outputs, and label"
WRONG = {
    "two outputs of a regressor": ("amount", DecisionTreeRegressor(), lambda y: np.column_stack([y, -y]), "shape"),
    "two outputs of a line": ("amount", LinearRegression(), lambda y: np.column_stack([y, -y]), "shape"),
    "two outputs of a tree": ("flag", DecisionTreeClassifier(), lambda y: np.column_stack([y, ~y]), TWICE),
    "two outputs of a forest": ("flag", RandomForestClassifier(2), lambda y: np.column_stack([y, ~y]), TWICE),
    "two outputs of neighbours": ("flag", KNeighborsClassifier(), lambda y: np.column_stack([y, ~y]), TWICE),
    "two flags of a network": (
        "flag",
        MLPClassifier((2,), solver="lbfgs", max_iter=500, random_state=0),
        lambda y: np.column_stack([y, ~y]),
        "shape",
    ),
    "codes of words": (
        "colour",
        DecisionTreeClassifier(),
        lambda y: LabelEncoder().fit_transform(y.to_list()),
        r"answers \[0, 1, 2\], and the classes of label 'next_colour' are \['blue', 'green', 'red'\]",
    ),
    "other words": ("colour", DecisionTreeClassifier(), lambda y: ("a" + y).to_list(), r"'ablue'.*'blue'"),
    "minus one and one": (
        "flag",
        LogisticRegression(),
        lambda y: np.where(y, 1, -1),
        r"answers \[-1, 1\], and the classes of label 'next_flag' are \[False, True\]",
    ),
    "flags as words": ("flag", DecisionTreeClassifier(), lambda y: y.cast(pl.String).to_list(), r"'false', 'true'"),
    "codes of counts": ("count", DecisionTreeClassifier(), lambda y: y.to_numpy() - 1, r"\[-1, 0.*are \[0, 1"),
    "whether a count is large": ("count", DecisionTreeClassifier(), lambda y: y > 3, r"answers \[False, True\]"),
    "whether a count is large, as a number": (
        "count",
        DecisionTreeClassifier(),
        lambda y: (y > 3).cast(pl.Int64),
        r"answers \[0, 1\], and the classes",
    ),
    "one class": ("flag", DecisionTreeClassifier(), lambda y: np.ones(len(y), bool), r"one class only, \[True\]"),
    "one word": ("colour", DummyClassifier(), lambda y: ["red"] * len(y), r"one class only, \['red'\]"),
    "a classifier of amounts": (
        "amount",
        DecisionTreeClassifier(),
        lambda y: y > 5,
        r"is a number with 11 values, .*answers one of the classes \[False, True\]",
    ),
    "amounts as classes": ("amount", DecisionTreeClassifier(), lambda y: y, "is a number with 11 values"),
    "a number for a flag": ("flag", LinearRegression(), lambda y: y.cast(pl.Int8), "answers numbers"),
    "a number for a word": ("colour", DummyRegressor(), lambda y: np.arange(len(y)), "answers numbers"),
    "outliers for a flag": ("flag", IsolationForest(n_estimators=2), lambda y: y, "answers numbers"),
    "clusters for a word": ("level", KMeans(2, n_init=1), lambda y: y, "answers numbers"),
    "no predict": ("flag", StandardScaler(), lambda y: y, "has no predict"),
    "other classes in predict": ("flag", Sure("other"), lambda y: y, "answers 7 in row 0"),
    "no classes": ("flag", Sure("no classes"), lambda y: y, "a classifier without classes_"),
    "too many probabilities": ("flag", Sure("three columns"), lambda y: y, "predict_proba of the Sure gives"),
    "probabilities that are NaN": ("flag", Sure("nan"), lambda y: y, "no finite number for 1.. of 1.. training rows"),
    "NaN": ("amount", Answers("nan"), lambda y: y, "no finite number for 1 of 1.. training rows, the first is row 3"),
    "infinity": ("amount", Answers("infinity"), lambda y: y, "no finite number for 1 of 1.. training rows"),
    "one answer too few": ("amount", Answers("one too few"), lambda y: y, "expected one value for each"),
    "a matrix": ("amount", Answers("a matrix"), lambda y: y, "expected one value for each"),
    "one number": ("amount", Answers("one number"), lambda y: y, r"of shape \(\)"),
    "text": ("amount", Answers("text"), lambda y: y, "expected numbers"),
    "nothing": ("amount", Answers("nothing"), lambda y: y, r"of shape \(\)"),
    "a ragged list": ("amount", Answers("ragged"), lambda y: y, "refuses these features"),
    "no shape for one row": ("amount", Answers("squeezed"), lambda y: y, r"of shape \(\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_model_of_something_else_than_the_label_is_refused_when_it_is_logged(ws, case):
    name, model, y, message = WRONG[case]
    data = ws.get_training_data(name)
    model.fit(data.train.X, y(data.train.y))
    with ws.start_run("fit", data=data) as run, pytest.raises(DataError, match=message) as caught:
        run.log_model(model, trust=TRUSTED)
    assert caught.value.hint
    assert ws.runs.models(run.id) == []


def test_a_flag_kept_as_a_number_may_be_a_class_or_a_number():
    X, y = pl.DataFrame({"x": np.arange(20.0)}), pl.Series("y", [0.0, 1.0] * 10)
    signature = build_signature(X, y, {})
    assert fitted_signature(signature, DecisionTreeClassifier().fit(X, y), y).classes == [0.0, 1.0]
    assert fitted_signature(signature, LinearRegression().fit(X, y), y).task == "regression"
    with pytest.raises(DataError, match=r"answers \[-1, 1\]"):
        fitted_signature(signature, DecisionTreeClassifier().fit(X, np.where(y > 0, 1, -1)), y)


def test_a_number_that_is_not_finite_is_null_in_an_answer_and_no_error():
    X = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    model = Answers("nan").fit(X, None)
    signature = build_signature(X, X["x"], {})
    assert predict(model, X, signature)["prediction"].to_list() == [0.0, 1.0, 2.0, None]


# The kind of table


class Located(TransformerMixin, BaseEstimator):
    """A step that works on pandas frames alone."""

    def fit(self, X, y=None):
        self.seen_ = list(X.columns)
        return self

    def transform(self, X):
        return X.loc[:, ["last_amount", "spent_1d"]].fillna(0)


class Rows(TransformerMixin, BaseEstimator):
    """A step that works on arrays alone."""

    def fit(self, X, y=None):
        self.seen_ = X.shape[1]
        return self

    def transform(self, X):
        return np.nan_to_num(X[:, ::-1].astype(float))


def test_a_pipeline_that_needs_pandas_is_given_pandas_everywhere(ws, tmp_path):
    data = ws.get_training_data("amount")
    model = make_pipeline(Located(), Ridge()).fit(data.train.X.to_pandas(), data.train.y)
    run, logged = log(ws, data, model, trust=TRUSTED)
    assert logged.signature.frame == "pandas"
    ws.models.register("located", run)
    keys = [{"customer": "a"}, {"customer": "nobody"}]
    answers = ws.predict("located", keys)
    features = ws.get_online_features(["spending"], keys).to_polars().drop("customer")
    expected = model.predict(features.to_pandas())
    assert [row["prediction"] for row in answers] == expected.tolist()
    ws.predict_batch("located", keys, tmp_path / "out.parquet")
    assert pl.read_parquet(tmp_path / "out.parquet")["prediction"].to_list() == expected.tolist()
    assert ws.load_model("located").predict(features)["prediction"].to_list() == expected.tolist()
    assert ws.predict("located", features.to_dicts())[1]["prediction"] == expected[1]


def test_a_pipeline_of_columns_by_name_is_served_as_it_was_fitted(ws):
    data = ws.get_training_data("flag")
    for X in (data.train.X, data.train.X.to_pandas()):
        numbers = ColumnTransformer([("number", make_pipeline(SimpleImputer(), StandardScaler()), ["spent_1d"])])
        for container in ("default", "pandas", "polars"):
            model = make_pipeline(numbers, LogisticRegression()).set_output(transform=container).fit(X, data.train.y)
            answers = served(ws, data, model, "columns", data.train.X.head(9))
            expected = model.predict_proba(X[:9])[:, 1]
            assert [row["probability"] for row in answers] == pytest.approx(expected.tolist())


def test_a_step_that_needs_an_array_is_given_one(ws):
    data = ws.get_training_data("amount")
    array = data.train.X.to_numpy()
    model = make_pipeline(Rows(), Ridge()).fit(array, data.train.y)
    _, logged = log(ws, data, model, trust=TRUSTED)
    assert logged.signature.frame == "array"
    assert predict(model, data.train.X, logged.signature)["prediction"].to_list() == model.predict(array).tolist()


KINDS = pl.Enum(["u", "v", "w"])


def with_holes(rows=400):
    chance = np.random.default_rng(5)
    kind = pl.Series("kind", np.array(["u", "v", "w", None])[chance.integers(0, 4, rows)].tolist(), dtype=KINDS)
    X = pl.DataFrame({"amount": chance.random(rows), "kind": kind})
    return X, pl.Series("y", (X["kind"].is_null() | (X["kind"] == "u")).to_numpy() ^ (chance.random(rows) < 0.1))


@pytest.mark.parametrize("fitted_to", ["polars", "pandas"])
@pytest.mark.parametrize(
    "steps",
    [
        [OneHotEncoder(handle_unknown="ignore")],
        [OneHotEncoder()],
        [OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)],
        [SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")],
        [
            SimpleImputer(missing_values=None, strategy="constant", fill_value="none"),
            OneHotEncoder(handle_unknown="ignore"),
        ],
    ],
    ids=["unknown are none", "unknown are refused", "ordinal", "imputed", "imputed where None"],
)
def test_a_null_of_text_is_what_it_was_in_the_frame_that_the_model_was_fitted_to(steps, fitted_to):
    """NaN in pandas, None in Polars: an encoder treats the other as an unknown category, perhaps silently."""
    if steps[0].get_params().get("missing_values", "") is None and fitted_to == "pandas":
        pytest.skip("scikit-learn takes no NaN for it")
    X, y = with_holes()
    table = X.to_pandas() if fitted_to == "pandas" else X
    encoded = ColumnTransformer([("kind", make_pipeline(*steps), ["kind"]), ("amount", "passthrough", ["amount"])])
    model = make_pipeline(encoded, DecisionTreeClassifier(max_depth=4, random_state=0)).fit(table, y)
    signature, answers = answer_training_rows(fitted_signature(build_signature(X, y, {}), model, y), model, X)
    assert signature.frame == fitted_to
    assert answers["probability"].to_list() == model.predict_proba(table)[:, 1].tolist()
    ones = pl.concat([predict(model, X.slice(row, 1), signature) for row in range(12)])
    assert ones.equals(answers.head(12))


def test_a_model_that_takes_no_table_says_what_it_said():
    X, y = with_holes()

    def fail(frame):
        raise KeyError("no such thing")

    model = make_pipeline(FunctionTransformer(fail), DecisionTreeClassifier())
    model.steps[1][1].fit(X.select("amount"), y)
    with pytest.raises(DataError, match="KeyError: 'no such thing'"):
        answer_training_rows(build_signature(X, y, {}), model, X)


def test_a_model_of_pandas_says_which_package_is_missing(monkeypatch):
    X, y = with_holes()
    model = RandomForestRegressor(2).fit(X.select("amount"), y)
    signature = msgspec.structs.replace(build_signature(X, y, {}), task="regression", classes=None, frame="pandas")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tm.TinyMLOpsError, match="pandas is not installed") as caught:
        predict(model, X, signature)
    assert "pip install pandas" in caught.value.hint


# Models from earlier versions


def test_a_signature_of_before_decodes_and_says_nothing_of_its_kind_of_table():
    stored = (
        b'{"features":[{"name":"x","dtype":"Float64","source":"sky:x","categories":null}],'
        b'"request":[{"name":"origin","dtype":"String","role":"key"}],"task":"binary","classes":[false,true]}'
    )
    signature = msgspec.json.decode(stored, type=Signature)
    assert (signature.frame, signature.classes) == (None, [False, True])


def test_a_model_logged_before_these_checks_is_served_by_what_its_manifest_says(tmp_path):
    """A regressor of a flag was accepted once, and a model's kind of table was not kept."""
    with replay(tmp_path) as ws:
        data = train(ws, project_of_orders())
        model = LinearRegression().fit(data.train.X.fill_null(0).to_numpy(), data.train.y.cast(pl.Float64))
        old = msgspec.structs.replace(data.signature, task="regression", classes=None, frame=None)
        with ws.start_run("old", data=data) as run:
            logged = run.log_model(DecisionTreeClassifier().fit(*data.train[:2]))
        content = save(model)
        record = msgspec.structs.replace(
            logged, name="old", signature=old, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)
        )
        ws.runs.log_model(record, {record.sha256: content})
        ws.models.register("old", run, logged_name="old")
        X = data.train.X.head(5).fill_null(0)
        answers = ws.predict("old", X)
        assert [row["prediction"] for row in answers] == model.predict(X.to_numpy()).tolist()
        clock_of(ws).advance(timedelta(hours=1))
        assert ws.monitor("old").predictions == 5
