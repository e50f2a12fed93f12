"""`ws.ablate`: what is vital ranks first, what is useless last; broken off and gone on with; each training a run."""

import json
import multiprocessing
import os
import re
import signal
import xml.etree.ElementTree as ET
from typing import ClassVar

import ablated
import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError, NotFoundError

WEEKS = tm.backtest(every="2w", folds=3)
TRAININGS = 3 * 4


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("ablated") / "shop.tm"


@pytest.fixture(scope="module")
def ws(path):
    with tm.connect(path, create=True) as ws:
        ws.apply(ablated.project())
        ws.ingest()
        yield ws


@pytest.fixture(scope="module")
def data(ws):
    return ws.get_training_data("buyers")


@pytest.fixture(scope="module")
def by_view(ws, data):
    """The ablation that tests look at."""
    return ws.ablate(data, ablated.fit, drop="view", folds=WEEKS, name="what helps", experiment="features")


def names(found):
    return [one.left_out for one in found.effects]


def test_the_vital_view_ranks_first_and_the_useless_one_last(by_view):
    found = by_view
    assert names(found) == ["mood", "twins", "noise"]
    vital, twins, useless = (one.effect for one in found.effects)
    assert vital.is_clear
    assert twins.is_clear
    assert vital.low > twins.high > 0
    assert abs(useless.mean) < 0.005
    assert (found.metric, found.goal, vital.folds, found.pending) == ("auc", "max", 3, 0)
    said = repr(found).splitlines()
    assert said[0].startswith("buyers without each view: auc (more is better), 0.9")
    assert said[2].split()[0] == "mood"


def test_each_training_is_a_run_under_one_parent(ws, data, by_view):
    parent = ws.runs.get(by_view.run)
    assert (parent.name, parent.status, parent.training_set) == ("what helps", "finished", data.build_id)
    children = ws.runs.children(parent.id)
    assert len(children) == TRAININGS
    assert {run.group for run in children} == {"everything", "without mood", "without twins", "without noise"}
    assert {run.experiment for run in children} == {parent.experiment}
    one = next(run for run in children if run.group == "without twins")
    assert (one.status, one.training_set, one.params["features"]) == ("finished", data.build_id, 2)
    assert set(one.metrics) == {"auc", "log_loss", "accuracy"}
    assert ET.fromstring(ws.runs.read_artifact(parent.id, "ablation.svg")).tag.endswith("svg")


def test_a_copy_of_a_feature_hides_it_unless_the_view_is_left_out(ws, data):
    by_feature = ws.ablate(data, ablated.fit, drop="feature", folds=WEEKS)
    assert names(by_feature)[0] == "vital"
    effects = {one.left_out: one.effect for one in by_feature.effects}
    assert abs(effects["left"].mean) < 0.002
    assert abs(effects["right"].mean) < 0.002
    assert abs(effects["useless"].mean) < 0.005
    both = ws.ablate(data, ablated.fit, drop={'both"s': ["left", "right"]}, folds=WEEKS)
    assert both.effects[0].effect.low > 0.005


def test_what_was_found_is_read_again_from_the_runs(ws, by_view):
    found = by_view
    for reference in (found, found.run, ws.runs.get(found.run)):
        assert ws.ablation(reference) == found
    by_loss = ws.ablation(found, metric="log_loss")
    assert (by_loss.metric, by_loss.goal, names(by_loss)[0]) == ("log_loss", "min", "mood")
    assert by_loss.effects[0].effect.low > 0 > by_loss.whole - by_loss.effects[0].score
    with pytest.raises(DataError, match="there is no metric 'auk'"):
        ws.ablation(found, metric="auk")
    with pytest.raises(NotFoundError, match="is not that of an ablation"):
        ws.ablation(ws.runs.children(found.run)[0])
    with pytest.raises(NotFoundError, match="there is no run"):
        ws.ablation("nothing at all")


