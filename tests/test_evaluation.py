"""Metrics: the known values, and none where it is not defined."""

from __future__ import annotations

import math

import polars as pl
import pytest

from tinymlops.records import Signature
from tinymlops.training.evaluation import evaluate, metrics_for


def binary(probability):
    probability = pl.Series("probability", probability, dtype=pl.Float64)
    return pl.DataFrame({"prediction": probability > 0.5, "probability": probability})


def test_binary_metrics_have_their_known_values():
    y = pl.Series([False, False, True, True])
    found = metrics_for("binary", y, binary([0.1, 0.4, 0.35, 0.8]), [False, True])
    assert found["auc"] == 0.75
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.6, 0.35, 0.8))) / 4)


def test_the_second_class_is_the_positive_one():
    predictions = pl.DataFrame({"prediction": ["no", "yes"], "probability": [0.2, 0.9]})
    found = metrics_for("binary", pl.Series(["no", "yes"]), predictions, ["no", "yes"])
    assert found["auc"] == found["accuracy"] == 1.0


@pytest.mark.parametrize("value", [True, False])
def test_one_class_has_no_auc(value):
    found = metrics_for("binary", pl.Series([value, value]), binary([0.1, 0.9]), [False, True])
    assert found.keys() == {"accuracy", "log_loss"}
    assert all(math.isfinite(one) for one in found.values())


def test_a_certain_mistake_has_a_finite_log_loss():
    found = metrics_for("binary", pl.Series([True, False]), binary([0.0, 1.0]), [False, True])
    assert math.isfinite(found["log_loss"])
    assert found["auc"] == 0.0


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_no_rows_have_no_metrics(task):
    assert metrics_for(task, pl.Series([], dtype=pl.Boolean), binary([]), [False, True]) == {}


def test_without_probabilities_there_is_accuracy():
    predictions = pl.DataFrame({"prediction": [True, False]})
    assert metrics_for("binary", pl.Series([True, True]), predictions, [False, True]) == {"accuracy": 0.5}


def test_multiclass_metrics():
    predictions = pl.DataFrame(
        {
            "prediction": ["a", "b", "c", "a"],
            "probabilities": [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]] * 1 + [[0.8, 0.1, 0.1]],
        }
    )
    y = pl.Series(["a", "b", "c", "b"])
    found = metrics_for("multiclass", y, predictions, ["a", "b", "c"])
    assert found["accuracy"] == 0.75
    assert found["log_loss"] == pytest.approx(-(3 * math.log(0.8) + math.log(0.1)) / 4)
    assert 0 < found["f1_macro"] < 1
    unseen = metrics_for("multiclass", pl.Series(["a", "b", "c", "z"]), predictions, ["a", "b", "c"])
    assert unseen.keys() == {"accuracy", "f1_macro"}


def test_regression_metrics_leave_out_what_is_not_defined():
    predictions = pl.DataFrame({"prediction": [1.0, 2.0, 5.0]})
    found = metrics_for("regression", pl.Series([1, 2, 3]), predictions)
    assert found == {"mae": pytest.approx(2 / 3), "rmse": pytest.approx(math.sqrt(4 / 3)), "r2": pytest.approx(-1.0)}
    assert metrics_for("regression", pl.Series([1.0]), predictions.head(1)).keys() == {"mae", "rmse"}
    assert metrics_for("regression", pl.Series([2.0, 2.0]), predictions.head(2)).keys() == {"mae", "rmse"}
    assert metrics_for("regression", pl.Series([float("nan")]), predictions.head(1)) == {}


def test_evaluate_leaves_out_rows_without_an_outcome():
    signature = Signature([], [], "binary", [False, True])
    found = evaluate(pl.Series([True, None, False]), binary([0.9, 0.1, 0.2]), signature, split="test")
    assert (found.split, found.rows, found.metrics["auc"]) == ("test", 2, 1.0)
