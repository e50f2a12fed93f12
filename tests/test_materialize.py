"""`materialize`: inputs of views are rebuilt first, several views are updated at once, and one caller runs at a time."""

import threading
from datetime import datetime, timedelta

import polars as pl
import pytest
from conftest import at
from litestar.testing import TestClient
from test_server import LOCAL, ONLINE

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError

KEYS = {"customer": ["a", "b"]}


def summed(max_age=None):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="click")
    def clicks() -> tm.Schema:
        return {"click": int, "customer": str, "at": datetime, "amount": float}

    @project.transformation(timestamp="at", max_age=max_age)
    def sums(clicks: tm.Rows) -> str:
        return 'select customer, max("at") as "at", sum(amount) as amount from clicks group by customer'

    @project.transformation(row_wise=True)
    def halves(sums: tm.Rows) -> str:
        return "select * replace (amount / 2 as amount) from sums"

    @project.feature_view(entity=customer)
    def summing(sums: tm.Rows) -> tm.Features:
        return {"total": sums["amount"].last()}

    @project.feature_view(entity=customer)
    def halving(halves: tm.Rows) -> tm.Features:
        return {"half": halves["amount"].last()}

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return {"last": clicks["amount"].last(), "n": clicks.count(window="1d")}

    return project


def click(number, customer="a", amount=1.0):
    return {"click": number, "customer": customer, "at": at(number), "amount": amount}


@pytest.fixture
def clock():
    return tm.ReplayClock(at(8))


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


def test_materialize_rebuilds_what_a_view_stands_on(ws, clock):
    ws.apply(summed())
    ws.push("clicks", [click(1), click(2, amount=2.0)])
    ws.materialize()
    first = ws.get_online_features(["summing", "halving"], KEYS)
    assert first.to_dict() == {**KEYS, "total": [3.0, None], "half": [1.5, None]}
    assert first.rebuilt == {"summing": (2, timedelta(0)), "halving": (2, timedelta(0))}
    clock.advance("3h")
    ws.push("clicks", [click(3, amount=4.0)])
    behind = ws.get_online_features(["summing", "clicking"], KEYS)
    assert behind.to_dict()["total"] == [3.0, None]
    assert behind.rebuilt == {"summing": (2, timedelta(hours=3))}
    ws.materialize("clicking")
    assert ws.get_online_features(["summing"], KEYS).rebuilt == behind.rebuilt
    (covered,) = ws.materialize("halving")
    after = ws.get_online_features(["summing", "halving"], KEYS)
    assert after.to_dict() == {**KEYS, "total": [7.0, None], "half": [3.5, None]}
    assert after.rebuilt["summing"].age == timedelta(0)
    assert after.sequence == covered.sequence
    assert ws.materialize("halving") == [covered]


def test_a_view_that_was_never_materialized_says_how_old_its_rows_are_too(ws, clock):
    ws.apply(summed())
    ws.push("clicks", [click(1)])
    ws.ingest()
    clock.advance("1h")
    assert ws.get_online_features(["summing"], KEYS).rebuilt == {"summing": (1, timedelta(hours=1))}


@pytest.mark.parametrize("materialized", [True, False])
def test_rows_older_than_their_limit_are_refused_online_and_not_in_history(ws, clock, materialized):
    ws.apply(summed(max_age="2h"))
    ws.push("clicks", [click(1)])
    ws.materialize() if materialized else ws.ingest()
    clock.advance("2h")
    assert ws.get_online_features(["summing"], KEYS).to_dict()["total"] == [1.0, None]
    clock.advance("1us")
    for view in ("summing", "halving"):
        with pytest.raises(
            DataError, match="the rows of 'sums' were computed 2:00:00.000001 ago, and 2:00:00 is the most"
        ):
            ws.get_online_features([view], KEYS)
    assert ws.get_online_features(["clicking"], KEYS).to_dict()["last"] == [1.0, None]
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [clock()]})
    assert ws.get_historical_features(spine, ["summing"])["total"].to_list() == [1.0]
    ws.push("clicks", [click(2)])
    ws.materialize("summing")
    assert ws.get_online_features(["summing"], KEYS).to_dict()["total"] == [2.0, None]


def test_another_limit_is_a_change_that_plan_names(ws):
    ws.apply(summed())
    changes = {change.name: change for change in ws.plan(summed(max_age="2h")).changes}
    assert (changes["sums"].action, changes["sums"].detail) == ("change", "max_age none -> 2h")


def test_only_what_is_rebuilt_has_a_greatest_age():
    project = tm.Project("shop")
    with pytest.raises(DefinitionError, match="leave out timestamp, id, created, delay, max_age and known"):

        @project.transformation(row_wise=True, max_age="1h")
        def halves(clicks: tm.Rows) -> str:
            return "select * from clicks"


def test_two_at_once_are_one_that_does_it_and_one_that_is_told(ws, tmp_path, monkeypatch):
    from tinymlops.features.intake import refreshing

    ws.apply(summed())
    ws.push("clicks", [click(1)])
    inside, go_on = threading.Event(), threading.Event()
    original = refreshing.recompute

    def slow(*arguments):
        inside.set()
        assert go_on.wait(10)
        return original(*arguments)

    monkeypatch.setattr(refreshing, "recompute", slow)
    first = threading.Thread(target=ws.materialize)
    first.start()
    try:
        assert inside.wait(10)
        with (
            tm.connect(tmp_path / "shop.tm") as other,
            pytest.raises(ConflictError, match="are being materialized already"),
        ):
            other.materialize("clicking")
    finally:
        go_on.set()
        first.join()
    assert len(ws.materialize()) == 3


def test_many_views_at_once_are_each_what_it_is_alone(ws, clock):
    ws.apply(summed())
    ws.push("clicks", [click(i, customer="ab"[i % 2], amount=float(i)) for i in range(8)])
    names = ["summing", "halving", "clicking"]
    assert [covered.view for covered in ws.materialize(*names)] == names
    clock.advance("1s")
    answer = ws.get_online_features(["summing", "halving", "clicking"], KEYS).to_dict()
    assert answer == {**KEYS, "total": [12.0, 16.0], "half": [6.0, 8.0], "last": [6.0, 7.0], "n": [4, 4]}


def test_ages_are_told_on_request(ws, clock):
    ws.apply(summed())
    ws.push("clicks", [click(1), click(2)])
    ws.materialize("clicking")
    ages = ws.get_online_features(["clicking"], KEYS, details=True).ages()
    assert ages.to_dict(as_series=False) == {**KEYS, "last_age": [timedelta(hours=6), None], "n_age": [None, None]}
    with pytest.raises(DataError, match="read with details=True"):
        ws.get_online_features(["clicking"], KEYS).ages()


def test_the_server_names_the_age_of_rebuilt_rows_and_refuses_older_ones(ws, clock):
    ws.apply(summed(max_age="2h"))
    ws.push("clicks", [click(1)])
    ws.materialize()
    clock.advance("90m")
    with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        answer = client.post(ONLINE, json={"features": ["summing", "clicking"], "keys": KEYS}).json()
        assert answer["rebuilt"] == {"summing": {"sequence": 1, "age_seconds": 5400.0}}
        clock.advance("90m")
        refused = client.post(ONLINE, json={"features": ["summing"], "keys": KEYS})
    assert (refused.status_code, refused.json()["hint"]) == (422, "tinymlops materialize summing")