def test_it_is_shown_as_a_table_a_frame_and_a_picture(by_view):
    found = by_view
    frame = found.to_frame()
    assert frame["left_out"].to_list() == names(found)
    assert frame["features"].to_list()[1] == ["left", "right"]
    assert frame.filter(pl.col("low") > 0)["left_out"].to_list() == ["mood", "twins"]
    folds = found.to_folds()
    assert folds.height == TRAININGS
    by_hand = folds.pivot("left_out", index="fold", values="auc")
    gap = (by_hand["everything"] - by_hand["mood"]).to_list()
    assert found.effects[0].effect.mean == pytest.approx(np.mean(gap), abs=1e-12)
    assert ET.fromstring(found.to_svg()).get("role") == "img"
    assert "<svg" in found._repr_html_()
    json.dumps(frame.to_dicts())
    assert found.between("noise", "mood").low > 0
    assert found.between("everything", "mood") == found.effects[0].effect
    with pytest.raises(NotFoundError, match="'mod' was not left out"):
        found.between("mod", "mood")


def test_the_same_seed_gives_the_same_numbers(ws, data):
    forest = RandomForestClassifier(n_estimators=5, max_depth=3)
    weeks = tm.backtest(every="1w", folds=2)
    first, second, third = (ws.ablate(data, forest, folds=weeks, seed=seed) for seed in (1, 1, 2))
    assert first.to_frame().equals(second.to_frame())
    assert not first.to_frame().equals(third.to_frame())


def test_without_folds_it_is_the_split_of_the_data_and_there_is_no_interval(ws):
    data = ws.get_training_data("buyers", test_from="2024-02-01")
    found = ws.ablate(data, LogisticRegression())
    assert [cell.fold for cell in found.cells] == ["split"] * 4
    assert names(found)[0] == "mood"
    assert found.effects[0].effect.low is None
    assert "no intervals: they need two folds that differ" in repr(found)
    assert found.to_frame()["folds"].to_list() == [1, 1, 1]
    with pytest.raises(DataError, match="'buyers' was built without test rows"):
        ws.ablate(ws.get_training_data("buyers"), LogisticRegression())


def test_what_is_held_out_of_the_data_is_never_seen(ws):
    data = ws.get_training_data("buyers", test_from="2024-02-01")
    seen = []

    def fit(X, y):
        seen.append(X.height)
        return ablated.fit(X, y)

    found = ws.ablate(data, fit, folds=tm.backtest(every="1w", folds=1))
    (fold,) = found.folds
    assert (fold.name, fold.train_rows, fold.test_rows) == ("2024-01-29", 672, 72)
    assert set(seen) == {672}
    assert data.train.X.height == 672 + 72


def test_a_training_that_fails_is_told_and_the_others_go_on(ws, data):
    def fit(X, y):
        if "left" not in X.columns and y.len() > 700:
            raise RuntimeError("no left")
        return ablated.fit(X, y)

    found = ws.ablate(data, fit, folds=WEEKS)
    failed = [cell for cell in found.cells if cell.status == "failed"]
    assert found.failed == failed
    assert {cell.left_out for cell in failed} == {"twins"}
    assert 0 < len(failed) < 3
    twins = next(one for one in found.effects if one.left_out == "twins")
    assert (twins.failed, twins.effect.folds) == (len(failed), 3 - len(failed))
    assert f"without twins, training failed in {len(failed)} fold" in repr(found)
    assert ws.runs.get(failed[0].run).error == "RuntimeError: no left"
    again = ws.ablate(data, fit, folds=WEEKS, resume=found)  # tried again, and failed again
    assert len(ws.runs.children(found.run)) == TRAININGS + len(failed)
    assert again.to_frame().equals(found.to_frame())


