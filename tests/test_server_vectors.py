"""Search by vectors and by words over HTTP, by the client and on pages."""

import threading
from datetime import datetime

import msgspec
import polars as pl
import pytest
from conftest import at
from inside import set_clock
from litestar.testing import TestClient
from network import Server
from test_server import JSON, LOCAL
from test_server_openapi import mutated

import tinymlops as tm
from tinymlops.errors import DataError, NotFoundError
from tinymlops.features.vectors import query as queries
from tinymlops.server import searching

HOSTILE = "<img src=x onerror=alert(1)> red \u202e"
SEARCH = "/v1/vectors/texts/search"


def defined():
    project = tm.Project("shop")

    @project.source(timestamp="at", id="id")
    def notes() -> tm.Schema:
        return {"id": int, "at": datetime, "text": str, "country": str, "v": pl.List(pl.Float64)}

    project.embedding("texts", source=notes, text="text", model="tfidf")
    project.embedding("own", source=notes, vector="v", dimension=2)
    return project


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(100))) as ws:
        ws.apply(defined())
        texts = ["red wine", "old wine", HOSTILE, None]
        for n, text in enumerate(texts):
            set_clock(ws, tm.ReplayClock(at(n)))
            ws.push("notes", [{"id": n, "at": at(n), "text": text, "country": "AT" if n % 2 else "DE", "v": [n, 1.0]}])
        set_clock(ws, tm.ReplayClock(at(100)))
        ws.vectors.follow()
        yield ws


@pytest.fixture
def client(ws):
    with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        yield client


def post(client, body, path=SEARCH):
    return client.post(path, content=msgspec.json.encode(body), headers=JSON)


def test_rows_are_found_as_of_a_time(client):
    answer = post(client, {"query": "wine", "mode": "text", "k": 5}).json()
    assert [row["id"] for row in answer["rows"]] == [0, 1]
    assert (answer["waiting"], answer["failed"]) == (0, 0)
    past = post(client, {"query": "wine", "mode": "text", "at": at(0).isoformat()}).json()
    assert [row["id"] for row in past["rows"]] == [0]
    some = post(client, {"query": "wine", "mode": "hybrid", "where": {"country": "AT"}}).json()
    assert [row["id"] for row in some["rows"]] == [1]
    assert post(client, {"query": "red", "mode": "text", "where": {"country": None}}).json()["rows"] == []
    near = post(client, {"vector": [3, 1], "k": 1}, "/v1/vectors/own/search").json()
    assert [row["id"] for row in near["rows"]] == [3]
    assert post(client, {"query": "wine", "as_of": 0, "mode": "text"}).json()["rows"] == []
    listed = client.get("/v1/vectors").json()["embeddings"]
    assert [(one["embedding"], one["text"], one["waiting"]) for one in listed] == [
        ("own", None, 0),
        ("texts", "text", 0),
    ]


def test_pairs_and_clusters_are_of_what_was_known_then(client):
    pairs = post(client, {"threshold": 0.1}, "/v1/vectors/own/duplicates").json()
    assert (pairs["count"], pairs["threshold"], len(pairs["rows"])) == (6, 0.1, 6)
    assert {(row["id_1"], row["id_2"]) for row in pairs["rows"]} >= {(0, 1), (2, 3)}
    assert len(post(client, {"threshold": 0.1, "limit": 2}, "/v1/vectors/own/duplicates").json()["rows"]) == 2
    early = post(client, {"threshold": 0.1, "at": at(1).isoformat()}, "/v1/vectors/own/duplicates").json()
    assert (early["count"], early["sequence"]) == (1, pairs["sequence"])
    groups = post(client, {"k": 2, "limit": 3}, "/v1/vectors/own/cluster").json()
    assert (groups["count"], len(groups["rows"]), len(groups["clusters"])) == (4, 3, 2)
    assert post(client, {"k": 2, "as_of": 1}, "/v1/vectors/own/cluster").json()["count"] == 1
    assert post(client, {}, "/v1/vectors/texts/cluster").json()["fitted_at"] is not None
    assert post(client, {"vector": [1, 0], "exact": True}, "/v1/vectors/own/search").json()["generation"] is None


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        ("duplicates", {"limit": 10_001}, "limit"),
        ("duplicates", {"limit": 0}, "limit"),
        ("duplicates", {"threshold": 2.0}, "is no cosine"),
        ("duplicates", {"threshold": "high"}, "threshold"),
        ("duplicates", {"at": "2024-01-01T00:00:00"}, "timezone"),
        ("duplicates", {"as_of": 10**9}, "as_of"),
        ("cluster", {"k": 0}, "k"),
        ("cluster", {"k": 101}, "k"),
        ("cluster", {"seed": -1}, "seed"),
        ("cluster", {"limit": 10**6}, "limit"),
        ("cluster", {"metric": "l2"}, "unknown field `metric`"),
    ],
)
def test_pairs_and_clusters_that_cannot_be_are_said(client, verb, body, said):
    answer = post(client, body, f"/v1/vectors/texts/{verb}")
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]
    assert post(client, {}, f"/v1/vectors/none/{verb}").status_code == 404


