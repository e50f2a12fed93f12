"""Monitoring: live metrics and those of training, counts that add up, and drift that separates chance from change."""

import json
import math

import msgspec
import numpy as np
import polars as pl
import pytest
from conftest import at
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from inside import clock_of, database_of
from sklearn.linear_model import LinearRegression
from trained import orders_frame, project_of_orders, replay, train

from tinymlops.errors import DataError, NotFoundError
from tinymlops.kernels.drift import psi
from tinymlops.monitoring.drift import DriftCounter, expected_psi
from tinymlops.registry import predictions
from tinymlops.training.baseline import Histogram, histogram_of
from tinymlops.training.evaluation import metrics_for


@pytest.fixture
def ws(tmp_path):
    with replay(tmp_path) as ws:
        train(ws, project_of_orders())
        yield ws


def served_for(ws, hours):
    """Predict for every customer at every hour, with an ingest at each step of the clock."""
    answers = []
    for _ in range(hours):
        clock_of(ws).advance("1h")
        ws.ingest("orders")
        answers += ws.predict("buyer", {"customer": list("abc")})
    return answers


def test_a_report_needs_no_model_file(ws, tmp_path):
    served_for(ws, 1)
    name = ws.load_model("buyer").manifest.model.sha256
    (file,) = [one for one in tmp_path.rglob("*") if one.is_file() and one.stem.endswith(name[2:])]
    file.unlink()
    assert ws.monitor("buyer").predictions == 3


def test_a_report_puts_live_metrics_beside_those_of_training(ws):
    answers = served_for(ws, 30)
    ws.log_outcomes([{"prediction_id": answer["id"], "value": n % 3 == 0} for n, answer in enumerate(answers[:60])])
    ws.log_outcomes([{"prediction_id": answers[60]["id"], "value": None}])
    report = ws.monitor("buyer@champion")
    assert (report.model, report.version, report.predictions) == ("buyer", 1, 90)
    assert report.predictions == report.with_outcome + report.no_outcome + report.waiting + report.unfit
    # In addition to logged outcomes, the label's source has those within a day of the first hours.
    assert (report.with_outcome, report.no_outcome, report.unfit) == (60, 1, 0)
    predictions = pl.DataFrame(answers[:60])
    truth = pl.Series([n % 3 == 0 for n in range(60)])
    assert report.live.metrics == metrics_for("binary", truth, predictions, [False, True])
    assert report.live.rows == 60
    assert report.trained == ws.load_model("buyer").manifest.model.evaluation
    assert (report.first_at, report.last_at) == (at(241), at(270))
    text = str(report)
    assert text == repr(report)
    assert "buyer:1, 90 predictions from 2024-01-11 01:00 to 2024-01-12 06:00 UTC" in text
    assert "outcomes: 60 known, 1 without one, 29 waiting" in text
    assert "live (60 rows)  test (48 rows)" in text
    assert json.loads(msgspec.json.encode(report))["live"]["rows"] == 60
    shown = report._repr_html_()
    assert ">live (60 rows)</td>" in shown
    assert ">spent_1d</td>" in shown


def test_outcomes_that_the_labels_source_knows_are_joined_first(ws):
    served_for(ws, 3)
    assert ws.monitor("buyer").waiting == 9
    clock_of(ws).advance("2d")
    ws.ingest()
    report = ws.monitor("buyer")
    assert report.waiting == 0
    assert report.with_outcome + report.no_outcome == 9
    assert report.live.metrics.keys() >= {"accuracy", "log_loss"}


