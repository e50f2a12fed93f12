"""`/v1/checks` over a real server: results, rows in quarantine, release and drop."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import polars as pl
import pytest
from test_data_checks import POSITIVE, amounts, orders_of, pushed_shop

import tinymlops as tm

PATIENCE = 300
SCRIPT = """
import sys
import tinymlops as tm

with tm.connect(sys.argv[1]) as ws:
    tm.serve(ws, port=0)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True) as ws:
        ws.apply(pushed_shop(POSITIVE, action="quarantine"))
        for start in (0, 10, 20):
            with pytest.warns(match="quarantine"):
                ws.push("orders", orders_of(1.0, -2.0, -3.0, start=start))
    return path


@pytest.fixture
def client(path):
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(path)],
        cwd=Path(__file__).parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = process.stderr.readline().partition("serving on ")[2].partition(" ")[0]
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        yield client
    process.kill()
    process.communicate(timeout=PATIENCE)


def ok(response):
    assert response.status_code == 200, response.text
    return response.json()


def test_every_verb_of_checks_is_there(client, path):
    (result, *others) = ok(client.get("/v1/checks/results"))["results"]
    assert len(others) == 2
    assert (result["rule"], result["failed"], result["passed"]) == ('between("amount", 0)', 2, False)
    kept = ok(client.get("/v1/checks/quarantines", params={"source": "orders", "status": "waiting"}))["quarantines"]
    assert [(one["id"], one["rows"]) for one in kept] == [(1, 2), (2, 2), (3, 2)]
    shown = ok(client.get("/v1/checks/quarantines/1/rows"))
    assert (shown["total"], shown["next"]) == (2, None)
    assert [(row["order"], row["amount"], row["__row"]) for row in shown["rows"]] == [(1, -2.0, 0), (2, -3.0, 1)]
    assert shown["columns"] == list(shown["rows"][0])

    assert ok(client.post("/v1/checks/quarantines/1/release", json={"ids": [2]}))["rows_new"] == 1
    assert ok(client.post("/v1/checks/quarantines/1/drop", json={"rows": [0]}))["status"] == "dropped"
    assert ok(client.post("/v1/checks/quarantines/2/release", json={}))["source"] == "orders"
    statuses = [one["status"] for one in ok(client.get("/v1/checks/quarantines"))["quarantines"]]
    assert sorted(statuses) == ["dropped", "released", "released", "waiting"]
    with tm.connect(path) as ws:
        assert amounts(ws) == [-3.0, -3.0, -2.0, 1.0, 1.0, 1.0]


def test_pages_follow_one_another_and_are_bounded(client):
    pages, after = [], None
    while True:
        params = {"limit": 2, **({} if after is None else {"after": after})}
        page = ok(client.get("/v1/checks/results", params=params))
        pages.append([one["id"] for one in page["results"]])
        after = page["next"]
        if after is None:
            break
    assert pages == [[3, 2], [1]]
    first = ok(client.get("/v1/checks/quarantines", params={"limit": 2}))
    assert (len(first["quarantines"]), first["next"]) == (2, 2)
    assert [one["id"] for one in ok(client.get("/v1/checks/quarantines?after=2"))["quarantines"]] == [3]
    first = ok(client.get("/v1/checks/quarantines/3/rows?limit=1"))
    assert ([row["__row"] for row in first["rows"]], first["next"], first["total"]) == ([0], 0, 2)
    last = ok(client.get("/v1/checks/quarantines/3/rows?limit=1&after=0"))
    assert ([row["__row"] for row in last["rows"]], last["next"]) == ([1], None)
    for wrong in ("limit=0", "limit=1001", "limit=many", "after=-1", f"after={2**70}"):
        for route in ("results", "quarantines", "quarantines/3/rows"):
            assert client.get(f"/v1/checks/{route}?{wrong}").status_code in (400, 422), (route, wrong)


