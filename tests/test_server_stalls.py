"""The event loop never does a client's work: what one sends, however odd, holds up nobody else for long."""

import json
import threading
import time

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network import FULL, PATIENCE, Ordinary, Server, some
from test_server import CLICKS, JSON, PREDICT

from tinymlops.server import large_bodies
from tinymlops.server.large_bodies import decode_large
from tinymlops.server.messages import FeaturesRequest, PredictRequest, PushRequest

MOST = 8 * 2**20
SECONDS = 30 if FULL else 3


def of(items, start=b'{"rows":[{"a":[', end=b"]}]}"):
    """A body of as many items as it may have."""
    return start + (items * (MOST // len(items)))[: MOST - 100].rsplit(b",", 1)[0] + end


KEYS = b",".join(b'"%x":1' % number for number in range(800_000))
ATTACKS = {
    "a field's name of 8 MB": b'{"' + b"a" * (MOST - 20) + b'":1}',
    "a field's name of 4 MB of escapes": b'{"' + b"\\n" * (MOST // 2 - 20) + b'":1}',
    "a field's name of quotes": b'{"' + b'\\"' * (MOST // 2 - 20) + b'":1}',
    "a column's name of 8 MB": b'{"rows":[{"' + b"a" * (MOST - 40) + b'":1}]}',
    "a million names": b'{"rows":[{' + KEYS + b"}]}",
    "a million rows": of(b"{},", b'{"rows":[', b"]}"),
    "a million lists": of(b"[],"),
    "lists in lists": b'{"rows":[{"a":' + b"[" * (MOST - 40),
    "a number of 8 MB": b'{"rows":[{"a":' + b"1" * (MOST - 40) + b"}]}",
    "numbers of 4,000 digits": of(b"1" * 4_000 + b","),
    "four million numbers": of(b"1,"),
    "numbers beyond any": of(b"1e999999,"),
    "texts": of(b'"a",'),
    "blanks": b'{"rows":[' + b" " * (MOST - 40) + b"]}",
    "no JSON": b"\xff" * (MOST - 40),
    "quotes alone": b'"' * (MOST - 40),
}


@pytest.fixture(scope="module")
def server(shop_path):
    with Server(shop_path) as server:
        yield server


@pytest.mark.parametrize("name", some(ATTACKS, "a field's name of 8 MB", "a million names", "four million numbers"))
def test_a_body_holds_nobody_up(server, name, capsys):
    assert len(ATTACKS[name]) <= MOST
    ended, statuses = threading.Event(), []

    def attack():
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
            while not ended.is_set():
                sent = [client.post(route, content=ATTACKS[name], headers=JSON) for route in (PREDICT, CLICKS)]
                statuses.extend(response.status_code for response in sent)

    attacker = threading.Thread(target=attack)
    with Ordinary(server.url, lambda client: client.get("/healthz")) as ordinary:
        attacker.start()
        time.sleep(SECONDS)
        ended.set()
        attacker.join()
    with capsys.disabled():
        print(f"\n{name}: {len(statuses)} bodies, /healthz in milliseconds (median, 99 %, longest) {ordinary.told()}")
    assert set(statuses) <= {400, 422}
    assert ordinary.bad == []
    assert ordinary.told()[0] < 250


def test_long_paths_queries_and_headers_are_answered_shortly(server):
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        for path in (
            "/" + "a" * 60_000,
            "/v1/models/" + "a" * 60_000,
            "/healthz?" + "a=1&" * 15_000,
            "/healthz?" + "%41" * 20_000,
        ):
            response = client.get(path)
            assert response.status_code in (404, 422)
            assert len(response.content) < 5_000
        assert client.get("/healthz", headers={f"x-{number}": "a" * 50 for number in range(900)}).status_code == 200
        assert client.get("/healthz", headers={"x-a": "a" * 70_000}).status_code == 431


# A large body is read as a small one is


def both(kind, content):
    """What a body is, read at once and in pieces."""

    def outcome(read):
        try:
            return read(content)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return type(error), str(error)

    return outcome(msgspec.json.Decoder(kind).decode), outcome(lambda content: decode_large(kind, content))


ROWS = [
    {"customer": number, "budget": number / 3, "name": 'a"b\\' * (number % 50), "list": [1, None]}
    for number in range(900)
]


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_in_pieces_are_the_rows(monkeypatch, indent):
    monkeypatch.setattr(large_bodies, "SMALL", 1_000)
    for kind, body in (
        (PredictRequest, {"alias": "champion", "rows": ROWS, "details": True}),
        (PushRequest, {"rows": [{**row, "deep": [{"a": [1, "]}"]}]} for row in ROWS]}),
        (FeaturesRequest, {"features": ["a"], "keys": ROWS}),
        (
            FeaturesRequest,
            {"features": ["a"] * 900, "keys": {"customer": list(range(5_000)), "shopper": ["a"] * 5_000}},
        ),
        (FeaturesRequest, {"features": ["a"], "keys": {"customer": list(range(5_000))}}),
    ):
        whole, pieces = both(kind, json.dumps(body, indent=indent).encode())
        assert isinstance(whole, kind), whole
        assert whole == pieces


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: [*rows[:700], {"a": {"b": 1}}, *rows[700:]],
        lambda rows: [*rows[:3], 7, *rows[3:]],
        lambda rows: [*rows, None],
        lambda rows: [*rows, {"a": 2**70}],
        lambda rows: [*rows, {"a" * 1_001: 1}],
        lambda rows: [*rows, *[{f"c{place}-{number}": 1 for number in range(600)} for place in range(2)]],
        lambda rows: rows * 20,
    ],
)
def test_what_is_wrong_with_a_row_is_said_the_same(monkeypatch, change):
    monkeypatch.setattr(large_bodies, "SMALL", 1_000)
    whole, pieces = both(PredictRequest, json.dumps({"rows": change(ROWS)}).encode())
    assert isinstance(whole, tuple)
    assert whole == pieces


@pytest.mark.parametrize("name", ["spoilt", "cut", "doubled", "more", "comma", "colon"])
def test_what_is_not_json_is_not_json_in_pieces(monkeypatch, name):
    monkeypatch.setattr(large_bodies, "SMALL", 1_000)
    body = json.dumps({"rows": ROWS}).encode()
    spoilt = {
        "spoilt": body.replace(b"}, {", b"} {", 600),
        "cut": body[:-1],
        "doubled": body.replace(b"}, {", b"},, {"),
        "more": body + b"]",
        "comma": body[:-2] + b",]}",
        "colon": body.replace(b'"budget":', b'"budget"', 900),
    }[name]
    whole, pieces = both(PredictRequest, spoilt)
    assert whole[0] is pieces[0] is msgspec.DecodeError


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(max_size=5), st.one_of(CELLS, st.lists(CELLS, max_size=3)), max_size=4), min_size=1
    ),
    st.booleans(),
)
def test_any_rows_are_read_the_same(rows, ascii_only):
    small, large_bodies.SMALL = large_bodies.SMALL, 10
    try:
        whole, pieces = both(
            PushRequest, json.dumps({"rows": rows}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        )
    finally:
        large_bodies.SMALL = small
    if isinstance(whole, tuple):
        assert pieces[0] is whole[0]
    else:
        assert whole == pieces
