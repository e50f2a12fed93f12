"""The pages of predictions: found by id, key and time, and what each was made from."""

import re
from datetime import timedelta

import houses
import polars as pl
import pytest
import served_shop
from inside import context_of, database_of
from litestar.testing import TestClient
from test_pages_runs import text_of
from test_server import LOCAL

import tinymlops as tm
from tinymlops.features.history.stored import stored_rows
from tinymlops.records import Prediction
from tinymlops.serving.source_rows import source_rows


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
        ws.log_outcomes(
            [{"prediction_id": made[0]["id"], "value": True}, {"prediction_id": made[2]["id"], "value": None}]
        )
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
    last = {"until": "9999-12-31T23:59:59.999999Z"}
    assert ids_in(client.get("/predictions", params=last).text) == ids_in(client.get("/predictions").text)
    assert ids_in(client.get("/predictions", params={"model": "splurge:2"}).text) == []
    assert sorted(ids_in(client.get("/predictions", params={"until": "2024-02-01"}).text)) == sorted(made[:25])
    assert len(ids_in(client.get("/predictions", params={"until": "9999-12-31T23:59:59.999999Z"}).text)) == 50


@pytest.mark.parametrize("shown", ["30", "30.0", "3e1"])
def test_a_value_is_found_as_it_is_shown(shop, shown):
    _, client, made = shop
    page = client.get("/predictions", params={"field": "budget", "value": shown}).text
    assert sorted(ids_in(page)) == sorted(made[place] for place in (3, 28, 53))
    assert re.search(r"<td[^>]*>30</td>", page)


@pytest.mark.parametrize(
    "query", [{"field": "none", "value": "1"}, {"value": "1"}, {"field": "customer", "value": "x"}, {"until": "?"}]
)
def test_what_is_not_looked_for_is_not_shown_as_found(shop, query):
    _, client, _ = shop
    page = client.get("/predictions", params=query).text
    assert ids_in(page) == []
    assert 'role="alert"' in page
    assert "No prediction is like that" not in page


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
    assert ('role="alert"' in answer.text) == (query.keys() != {"before"})


def test_a_prediction_says_what_it_was_made_from_and_what_came_of_it(shop):
    _, client, made = shop
    page = client.get(f"/predictions/{made[0]}").text
    text = text_of(page)
    assert "/models/splurge/1" in page
    assert 'href="/catalog/feature/spending/last_amount"' in page
    assert 'href="/catalog/source/orders"' in page
    assert "last of amount" in text
    assert re.search(r"spending:\s+\d+ rows of orders", text)
    assert "computed from spending, budget" in text
    assert re.search(r"Outcome\s+True\s+as somebody said", text), "as the answer is given, and not as it is stored"
    assert "not known yet" in text_of(client.get(f"/predictions/{made[1]}").text)
    assert re.search(r"none came\s+as somebody said", text_of(client.get(f"/predictions/{made[2]}").text))
    assert client.get("/predictions", params={"until": "2024-02-01"}).text.count("none came") == 1
    assert client.get("/predictions/none").status_code == 404


def test_a_page_reads_an_index_and_not_all_predictions(shop):
    ws, _, _ = shop
    plan = database_of(ws).rows(
        "EXPLAIN QUERY PLAN SELECT * FROM predictions WHERE model = ? AND version = ? AND (at, rowid) < (?, ?) "
        "ORDER BY at DESC, rowid DESC LIMIT 5",
        ("splurge", 1, 2**62, 2**62),
    )
    assert any("predictions_model" in str(row) for row in plan)
    assert not any("TEMP B-TREE" in str(row) for row in plan)


def test_a_prediction_is_traced_to_its_rows_by_what_was_stored_then(shop):
    ws, _, made = shop
    prediction = database_of(ws).get(Prediction, id=made[3])
    traced = source_rows(context_of(ws), ws.models, prediction, most=10_000)
    (view,) = traced.views
    spent = {one.name: one for one in view.behind.features}
    assert (view.view, view.source, view.behind.origin) == ("spending", "orders", "orders")
    newest = view.behind.rows[0]
    assert newest.values["amount"] == prediction.features["last_amount"]
    assert set(newest.features) <= {"last_amount", "spent_7d"}
    assert spent["last_amount"].total == 1
    since = served_shop.NOW - timedelta(days=7)
    rows = stored_rows(context_of(ws), "orders").filter(
        (pl.col("customer") == 3) & (pl.col("at") >= since) & (pl.col("at") < served_shop.NOW)
    )
    assert spent["spent_7d"].total == rows.height
    assert traced.on_demand == {"room": (("spending",), ("budget",))}


def test_a_page_reads_a_large_source_when_it_is_asked_to_and_its_address_says_so(shop, monkeypatch):
    _, client, made = shop
    monkeypatch.setattr("tinymlops.server.pages.predictions._ROWS", 10)
    page = client.get(f"/predictions/{made[0]}").text
    assert "orders has 600 rows" in text_of(page)
    assert "Known from" not in page
    opened = client.get(re.search(r'href="([^"]+)">Read them', page)[1].replace("&amp;", "&"))
    assert re.search(r"spending:\s+\d+ rows of orders", text_of(opened.text))
    assert '<details class="behind" open>' in opened.text


def test_a_large_source_is_read_only_if_it_is_asked_for(shop):
    ws, _, made = shop
    prediction = database_of(ws).get(Prediction, id=made[3])
    (view,) = source_rows(context_of(ws), ws.models, prediction, most=10).views
    assert (view.behind, view.many) == (None, 600)
    (view,) = source_rows(context_of(ws), ws.models, prediction, most=10, whole=["spending"]).views
    assert view.behind is not None


def test_a_feature_computed_on_demand_has_no_rows_of_one_whose_name_begins_its_own(workspace):
    houses.register(workspace)
    (made,) = workspace.predict("price", [{"house": 3}], sync=True)
    with TestClient(tm.create_app(workspace), base_url=LOCAL) as client:
        text = re.sub(r"\s+", " ", text_of(client.get(f"/predictions/{made['id']}").text))
    dash = "\N{EN DASH}"
    assert "last_paid 447 last of paid 1 2024" in text
    assert f"last_paid_twice 894 computed from past {dash} {dash} {dash}" in text
