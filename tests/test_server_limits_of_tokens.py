"""What one token may ask for: it is told when to come back, and keeps nobody else out."""

import contextlib
import json
import shutil
import threading
import time

import httpx
import pytest
from litestar.testing import TestClient
from network import FULL, PATIENCE, Ordinary, Server, statuses
from served_shop import NOW
from test_server import LOCAL, ONLINE, WRITES

import tinymlops as tm
from tinymlops.client import Client
from tinymlops.server import crowd, limits
from tinymlops.server.crowd import Crowd
from tinymlops.server.proxies import Proxies

MOST_EACH = 128


@pytest.fixture
def path(shop_path, tmp_path):
    return shutil.copytree(shop_path, tmp_path / "shop.tm")


def issue(path):
    with tm.connect(path) as ws:
        made = {
            name: ws.tokens.create(name, "editor", rate=rate).token for name, rate in (("flood", 50), ("calm", None))
        }
        return made | {"slow": ws.tokens.create("slow", "editor", rate=4).token}


@pytest.fixture
def tokens(path):
    return issue(path)


@pytest.fixture(scope="module")
def limited(shop_path, tmp_path_factory):
    """A server of its own workspace, and the tokens of that."""
    path = shutil.copytree(shop_path, tmp_path_factory.mktemp("limited") / "shop.tm")
    issued = issue(path)
    with Server(path) as server:
        yield server, issued


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def test_a_token_that_asks_too_often_is_told_when_to_come_back(path, tokens, monkeypatch):
    now = [1_000.0]
    monkeypatch.setattr(limits.Rates.__init__, "__defaults__", (lambda: now[0],))
    with (
        tm.connect(path, clock=tm.ReplayClock(NOW)) as ws,
        TestClient(tm.create_app(ws), base_url=LOCAL) as client,
    ):
        found = [client.get("/v1/models", headers=bearer(tokens["slow"])) for _ in range(6)]
        assert [one.status_code for one in found] == [200] * 4 + [429] * 2
        assert found[-1].headers["retry-after"] == "1"
        assert found[-1].json() == {
            "error": "'slow' asks for more than it may",
            "hint": "come back in 1 seconds",
            "type": "ConflictError",
        }
        assert client.get("/healthz", headers=bearer(tokens["slow"])).status_code == 200
        assert client.get("/v1/models", headers=bearer(tokens["calm"])).status_code == 200
        assert client.get("/v1/models").status_code == 401
        now[0] += 1.0
        again = [client.get("/v1/models", headers=bearer(tokens["slow"])).status_code for _ in range(5)]
        assert again == [200] * 4 + [429]


def test_the_client_waits_as_it_is_told_and_gets_all_its_answers(limited):
    server, tokens = limited
    with Client(server.url, token=tokens["slow"]) as client:
        begun = time.monotonic()
        for _ in range(12):
            assert client.get_online_features(["spending"], [{"customer": 1}]).rows
        assert time.monotonic() - begun > (12 - 4) / 4 - 0.1


def test_a_token_that_floods_does_not_keep_another_out(limited, capsys):
    """Four threads ask without pause by one token of 50 a second; another token asks as it always does."""
    server, tokens = limited
    ended, flood = threading.Event(), []

    def ask():
        with httpx.Client(base_url=server.url, headers=bearer(tokens["flood"]), timeout=PATIENCE) as client:
            while not ended.is_set():
                flood.append(client.post(ONLINE, json=WRITES[ONLINE]).status_code)

    def calm(client):
        return client.post(ONLINE, json=WRITES[ONLINE], headers=bearer(tokens["calm"]))

    with Ordinary(server.url, calm, every=0.01) as alone:
        time.sleep(2 if FULL else 0.5)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    with Ordinary(server.url, calm, every=0.01) as beside:
        time.sleep(4)
    ended.set()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    let_in = flood.count(200)
    with capsys.disabled():
        print(
            f"\na flood: {len(flood) / took:.0f} requests a second, {let_in / took:.0f} of them answered; the other token's"
        )
        print(f"ms (median, 99th, longest): {alone.told()} alone, {beside.told()} beside; refused: {len(beside.bad)}")
    assert set(flood) == {200, 429}
    assert let_in <= 50 * (took + 1) + 1
    assert not beside.bad
    assert len(beside.seconds) > 20


def test_one_token_has_only_so_many_requests_open(path, tokens):
    """128 requests whose bodies do not end: the next one of that token is told to come back, another token's is not."""
    body = json.dumps(WRITES[ONLINE]).encode()

    def head(server, name):
        return (
            f"POST {ONLINE} HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {tokens[name]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        ).encode()

    with Server(path) as server, contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(MOST_EACH)]
        for one in held:
            one.sendall(head(server, "calm") + b"Expect: 100-continue\r\n\r\n")
            assert one.recv(1000).startswith(b"HTTP/1.1 100 ")
        refused = server.say(head(server, "calm") + b"Connection: close\r\n\r\n" + body)
        assert statuses(refused) == [429]
        assert b"retry-after: 1\r\n" in refused.lower()
        assert statuses(server.say(head(server, "flood") + b"Connection: close\r\n\r\n" + body)) == [200]
        for one in held:
            one.sendall(body)
        for one in held:
            assert statuses(one.recv(65536)) == [200]
        assert statuses(server.say(head(server, "calm") + b"Connection: close\r\n\r\n" + body)) == [200]


# Connections


@pytest.fixture
def most(monkeypatch):
    monkeypatch.setattr(crowd, "_most", lambda: 40)
    return 40


def entered(crowd, *peers):
    return [crowd.enter(peer) for peer in peers].count(True)


def test_an_address_has_a_quarter_of_all_connections(most):
    one = Crowd(Proxies([]))
    assert entered(one, *["203.0.113.7"] * 30) == 10
    assert entered(one, *["203.0.113.8"] * 30) == 10
    one.leave("203.0.113.7")
    assert entered(one, *["203.0.113.7"] * 5) == 1
    assert entered(one, *["::ffff:203.0.113.7"] * 5) == 0, "the same address as IPv6 writes it"


def test_a_network_of_ipv6_is_one_client(most):
    one = Crowd(Proxies([]))
    assert entered(one, *[f"2001:db8:0:1::{place:x}" for place in range(1, 31)]) == 10
    assert entered(one, *[f"2001:db8:0:2::{place:x}" for place in range(1, 31)]) == 10


def test_loopback_and_proxies_have_no_share_but_the_whole_has_an_end(most):
    one = Crowd(Proxies(["198.51.100.0/24"]))
    assert entered(one, *["127.0.0.1"] * 15) == 15
    assert entered(one, *["198.51.100.9"] * 15) == 15
    assert entered(one, *["203.0.113.7"] * 30) == 10
    assert entered(one, "127.0.0.1", "198.51.100.9", "203.0.113.8", "::1") == 0
    one.leave("127.0.0.1")
    assert entered(one, "203.0.113.7", "203.0.113.8", "203.0.113.9") == 1


def test_whatever_comes_and_goes_the_counts_come_back_to_nothing(most):
    one = Crowd(Proxies(["198.51.100.9"]))
    peers = ["127.0.0.1", "198.51.100.9", "203.0.113.7", "2001:db8::1", "2001:db8::2", "", "fe80::1%eth0"]
    for _ in range(100):
        inside = [peer for peer in peers * 20 if one.enter(peer)]
        assert len(inside) <= most
        for peer in inside:
            one.leave(peer)
    assert entered(one, *[f"203.0.113.{place}" for place in range(60)]) == most
