"""The source rows behind features: each amount is another power of two, so that a sum says which rows went into it."""

import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from inside import context_of, database_of

import tinymlops as tm
from tinymlops.features.definitions.specs import FeatureRequest
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.law.behind import columns_behind, rows_behind
from tinymlops.times import to_micros

START = datetime(2024, 1, 1, tzinfo=UTC)
project = tm.Project("behind")
who = project.entity("who", key="who")


@project.source(timestamp="at", id="event", delay="3m")
def events() -> tm.Schema:
    """Rows that are corrected, moved to another key, and taken back."""
    return {"event": int, "who": str, "at": datetime, "amount": int, "paid": bool}


@project.source(timestamp="at")
def states() -> tm.Schema:
    """Rows without an id: a delete ends what was before."""
    return {"who": str, "at": datetime, "amount": int, "paid": bool}


@project.feature_view(entity=who)
def sums(events: tm.Rows) -> tm.Features:
    """All of a window."""
    return {
        "all": events["amount"].sum(window="20m"),
        "paid": events["amount"].sum(window="1h", where=events["paid"]),
        "long": events["amount"].sum(window="30d"),
        "both": events["amount"].sum(window="5m") + events["amount"].sum(window="9m", where=~events["paid"]),
        "rows": events.count(window="1h"),
    }


@project.feature_view(entity=who, ttl="40m")
def edges(events: tm.Rows) -> tm.Features:
    """One row each, beside a window."""
    return {
        "last": events["amount"].last(),
        "first": events["amount"].first(),
        "known": events["amount"].last(skip_nulls=True),
        "last_paid": events["amount"].last(where=events["paid"]),
        "some": events["amount"].sum(window="15m"),
    }


@project.feature_view(entity=who)
def now(states: tm.Rows) -> tm.Features:
    """What it is, since it last ended."""
    return {"last": states["amount"].last(), "first": states["amount"].first()}


VIEWS = ("sums", "edges", "now")


def rows_at_random(chance, number, *, minutes, ids):
    row = {
        "who": chance.choice("ab"),
        "at": START + timedelta(minutes=chance.randrange(minutes)),
        "amount": None if chance.random() < 0.1 else 2**number,
        "paid": chance.choice([True, False, None]),
        "deleted": chance.random() < 0.15,
    }
    return row | ({"event": chance.randrange(20)} if ids else {})


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    chance, clock = random.Random(4), tm.ReplayClock(START)
    with tm.connect(tmp_path_factory.mktemp("behind") / "b.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        number = 0
        for commit in range(12):
            clock.advance("10m")
            for source, ids in (("events", True), ("states", False)):
                batch, seen = [], set()
                for _ in range(4):
                    row = rows_at_random(chance, number % 60, minutes=10 * (commit + 1), ids=ids)
                    number += 1
                    if row.get("event") not in seen or not ids:
                        batch.append(row)
                        seen.add(row.get("event"))
                ws.push(source, batch)
        yield ws


def behind_of(ws, view, key, time, as_of):
    context = context_of(ws)
    request = FeatureRequest(view=view)
    source, columns = columns_behind(context, request)
    rows = stored_rows(context, source, columns, as_of=as_of)
    spine = pl.DataFrame({"who": [key]}, schema={"who": pl.String})
    return rows_behind(context, request, spine, to_micros(time), rows, spine_source=None)


def every_row(behind):
    assert behind.gap == 0, "the test would not see all rows"
    return behind.rows


@pytest.mark.parametrize("view", VIEWS)
def test_a_feature_is_what_the_rows_behind_it_make(ws, view, monkeypatch):
    monkeypatch.setattr("tinymlops.features.law.behind._EDGE", 10_000)
    chance, newest, statuses = random.Random(9), database_of(ws).sequence(), set()
    for _ in range(60):
        key = chance.choice(["a", "b", "nobody", None])
        time, as_of = START + timedelta(minutes=chance.randrange(140)), chance.randint(1, newest)
        spine = pl.DataFrame({"who": [key], "t": [time]}, schema_overrides={"who": pl.String})
        answer = ws.get_historical_features(spine, [view], timestamp="t", as_of=as_of, details=True).row(0, named=True)
        behind = behind_of(ws, view, key, time, as_of)
        for feature in behind.features:
            own = [row for row in every_row(behind) if feature.name in row.features]
            told = (view, feature.name, key, time, as_of, own)
            assert feature.total == len(own), told
            assert feature.status == answer[f"{feature.name}_status"], told
            if feature.name == "rows":
                assert answer[feature.name] == len(own), told
            elif feature.name in ("last", "first", "known", "last_paid"):
                assert answer[feature.name] == (own[0].values["amount"] if own else None), told
                assert len(own) <= 1, told
            elif feature.name != "both":
                assert (answer[feature.name] or 0) == sum(row.values["amount"] for row in own), told
            else:  # a row may stand in one sum or in both
                parts = (
                    [time - row.event_at <= timedelta(minutes=5) for row in own],
                    [row.values["paid"] is False for row in own],
                )
                assert answer[feature.name] == sum(
                    row.values["amount"] * (a + b) for row, a, b in zip(own, *parts, strict=True)
                ), told
            assert all(row.known_from <= time and row.sequence <= as_of for row in own), told
            assert [row.event_at for row in own] == sorted((row.event_at for row in own), reverse=True), told
            edges = (own[-1].event_at, own[0].event_at) if own else (None, None)
            assert (feature.first_at, feature.last_at) == edges, told
            statuses.add(feature.status)
    wanted = {"sums": {"PRESENT"}, "edges": {"EXPIRED", "NULL_VALUE"}, "now": {"DELETED"}}[view]
    assert statuses >= wanted | {"NULL_KEY", "PRESENT"}


def test_of_many_rows_the_newest_and_the_oldest_are_shown(ws):
    behind = behind_of(ws, "sums", "a", START + timedelta(hours=3), database_of(ws).sequence())
    assert behind.total > 6
    assert len(behind.rows) == 6
    assert behind.gap == behind.total - 6
    long = next(one for one in behind.features if one.name == "long")
    assert behind.rows[0].event_at == long.last_at
    assert behind.rows[-1].event_at == long.first_at