def test_a_look_at_all_vectors_has_a_deadline_and_keeps_no_search(client, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    def hanging(*_arguments, **_options):
        begun.set()
        ended.wait(20)

    monkeypatch.setattr("tinymlops.features.vectors.duplicates.known_rows", hanging)
    monkeypatch.setattr(searching, "_SECONDS", 1.5)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(post(client, {}, "/v1/vectors/own/duplicates")))
    asking.start()
    try:
        assert begun.wait(10)
        assert post(client, {"vector": [1, 0]}, "/v1/vectors/own/search").status_code == 200
        behind = post(client, {}, "/v1/vectors/own/cluster")
        asking.join(20)
    finally:
        ended.set()
        asking.join(20)
    assert [answers[0].status_code, behind.status_code] == [503, 503]
    assert "took longer than 1.5 s" in behind.json()["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "either `query` or `vector`"),
        ({"query": "a", "vector": [1.0]}, "either `query` or `vector`"),
        ({"query": "a", "k": 0}, "k"),
        ({"query": "a", "k": 10**6}, "k"),
        ({"query": "a" * 2**20}, "<= 65536 bytes"),
        ({"query": "a" * 65_537, "mode": "text"}, "65536"),
        ({"query": ""}, "no vector"),
        ({"query": "a", "at": "2024-01-01T00:00:00"}, "timezone"),
        ({"query": "a", "where": {"colour": "red"}}, "no column 'colour'"),
        ({"query": "a", "where": {"country": 7}}, "cannot be computed"),
        ({"query": "a", "where": [["country", "AT"]]}, "where"),
        ({"query": "a", "mode": "fuzzy"}, "mode"),
        ({"query": "a", "as_of": 10**9}, "as_of"),
        ({"query": "a", "model": "http://169.254.169.254/"}, "unknown field `model`"),
        ({"vector": [1.0]}, "numbers"),
        ({"vector": [1.0], "mode": "text"}, "is not a text"),
    ],
)
def test_what_cannot_be_searched_for_is_said(client, body, said):
    answer = post(client, body)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]


def test_numbers_that_are_none_are_no_vector(client):
    for content in (b'{"vector": [NaN, 1]}', b'{"vector": [Infinity, 1]}', b'{"vector": [1e999, 1]}'):
        answer = client.post("/v1/vectors/own/search", content=content, headers=JSON)
        assert answer.status_code in (400, 422), content
    assert post(client, {"vector": [1e300, 1]}, "/v1/vectors/own/search").status_code == 422
    assert post(client, {"vector": [1, 2, 3]}, "/v1/vectors/own/search").status_code == 422
    assert post(client, {"query": "red"}, "/v1/vectors/own/search").status_code == 422
    assert post(client, {"query": "red"}, "/v1/vectors/none/search").status_code == 404


