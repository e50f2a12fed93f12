"""Outcomes: logged by a user, or computed from the label's source once they are mature."""

from datetime import date, time, timedelta
from decimal import Decimal

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from conftest import at, shop
from inside import clock_of, context_of, database_of, log_of, set_clock
from trained import orders_frame, project_of_orders, replay, train, visits_frame

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.records import AuditEntry, Outcome
from tinymlops.serving.outcomes import collect_outcomes


@pytest.fixture
def ws(tmp_path):
    with replay(tmp_path) as ws:
        train(ws, project_of_orders())
        yield ws


def stored(ws):
    return {one.prediction_id: one for one in database_of(ws).list(Outcome)}


def collect(ws, reference="buyer"):
    log_of(ws).flush()
    return collect_outcomes(context_of(ws), ws.load_model(reference))


def to_pandas(rows):
    return pl.DataFrame(rows).to_pandas()


def to_arrow(rows):
    return pl.DataFrame(rows).to_arrow()


def ids(answers):
    return [answer["id"] for answer in answers]


@pytest.mark.parametrize("kind", [list, pl.DataFrame, to_pandas, to_arrow])
def test_outcomes_come_in_any_table(ws, kind):
    first, second = ids(ws.predict("buyer", {"customer": ["a", "b"]}))
    rows = [
        {"prediction_id": first, "value": True, "note": "x"},
        {"prediction_id": second, "value": None, "note": "y"},
        {"prediction_id": "unknown", "value": False, "note": "z"},
    ]
    report = ws.log_outcomes(kind(rows))
    assert (report.outcomes, report.unknown, report.replaced) == (3, 1, 0)
    found = stored(ws)
    assert [found[one].value for one in (first, second, "unknown")] == [1, None, 0]
    assert found[first].origin == "logged"
    assert found[first].at == clock_of(ws)()
    assert database_of(ws).list(AuditEntry, order="-n", limit=1)[0].action == "outcomes.log"


def test_a_second_outcome_replaces_the_first(ws):
    (identifier,) = ids(ws.predict("buyer", [{"customer": "a"}]))
    ws.log_outcomes([{"prediction_id": identifier, "value": 1}])
    assert ws.log_outcomes([{"prediction_id": identifier, "value": 0}]).replaced == 1
    assert stored(ws)[identifier].value == 0
    report = ws.log_outcomes([{"prediction_id": identifier, "value": v} for v in (1, 0, None)])
    assert (report.outcomes, report.replaced) == (1, 1)
    assert stored(ws)[identifier].value is None


def test_values_keep_their_kind_side_by_side(ws):
    values = {"number": 2**60 + 1, "share": 0.5, "text": "1", "flag": True, "nothing": None, "nan": float("nan")}
    ws.log_outcomes([{"prediction_id": name, "value": value} for name, value in values.items()])
    found = {name: one.value for name, one in stored(ws).items()}
    assert found == {**values, "flag": 1, "nan": None}
    assert isinstance(found["text"], str)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prediction_id": "a", "valeu": 1}], "no column 'value' in row 0\nHint: did you mean 'valeu'"),
        (
            pl.DataFrame({"prediction": ["a"], "value": [1]}),
            "no column 'prediction_id'\nHint: did you mean 'prediction'",
        ),
        ([{"prediction_id": 7, "value": 1}], "prediction_id is 7 in row 0"),
        ([{"prediction_id": "a", "value": 1}, {"prediction_id": None, "value": 1}], "prediction_id is None in row 1"),
        ([{"prediction_id": "a", "value": [1]}], r"value is \[1\] \(list\) in row 0"),
        ([{"prediction_id": "a", "value": float("inf")}], "value is inf"),
        (pl.DataFrame({"prediction_id": ["a"], "value": [at(1)]}), r"value is datetime"),
        ("a", "is not a table"),
    ],
)
def test_outcomes_that_do_not_fit_are_refused_and_none_is_stored(ws, rows, message):
    good = [{"prediction_id": "good", "value": 1}]
    with pytest.raises(DataError, match=message):
        ws.log_outcomes(rows + good if isinstance(rows, list) else rows)
    assert stored(ws) == {}


def test_no_outcomes_are_nothing_to_store(ws):
    assert ws.log_outcomes([]).outcomes == 0


def test_outcomes_are_computed_once_their_window_is_mature_as_training_does(ws):
    asked = {"customer": [*"abc", "nobody"]}
    clock_of(ws).advance("30m")
    answers = ws.predict("buyer", asked)
    moment = clock_of(ws)()
    assert collect(ws) == 0
    clock_of(ws).advance("1d")
    ws.ingest()
    assert collect(ws) == 0  # an order of the last moment may still be missing
    clock_of(ws).advance("2h")
    ws.ingest()
    assert collect(ws) == 4
    assert collect(ws) == 0
    found = stored(ws)
    orders = project_of_orders().frames["orders"]
    for identifier, customer in zip(ids(answers), asked["customer"], strict=True):
        after = orders.filter(
            pl.col("customer") == customer, pl.col("at") > moment, pl.col("at") <= moment + timedelta(days=1)
        )
        expected = None if not after.height else int(after.sort("at")["amount"][-1] > 0)
        assert found[identifier].value == expected
        assert found[identifier].origin == "label"
    assert database_of(ws).list(AuditEntry, order="-n", limit=1)[0].subject == "buyer:1"


KEYS = {
    "date": ({"a": date(2024, 1, 1), "b": date(2024, 1, 2), "c": date(2024, 1, 3)}, pl.Date),
    "time": ({"a": time(1), "b": time(1, 0, 0, 1), "c": time(2)}, pl.Time),
    "decimal": ({"a": Decimal("1.50"), "b": Decimal(10**30 + 1), "c": Decimal(10**30 + 2)}, pl.Decimal(38, 2)),
    "binary": ({"a": b"\0", "b": b"a", "c": b""}, pl.Binary),
    "number": ({"a": 1, "b": 2, "c": 2**60 + 1}, pl.Int64),
}


