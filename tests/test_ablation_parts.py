"""The parts of an ablation that need no workspace: what is left out, intervals, the digest of code, and the picture."""

import math
import random
import xml.etree.ElementTree as ET
from statistics import mean, stdev

import numpy as np
import polars as pl
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import resample

from tinymlops.errors import DataError, DefinitionError
from tinymlops.records import FeatureField, Signature
from tinymlops.training.ablation.code import code_of
from tinymlops.training.ablation.drops import drops_of
from tinymlops.training.ablation.intervals import Difference, difference
from tinymlops.training.ablation.picture import forest
from tinymlops.training.ablation.scoring import check_train, seeded, unfit


def signature(**sources):
    return Signature([FeatureField(name, "Float64", source) for name, source in sources.items()], [], "binary")


SIDE_BY_SIDE = signature(
    last="spending:last", v1_last="spending@v1:last", v1_sum="spending@v1:sum", lat="place:lat", dest_lat="place:lat"
)


def test_a_view_is_left_out_in_every_role_and_version():
    assert drops_of(SIDE_BY_SIDE, "view") == {
        "spending": ("last", "v1_last", "v1_sum"),
        "place": ("lat", "dest_lat"),
    }


def test_features_are_left_out_one_by_one_and_versions_where_there_are_two():
    assert list(drops_of(SIDE_BY_SIDE, "feature")) == ["last", "v1_last", "v1_sum", "lat", "dest_lat"]
    assert drops_of(SIDE_BY_SIDE, "variant") == {"spending": ("last",), "spending@v1": ("v1_last", "v1_sum")}
    assert drops_of(SIDE_BY_SIDE, {"places": ["lat", "dest_lat"], "sum": "v1_sum"}) == {
        "places": ("lat", "dest_lat"),
        "sum": ("v1_sum",),
    }


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        ("views", "drop='views' is not possible"),
        ({"a": ["lst"]}, "the training set has no feature 'lst'"),
        ({"a": []}, "drop='a' names no feature"),
        ({}, "names nothing to leave out"),
        ({"all": ["last", "v1_last", "v1_sum", "lat", "dest_lat"]}, "without all no feature is left"),
    ],
)
def test_what_cannot_be_left_out_is_refused(drop, said):
    with pytest.raises((DataError, DefinitionError), match=said):
        drops_of(SIDE_BY_SIDE, drop)


def test_nothing_is_left_without_the_only_view():
    with pytest.raises(DataError, match="without spending no feature is left") as info:
        drops_of(signature(last="spending:last", sum="spending:sum"), "view")
    assert info.value.hint == "use drop='feature'"
    with pytest.raises(DataError, match="without last no feature is left"):
        drops_of(signature(last="spending:last"), "feature")
    with pytest.raises(DataError, match="no view is in the training set in two versions"):
        drops_of(signature(last="spending@v1:last", lat="place:lat"), "variant")


def test_the_interval_is_that_of_the_paired_t_test():
    # Student's sleep data: scipy.stats.ttest_rel(...).confidence_interval() gives 0.7001142 and 2.4598858.
    extra = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = difference(extra)
    assert math.isclose(found.mean, 1.58)
    assert math.isclose(found.low, 0.7001142, abs_tol=1e-6)
    assert math.isclose(found.high, 2.4598858, abs_tol=1e-6)
    assert (found.folds, found.is_clear) == (10, True)
    spread = stdev(extra) / math.sqrt(10)
    narrow = difference(extra, level=0.5)
    assert narrow.high - mean(extra) < spread < found.high - mean(extra)


def test_there_is_no_interval_of_one_fold_or_of_ties():
    assert difference([]) is None
    assert difference([0.25]) == Difference(0.25, None, None, 1)
    assert difference([0.0, 0.0, 0.0]) == Difference(0.0, None, None, 3)
    assert difference([0.25]).is_clear is None
    assert repr(difference([0.25])) == "<difference +0.25, no interval of 1 fold>"


