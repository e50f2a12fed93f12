"""`ws.compare`: of runs only what differs; of groups the means with their interval, paired tests and a warning of luck."""

import json
import math
import random
from datetime import timedelta

import msgspec
import polars as pl
import pytest
from inside import database_of, environment_of
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from trained import SPLIT, project_of_orders, replay, train

import tinymlops as tm
from tinymlops.errors import DataError, NotFoundError
from tinymlops.records import RunRow, Signature
from tinymlops.training.paired_models import row_losses


def run_of(ws, name, params=None, metrics=None, **options):
    with ws.start_run(name, params=params, **options) as run:
        run.log_metrics(metrics or {})
    return run


def quick_run(ws, name, params, metrics, **options):
    """As `run_of`, without a look at the code, which takes a while for many runs."""
    run = ws.runs.start(name, params=params, origin="test", **options)
    ws.runs.log_metrics(run.id, metrics)
    return run


def changed(ws, run, **fields):
    """Change a run's row, as another machine would have written it."""
    with database_of(ws).write(actor=None) as tx:
        tx.update(msgspec.structs.replace(tx.get(RunRow, id=run.id), **fields))


def test_only_what_differs_is_shown(workspace):
    a = run_of(workspace, "a", {"depth": 3, "rate": 0.1, "only": 1}, {"auc": 0.7, "loss": math.nan}, tags={"team": "x"})
    b = run_of(workspace, "b", {"depth": 5, "rate": 0.1}, {"auc": 0.8, "loss": math.nan}, tags={"team": "x"})
    found = workspace.compare([a, b])
    assert [name for name in found.differing if name != "duration"] == [
        "name",
        "params.depth",
        "params.only",
        "metrics.auc",
    ]
    assert found.patch is None
    assert found.same > 5
    table = found.to_frame()
    assert table["name"].to_list() == ["a", "b"]
    assert table["params.depth"].to_list() == [3, 5]
    assert table["params.only"].to_list() == [1, None]
    assert table["metrics.auc"].dtype == pl.Float64
    assert "params.rate" not in table.columns
    text = repr(found)
    assert "params.depth" in text
    assert "params.rate" not in text
    data = found.as_dict()
    assert data["runs"][1]["params.depth"] == 5
    assert "params.only" not in data["runs"][1]
    json.loads(msgspec.json.encode(data))


def test_the_load_of_the_machine_is_no_difference(workspace):
    a = quick_run(workspace, "a", {}, {"auc": 0.5, "system/cpu": 10.0})
    b = quick_run(workspace, "b", {}, {"auc": 0.5, "system/cpu": 90.0})
    found = workspace.compare([a.id, b.id])
    assert [name for name in found.differing if name.startswith("metrics.")] == []
    assert set(found.curves("system/cpu")) == {a.id, b.id}


def test_true_and_one_differ_and_nan_is_nan(workspace):
    a = run_of(workspace, "a", {"flag": True, "x": None}, {"loss": math.nan})
    b = run_of(workspace, "a", {"flag": 1}, {"loss": math.nan})
    differing = workspace.compare([a, b]).differing
    assert "params.flag" in differing
    assert "params.x" in differing
    assert "metrics.loss" not in differing


def test_the_best_value_differs_too(workspace):
    for values in ((1.0, 2.0), (1.5, 2.0)):
        with workspace.start_run("a") as run:
            for value in values:
                run.log_metrics(loss=value)
    found = workspace.compare("name = 'a'")
    assert "metrics.loss" not in found.differing
    assert found.to_frame()["metrics.loss.best"].to_list() == [1.0, 1.5]


def test_runs_are_chosen_by_themselves_by_id_by_name_by_group_and_by_search(workspace):
    a = run_of(workspace, "a", {"depth": 1}, group="grid")
    b = run_of(workspace, "b", {"depth": 2}, group="grid")
    run_of(workspace, "c", {"depth": 2})
    for chosen in (
        [a, b.record],
        [a.id, b.id[:12]],
        ["a", "b"],
        "grid",
        "group = 'grid'",
        "name in ('a', 'b')",
        [a, b, a],
    ):
        assert [run.name for run in workspace.compare(chosen).runs] == ["a", "b"]
    with pytest.raises(NotFoundError, match="did you mean 'a'|there is no run"):
        workspace.compare(["a", "bz"])
    with pytest.raises(DataError, match="did you mean 'grid'"):
        workspace.compare("gird")
    with pytest.raises(DataError, match="finds 1 run: there is nothing"):
        workspace.compare("name = 'a'")
    with pytest.raises(DataError, match="these are no runs"):
        workspace.compare([])
    with pytest.raises(DataError, match="1 run"):
        workspace.compare(["a"])
    with pytest.raises(DataError, match="metric is for groups"):
        workspace.compare(["a", "b"], metric="auc")


