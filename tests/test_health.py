"""Health: sources that are late or failed, and definitions that nothing uses."""

from datetime import datetime, timedelta

import polars as pl
import pytest
import served_shop
from inside import database_of

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.records import FailedIngest

START = served_shop.START


@pytest.fixture
def clock():
    return tm.ReplayClock(START)


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


def shop(failing):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    project.term("customer", "Somebody.")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        if failing:
            raise ValueError("customer 17 is not a number")
        return pl.DataFrame({"customer": ["a"] * 2, "at": [START, START + timedelta(hours=9)], "amount": [1.0, 2.0]})

    @project.source(timestamp="at")
    def visits() -> pl.DataFrame:
        return pl.DataFrame({"customer": ["a"], "at": [START]})

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last()}

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    project.training_set("buyers", spine=visits, label=buys, features=[spending])
    return project


def problems(ws):
    return {one.name: one.problems for one in ws.health().unwell}


def test_a_source_is_late_once_three_times_its_usual_distance_has_passed(ws, clock):
    ws.apply(shop([]))
    for _ in range(3):
        ws.ingest("orders")
        clock.advance("1d")
    clock.advance("30d")
    assert problems(ws) == {}  # three ingests say little
    ws.ingest("orders")
    for _ in range(3):
        clock.advance("1d")
        ws.ingest("orders")
    clock.advance("3d")
    assert problems(ws) == {}
    clock.advance("1h")
    said = "source orders: last ingest 3d ago, usually every 1d"
    found = problems(ws)
    assert found["orders"] == [said]
    assert found["spending"] == [said]
    assert found["buyers"] == [said]
    assert "visits" not in found
    assert ws.docs("spending").facts["health"] == said
    ws.ingest("orders")
    assert problems(ws) == {}
    assert str(ws.health()) == "6 of 6 definitions are well"


def test_a_failed_ingest_is_remembered_without_its_message_until_one_goes_well(ws, clock):
    failing = [True]
    ws.apply(shop(failing))
    with pytest.raises(DataError):
        ws.ingest("orders")
    (failed,) = database_of(ws).list(FailedIngest)
    assert (failed.source, failed.error) == ("orders", "DataError")
    assert ws.sql("select source, error from failed_ingests").rows() == [("orders", "DataError")]
    assert problems(ws)["spending"] == [
        f"source orders: the last ingest failed on {START:%Y-%m-%d %H:%M} UTC (DataError)"
    ]
    with pytest.raises(tm.IngestError):
        ws.ingest()  # visits go well, orders do not
    assert [one.source for one in database_of(ws).list(FailedIngest)] == ["orders"]
    failing.clear()
    ws.ingest()
    assert database_of(ws).list(FailedIngest) == []
    assert problems(ws) == {}


def test_an_ingest_that_goes_well_writes_nothing_of_attempts(ws):
    ws.apply(shop([]))
    ws.ingest()
    before = database_of(ws).commits()
    ws.ingest()
    assert database_of(ws).commits() == before + 2  # a report for each source


def test_what_nothing_was_built_with_for_90_days_is_unused(ws, clock):
    ws.apply(shop([]))
    clock.advance("90d")
    assert problems(ws) == {}
    clock.advance("1s")
    found = problems(ws)
    assert found.keys() == {"customer", "orders", "visits", "spending", "buys", "buyers"}
    assert found["spending"] == ["unused for 90 days: no training set, prediction or named reader uses it"]


def test_a_build_uses_all_that_it_is_made_of(ws, clock):
    ws.apply(shop([]))
    clock.advance("80d")
    ws.ingest(complete_until=START + timedelta(days=2))
    ws.get_training_data("buyers")
    clock.advance("20d")
    assert problems(ws) == {}
    by_name = {one.name: one for one in ws.health().definitions}
    assert by_name["spending"].last_build == START + timedelta(days=80)
    assert by_name["orders"].last_build == START + timedelta(days=80)
    clock.advance("71d")
    assert problems(ws)["spending"] == [f"unused for 90 days: last used on {START + timedelta(days=80):%Y-%m-%d}"]


def test_a_prediction_uses_what_its_model_stands_on(tmp_path):
    served_shop.build(tmp_path / "shop.tm")  # of its own: what others read and predict counts as a use
    with tm.connect(tmp_path / "shop.tm", clock=tm.ReplayClock(served_shop.NOW)) as served:
        served.predict("splurge@champion", [{"customer": 1, "budget": 20.0}], sync=True)
        by_name = {one.name: one for one in served.health().definitions}
    assert by_name["spending"].last_use == served_shop.NOW
    assert by_name["interest"].last_use is None


def test_an_empty_workspace_is_well(workspace):
    assert str(workspace.health()) == "0 of 0 definitions are well"


def test_a_reader_that_names_itself_uses_what_it_reads(ws, clock):
    ws.apply(shop([]))
    ws.ingest()
    clock.advance("95d")
    assert "unused for 90 days: no training set, prediction or named reader uses it" in problems(ws)["spending"]
    ws.get_online_features(["spending"], {"customer": ["a"]}, consumer="billing")
    ws.flush()
    found = problems(ws)
    assert "spending" not in found or not any("unused" in one for one in found["spending"])
    assert not any("unused" in one for one in found.get("orders", []))
    assert any("unused" in one for one in found["visits"])


def test_a_source_of_pushes_is_late_by_its_last_pushes(ws, clock):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="click")
    def clicks() -> tm.Schema:
        return {"click": int, "at": datetime}

    ws.apply(project)
    for day in range(5):
        clock.advance("24h")
        ws.push("clicks", [{"click": 2 * day + n, "at": START + timedelta(days=day)} for n in range(2)])
    clock.advance("48h")
    assert problems(ws) == {}
    clock.advance("48h")
    assert problems(ws)["clicks"] == ["source clicks: last push 4d ago, usually every 1d"]