def scale(X):
    return X * FACTOR


FACTOR = 2


def fit_scaled(X, y):
    return LogisticRegression().fit(scale(X), y)


def test_the_digest_of_code_covers_what_a_function_reaches(monkeypatch):
    before = code_of(fit_scaled)
    assert before == code_of(fit_scaled)
    assert before.name == "fit_scaled"
    made = [lambda X, y, depth=depth: DummyRegressor(constant=depth).fit(X, y) for depth in (1, 2)]
    assert code_of(made[0]).digest != code_of(made[1]).digest
    assert code_of(made[0]).changes(code_of(made[0])) == []
    assert code_of(made[0]).changes(code_of(made[1]))


def test_an_estimator_is_known_by_its_class_and_parameters():
    pipe = make_pipeline(StandardScaler(), Ridge(alpha=2))
    assert code_of(pipe) == code_of(make_pipeline(StandardScaler(), Ridge(alpha=2)))
    changes = code_of(pipe).changes(code_of(make_pipeline(StandardScaler(), Ridge(alpha=3))))
    assert changes == ["code of Pipeline.ridge__alpha"]
    assert code_of(Ridge()).changes(code_of(LogisticRegression()))
    assert "scikit-learn" in code_of(pipe).packages


def state_of_chance():
    return random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002  # what scikit-learn draws from


def test_the_same_chance_for_every_training_and_none_of_it_afterwards():
    before = state_of_chance()
    with seeded(7):
        first = random.random(), resample(range(1000))
    with seeded(7):
        assert (random.random(), resample(range(1000))) == first
    assert state_of_chance() == before


def test_what_cannot_train_is_refused():
    for train in (None, "LogisticRegression", LogisticRegression, 3):
        with pytest.raises(DefinitionError, match="cannot train"):
            check_train(train, 0)
    for seed in (-1, 2**32, 1.0, True, None):
        with pytest.raises(DefinitionError, match="seed="):
            check_train(fit_scaled, seed)


def test_outcomes_of_one_class_cannot_be_fitted():
    two = Signature([], [], "binary", [False, True])
    assert unfit(pl.Series([True, True]), two) == "its training rows have one class only"
    assert unfit(pl.Series([True, False]), two) == ""
    assert unfit(pl.Series(["a", "b"]), Signature([], [], "multiclass", ["a", "b", "c"])) == ""
    assert unfit(pl.Series([1.5, 1.5]), Signature([], [], "regression")) == ""


SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_has_a_point_for_each_effect_and_a_line_for_each_interval():
    rows = [
        ("views & <more>", difference([0.02, 0.03, 0.04])),
        ("one fold", difference([0.01])),
        ("x" * 200, difference([-0.01, 0.01])),
    ]
    drawn = ET.fromstring(forest(rows, title='a "title"', axis="auc lost"))
    assert drawn.get("aria-label") == 'a "title"'
    groups = drawn.findall(f"{SVG}g")
    assert [len(group.findall(f"{SVG}line")) for group in groups] == [1, 0, 1]
    points = [float(group.find(f"{SVG}circle").get("cx")) for group in groups]
    assert points[0] > points[1] > points[2]
    line = groups[0].find(f"{SVG}line")
    assert float(line.get("x1")) < points[0] < float(line.get("x2"))
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert "views & <more>" in texts
    assert "auc lost" in texts
    assert max(map(len, texts)) < 40


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-9, 2e-9, 3e-9], [1e9, -1e9], [-5.0, -4.0]])
def test_the_picture_of_any_size_of_effect_stays_inside(values):
    drawn = ET.fromstring(forest([("a", difference(values))], title="t", axis="x"))
    width = float(drawn.get("width"))
    for one in drawn.iter():
        for key in ("x", "x1", "x2", "cx"):
            assert 0 <= float(one.get(key, 0)) <= width
    assert ET.fromstring(forest([], title="t", axis="x")).tag == f"{SVG}svg"