def test_no_body_at_all_gives_a_defect(client):
    good = {"query": "wine", "k": 2, "at": at(5).isoformat(), "as_of": 1, "where": {"country": "AT"}, "mode": "text"}
    assert post(client, good).status_code == 200
    for body in mutated(good):
        answer = post(client, body)
        assert answer.status_code in (200, 400, 422), (body, answer.text)


def test_a_search_that_hangs_has_a_deadline_and_keeps_no_other(client, ws, monkeypatch):
    begun, ended = threading.Event(), threading.Event()
    real = queries.embedded

    def hanging(*arguments):
        begun.set()
        ended.wait(20)
        return real(*arguments)

    monkeypatch.setattr("tinymlops.features.vectors.search.embedded", hanging)
    monkeypatch.setattr(searching, "_SECONDS", 1.5)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(post(client, {"query": "wine"})))
    asking.start()
    try:
        assert begun.wait(10)
        assert client.get("/healthz").status_code == 200
        assert post(client, {"query": "wine", "mode": "text"}).status_code == 200
        assert not answers
        asking.join(20)
    finally:
        ended.set()
        asking.join(20)
    assert answers[0].status_code == 503
    assert "took longer than 1.5 s" in answers[0].json()["error"]


def test_the_client_has_the_words_of_the_workspace(ws, tmp_path):
    with Server(tmp_path / "shop.tm") as server, tm.connect(server.url) as client:
        assert [one.embedding for one in client.vectors.list()] == ["own", "texts"]
        found = client.vectors.search("texts", "wine", mode="text", where={"country": "AT"}, at=at(50))
        assert [row["id"] for row in found.rows] == [1]
        assert client.vectors.search("own", (3.0, 1.0), k=1).rows[0]["id"] == 3
        assert client.vectors.search("own", (3.0, 1.0), exact=True).generation is None
        pairs = client.vectors.duplicates("own", threshold=0.1, limit=1, at=at(50))
        assert (pairs.count, len(pairs.rows)) == (6, 1)
        groups = client.vectors.cluster("own", 2, limit=0, at=at(50).isoformat())
        assert (groups.count, groups.rows, len(groups.clusters)) == (4, [], 2)
        assert client.vectors.cluster("texts", 2).fitted_at == at(100)
        with pytest.raises(DataError, match="limit"):
            client.vectors.duplicates("own", limit=0)
        with pytest.raises(DataError, match="NaN|nan"):
            client.vectors.search("own", [float("nan"), 1.0])
        with pytest.raises(NotFoundError):
            client.vectors.search("none", "x")
        with pytest.raises(DataError, match="no column"):
            client.vectors.search("texts", "x", where={"colour": 1})


def test_pages_search_as_of_a_time(client):
    client.headers["accept"] = "text/html"
    assert "/vectors/texts" in client.get("/vectors").text
    assert "found" not in client.get("/vectors/texts").text
    page = client.get("/vectors/texts", params={"q": "red", "at": ""})
    assert page.status_code == 200
    assert "2 rows found" in page.text
    assert "<img src=x" not in page.text
    assert "\u202e" not in page.text
    assert "1 row found" in client.get("/vectors/texts", params={"q": "red", "at": at(1).isoformat()}).text
    for query in ({"q": "red", "mode": "hybrid"}, {"q": "red", "mode": "vector"}):
        assert "3 rows found" in client.get("/vectors/texts", params=query).text
    assert "20" in client.get("/vectors/own", params={"q": "[1, 1]"}).text
    for path, query, said in [
        ("texts", {"q": "red", "at": "yesterday"}, "yesterday"),
        ("texts", {"q": "red", "at": "2024-01-01T00:00"}, "zone"),
        ("texts", {"q": "red", "mode": "<b>"}, "is not a way to search"),
        ("own", {"q": "red"}, "is not a vector"),
        ("own", {"q": "[1, NaN]"}, "is not a vector"),
    ]:
        page = client.get(f"/vectors/{path}", params=query)
        assert page.status_code == 422
        assert said in page.text
    assert client.get("/vectors/none").status_code == 404