def test_if_nothing_can_be_trained_it_says_why(ws, data):
    def fit(X, y):
        raise ValueError("always")

    with pytest.raises(DataError, match="no training with everything has finished: ValueError: always"):
        ws.ablate(data, fit, folds=WEEKS, name="hopeless")
    assert ws.runs.get("hopeless").status == "failed"
    with pytest.raises(DataError, match="returns None"):
        ws.ablate(data, lambda X, y: None, folds=WEEKS)
    with pytest.raises(DataError, match="there is no metric 'aucc'"):
        ws.ablate(data, ablated.fit, folds=WEEKS, metric="aucc")
    with pytest.raises(DefinitionError, match="cannot train"):
        ws.ablate(data, LogisticRegression, folds=WEEKS)
    with pytest.raises(DefinitionError, match="data='buyers' is not training data"):
        ws.ablate("buyers", ablated.fit, folds=WEEKS)
    with pytest.raises(DefinitionError, match="folds='1mo' are not folds"):
        ws.ablate(data, ablated.fit, folds="1mo")
    with pytest.raises(DefinitionError, match="drop='views'"):
        ws.ablate(data, ablated.fit, drop="views", folds=WEEKS)
    with pytest.raises(DataError, match="no view is in the training set in two versions"):
        ws.ablate(data, ablated.fit, drop="variant", folds=WEEKS)
    with pytest.raises(DataError, match="no fold can be used: .*no row to train on"):
        ws.ablate(data, ablated.fit, folds=tm.backtest(every="1y", start="2024-01-01"))


class Counting(LogisticRegression):
    """An estimator that is interrupted when it has been fitted so often."""

    left: ClassVar = {}

    def __init__(self, key="", C=1.0):
        super().__init__(C=C)
        self.key = key

    def fit(self, X, y, sample_weight=None):
        Counting.left[self.key] = Counting.left.get(self.key, 99) - 1
        if Counting.left[self.key] < 0:
            raise KeyboardInterrupt
        return super().fit(X, y)


def test_one_that_was_interrupted_goes_on_with_what_is_left(ws, data):
    Counting.left["one"] = 5
    with pytest.raises(KeyboardInterrupt):
        ws.ablate(data, Counting("one"), folds=WEEKS, name="broken off")
    parent = ws.runs.get("broken off")
    assert parent.status == "killed"
    assert sorted(run.status for run in ws.runs.children(parent.id)) == ["finished"] * 5 + ["killed"]
    so_far = ws.ablation(parent)
    assert so_far.pending == 7
    assert f"7 trainings are still to be done: resume='{parent.id[:12]}'" in repr(so_far)
    Counting.left["one"] = 7
    found = ws.ablate(data, Counting("one"), folds=WEEKS, resume=parent)
    assert Counting.left["one"] == 0
    assert (found.run, found.pending, ws.runs.get(parent.id).status) == (parent.id, 0, "finished")
    Counting.left["one"] = 99
    assert found.to_frame().equals(ws.ablate(data, Counting("one"), folds=WEEKS).to_frame())
    Counting.left["one"] = 0
    assert ws.ablate(data, Counting("one"), folds=WEEKS, resume=found) == found  # nothing is left to do


def test_it_goes_on_with_the_same_data_and_code_only(ws, data):
    found = ws.ablate(data, LogisticRegression(C=1), folds=WEEKS)

    def refused(**changed):
        options = {"data": data, "train": LogisticRegression(C=1), "folds": WEEKS, "drop": "view", **changed}
        with pytest.raises(ConflictError) as info:
            ws.ablate(options.pop("data"), options.pop("train"), resume=found, **options)
        return info.value

    assert "code of LogisticRegression.C" in str(refused(train=LogisticRegression(C=2)))
    assert "drop 'view' is now 'feature'" in str(refused(drop="feature"))
    assert "folds 3 (2024-01-22 to 2024-02-19) are now 1 (2024-02-01 to 2024-02-01)" in str(
        refused(folds=tm.backtest(every="1mo"))
    )
    assert "seed 0 is now 5" in str(refused(seed=5))
    assert "are now" in str(refused(data=ws.get_training_data("buyers", test_from="2024-02-20")))
    other = ws.get_training_data("buyers", as_of=data.sequence - 100)
    error = refused(data=other)
    assert f"training data {data.fingerprint[:12]} (build {data.build_id}) is now {other.fingerprint[:12]}" in str(
        error
    )
    assert error.hint.startswith(f"build the same data: ws.reproduce('{data.build_id}')")
    assert ws.runs.get(found.run).status == "finished"
    same = ws.ablate(ws.reproduce(data.build_id), LogisticRegression(C=1), folds=WEEKS, resume=found)
    assert same == found


