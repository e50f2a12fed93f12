"""Freshness: how old the newest event of a source is, and how long after their events its rows come."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from conftest import START, at
from inside import database_of, set_clock
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.records import ArrivalLag
from tinymlops.registry.arrivals import arrivals_of
from tinymlops.server import create_app

HOUR = 3_600_000_000


def project_of(frames, *, delay=None, created=None):
    project = tm.Project("shop")
    project.entity("customer", key="customer")

    @project.source(timestamp="at", id="click", delay=delay)
    def clicks() -> tm.Schema:
        return {"click": int, "customer": str, "at": datetime}

    @project.source(timestamp="at", id="order", delay=delay, created=created)
    def orders() -> pl.DataFrame:
        return frames["orders"]

    return project


def clicks(first, events):
    return [{"click": first + n, "customer": "a", "at": event.isoformat()} for n, event in enumerate(events)]


def orders_of(hours, *, created=None, customer="a"):
    rows = {"order": [*range(len(hours))], "customer": customer, "at": [at(one) for one in hours]}
    return pl.DataFrame(rows | ({} if created is None else {"known_at": [at(one) for one in created]}))


@pytest.fixture
def frames():
    return {"orders": orders_of([1, 2])}


@pytest.fixture
def ws(tmp_path, frames):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(10))) as ws:
        ws.apply(project_of(frames))
        yield ws


def source(ws, name="clicks"):
    return next(one for one in ws.status().sources if one.source == name)


def lags(ws, name="clicks"):
    return arrivals_of(database_of(ws), name)


def test_pushed_rows_are_late_by_their_commits(ws):
    ws.push("clicks", clicks(0, [at(10) - timedelta(minutes=n) for n in range(100)]))
    found = source(ws)
    assert 49 * 60 <= found.arrives_p50_seconds <= 49 * 60 * 1.1
    assert 94 * 60 <= found.arrives_p95_seconds <= 94 * 60 * 1.1
    assert (found.newest_event, found.age_seconds) == (at(10), 0.0)
    set_clock(ws, tm.ReplayClock(at(13)))
    assert source(ws).age_seconds == 3 * 3600


def test_corrections_and_deletes_and_known_rows_do_not_count(ws):
    ws.push("clicks", clicks(0, [at(9)]))
    before = database_of(ws).list(ArrivalLag)
    set_clock(ws, tm.ReplayClock(at(100)))
    ws.push("clicks", clicks(0, [at(9)]))
    ws.push("clicks", [{**clicks(0, [at(9)])[0], "customer": "b"}])
    ws.push("clicks", [{**clicks(7, [at(9)])[0], "deleted": True}])
    assert database_of(ws).list(ArrivalLag) == before
    assert lags(ws).rows == 1


def test_rows_of_the_future_have_no_lag(ws):
    ws.push("clicks", clicks(0, [at(10), at(11), at(1_000)]))
    assert lags(ws) == (3, 0, 0)
    assert source(ws).age_seconds == 0


def test_the_first_ingest_says_nothing_and_later_ones_their_new_rows(ws, frames):
    ws.ingest("orders")
    assert lags(ws, "orders") is None
    assert source(ws, "orders").arrives_p50_seconds is None
    assert source(ws, "orders").age_seconds == 8 * 3600
    frames["orders"] = orders_of([1, 2, 8], customer="b")  # two are corrected, one is new
    ws.ingest("orders")
    rows, p50, p95 = lags(ws, "orders")
    assert rows == 1
    assert 2 * HOUR <= p50 == p95 <= 2.2 * HOUR
    ws.ingest("orders")
    assert lags(ws, "orders").rows == 1


def test_created_times_count_from_the_first_ingest(tmp_path, frames):
    frames["orders"] = orders_of([1, 2, 3], created=[2, 3, 4])
    with tm.connect(tmp_path / "created.tm", create=True, clock=tm.ReplayClock(at(10))) as ws:
        ws.apply(project_of(frames, created="known_at"))
        ws.ingest("orders")
        rows, p50, _ = lags(ws, "orders")
        assert rows == 3
        assert HOUR <= p50 <= 1.1 * HOUR


def test_a_delay_below_the_measured_one_is_told_by_status_and_plan(ws, frames):
    ws.push("clicks", clicks(0, [at(7)] * 3 + [at(10)] * 27))
    short = project_of(frames, delay="1h")
    assert any(
        "source clicks declares delay='1h', and 5 % of its rows come more than 3h" in one
        for one in ws.plan(short).notes
    )
    ws.apply(short)
    assert "late: source clicks declares delay='1h'" in str(ws.status())
    assert source(ws).late
    assert not source(ws, "orders").late
    long = project_of(frames, delay="3h")
    assert not any("declares delay" in one for one in ws.plan(long).notes)


def test_the_newest_days_are_compared_and_kept(ws):
    for day in range(40):
        set_clock(ws, tm.ReplayClock(START + timedelta(days=day)))
        lag = timedelta(hours=100 if day < 33 else 1)
        ws.push("clicks", clicks(day, [START + timedelta(days=day) - lag]))
    assert len(database_of(ws).list(ArrivalLag)) == 30
    rows, _, p95 = lags(ws)
    assert (rows, p95 <= 1.1 * HOUR) == (7, True)


def test_a_table_of_a_terminal_and_the_probe_of_a_server(ws):
    ws.push("clicks", clicks(0, [at(9)]))
    shown = str(ws.status())
    assert "newest event, ago" in shown
    assert "1h / 1h" in shown
    with TestClient(create_app(ws), base_url="http://127.0.0.1:8000") as client:
        answer = client.get("/readyz").json()
    assert answer["ages"] == {"clicks": 3600.0}


def test_a_project_without_rows_has_no_ages(ws):
    assert source(ws).age_seconds is None
    assert "-" in str(ws.status())
    with TestClient(create_app(ws), base_url="http://127.0.0.1:8000") as client:
        assert "ages" not in client.get("/readyz").json()
