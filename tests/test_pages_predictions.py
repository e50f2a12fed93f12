"""The pages of predictions: found by id, key and time, and what each was made from."""

import re

import pytest
import served_shop
from litestar.testing import TestClient
from test_pages_runs import text_of
from test_server import LOCAL

import tinymlops as tm


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions") / "shop.tm"
    served_shop.build(path)
    clock = tm.ReplayClock(served_shop.NOW)
    with tm.connect(path, clock=clock) as ws:
        made = []
        for _ in range(3):
            rows = [{"customer": number % 10, "budget": 10.0 * number} for number in range(25)]
            made += list(ws.predict("splurge", rows, sync=True))
            clock.advance("1h")
        ws.log_outcomes([{"prediction_id": made[0]["id"], "value": True}])
        with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
            client.follow_redirects = False
            yield ws, client, [one["id"] for one in made]


def ids_in(page):
    return re.findall(r"/predictions/([0-9a-f]{32})", page)


def test_all_are_found_by_going_back_and_none_twice(shop):
    _, client, made = shop
    first = client.get("/predictions").text
    assert len(ids_in(first)) == 50
    second = client.get(re.search(r'rel="next" href="([^"]*)"', first)[1].replace("&amp;", "&")).text
    assert len(ids_in(second)) == 25
    assert 'rel="next"' not in second
    assert sorted(ids_in(first) + ids_in(second)) == sorted(made)


def test_one_is_found_by_id_by_key_and_by_time(shop):
    _, client, made = shop
    assert client.get("/predictions", params={"id": f" {made[3]} "}).headers["location"] == f"/predictions/{made[3]}"
    found = ids_in(client.get("/predictions", params={"field": "customer", "value": "7"}).text)
    assert sorted(found) == sorted(one for place, one in enumerate(made) if place % 25 % 10 == 7)
    for until in ("2024-02-01T00:30", "2024-02-01 00:00:00", "2024-02-01T01:00+01:00"):
        assert sorted(ids_in(client.get("/predictions", params={"until": until}).text)) == sorted(made[:25]), until
    assert ids_in(client.get("/predictions", params={"model": "splurge:2"}).text) == []


@pytest.mark.parametrize(
    "query",
    [{"id": "<script>alert(1)</script>"}, {"until": "tomorrow<script>"}, {"model": "none<script>"}, {"before": "x-y"},
     {"field": "nothing", "value": "1"}, {"field": '"', "value": "'"}, {"before": "9" * 40 + "-1"}],
)  # fmt: skip
def test_what_cannot_be_found_is_said_and_nothing_runs(shop, query):
    _, client, _ = shop
    answer = client.get("/predictions", params=query)
    assert answer.status_code == 200
    assert "<script>" not in answer.text
    assert ('role="alert"' in answer.text) == bool({"id", "until", "model"} & query.keys())


def test_a_prediction_says_what_it_was_made_from_and_what_came_of_it(shop):
    _, client, made = shop
    page = client.get(f"/predictions/{made[0]}").text
    text = text_of(page)
    assert "/models/splurge/1" in page
    assert "spending:last_amount" in text
    assert "as somebody said" in text
    assert "not known yet" in text_of(client.get(f"/predictions/{made[1]}").text)
    assert client.get("/predictions/none").status_code == 404


def test_a_page_reads_an_index_and_not_all_predictions(shop):
    from inside import database_of

    ws, _, _ = shop
    plan = database_of(ws).rows(
        "EXPLAIN QUERY PLAN SELECT * FROM predictions WHERE model = ? AND version = ? AND (at, rowid) < (?, ?) "
        "ORDER BY at DESC, rowid DESC LIMIT 5",
        ("splurge", 1, 2**62, 2**62),
    )
    assert any("predictions_model" in str(row) for row in plan)
    assert not any("TEMP B-TREE" in str(row) for row in plan)