def test_packages_machine_code_and_patches_differ(workspace):
    a, b = run_of(workspace, "a"), run_of(workspace, "b")
    blobs = environment_of(workspace).blobs
    patches = [blobs.put(b"+one\n+two\n"), blobs.put("+one\n+drei <é>\n".encode())]
    for run, patch, version in zip((a, b), patches, ("1.0", "2.0"), strict=True):
        changed(
            workspace,
            run,
            packages={"polars": version, "numpy": "2"},
            machine={"cores": int(float(version))},
            git_commit=version * 20,
            patch_sha256=patch,
        )
    found = workspace.compare([a, b])
    assert {"packages.polars", "machine.cores", "code.commit", "code.patch"} <= set(found.differing)
    assert "packages.numpy" not in found.differing
    assert "-+two" in found.patch
    assert "++drei <é>" in found.patch
    assert "differ in" in repr(found)
    assert "&lt;é&gt;" in found._repr_html_()
    changed(workspace, b, patch_sha256=patches[0])
    assert workspace.compare([a, b]).patch is None
    changed(workspace, b, patch_sha256=None)
    assert workspace.compare([a, b]).patch.count("\n-") == 2


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A workspace with a training set and a model, and the training data."""
    with replay(tmp_path_factory.mktemp("shop")) as ws:
        yield ws, train(ws, project_of_orders())


def test_training_sets_differ_in_rows_definitions_and_features(shop):
    ws, data = shop
    other = ws.get_training_data(data.name, test_from="2024-01-10T00:00:00Z")
    run_of(ws, "later split", data=other)
    run_of(ws, "none")
    found = ws.compare(["baseline", "later split"])
    assert {"data.build", "data.test_from", "data.train_rows"} <= set(found.differing)
    assert not [name for name in found.differing if name.startswith("definitions.")]
    assert f"tinymlops diff {data.build_id[:12]} {other.build_id[:12]}" in repr(found)
    assert "models.model" in found.differing
    lacking = ws.compare(["baseline", "none"])
    assert [name for name in lacking.differing if name.startswith("definitions.")]
    assert "tinymlops diff" not in repr(lacking)


def test_hostile_text_is_escaped(workspace):
    a = run_of(workspace, "<script>", {"x": "\x1b[2J\nnext"})
    b = run_of(workspace, "b", {"x": "<b>" * 100})
    found = workspace.compare([a, b])
    assert "<script>" not in found._repr_html_()
    assert "\x1b" not in repr(found)
    assert "..." in repr(found)


def test_a_hundred_runs_are_rows(workspace):
    for number in range(110):
        workspace.runs.start(f"r{number}", params={"depth": number, "same": 1}, origin="test")
    found = workspace.compare("params.same = 1")
    assert len(found.runs) == 110
    assert found.to_frame().shape[0] == 110
    assert "... 70 more runs" in repr(found)
    assert len(repr(found).splitlines()) < 50


def test_the_curves_of_a_metric_say_how_many_points_they_show(workspace):
    a, b = run_of(workspace, "a"), run_of(workspace, "b", metrics={"auc": 1.0})
    with workspace.start_run("c") as run:
        for step in range(50):
            run.log_metrics(loss=1 / (step + 1))
    found = workspace.compare([a, b, run])
    curves = found.curves("loss", pixels=5)
    assert list(curves) == [run.id]
    assert (curves[run.id].total, curves[run.id].shown) == (50, 10)
    with pytest.raises(NotFoundError, match="did you mean 'loss'"):
        found.curves("los")


def test_two_runs_are_tested_row_by_row(workspace):
    chance = random.Random(1)
    runs = []
    for better in (0.0, 0.2):
        with workspace.start_run(f"less {better}") as run:
            for row in range(200):
                run.log_metrics(row_loss=1 + chance.random() * 0.1 - better, step=row)
        runs.append(run)
    found = workspace.compare(runs).paired("row_loss")
    assert (found.n, found.how, found.differs) == (200, "bootstrap", True)
    assert found.mean == pytest.approx(-0.2, abs=0.02)
    with pytest.raises(DataError, match="3 runs cannot be paired"):
        workspace.compare([*runs, run_of(workspace, "x", metrics={"row_loss": 1})]).paired("row_loss")
    with pytest.raises(DataError, match="1 steps that are in both"):
        workspace.compare([runs[0], "x"]).paired("row_loss")


def fitted_run(ws, name, data, model):
    with ws.start_run(name, data=data) as run:
        run.log_model(model.fit(data.train.X, data.train.y))
    return run


def test_two_models_are_tested_on_the_same_test_rows(shop):
    ws, data = shop
    shallow = fitted_run(ws, "shallow", data, LogisticRegression())
    constant = fitted_run(ws, "constant", data, DummyClassifier(strategy="prior"))
    found = ws.compare([shallow, constant]).paired_models()
    assert (found.n, found.unmatched, found.how) == (data.test.X.height, 0, "bootstrap")
    losses = [
        log_loss(data.test.y, one.predict_proba(data.test.X), labels=one.classes_)
        for one in (
            LogisticRegression().fit(data.train.X, data.train.y),
            DummyClassifier(strategy="prior").fit(data.train.X, data.train.y),
        )
    ]
    assert found.mean == pytest.approx(losses[1] - losses[0])
    assert ws.compare([shallow, shallow.record, constant]).paired_models() == found
    later = ws.get_training_data(data.name, test_from=SPLIT + timedelta(days=1))
    other = fitted_run(ws, "later", later, DummyClassifier(strategy="prior"))
    on_fewer = ws.compare([shallow, other]).paired_models()
    assert on_fewer.n == later.test.X.height < found.n
    assert on_fewer.unmatched == found.n - on_fewer.n
    without = fitted_run(ws, "no test", ws.get_training_data(data.name), DummyClassifier())
    with pytest.raises(DataError, match="has no test rows"):
        ws.compare([shallow, without]).paired_models()
    with pytest.raises(NotFoundError, match="did you mean 'model'"):
        ws.compare([shallow, constant]).paired_models("modle")
    run_of(ws, "bare")
    with pytest.raises(NotFoundError, match="'bare' has logged no model"):
        ws.compare([shallow, "bare"]).paired_models()
    with pytest.raises(DataError, match="3 runs cannot be paired"):
        ws.compare([shallow, constant, other]).paired_models()


@pytest.mark.parametrize(
    ("task", "classes", "y", "predictions", "losses"),
    [
        ("regression", None, [1.0, 2.0, None], {"prediction": [1.5, None, 3.0]}, [0.25, None, None]),
        (
            "binary",
            [False, True],
            [True, False],
            {"prediction": [True, True], "probability": [0.5, 0.25]},
            [math.log(2), math.log(4 / 3)],
        ),
        ("binary", [0, 1], [1, 0], {"prediction": [1, 1]}, [0.0, 1.0]),
        (
            "multiclass",
            ["a", "b", "c"],
            ["c", "d"],
            {"prediction": ["a", "a"], "probabilities": [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]},
            [math.log(4), -math.log(2.0**-52)],
        ),
    ],
)
def test_the_loss_of_a_row(task, classes, y, predictions, losses):
    signature = Signature(task=task, request=[], features=[], classes=classes)
    found = row_losses(pl.Series(y), pl.DataFrame(predictions), signature).to_list()
    assert [one is None for one in found] == [one is None for one in losses]
    assert [one for one in found if one is not None] == pytest.approx([one for one in losses if one is not None])


def seeds(ws, **rates):
    """Runs of three seeds: auc of each configuration, and of each seed a little."""
    for group, auc in rates.items():
        for seed in range(3):
            quick_run(ws, group, {"seed": seed, "kind": group}, {"auc": auc + seed / 100, "loss": -auc}, group=group)


def test_groups_have_means_with_intervals(workspace):
    seeds(workspace, low=0.7, high=0.8)
    run_of(workspace, "alone", {"seed": 0}, {"auc": 0.75}, group="alone")
    run_of(workspace, "no group", metrics={"auc": 0.9})
    found = workspace.compare("metrics.auc > 0", by="group", metric="auc")
    assert [one.name for one in found.groups] == ["high", "alone", "low"]
    high = found.groups[0].metrics["auc"]
    assert (high.n, high.mean) == (3, pytest.approx(0.81))
    assert (high.low, high.high) == pytest.approx((0.81 - 0.0248414, 0.81 + 0.0248414), abs=1e-6)  # t(2) is 4.3027
    assert found.without == 1
    text = repr(found)
    assert "0.81 [0.7852, 0.8348] (n=3)" in text
    assert "0.75 (n=1)" in text
    assert "one run gives no interval" in text
    assert "1 runs have no group" in text
    table = found.to_frame()
    assert table.columns == ["group", "runs", "auc.n", "auc.mean", "auc.sd", "auc.low", "auc.high"]
    assert table["auc.low"].null_count() == 1
    assert "<table>" in found._repr_html_()
    json.loads(msgspec.json.encode(found.as_dict()))


def test_groups_by_parameters_and_all_metrics(workspace):
    seeds(workspace, low=0.7, high=0.8)
    found = workspace.compare("params.seed >= 0", by=["params.kind", "params.seed"])
    assert len(found.groups) == 6
    assert found.groups[0].name == "kind=high, seed=0"
    assert set(found.to_frame().columns) >= {"params.kind", "params.seed", "auc.mean", "loss.mean"}
    by_experiment = workspace.compare("params.seed >= 0", by="experiment")
    assert [one.name for one in by_experiment.groups] == ["Default"]
    for by, why in (
        ("metrics.auc", "not grouped by"),
        ("started_at", "not grouped by"),
        ([], "is empty"),
        ("params.x", "none of"),
    ):
        with pytest.raises(DataError, match=why):
            workspace.compare("params.seed >= 0", by=by)
    with pytest.raises(NotFoundError, match="did you mean 'auc'"):
        workspace.compare("params.seed >= 0", by="group", metric="acu")


def test_groups_are_tested_seed_by_seed(workspace):
    seeds(workspace, low=0.7, high=0.8)
    run_of(workspace, "high", {"seed": 9}, {"auc": 0.1}, group="high")
    found = workspace.compare("group is not null", by="group", metric="auc")
    test = found.test("low", "high")
    assert (test.n, test.unmatched, test.how) == (3, 1, "t")
    assert test.mean == pytest.approx(0.1)
    assert test.differs is True
    assert found.test("low", "high", "loss", on="params.seed").mean == pytest.approx(-0.1)
    with pytest.raises(NotFoundError, match="did you mean 'low'"):
        found.test("lov", "high")
    with pytest.raises(DataError, match="have the same kind"):
        found.test("low", "high", on="kind")
    run_of(workspace, "plain", {}, {"auc": 0.1}, group="plain")
    with pytest.raises(DataError, match="cannot be paired: they have no parameter seed"):
        workspace.compare("group is not null", by="group").test("low", "plain", "auc")


def test_a_diverged_run_is_in_no_mean_and_is_said(workspace):
    for value in (0.5, 0.7, math.nan):
        run_of(workspace, "a", metrics={"auc": value}, group="g")
    run_of(workspace, "b", metrics={"auc": 0.1}, group="h")
    found = workspace.compare("group is not null", by="group", metric="auc")
    assert found.groups[0].metrics["auc"].left_out == 1
    assert found.groups[0].metrics["auc"].mean == pytest.approx(0.6)
    assert "1 values are NaN" in repr(found)


def test_the_best_of_many_equal_configurations_is_warned_of(workspace):
    chance = random.Random(5)
    for group in range(12):
        for seed in range(3):
            metrics = {"auc": 0.8 + chance.gauss(0, 0.01), "loss": 0.2 + chance.gauss(0, 0.01)}
            quick_run(workspace, "r", {"seed": seed}, metrics, group=f"g{group}")
    found = workspace.compare("name = 'r'", by="group", metric="auc")
    best = found.best()
    assert best.luck.n == 12
    assert best.name == found.groups[0].name
    assert best.luck.noise == pytest.approx(0.01 / math.sqrt(3), rel=0.4)
    assert best.luck.within_noise is True
    assert "its lead is within that" in repr(found)
    assert found.best("loss").goal == "min"
    with pytest.raises(DataError, match="by which metric"):
        workspace.compare("name = 'r'", by="group").best()
    alone = workspace.compare("params.seed = 0").best("auc")
    assert alone.luck.noise is None
    assert "is not known" in repr(alone)
    assert workspace.compare("params.seed = 0").best("auc", noise=0.01).luck.within_noise is True
    assert workspace.compare("name = 'r'").best("auc").luck.noise == pytest.approx(0.01, rel=0.4)


def test_a_clear_winner_is_not_called_luck(workspace):
    seeds(workspace, low=0.7, middle=0.71, high=0.9)
    best = workspace.compare("params.seed >= 0", by="group", metric="auc.best").best()
    assert (best.name, best.luck.within_noise) == ("high", False)
    assert "its lead is more than that" in repr(best)


def test_the_comparison_is_of_what_was_logged_a_moment_ago(tmp_path):
    with tm.connect(tmp_path / "a.tm", create=True) as ws, ws.start_run("a") as first, ws.start_run("b") as second:
        first.log_metric("auc", 0.5)
        second.log_metric("auc", 0.6)
        assert "metrics.auc" in ws.compare([first, second]).differing
