"""Online reads: the same answer as history, from the online store."""

from datetime import timedelta

import polars as pl
import pytest
from conftest import START, at, shop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_historical_features import every_feature, frame_of, orders_strategy

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.features import online

CUSTOMERS = ["a", "b", "c", None]


@pytest.mark.parametrize(("ids", "created"), [(False, False), (True, True)])
@pytest.mark.parametrize("ttl", [None, "3m"])
def test_an_online_answer_is_the_historical_one(tmp_path_factory, monkeypatch, ids, created, ttl):
    options = ({"id": "order"} if ids else {}) | ({"created": "made"} if created else {}) | {"delay": "30s"}
    monkeypatch.setattr(online, "stored_rows", None)  # an online read must not fall back to history

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(orders_strategy, st.integers(0, 15), st.integers(1, 15))
    def check(rows, minute, later):
        clock = tm.ReplayClock(START + timedelta(days=1))
        project = shop(frame_of(rows), order_options=options, features=every_feature, ttl=ttl)
        with tm.connect(tmp_path_factory.mktemp("ws") / "shop.tm", create=True, clock=clock) as ws:
            ws.apply(project)
            ws.ingest("orders")
            ws._clock = now = tm.ReplayClock(START + timedelta(minutes=minute))
            (state,) = ws.materialize()
            for _ in range(2):
                read = ws.get_online_features(["spending"], {"customer": CUSTOMERS}, details=True)
                spine = pl.DataFrame({"customer": CUSTOMERS, "timestamp": [now()] * 4})
                history = ws.get_historical_features(spine, ["spending"], details=True)
                assert read.to_polars().equals(history.drop("timestamp"))
                assert (read.timestamp, read.sequence) == (now(), state.sequence)
                now.advance(timedelta(minutes=later))

    check()


def small(ws):
    project = shop(pl.DataFrame({"customer": ["a", "b"], "at": [at(1), at(2)], "amount": [1.0, 2.0]}))
    ws.apply(project)
    ws.ingest("orders")
    return project


def test_materialize_brings_new_rows_and_does_nothing_when_there_are_none(workspace):
    project = small(workspace)
    first = workspace.materialize()
    assert workspace.materialize() == first
    assert first[0].keys == 2
    new = pl.DataFrame({"customer": ["c"], "at": [at(3)], "amount": [7.0]})
    project.frames["orders"] = project.frames["orders"].vstack(new)
    workspace.ingest("orders")
    before = workspace.get_online_features(["spending"], [{"customer": "c"}])
    assert before.to_dict()["last_amount"] == [None]
    assert before.sequence == first[0].sequence
    workspace.materialize("spending")
    after = workspace.get_online_features(["spending:last_amount"], [{"customer": "c"}])
    assert after.to_dict() == {"customer": ["c"], "last_amount": [7.0]}


def test_a_clock_before_the_last_materialize_reads_history(workspace):
    small(workspace)
    workspace.materialize()
    workspace._clock = tm.ReplayClock(at(1.5))
    read = workspace.get_online_features(["spending"], [{"customer": "a"}, {"customer": "b"}])
    assert read.to_dict()["last_amount"] == [1.0, None]


def test_a_view_that_was_never_materialized_is_read_from_history(workspace):
    small(workspace)
    assert workspace.get_online_features(["spending"], [{"customer": "a"}]).to_dict()["last_amount"] == [1.0]


@pytest.mark.parametrize(("keys", "message"), [([], "no keys"), ([{"custmer": "a"}], "no column 'customer'")])
def test_missing_keys_are_named(workspace, keys, message):
    small(workspace)
    with pytest.raises(DataError, match=message):
        workspace.get_online_features(["spending"], keys)
