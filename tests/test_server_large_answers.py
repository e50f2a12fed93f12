"""Large answers: who gets one holds up nobody else."""

import math
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import httpx
import msgspec
import polars as pl
import pytest
from litestar.response import Response
from litestar.testing import TestClient
from network import PATIENCE, Ordinary, Server
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
    "two million features": ("POST", ONLINE, {"features": ["wide"], "keys": [{"customer": n % CUSTOMERS} for n in range(10_000)]}),
    "a thousand audit entries": ("GET", "/v1/audit?limit=1000", None),
}


@pytest.mark.parametrize("name", LARGE)
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
        threading.Event().wait(2)
    asking = threading.Thread(target=ask)
    asking.start()
    with Ordinary(server.url, lambda client: client.get("/healthz")) as beside:
        threading.Event().wait(8)
    ended.set()
    asking.join()
    with capsys.disabled():
        print(f"\n{name}: {len(sizes)} answers of {max(sizes):,} bytes; /healthz ms {quiet.told()} alone, {beside.told()} beside")
    assert sizes
    assert not beside.bad