BAD = [
    ("GET", "results?target=orderz", None, 404),
    ("GET", "quarantines?source=orderz", None, 404),
    ("GET", "quarantines?status=lost", None, 422),
    ("GET", "quarantines?unheard=1", None, 422),
    ("GET", "quarantines/77/rows", None, 404),
    ("GET", f"quarantines/{2**70}/rows", None, 404),
    ("GET", "quarantines/-1/rows", None, 404),
    ("POST", "quarantines/77/release", {}, 404),
    ("POST", "quarantines/1/release", {"rows": [9]}, 404),
    ("POST", "quarantines/1/release", {"rows": [0], "ids": [1]}, 422),
    ("POST", "quarantines/1/release", {"rows": []}, 422),
    ("POST", "quarantines/1/release", {"rows": [-1]}, 422),
    ("POST", "quarantines/1/release", {"rows": "0"}, 422),
    ("POST", "quarantines/1/release", {"everything": True}, 422),
    ("POST", "quarantines/1/drop", {"replace_newer": True}, 422),
]


def test_a_bad_request_is_told_and_changes_nothing(client):
    for verb, address, body, status in BAD:
        response = client.request(verb, f"/v1/checks/{address}", json=body)
        assert response.status_code == status, (address, response.text)
        assert set(response.json()) == {"error", "hint", "type"}
    assert len(ok(client.get("/v1/checks/quarantines?status=waiting"))["quarantines"]) == 3


def test_what_was_settled_or_has_a_newer_version_is_a_conflict(client, path):
    client.post("/v1/checks/quarantines/1/drop", json={})
    for verb, address in (("GET", "1/rows"), ("POST", "1/release"), ("POST", "1/drop")):
        response = client.request(verb, f"/v1/checks/quarantines/{address}", json={} if verb == "POST" else None)
        assert (response.status_code, response.json()["type"]) == (409, "ConflictError")
    row = {"order": 11, "customer": "a", "at": "2024-01-01T00:00:00Z", "amount": 7.0}
    ok(client.post("/v1/sources/orders/push", json={"rows": [row]}))
    response = client.post("/v1/checks/quarantines/2/release", json={"ids": [11]})
    assert (response.status_code, response.json()["type"]) == (409, "ConflictError")
    released = ok(client.post("/v1/checks/quarantines/2/release", json={"ids": [11], "replace_newer": True}))
    assert released["rows_corrected"] == 1


def test_values_of_every_type_are_shown(tmp_path):
    from litestar.testing import TestClient

    project = tm.Project("shop")
    frame = pl.DataFrame(
        {
            "at": [datetime(2024, 1, 1, tzinfo=UTC)],
            "n": [2**63 + 1],
            "exact": [Decimal("1.50")],
            "day": [date(2024, 1, 2)],
            "hour": [time(1, 2)],
            "long": [timedelta(seconds=90)],
            "raw": [b"\xff\x00"],
            "many": [[1, None]],
            "inner": [{"a": 1.5}],
            "nothing": [float("nan")],
        },
        schema_overrides={"n": pl.UInt64},
    ).with_columns(kind=pl.lit("x").cast(pl.Categorical), fine=pl.lit(1).cast(pl.Datetime("ns")))

    @project.source(timestamp="at")
    def everything() -> pl.DataFrame:
        return frame

    project.check(everything, tm.not_null("nothing"), action="quarantine")
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(project)
        with pytest.warns(match="quarantine"):
            ws.ingest()
        with TestClient(tm.create_app(ws), base_url="http://127.0.0.1:8000") as client:
            ((row,),) = [ok(client.get("/v1/checks/quarantines/1/rows"))["rows"]]
    assert row["n"] == 2**63 + 1
    assert (row["exact"], row["day"], row["many"], row["inner"], row["kind"]) == (
        "1.50",
        "2024-01-02",
        [1, None],
        {"a": 1.5},
        "x",
    )
    assert row["nothing"] is None