@pytest.mark.parametrize("kind", KEYS)
def test_outcomes_are_found_by_keys_of_every_type_that_a_request_may_have(tmp_path, kind):
    keys, dtype = KEYS[kind]
    orders, visits = orders_frame(range(1, 400)), visits_frame(range(10, 400))
    keyed = [
        frame.with_columns(pl.Series("customer", [keys[one] for one in frame["customer"]], dtype=dtype))
        for frame in (orders, visits)
    ]
    counts = []
    for place, (project, asked) in enumerate(
        [
            (shop(orders, visits), {"customer": list("abc")}),
            (shop(*keyed), pl.DataFrame({"customer": list(keys.values())})),
        ]
    ):
        (tmp_path / str(place)).mkdir()
        with replay(tmp_path / str(place)) as ws:
            train(ws, project)
            set_clock(ws, tm.ReplayClock(at(24 * 8)))
            answers = ws.predict("buyer", asked)
            if isinstance(asked, pl.DataFrame) and dtype != pl.Binary:
                sent = [{"customer": value} for value in msgspec.to_builtins(list(keys.values()))]
                again = ws.predict("buyer", sent)
                assert [one["probability"] for one in again] == [one["probability"] for one in answers]
            set_clock(ws, tm.ReplayClock(at(24 * 15)))
            collect(ws)
            counts.append([stored(ws)[one].value for one in ids(answers)])
    assert counts[0] == counts[1]


def test_values_of_numpy_and_pandas_are_what_they_hold(ws):
    values = [np.int64(1), np.float64(0.5), np.bool_(True), pd.NA, np.str_("late")]
    ws.log_outcomes([{"prediction_id": str(place), "value": value} for place, value in enumerate(values)])
    assert [stored(ws)[str(place)].value for place in range(5)] == [1, 0.5, 1, None, "late"]


def test_training_and_collection_give_the_same_outcome(ws):
    data = ws.get_training_data("visits_to_orders")
    last = data.train.spine.height - 1
    row, truth = data.train.spine.row(last, named=True), data.train.y[last]
    now = clock_of(ws)
    set_clock(ws, type(now)(row["timestamp"]))
    (identifier,) = ids(ws.predict("buyer", [{"customer": row["customer"]}]))
    set_clock(ws, now)
    assert collect(ws) == 1
    assert stored(ws)[identifier].value == int(truth)


def test_what_a_user_said_stays(ws):
    first, second = ids(ws.predict("buyer", {"customer": ["a", "b"]}))
    ws.log_outcomes([{"prediction_id": first, "value": None}])
    clock_of(ws).advance("3d")
    ws.ingest()
    assert collect(ws) == 1
    assert stored(ws)[first].origin == "logged"
    assert stored(ws)[first].value is None
    assert ws.log_outcomes([{"prediction_id": second, "value": 0.0}]).replaced == 1
    assert stored(ws)[second].origin == "logged"


def test_only_the_predictions_of_that_version_are_looked_at(ws):
    train(ws, project_of_orders(), alias=None)
    ws.predict("buyer:1", [{"customer": "a"}])
    ws.predict("buyer:2", [{"customer": "a"}, {"customer": "b"}])
    clock_of(ws).advance("3d")
    ws.ingest()
    assert (collect(ws, "buyer:1"), collect(ws, "buyer:2")) == (1, 2)


def test_the_labels_key_may_be_sent_beside_the_request(tmp_path):
    """A label of visits: the model needs the customer, and the visit comes along to be known later."""
    base = project_of_orders()
    project = tm.Project("shop")
    customer, visit = project.entity("customer", key="customer"), project.entity("visit", key="visit")
    frames = base.frames
    bought = frames["visits"].select("visit", pl.col("at") + timedelta(hours=2), worth=pl.col("visit") % 3)

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return frames["visits"]

    @project.source(timestamp="at", keys={"visit": "number"})
    def results() -> pl.DataFrame:
        return bought.rename({"visit": "number"})

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last_amount": orders["amount"].last()}

    @project.label(entity=visit, horizon="6h")
    def worth(results: tm.Rows) -> tm.Label:
        return (results["worth"] > 0).last()

    project.training_set("visits_to_orders", spine=visits, label=worth, features=[spending])
    with replay(tmp_path) as ws:
        train(ws, project)
        rows = visits_frame(range(10, 400)).filter(pl.col("at") > clock_of(ws)()).head(3).select("customer", "visit")
        rows = [*rows.to_dicts(), {"customer": "a"}, {"customer": "a", "visit": None}]
        known = [row["visit"] for row in rows[:3]]
        answers = [ws.predict("buyer", [row])[0]["id"] for row in rows]
        answers.append(ws.predict("buyer", [{"customer": "a", "visit": "no number"}])[0]["id"])
        clock_of(ws).advance("3d")
        ws.ingest()
        assert collect(ws) == 3
        assert {name: one.value for name, one in stored(ws).items()} == {
            answers[place]: int(known[place] % 3 > 0) for place in range(3)
        }
        report = ws.monitor("buyer")
        assert (report.with_outcome, report.waiting) == (3, 3)


def test_a_definition_changed_after_apply_does_not_change_what_counts(ws):
    ws.predict("buyer", {"customer": list("abc")})
    project = project_of_orders()
    label = project.definitions["buys"].spec
    project.definitions["buys"].spec = msgspec.structs.replace(label, horizon=label.horizon * 50)
    ws.apply(project)
    clock_of(ws).advance("3d")
    ws.ingest()
    assert collect(ws) == 3
