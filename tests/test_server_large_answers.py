"""Large answers: who gets one holds up nobody else."""

import asyncio
import math
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import httpx
import msgspec
import polars as pl
import pytest
from litestar.exceptions import SerializationException
from litestar.response import Response
from litestar.testing import TestClient
from network import FULL, PATIENCE, Ordinary, Server, some
from served_shop import NOW
from test_server import LOCAL, ONLINE

import tinymlops as tm
from tinymlops.server import large_answers
from tinymlops.server.large_answers import encode_large

CUSTOMERS = 2_000
WIDTH = 200
START = NOW - timedelta(days=2)

project = tm.Project("wide")
customer = project.entity("customer", key="customer")


@project.source(timestamp="at")
def facts() -> pl.DataFrame:
    """What is known of each, in many columns."""
    number = pl.int_range(CUSTOMERS, eager=True)
    columns = {f"f{place}": number / 7 + place for place in range(WIDTH)}
    return pl.DataFrame({"customer": number, "at": [START] * CUSTOMERS, **columns})


@project.feature_view(entity=customer)
def wide(facts: tm.Rows) -> tm.Features:
    """The newest of each."""
    return {f"f{place}": facts[f"f{place}"].last() for place in range(WIDTH)}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("wide") / "wide.tm"
    with tm.connect(path, create=True, clock=tm.ReplayClock(NOW)) as ws:
        ws.apply(project)
        ws.ingest()
        ws.materialize()
        for number in range(1_100):
            ws.catalog.note("wide", f"Note {number}.")
    return path


@pytest.fixture(scope="module")
def server(path):
    with Server(path) as server:
        yield server


LARGE = {
    "two million features": (
        "POST",
        ONLINE,
        {"features": ["wide"], "keys": [{"customer": n % CUSTOMERS} for n in range(10_000)]},
    ),
    "a thousand audit entries": ("GET", "/v1/audit?limit=1000", None),
}


@pytest.mark.parametrize("name", some(LARGE, "two million features"))
def test_a_large_answer_holds_nobody_up(server, name, capsys):
    method, address, body = LARGE[name]
    ended, sizes = threading.Event(), []

    def ask():
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
            while not ended.is_set():
                response = client.request(method, address, json=body)
                assert response.status_code == 200, response.text
                sizes.append(len(response.content))

    with Ordinary(server.url, lambda client: client.get("/healthz")) as quiet:
        threading.Event().wait(2 if FULL else 0.5)
    asking = threading.Thread(target=ask)
    asking.start()
    with Ordinary(server.url, lambda client: client.get("/healthz")) as beside:
        threading.Event().wait(8 if FULL else 2)
    ended.set()
    asking.join()
    with capsys.disabled():
        print(
            f"\n{name}: {len(sizes)} answers of {max(sizes):,} bytes; /healthz ms {quiet.told()} alone, {beside.told()} beside"
        )
    assert sizes
    assert not beside.bad
    assert beside.told()[0] < 250


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    first: int = 1
    rows: list
    last: str = "}]"


VALUES = [
    *(None, True, 7, 2**63, -0.0, math.nan, math.inf, 1e300, "", '"],[{', "\u2028 \U0001d54a", b"\x00\xff"),
    *(Decimal("1.10"), UUID(int=7), NOW, date(2024, 1, 1), timedelta(seconds=1.5), [1, [2, {"a": []}]], {"a": {}}),
    datetime(1, 1, 1, tzinfo=UTC),
]


def rendered(answer):
    return Response(answer).to_asgi_response(app=None, request=None).body


async def in_pieces(answer):
    return (await encode_large(Response(answer))).to_asgi_response(app=None, request=None).body


@pytest.mark.parametrize("width", [0, 1, 3, 400])
@pytest.mark.parametrize("count", [0, 1, 2, 99, 1_000])
def test_an_answer_in_pieces_is_the_answer(count, width, monkeypatch):
    monkeypatch.setattr(large_answers, "_SMALL", 50)
    rows = [{f"c{place}": VALUES[(number + place) % len(VALUES)] for place in range(width)} for number in range(count)]
    for answer in (Answer(rows=rows), Answer(rows=[list(row.values()) for row in rows]), Answer(rows=[*rows, None])):
        assert asyncio.run(in_pieces(answer)) == rendered(answer)


@pytest.mark.parametrize("content", [b"bytes", None, {"rows": [1] * 5_000}, [1] * 5_000, "text"])
def test_what_is_not_a_record_with_rows_is_left_to_litestar(content):
    response = Response(content, media_type="application/json")
    assert asyncio.run(encode_large(response)).content is content


def test_a_value_without_json_is_an_error_in_pieces_too(monkeypatch):
    monkeypatch.setattr(large_answers, "_SMALL", 50)
    with pytest.raises(SerializationException):
        asyncio.run(in_pieces(Answer(rows=[{"a": object()}] * 100)))


def test_the_answer_of_many_keys_is_that_of_each(path):
    keys = [{"customer": number} for number in range(0, 60, 2)]
    body = {"features": ["wide"], "keys": keys}
    with tm.connect(path, clock=tm.ReplayClock(NOW)) as ws, TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        many = client.post(ONLINE, json=body)
        rows = [client.post(ONLINE, json={**body, "keys": [key]}).json()["rows"][0] for key in keys]
    assert many.headers["content-type"] == "application/json"
    assert int(many.headers["content-length"]) == len(many.content)
    assert many.json()["rows"] == rows
