"""A classifier is asked once if its prediction is the class of its greatest probability, and twice if not."""

import importlib

import numpy as np
import polars as pl
import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tinymlops.records import FeatureField, Signature
from tinymlops.training import deciding
from tinymlops.training.answers import predict
from tinymlops.training.deciding import decided, decides_by_probability
from tinymlops.training.row_answers import RowAnswers

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

DRAW = np.random.default_rng(3)
X = np.abs(np.round(DRAW.normal(size=(240, 3)), 1))
"""Not negative, and with repeats, so that every kind of naive Bayes takes them and trees have ties."""
NAMES = ["a", "b", "c"]


def label(classes):
    return (X[:, 0] * 2 + X[:, 1] + DRAW.normal(size=240) > 2).astype(int) + (X[:, 2] > 1) * (classes - 2)


def listed():
    for name in sorted(deciding._BY_PROBABILITY):
        module, _, cls = name.rpartition(".")
        yield getattr(importlib.import_module(module), cls)


def signature(classes):
    task = "binary" if len(classes) == 2 else "multiclass"
    return Signature([FeatureField(name, "Float64", "x") for name in NAMES], [], task, classes, "array")


class Asked:
    """How often a model's methods are called."""

    def __init__(self, model, monkeypatch):
        self.calls = []
        for name in ("predict", "predict_proba"):
            method = getattr(model, name)
            monkeypatch.setattr(
                model,
                name,
                lambda table, name=name, method=method: (self.calls.append(name), method(table))[1],
                raising=False,
            )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("cls", list(listed()), ids=lambda cls: cls.__name__)
def test_a_listed_class_predicts_what_its_probabilities_say(cls, classes):
    options = {"random_state": 0} if "random_state" in cls().get_params() else {}
    model = cls(**options).fit(X.round() if "Categorical" in cls.__name__ else X, label(classes))
    assert decides_by_probability(model)
    assert decides_by_probability(make_pipeline(StandardScaler(), model))
    known = signature(model.classes_.tolist())
    alone = RowAnswers(model, known)

    @examples(25)
    @given(st.lists(st.sampled_from(np.unique(X).tolist()), min_size=3, max_size=3))
    def check(values):
        row = np.array([values]) if "Categorical" not in cls.__name__ else np.array([values]).round()
        row = np.minimum(row, X.round().max(axis=0))
        frame = pl.DataFrame(row, schema=NAMES)
        answers = predict(model, frame, known)
        assert answers["prediction"].to_list() == model.predict(row).tolist()
        (expected,) = answers.to_dicts()
        assert repr(alone.answer(row[0].tolist())) == repr(expected)

    check()
    table = X.round() if "Categorical" in cls.__name__ else X
    assert (
        predict(model, pl.DataFrame(table, schema=NAMES), known)["prediction"].to_list()
        == model.predict(table).tolist()
    )


def test_one_is_asked_once_and_the_other_twice(monkeypatch):
    y = label(2)
    clear = LogisticRegression().fit(X, y)
    asked = Asked(clear, monkeypatch)
    row = pl.DataFrame(X[:1], schema=NAMES)
    predict(clear, row, signature([0, 1]))
    RowAnswers(clear, signature([0, 1])).answer(X[0].tolist())
    assert asked.calls == ["predict_proba", "predict_proba"]
    other = AdaBoostClassifier(random_state=0).fit(X, y)
    asked = Asked(other, monkeypatch)
    predict(other, row, signature([0, 1]))
    assert sorted(asked.calls) == ["predict", "predict_proba"]


class Contrary(LogisticRegression):
    """A class of the user's own, whose predictions are not what its probabilities say."""

    def predict(self, table):
        return 1 - super().predict(table)


def test_a_threshold_or_a_rule_of_its_own_decides():
    y = label(2)
    linear = LogisticRegression().fit(X, y)
    tuned = TunedThresholdClassifierCV(LogisticRegression(), thresholds=20, scoring="recall").fit(X, y)
    fixed = FixedThresholdClassifier(LogisticRegression(), threshold=0.9).fit(X, y)
    voting = VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft").fit(X, y)
    for model in (tuned, fixed, Contrary().fit(X, y), voting):
        for whole in (model, make_pipeline(StandardScaler(), clone(model)).fit(X, y)):
            assert not decides_by_probability(whole)
            known = signature([0, 1])
            found = predict(whole, pl.DataFrame(X, schema=NAMES), known)
            assert found["prediction"].to_list() == whole.predict(X).tolist()
            alone = RowAnswers(whole, known)
            assert [alone.answer(row.tolist())["prediction"] for row in X[:40]] == whole.predict(X[:40]).tolist()
    for model in (fixed, Contrary().fit(X, y)):
        assert (model.predict(X) != model.classes_[model.predict_proba(X).argmax(axis=1)]).any(), (
            "the test tells them apart"
        )
    assert decides_by_probability(linear)
    assert decides_by_probability(GridSearchCV(LogisticRegression(), {"C": [1.0]}).fit(X, y))
    assert not decides_by_probability(GridSearchCV(Contrary(), {"C": [1.0]}).fit(X, y))
    assert not decides_by_probability(SVC(random_state=0).fit(X, y))
    assert not decides_by_probability(SGDClassifier(loss="modified_huber", random_state=0).fit(X, y))


class Steps(Pipeline):
    """A pipeline of the user's own may do anything."""


def test_a_derived_pipeline_is_not_looked_into():
    assert not decides_by_probability(Steps([("last", LogisticRegression())]).fit(X, label(2)))


def test_a_tie_is_the_models_to_break():
    """A score a hair above zero is one half in both probabilities, and the second class all the same."""
    model = LogisticRegression().fit(X, label(2))
    model.coef_, model.intercept_ = np.zeros((1, 3)), np.array([1e-20])
    row = pl.DataFrame(X[:1], schema=NAMES)
    assert model.predict_proba(X[:1]).tolist() == [[0.5, 0.5]]
    assert model.predict(X[:1]).tolist() == [1]
    assert predict(model, row, signature([0, 1])).row(0) == (1, 0.5)
    assert RowAnswers(model, signature([0, 1])).answer(X[0].tolist()) == {"prediction": 1, "probability": 0.5}


def test_a_tie_in_a_leaf_is_what_the_tree_says():
    table = np.array([[0.0, 0.0, 0.0]] * 4 + [[1.0, 0.0, 0.0]] * 2)
    model = DecisionTreeClassifier().fit(table, [0, 1, 0, 1, 1, 1])
    found = predict(model, pl.DataFrame(table, schema=NAMES), signature([0, 1]))
    assert found["prediction"].to_list() == model.predict(table).tolist()
    assert found["probability"].to_list() == model.predict_proba(table)[:, 1].tolist()


@pytest.mark.parametrize(
    "odd", [[[np.nan, np.nan]], [[0.5, 0.5]], [[0.5, 0.5 + 1e-9]], [[1.0]], [[0.2, 0.3, 0.5]], [0.2, 0.8]]
)
def test_what_is_not_clear_is_not_decided(odd):
    assert decided(np.array(odd), 2) is None
    assert decided(np.zeros((0, 2)), 2) is None


def test_a_forest_and_a_search_are_served_as_they_predict():
    y = label(3)
    search = GridSearchCV(RandomForestClassifier(random_state=0), {"max_depth": [2, 3]}, cv=2).fit(X, y)
    found = predict(search, pl.DataFrame(X, schema=NAMES), signature([0, 1, 2]))
    assert found["prediction"].to_list() == search.predict(X).tolist()