def test_monitoring_writes_nothing_and_says_what_stored_outcomes_say(ws):
    answers = served_for(ws, 6)
    ws.log_outcomes([{"prediction_id": answers[0]["id"], "value": False}, {"prediction_id": "stranger", "value": True}])
    clock_of(ws).advance("20h")
    ws.ingest()
    ws.flush()
    before = database_of(ws).commits()
    reports = [ws.monitor("buyer", since=since) for since in (None, at(243))]
    assert database_of(ws).commits() == before
    assert 0 < reports[0].with_outcome < reports[0].predictions
    assert reports[0].waiting > 0
    assert ws.collect_outcomes("buyer") == reports[0].with_outcome + reports[0].no_outcome + reports[0].unfit - 1
    assert ws.collect_outcomes("buyer@champion") == 0
    assert [ws.monitor("buyer", since=since) for since in (None, at(243))] == reports


def test_a_period_takes_predictions_from_its_start_and_before_its_end(ws):
    served_for(ws, 5)
    assert ws.monitor("buyer", since=at(242)).predictions == 12
    assert ws.monitor("buyer", until=at(242)).predictions == 3
    assert ws.monitor("buyer", since="2024-01-11T02:00:00Z", until=at(244)).predictions == 6
    assert ws.monitor("buyer", since="2024-01-12").predictions == 0
    assert ws.monitor("buyer", until="2024-01-11T02:30").predictions == 6  # in the project's zone
    with pytest.raises(DataError, match="since='soon' is not a time"):
        ws.monitor("buyer", since="soon")


@pytest.mark.parametrize("page", [1, 4, 1000])
def test_pages_do_not_show(ws, monkeypatch, page):
    served_for(ws, 7)
    whole = ws.monitor("buyer")
    monkeypatch.setattr(predictions, "_PAGE", page)
    assert ws.monitor("buyer") == whole


def test_a_model_that_answered_nothing_has_an_empty_report(ws):
    report = ws.monitor("buyer")
    assert (report.predictions, report.first_at, report.live.rows, report.live.metrics) == (0, None, 0, {})
    assert [drift.psi for drift in report.features] == [None, None]
    assert "buyer:1, no predictions" in str(report)
    msgspec.json.encode(report)
    with pytest.raises(NotFoundError, match="did you mean 'buyer'"):
        ws.monitor("byer")


def test_versions_are_apart(ws):
    train(ws, project_of_orders(), alias=None)
    ws.predict("buyer:1", [{"customer": "a"}])
    ws.predict("buyer:2", {"customer": ["a", "b"]})
    assert (ws.monitor("buyer:1").predictions, ws.monitor("buyer:2").predictions) == (1, 2)


def test_outcomes_that_the_model_cannot_give_are_counted_and_left_out(ws):
    first, second = ws.predict("buyer", {"customer": ["a", "b"]})
    ws.log_outcomes([{"prediction_id": first["id"], "value": "yes"}, {"prediction_id": second["id"], "value": 1}])
    report = ws.monitor("buyer")
    assert (report.with_outcome, report.unfit) == (1, 1)
    assert "1 that the model cannot give" in str(report)


def test_a_number_is_compared_with_a_number(ws):
    data = ws.get_training_data("visits_to_orders")
    data.train = data.train._replace(y=data.train.y.cast(pl.Int64))
    with ws.start_run("linear", data=data) as run:
        run.log_model(LinearRegression().fit(data.train.X.fill_null(0), data.train.y))
    ws.register_model("linear", run=run)
    answers = ws.predict("linear", {"customer": ["a", "b", "c"]})
    values = [answers[0]["prediction"] + 1, answers[1]["prediction"] - 3, "much"]
    ws.log_outcomes([{"prediction_id": a["id"], "value": v} for a, v in zip(answers, values, strict=True)])
    report = ws.monitor("linear")
    assert report.live.metrics["mae"] == pytest.approx(2)
    assert (report.with_outcome, report.unfit) == (2, 1)


def test_a_feature_that_moved_is_said_and_stands_first(ws):
    frame = orders_frame(range(240, 400), seed=9).with_columns(amount=pl.col("amount").abs() * 1000)
    project = project_of_orders()
    project.frames["orders"] = project.frames["orders"].filter(pl.col("at") < at(240)).vstack(frame)
    ws.apply(project)
    served_for(ws, 60)
    report = ws.monitor("buyer", since=at(250))
    assert report.features[0].excess >= report.features[1].excess
    assert report.features[0].reading == "shift"
    assert report.features[0].psi > report.features[0].noise
    assert "shift" in str(report)


