"""Runs: everything that is logged is stored at once, and found again."""

from __future__ import annotations

import math
import subprocess
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tinymlops.errors import ConflictError, DataError, NotFoundError
from tinymlops.records import AuditEntry
from tinymlops.registry.runs import Runs
from tinymlops.registry.scope import Scope
from tinymlops.registry.surroundings import git_state
from tinymlops.stores.environment import open_environment

START = datetime(2013, 10, 1, tzinfo=UTC)


class Ticking:
    def __init__(self):
        self.now = START

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture
def environment(tmp_path):
    environment = open_environment(tmp_path / "flights.tm", create=True, clock=lambda: START)
    yield environment
    environment.release()


@pytest.fixture
def runs(environment):
    return Runs(Scope(environment, Ticking(), "anna"))


def test_a_run_notes_what_it_stands_on(runs):
    run = runs.start("baseline", training_set="b1", params={"depth": 3}, tags={"team": "ops"})
    assert runs.get(run.id) == run
    assert run.status == "running"
    assert run.params == {"depth": 3}
    assert run.training_set == "b1"
    assert {"python", "scikit-learn", "polars", "skops"} <= run.packages.keys()
    assert repr(runs) == "<runs: 1>"


def test_git_state_is_the_commit_and_whether_tracked_files_differ(tmp_path, monkeypatch):
    assert git_state(tmp_path) == (None, False)

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)
        return done.stdout.decode().strip()

    git("init")
    assert git_state(tmp_path) == (None, False)
    (tmp_path / "a.txt").write_text("1")
    git("add", ".")
    git("commit", "-m", "x")
    commit = git("rev-parse", "HEAD")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "untracked.txt").write_text("1")
    assert git_state(tmp_path) == (commit, False)
    (tmp_path / "a.txt").write_text("2")
    assert git_state(tmp_path) == (commit, True)
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) == (None, False)


def test_every_value_of_a_metric_is_kept_and_the_run_has_the_last(runs):
    run = runs.start("baseline").id
    for value in (0.5, 0.6, np.float32(0.75)):
        runs.log_metrics(run, {"auc": value})
    runs.log_metrics(run, {"loss": math.nan}, step=10)
    runs.log_metrics(run, {"loss": 2})
    assert [(one.step, one.value) for one in runs.metrics(run, "auc")] == [(0, 0.5), (1, 0.6), (2, 0.75)]
    assert [one.step for one in runs.metrics(run, "loss")] == [10, 11]
    assert runs.get(run).metrics == {"auc": 0.75, "loss": 2.0}


def test_a_metric_must_be_a_number(runs):
    run = runs.start("baseline").id
    for value in ("0.5", None, [1, 2], {}):
        with pytest.raises(DataError, match="auc"):
            runs.log_metrics(run, {"auc": value})
    with pytest.raises(DataError, match="quotes"):
        runs.log_metrics(run, {'a"b': 1})
    assert runs.metrics(run) == []


def test_a_parameter_keeps_its_value(runs):
    run = runs.start("baseline", params={"depth": 3}).id
    runs.log_params(run, {"depth": 3, "rate": np.float64(0.1), "layers": [4, 2], "none": None})
    assert runs.get(run).params == {"depth": 3, "rate": 0.1, "layers": "[4, 2]", "none": None}
    with pytest.raises(ConflictError, match="depth as 3, not 4"):
        runs.log_params(run, {"depth": 4, "new": 1})
    assert "new" not in runs.get(run).params


def test_an_artifact_is_kept_by_its_hash(runs, tmp_path, environment):
    run = runs.start("baseline").id
    (tmp_path / "report.html").write_text("<p>")
    runs.log_artifact(run, "report.html", tmp_path / "report.html")
    runs.log_artifact(run, "raw", b"\0\1")
    assert runs.read_artifact(run, "report.html") == b"<p>"
    assert [(one.name, one.bytes) for one in runs.artifacts(run)] == [("raw", 2), ("report.html", 3)]
    with pytest.raises(NotFoundError, match=r"did you mean 'report.html'"):
        runs.read_artifact(run, "report.htm")
    for name in ("../x", "/etc/passwd", "", "a\nb", "a/../b"):
        with pytest.raises(DataError):
            runs.log_artifact(run, name, b"")
    with pytest.raises(NotFoundError):
        runs.log_artifact("nobody", "x", b"")
    assert environment.database.verify_audit() == []


def test_a_run_is_found_by_id_beginning_and_name(runs):
    first, second = runs.start("baseline"), runs.start("baseline")
    assert runs.get(first.id) == first
    assert runs.get(first.id[:12]) == first
    assert runs.get("baseline") == second
    with pytest.raises(NotFoundError, match="did you mean 'baseline'"):
        runs.get("basline")
    with pytest.raises(NotFoundError):
        runs.get("")
    ids = {runs.start("x").id[0] for _ in range(40)}
    assert len(ids) < 40
    with pytest.raises(NotFoundError, match="several runs"):
        runs.get(max(ids, key=lambda one: sum(run.id[0] == one for run in runs.search(limit=None))))


