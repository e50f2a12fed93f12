"""Tracking through the workspace: a run in progress, and the comparison of runs."""

import math
import re

import polars as pl
import pytest
from sklearn.tree import DecisionTreeClassifier
from trained import UTC_TIMES, project_of_orders, replay, train

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, NotFoundError

FIXED = ["id", "name", "status", "started_at", "ended_at", "git_commit", "training_set"]
FIXED += ["experiment", "group", "parent", "user"]


def test_no_runs_are_a_table_with_its_columns(workspace):
    table = workspace.search_runs()
    assert table.columns == FIXED
    assert table.height == 0
    assert table.schema["started_at"] == UTC_TIMES


def test_runs_stand_side_by_side_with_a_column_for_everything_logged(workspace):
    with workspace.start_run("first", params={"depth": 3, "rate": 1, "loss": "log", "flag": True}) as run:
        run.log_metrics(auc=0.7, loss=math.nan)
    with workspace.start_run("second", params={"depth": "deep", "rate": 0.5, "big": 2**70}, tags={"team": "a"}) as run:
        run.log_metrics(auc=0.9)
    table = workspace.search_runs(order_by="-metrics.auc")
    assert table.columns == [
        *FIXED,
        *("metrics.auc", "metrics.loss"),
        *("params.big", "params.depth", "params.flag", "params.loss", "params.rate"),
        "tags.team",
    ]
    assert table["name"].to_list() == ["second", "first"]
    assert table["metrics.auc"].to_list() == [0.9, 0.7]
    assert table["metrics.loss"][0] is None
    assert math.isnan(table["metrics.loss"][1])
    assert table["params.depth"].to_list() == ["deep", "3"]
    assert table["params.rate"].to_list() == [0.5, 1.0]
    assert table["params.flag"].to_list() == [None, True]
    assert table["params.big"].to_list() == [str(2**70), None]
    assert table["tags.team"].to_list() == ["a", None]
    assert set(table["status"]) == {"finished"}
    assert (table["ended_at"] >= table["started_at"]).all()


def test_the_table_says_where_a_run_belongs(workspace):
    with workspace.start_run("sweep", experiment="delays") as parent:
        pass
    with workspace.start_run("trial", experiment="delays", group="depth 3", parent=parent):
        pass
    table = workspace.search_runs("experiment = 'delays'", order_by="started_at")
    assert table["experiment"].to_list() == ["delays", "delays"]
    assert table["group"].to_list() == [None, "depth 3"]
    assert table["parent"].to_list() == [None, parent.id]
    assert table["user"].null_count() == 0
    with workspace.start_run("other"):
        pass
    assert workspace.search_runs(limit=1)["experiment"].to_list() == ["Default"]


def test_the_best_value_stands_beside_the_last_where_there_are_several(workspace):
    with workspace.start_run("a") as run:
        for loss in (3.0, 1.0, 2.0):
            run.log_metrics(loss=loss)
        run.log_metrics(auc=0.5)
    table = workspace.search_runs()
    assert [name for name in table.columns if name.startswith("metrics.")] == [
        "metrics.auc",
        "metrics.loss",
        "metrics.loss.best",
    ]
    assert table.select("metrics.loss", "metrics.loss.best").row(0) == (2.0, 1.0)
    table = workspace.search_runs("metrics.loss.max > 0", order_by=["-metrics.auc.count", "name"])
    assert table["metrics.loss.max"].to_list() == [3.0]
    assert table["metrics.auc.count"].to_list() == [1]
    assert "metrics.loss.count" not in table.columns


def test_runs_are_found_by_what_they_logged(workspace):
    for depth in (1, 2, 3):
        with workspace.start_run("tree", params={"depth": depth}) as run:
            run.log_metrics(auc=depth / 10)
    found = workspace.search_runs("params.depth >= 2", order_by="params.depth", limit=1)
    assert found["params.depth"].to_list() == [2]
    with pytest.raises(DataError, match="runs have no field 'param.depth'"):
        workspace.search_runs("param.depth = 2")


def test_an_error_fails_the_run_and_is_kept(workspace):
    with pytest.raises(ZeroDivisionError), workspace.start_run("broken") as run:
        run.log_metrics(auc=1 / 0)
    assert workspace.search_runs()["status"].to_list() == ["failed"]
    assert run.record.error == "ZeroDivisionError: division by zero"


def test_a_run_shows_what_it_has_in_a_notebook(workspace):
    with workspace.start_run("<b>", params={"depth": 3}) as run:
        run.log_metrics(auc=0.75)
    assert "run &lt;b&gt;" in run._repr_html_()
    assert re.search("metrics.auc</td><td[^>]*>0.75", run._repr_html_())
    assert repr(run).endswith(": finished, auc 0.75>")


def test_the_whole_way_from_a_run_to_an_alias(tmp_path):
    with replay(tmp_path) as ws:
        data = train(ws, project_of_orders())
        table = ws.search_runs()
        assert table["training_set"].to_list() == [data.build_id]
        run = ws.runs.get("baseline")
        second = ws.register_model("buyer", run=run.id[:10])
        assert second.version == 2
        assert ws.promote("buyer", 2, expected=1).previous == 1
        with pytest.raises(ConflictError, match="points at version 2, not at 1"):
            ws.promote("buyer", 1, expected=1)
        with pytest.raises(NotFoundError, match="did you mean 'baseline'"):
            ws.register_model("buyer", run="basline")
        with ws.start_run("no data") as bare, pytest.raises(DataError, match="logged with the training data"):
            bare.log_model(DecisionTreeClassifier().fit(data.train.X, data.train.y))
    with pytest.raises(ConflictError, match="closed"):
        ws.register_model("buyer", run=run)


def test_another_process_of_the_workspace_sees_runs_at_once(tmp_path):
    with replay(tmp_path) as ws, tm.connect(tmp_path / "shop.tm") as other:
        with ws.start_run("first") as run:
            run.log_metrics({"val/loss-1": 2.0}, durable=True)
            assert other.search_runs()["metrics.val/loss-1"].to_list() == [2.0]
        assert other.search_runs().select(pl.col("status")).item() == "finished"