def test_null_rates_stand_beside_those_of_training(ws):
    ws.predict("buyer", {"customer": ["nobody", "a", "b", "c"]})
    (last_amount,) = [drift for drift in ws.monitor("buyer").features if drift.name == "last_amount"]
    assert (last_amount.null_rate, last_amount.training_null_rate, last_amount.rows) == (0.25, 0.0, 4)
    assert last_amount.reading == "few rows"


@examples(60)
@given(
    st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=40),
    st.lists(st.one_of(st.none(), st.floats(-9, 9)), min_size=1, max_size=40),
    st.integers(1, 7),
)
def test_counting_page_by_page_is_the_histogram_of_the_whole(training, now, page):
    histogram = histogram_of(pl.Series("x", training, dtype=pl.Float64))
    counter = DriftCounter(histogram)
    for start in range(0, len(now), page):
        counter.add(now[start : start + page])
    drift = counter.drift("x")
    edges = np.array(histogram.edges)
    expected = np.zeros(len(edges) + 2)
    for value in now:
        expected[len(edges) + 1 if value is None else int((edges <= value).sum())] += 1
    assert drift.psi == psi(np.array(histogram.counts), expected)
    assert drift.null_rate == now.count(None) / len(now)


def test_text_and_booleans_are_counted_by_value_and_new_categories_apart():
    histogram = histogram_of(pl.Series(["a", "b", "b", None], dtype=pl.Enum(["a", "b"])))
    counter = DriftCounter(histogram)
    counter.add(["a", "b", None, "new", "b", "newer"])
    drift = counter.drift("x")
    assert drift.psi == psi(np.array([1, 2, 0, 1]), np.array([1, 2, 2, 1]))
    assert (drift.bins, drift.rows) == (4, 6)
    flags = DriftCounter(histogram_of(pl.Series([True, False, None])))
    flags.add([True, False, None])
    assert flags.drift("x").psi == 0


def test_a_flag_that_turned_has_drifted_and_bins_say_which_values_they_hold():
    rare = pl.Series([0] * 95 + [1] * 5)
    for values in (rare, rare.cast(pl.Float32) / 10, -rare, rare * 3 - 1):
        counter = DriftCounter(histogram_of(values))
        counter.add([values[-1]] * 200)
        assert counter.drift("x").reading == "shift", values
    drift = DriftCounter(histogram_of(rare)).drift("x")
    assert drift.labels == ["below 0", "0", "over 0", "null"]
    prices = DriftCounter(histogram_of(pl.Series([123456.5 + step for step in range(30)]))).drift("x")
    assert len(set(prices.labels)) == len(prices.labels)
    flags = DriftCounter(histogram_of(pl.Series([0.0, 1.0] * 50))).drift("x")
    assert flags.labels == ["below 0", "0", "0 to 1", "1", "over 1", "null"]


def test_bins_that_an_earlier_version_kept_are_read():
    counter = DriftCounter(Histogram([0, 192, 1], edges=[0.0]))
    counter.add([0, 1, None])
    assert (counter.drift("x").labels, counter.drift("x").served) == (["below 0", "from 0", "null"], [0, 2, 1])
    constant = DriftCounter(Histogram([0, 9, 0, 0], edges=[3.0, math.nextafter(3.0, 4.0)]))
    assert constant.drift("x").labels == ["below 3", "3", "over 3", "null"]


def test_the_noise_is_the_mean_index_of_samples_without_drift():
    chance = np.random.default_rng(7)
    shares = np.full(10, 0.1)
    found = [psi(chance.multinomial(4000, shares), chance.multinomial(400, shares)) for _ in range(800)]
    assert np.mean(found) == pytest.approx(expected_psi(10, 4000, 400), rel=0.1)