class Dying(LogisticRegression):
    """An estimator in whose fifth copy a process dies, where it is told to."""

    count: ClassVar = [0, 0]

    def fit(self, X, y, sample_weight=None):
        Dying.count[0] += 1
        if Dying.count[0] == Dying.count[1]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)


def begin_and_die(path, build):
    Dying.count[1] = 5
    with tm.connect(path) as ws:
        ws.ablate(ws.reproduce(build), Dying(), folds=WEEKS, name="dying")


def test_one_whose_process_was_killed_goes_on(ws, path, data):
    process = multiprocessing.get_context("spawn").Process(target=begin_and_die, args=(path, data.build_id))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    parent = ws.runs.get("dying")
    assert parent.status == "lost"
    assert sorted(run.status for run in ws.runs.children(parent.id)) == ["finished"] * 4 + ["lost"]
    found = ws.ablate(data, Dying(), folds=WEEKS, resume=parent)
    assert (found.pending, names(found)[0]) == (0, "mood")
    statuses = sorted(run.status for run in ws.runs.children(parent.id))
    assert statuses == ["finished"] * TRAININGS + ["killed"]


def test_one_that_goes_on_cannot_be_resumed(ws, data):
    refused = []

    class Nosy(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            if not refused:
                with pytest.raises(ConflictError, match="goes on"):
                    ws.ablate(data, Nosy(), folds=WEEKS, resume="nosy")
                refused.append(True)
            return super().fit(X, y)

    ws.ablate(data, Nosy(), folds=WEEKS, name="nosy")
    assert refused


def test_odd_features_and_folds_are_told(ws):
    data = ws.get_training_data("buyers")
    # Up to 8 January all buy, so nothing can be fitted; from 22 January to 4 February too, so there is no auc.
    y = [True] * 168 + [True, False] * 168 + [True] * 336 + data.train.y.to_list()[840:]
    data.train = data.train._replace(
        X=data.train.X.with_columns(useless=pl.lit(1.0), left=pl.lit(None, dtype=pl.Float64)), y=pl.Series("buys", y)
    )
    found = ws.ablate(data, ablated.fit_any, folds=tm.backtest(every="2w"), drop={"a": ["left"], "b": ["vital"]})
    remarks = repr(found)
    assert "useless has one value at most in all training rows" in remarks
    assert "left has one value at most in all training rows" in remarks
    assert "fold 2024-01-08 is not used: its training rows have one class only" in remarks
    assert "fold 2024-01-22 has no auc: its test rows do not define it" in remarks
    effects = {one.left_out: one.effect for one in found.effects}
    assert (effects["a"].mean, effects["a"].low, effects["a"].folds) == (0.0, None, 2)
    assert effects["b"].mean > 0


def test_a_loss_is_better_if_it_is_less(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(ablated.project(24 * 30, number=True))
        ws.ingest()
        data = ws.get_training_data("buyers")
        data.train = data.train._replace(y=data.train.y * 1e6)
        found = ws.ablate(data, make_pipeline(StandardScaler(), Ridge()), folds=tm.backtest(every="1w", folds=2))
    assert (found.metric, found.goal, names(found)) == ("rmse", "min", ["mood", "twins", "noise"])
    vital = found.effects[0]
    assert vital.effect.mean == pytest.approx(vital.score - found.whole)
    assert vital.effect.mean > 1e6
    said = repr(found).splitlines()
    assert re.fullmatch(
        r"buyers without each view: rmse \(less is better\), \d{3},\d{3} with everything, 2 folds", said[0]
    )
    assert re.match(r"mood +\+1,\d{3},\d{3} ", said[2])


def test_versions_side_by_side_are_compared(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(ablated.project(24 * 30))
        ws.apply(ablated.project(24 * 30, variants=True))
        ws.ingest()
        data = ws.get_training_data("buyers")
        assert "v1_vital" in data.train.X.columns
        found = ws.ablate(data, ablated.fit, drop="variant", folds=tm.backtest(every="2w"))
        assert set(names(found)) == {"mood", "mood@v1"}
        assert names(found)[0] == "mood@v1"  # the number; the newer version has its sign
        assert found.between("mood", "mood@v1").mean > 0.02
        assert repr(found).startswith("buyers without each version: auc")
