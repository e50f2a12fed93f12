"""`verify_online`: the features of predictions are those of history at their time."""

import msgspec
import pytest
from conftest import at
from inside import clock_of, database_of
from trained import orders_frame, project_of_orders, replay, train

from tinymlops.records import Prediction


@pytest.fixture
def ws(tmp_path):
    with replay(tmp_path) as ws:
        yield ws


def test_predictions_are_confirmed_whatever_came_since(ws):
    project = project_of_orders()
    train(ws, project)
    ws.materialize()
    for round_ in range(4):
        ws.predict("buyer", {"customer": ["a", "b", "nobody", None]})
        project.frames["orders"] = project.frames["orders"].vstack(orders_frame(range(round_, 90, 7), seed=round_))
        clock_of(ws).advance("1h")
        ws.ingest("orders")
    ws.predict("buyer", {"last_amount": [1.0], "spent_1d": [2.0]})  # it read nothing
    verified = ws.verify_online()
    assert verified.same
    assert (verified.predictions, verified.features) == (16, 32)
    assert repr(verified) == "<16 predictions, 32 features recomputed: all the same>"
    assert ws.verify_online(since=clock_of(ws)()).predictions == 0


def test_a_feature_that_history_does_not_confirm_is_named(ws):
    train(ws, project_of_orders())
    (answer, _) = ws.predict("buyer", {"customer": ["a", "b"]}, sync=True)
    logged = database_of(ws).get(Prediction, id=answer["id"])
    wrong = msgspec.structs.replace(logged, features={**logged.features, "spent_1d": 1e9})
    with database_of(ws).write(actor="test") as tx:
        tx.update(wrong)
    verified = ws.verify_online()
    assert verified.mismatches == {"buyer:1 spent_1d": 1}
    assert not verified.same
    assert "MISMATCHES in buyer:1 spent_1d: 1" in repr(verified)
    (example,) = verified.examples
    assert (example.prediction_id, example.logged, example.recomputed) == (
        answer["id"],
        1e9,
        logged.features["spent_1d"],
    )


def test_nothing_logged_is_nothing_to_verify(ws):
    assert (ws.verify_online().predictions, ws.verify_online(since=at(1)).same) == (0, True)