@pytest.mark.parametrize("hours", [0, -1])
def test_the_newest_run_of_a_name_began_last_where_the_clock_stands_still_or_was_set_back(environment, hours):
    moments = iter(START + timedelta(hours=number * hours) for number in range(9))
    runs = Runs(Scope(environment, lambda: next(moments), "anna"))
    for _ in range(9):
        last = runs.start("baseline")
        assert runs.get("baseline") == last


def test_finish_ends_a_run_and_is_audited(runs, environment):
    run = runs.start("baseline").id
    done = runs.finish(run, status="failed", error="x" * 5_000)
    assert done.ended_at is not None
    assert len(done.error) == 2_000
    with pytest.raises(DataError, match="cannot end"):
        runs.finish(run, status="done")
    actions = [entry.action for entry in environment.database.list(AuditEntry, where={"subject": run})]
    assert actions == ["run.start", "run.finish"]


@pytest.fixture
def searched(runs):
    rows = [
        ("a", {"depth": 3, "loss": "log", "flag": True}, {"auc": 0.7}),
        ("b", {"depth": 5, "loss": "it's"}, {"auc": 0.9, "val/loss-1": 1.0}),
        ("c", {"depth": "3", "flag": 1}, {"auc": math.nan}),
        ("d", {}, {}),
    ]
    for name, params, metrics in rows:
        runs.log_metrics(runs.start(name, params=params, tags={"team": name}).id, metrics)
    return runs


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("metrics.auc > 0.7", "b"),
        ("metrics.auc>=0.7 AND params.depth = 3", "a"),
        ("metrics.auc < 1e9", "ab"),
        ("params.depth = '3'", "c"),
        ("params.depth != 3", "bc"),
        ("params.flag = true", "a"),
        ("params.flag = 1", "c"),
        ('params.loss = "it\'s"', "b"),
        ('metrics."val/loss-1" == 1 and name = "b"', "b"),
        ("metrics.val/loss-1 = 1", "b"),
        ("tags.team = 'd'", "d"),
        ("status = 'running'", "abcd"),
        ("params.depth > -1", "ab"),
        ("  ", "abcd"),
        (None, "abcd"),
        ("name = 'x'' or 1=1'", None),
    ],
)
def test_search_compares_by_type(searched, where, found):
    if found is None:
        with pytest.raises(DataError):
            searched.search(where)
    else:
        assert sorted(run.name for run in searched.search(where)) == list(found)


def test_search_orders_with_the_missing_last(searched):
    assert [run.name for run in searched.search(order_by="-metrics.auc")][:2] == ["b", "a"]
    assert [run.name for run in searched.search(order_by="metrics.auc")][:2] == ["a", "b"]
    assert [run.name for run in searched.search(order_by="name", limit=2)] == ["a", "b"]
    assert [run.name for run in searched.search()] == ["d", "c", "b", "a"]


@pytest.mark.parametrize(
    "where",
    [
        *("metrics.auc", "metrics.auc >", "auc > 1", "metrics.auc > 'a' or 1", "metrics. > 1", "name > 3"),
        *("metrics.auc > 1; drop table runs", "1 = 1", "name = baseline", "params.x = 99999999999999999999", "x"),
        *("metrics.auc ~ 1", "metrics.auc > 1 and", "name like a", 'metrics."a\\" = 1', "'a' = name"),
    ],
)
def test_search_refuses_what_it_cannot_read(searched, where):
    with pytest.raises(DataError) as caught:
        searched.search(where)
    assert caught.value.hint


def test_search_binds_what_looks_like_sql(searched):
    assert searched.search("name = '1; drop table runs --'") == []
    with pytest.raises(DataError):
        searched.search(order_by="name; drop table runs")
    with pytest.raises(DataError):
        searched.search(limit=-1)
    assert len(searched.search()) == 4


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("metrics.auc > " + "9" * 5000, "is too large"),
        ("metrics.auc > -" + "9" * 5000, "is too large"),
        ("metrics.auc > 1" + "0" * 20, "is too large"),
        ("metrics.auc > 1e999", "is too large"),
        (" and ".join(["metrics.auc > 0"] * 1500), "more than 500 conditions"),
        ("name = 'a\0b'", "character of code 0"),
        ('metrics."a\0b" > 0', "character of code 0"),
        ("name = '\ud800'", "Unicode"),
        (7, "is not text"),
    ],
    ids=["digits", "negative", "int64", "float", "many", "nul", "name", "surrogate", "number"],
)
def test_a_search_that_python_or_sqlite_would_choke_on_is_refused(searched, where, why):
    with pytest.raises(DataError, match=why) as caught:
        searched.search(where)
    assert len(str(caught.value)) < 1000


def test_a_search_of_many_conditions_and_an_odd_order(searched):
    assert len(searched.search(" and ".join(["metrics.auc > 0"] * 500))) >= 1
    with pytest.raises(DataError, match="code 0"):
        searched.search(order_by="-metrics.a\0b")
    with pytest.raises(DataError, match="too large"):
        searched.search(limit=2**70)
