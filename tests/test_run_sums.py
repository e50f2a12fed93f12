"""Sums and pyramids of metrics follow from their points: doctor tells where they do not, and repair makes them anew."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.errors import IntegrityError
from tinymlops.records import MetricPyramid, MetricSummary
from tinymlops.registry.runs.blocks import BLOCK
from tinymlops.registry.runs.points import points_of
from tinymlops.registry.runs.verifying import check_sums
from tinymlops.stores.doctor import check
from tinymlops.stores.rows import codec_for

LONG = BLOCK + 100


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "r.tm"
    with tm.connect(path, create=True) as ws:
        with ws.start_run("whole") as run:
            for value in (3.0, float("nan"), -1.0, float("inf"), 2.0):
                run.log_metric("loss", value)
            run.log_metric("nothing", float("nan"))
            run.log_metric("val/auc", 0.5, step=0.5)
            steps = np.arange(LONG)
            ws.runs.log_points(run.id, {"long": points_of(steps, np.sin(steps), steps)})
        with ws.start_run(resume=run.id) as again:
            again.log_metric("loss", 7.0, step=1)
        ws.start_run("goes on").log_metrics(loss=1.0, auc=0.9)
    return path


@pytest.fixture
def path(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "r.tm"))


def change(path, sql, cls=None, **fields):
    """Change the database behind the back of the program; with a class, its row stays one that has its checksum."""
    with closing(sqlite3.connect(path / "meta.db")) as connection, connection:
        if cls is not None:
            codec = codec_for(cls)
            row = connection.execute(f"{codec.select} {sql}").fetchone()
            record = codec.cls(**{**{n: getattr(codec.decode(row), n) for n in codec.names}, **fields})
            connection.execute(codec.put, codec.encode(record))
        else:
            assert connection.execute(sql).rowcount > 0


def damaged(path):
    with tm.connect(path) as ws:
        return [one.detail for one in check_sums(database_of(ws)) if one.level == "damaged"]


def repaired(path):
    with tm.connect(path) as ws:
        ws.repair()
        assert not [one for one in check(environment_of(ws), lambda _: None) if one.level == "damaged"]
        return database_of(ws).list(MetricSummary), database_of(ws).list(MetricPyramid)


def test_sums_follow_from_points_and_the_check_says_of_how_many(path):
    with tm.connect(path) as ws:
        (finding,) = check_sums(database_of(ws))
    assert (finding.check, finding.level) == ("sums of metrics", "ok")
    assert finding.detail.startswith("those of 6 metrics")


LOSS = "WHERE name = 'loss' AND count > 1"


@pytest.mark.parametrize(
    "field",
    [
        {"count": 9},
        {"last": 1.5},
        {"step": 3.0},
        {"min": -9.0},
        {"max_step": 2.0},
        {"best": None},
        {"nans": 3},
        {"chunks": 1},
        {"session": 1},
    ],
)
def test_a_sum_that_does_not_follow_from_its_points_is_told_and_made_anew(path, field):
    before = repaired(path)
    change(path, LOSS, MetricSummary, **field)
    (told,) = damaged(path)
    assert told.startswith("the sum of metric 'loss' of run ")
    assert told.endswith(" does not follow from its points")
    assert str(repaired(path)) == str(before)
    assert damaged(path) == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE metric_summaries SET last = 8 WHERE name = 'loss' AND count > 1",
        "UPDATE metric_summaries SET name = 'lost' WHERE name = 'loss' AND count > 1",
        "UPDATE metric_summaries SET run = 'x' WHERE name = 'nothing'",
        "DELETE FROM metric_summaries",
        "UPDATE metric_pyramids SET content = zeroblob(64)",
        "UPDATE metric_pyramids SET name = 'lost'",
        "DELETE FROM metric_pyramids",
    ],
)
def test_a_row_that_is_damaged_or_gone_is_told_and_made_anew(path, sql):
    before = repaired(path)
    change(path, sql)
    assert damaged(path)
    assert str(repaired(path)) == str(before)


def test_a_pyramid_that_draws_another_curve_is_told(path):
    change(path, "", MetricPyramid, content=bytes(64 * (LONG // 64 + 1)))
    (told,) = damaged(path)
    assert told.startswith("the pyramid of metric 'long' of run ")
    _, (pyramid,) = repaired(path)
    assert pyramid.count == LONG


def test_damaged_points_are_told_by_the_check_of_rows_and_repair_leaves_their_sum(path):
    before = repaired(path)
    change(path, "UPDATE metric_series SET content = zeroblob(40) WHERE name = 'loss'")
    with tm.connect(path) as ws:
        assert damaged(path) == []
        ws.repair()
        found = {one.check: one for one in check(environment_of(ws), lambda _: None) if one.level == "damaged"}
        assert found.keys() == {"rows"}
        assert str(database_of(ws).list(MetricSummary)) == str(before[0])
        run = ws.runs.get("whole")
        with pytest.raises(IntegrityError):
            ws.runs.points(run.id, "loss")


def test_a_repair_keeps_the_goal_that_was_stored_and_says_what_it_did(path):
    change(path, LOSS, MetricSummary, goal="max", best=0.0)
    sums, _ = repaired(path)
    (loss,) = [one for one in sums if one.name == "loss" and one.count > 1]
    assert (loss.goal, loss.best) == ("max", float("inf"))
    with tm.connect(path) as ws:
        (entry,) = [one for one in ws.audit.list() if one.action == "repair.metrics"]
        assert (entry.subject, entry.detail) == (loss.run, {"metrics": 1})


def test_a_run_that_logs_meanwhile_is_not_called_damaged(path):
    with tm.connect(path) as ws, ws.start_run("busy") as run:
        for number in range(20):
            for step in range(50):
                run.log_metric(f"m{step % 5}", step * number)
            assert [one.level for one in check_sums(database_of(ws))] == ["ok"]
