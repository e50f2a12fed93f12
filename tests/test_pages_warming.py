"""What the first visitor of a page would wait for is done beforehand, in the background, and ends with the server."""

import threading
import time

import pytest
import served_shop
from litestar.testing import TestClient
from test_server import LOCAL

import tinymlops as tm
from tinymlops.server.pages.rendering import Renderer


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        ws.apply(served_shop.project)
        yield ws


@pytest.fixture
def compiled(monkeypatch):
    """The names of the templates that were asked for, in order."""
    names, own = [], Renderer.template
    monkeypatch.setattr(Renderer, "template", lambda self, name: (names.append(name), own(self, name))[1])
    return names


def test_the_first_page_and_then_all_templates_and_what_is_kept_in_memory(ws, compiled, monkeypatch):
    warming = tm.create_app(ws).state.warming
    assert warming.look("/") == 200
    assert compiled == ["home.html"]
    looked, look = [], warming.look
    monkeypatch.setattr(warming, "look", lambda address: looked.append((address, look(address))))
    warming.warm()
    assert set(compiled) >= {"home.html", "runs.html", "base.html", "catalog.html"}
    assert [status for _, status in looked] == [200] * 5
    assert [address for address, _ in looked] == [
        "/",
        "/catalog",
        "/runs",
        "/catalog?q=a",
        "/catalog/feature/interest/last_seconds",
    ]


def test_nobody_who_needs_a_token_gets_in_by_it(ws):
    ws.tokens.create("ana", "reader")
    app = tm.create_app(ws)
    assert app.state.warming.look("/") == 200
    with TestClient(app, base_url=LOCAL) as client:
        client.follow_redirects = False
        assert client.get("/").headers["location"] == "/sign-in"


def test_it_ends_when_the_server_does(ws, compiled, monkeypatch):
    monkeypatch.setattr(Renderer, "names", lambda self: ["runs.html"] * 1_000_000)
    begun = time.perf_counter()
    with tm.create_app(ws).state.warming.beside():
        while len(compiled) < 3:
            time.sleep(0.01)
    assert len(compiled) < 1_000_000
    assert time.perf_counter() - begun < 60
    assert not [one for one in threading.enumerate() if "warming" in one.name]


def test_without_pages_nothing_is_warmed(ws):
    assert "warming" not in tm.create_app(ws, pages=False).state
