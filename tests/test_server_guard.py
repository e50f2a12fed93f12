"""What every request passes first: its host, its origin, the type of its body, and how many there are."""

import asyncio
import json

import pytest
from litestar.testing import TestClient
from test_server import JSON, LOCAL, ONLINE, PREDICT, WRITES

import tinymlops as tm
from tinymlops.errors import AccessError
from tinymlops.server.guard import Guard

READS = ("/v1/models", "/v1/models/splurge", "/healthz", "/readyz", "/schema")
UNKNOWN = ("/", "/v2", "/v1/models/splurge/nothing", "/schema/x")


@pytest.fixture
def client(served):
    with TestClient(tm.create_app(served), base_url=LOCAL) as client:
        yield client


def asked(client, route, headers):
    if route in WRITES:
        return client.post(route, json=WRITES[route], headers=headers)
    return client.get(route, headers=headers)


@pytest.mark.parametrize("route", [*READS, *UNKNOWN, *WRITES])
@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.nip.io", ""]
)
def test_another_host_is_refused_on_every_route(refusing, route, host):
    response = asked(refusing, route, {"host": host})
    assert (response.status_code, response.json()["type"]) == (403, "AccessError")
    assert response.json()["error"] == f"this server does not answer to the host {host!r}"


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost@evil.example",
            "localhost:80:80",
            "localhost:x",
            "localhost.",
            " localhost",
            "[::1",
            "::1",
            "127.1",
        ),
        *("2130706433", "0.0.0.0", "0177.0.0.1", "localhost,evil.example", "localhost/evil", "\xe9"),
    ],
)
def test_what_only_looks_like_a_loopback_host_is_refused(refusing, host):
    assert refusing.get("/healthz", headers={"host": host.encode("latin-1")}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_loopback_hosts_are_answered_on_any_port(client, host):
    assert client.get("/healthz", headers={"host": host}).status_code == 200


def test_a_request_without_a_host_is_refused(served):
    status = {}

    async def send(message):
        status.setdefault("status", message.get("status"))

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/healthz",
        "query_string": b"",
        "headers": [],
        "http_version": "1.0",
    }
    asyncio.run(tm.create_app(served)(scope, receive, send))
    assert status == {"status": 403}


def test_a_host_can_be_allowed_by_name(served):
    with TestClient(
        tm.create_app(served, allowed_hosts=["ML.example.com"]), base_url="http://ml.example.com"
    ) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/healthz", headers={"host": "ml.example.com:8443"}).status_code == 200
        assert client.get("/healthz", headers={"host": "localhost"}).status_code == 200
        assert client.get("/healthz", headers={"host": "x.ml.example.com"}).status_code == 403


@pytest.mark.parametrize("host", ["*", "*.example.com", "http://ml.example.com", "ml.example.com:8000", "", "a b"])
def test_an_allowed_host_that_no_header_can_have_is_refused(served, host):
    with pytest.raises(AccessError) as info:
        tm.create_app(served, allowed_hosts=[host])
    assert info.value.message == f"{host!r} is no name that a Host header can have"


@pytest.mark.parametrize("route", WRITES)
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "http://127.0.0.1:8001",
        "http://localhost:8000",
        "file://127.0.0.1:8000",
        "127.0.0.1:8000",
    ],
)
def test_a_page_of_another_origin_may_not_write(refusing, route, origin):
    response = refusing.post(route, json=WRITES[route], headers={"origin": origin})
    assert (response.status_code, response.json()["type"]) == (403, "AccessError")
    assert response.json()["error"] == f"a page of {origin!r} may not write here"


def test_a_page_of_this_origin_may_write(client):
    assert client.post(PREDICT, json=WRITES[PREDICT], headers={"origin": LOCAL}).status_code == 200


def test_no_page_of_another_origin_is_given_leave_to_read(client):
    response = client.get("/v1/models", headers={"origin": "http://evil.example"})
    preflight = client.options(PREDICT, headers={"origin": LOCAL, "access-control-request-method": "POST"})
    for found in (response, preflight):
        assert not [name for name in found.headers if name.startswith("access-control")]


@pytest.mark.parametrize("route", WRITES)
@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/msgpack",
    ],
)
def test_a_body_must_be_declared_as_json(refusing, route, kind):
    headers = {} if kind is None else {"content-type": kind}
    response = refusing.post(route, content=b'{"rows": [{"a": 1}]}', headers=headers)
    assert response.status_code == 415
    assert response.json()["hint"] == 'send the header "Content-Type: application/json"'


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_declared_with_its_charset(client, kind):
    body = b'{"features": ["spending"], "keys": [{"customer": 1}]}'
    assert client.post(ONLINE, content=body, headers={"content-type": kind}).status_code == 200


def test_a_chunked_body_is_held_to_the_same_rules(client):
    def chunks():
        yield b'{"rows": ['
        for _ in range(9):
            yield b" " * 2**20

    assert client.post(PREDICT, content=chunks(), headers={"content-type": "text/plain"}).status_code == 415
    response = client.post(PREDICT, content=chunks(), headers=JSON)
    assert (response.status_code, response.json()["error"]) == (413, "the body has more than 8388608 bytes")


@pytest.mark.parametrize("route", [*READS, *UNKNOWN, *WRITES])
def test_every_answer_carries_the_security_headers(refusing, route):
    for host in ("localhost", "evil.example"):
        headers = asked(refusing, route, {"host": host}).headers
        policy = headers["content-security-policy"]
        assert policy == "default-src 'self'" or (route == "/" and policy.startswith("default-src 'self'; "))
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "set-cookie" not in headers


def test_a_busy_server_says_when_to_come_back():
    """256 requests hang; one more is turned away, but health is answered, and after them all are again."""

    async def scene():
        release = asyncio.Event()
        answered = []

        async def application(scope, receive, send):
            if scope["path"] == "/slow":
                await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guard = Guard(application)

        async def ask(path):
            async def send(message):
                if message["type"] == "http.response.start":
                    answered.append((path, message["status"], dict(message["headers"]).get(b"retry-after")))

            scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"localhost")]}
            await guard(scope, None, send)

        slow = [asyncio.create_task(ask("/slow")) for _ in range(256)]
        await asyncio.sleep(0)
        await ask("/v1/models")
        await ask("/healthz")
        release.set()
        await asyncio.gather(*slow)
        await ask("/v1/models")
        return answered

    answered = asyncio.run(scene())
    assert answered[:2] == [("/v1/models", 503, b"1"), ("/healthz", 200, None)]
    assert answered[2:-1] == [("/slow", 200, None)] * 256
    assert answered[-1] == ("/v1/models", 200, None)


def test_a_websocket_finds_nothing(served):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/v1/models", "query_string": b"", "headers": [(b"host", b"evil.example")]}
    asyncio.run(tm.create_app(served)(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]


def answered_by(application, *, receive=None, path="/v1/models"):
    """What a guard sends for one request to an application, and the application's own guard for a second."""
    sent = []

    async def send(message):
        sent.append(message)

    async def scene():
        guard = Guard(application)
        scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"localhost")]}
        await guard(scope, receive, send)
        return guard

    guard = asyncio.run(scene())
    return sent, guard


def test_a_panic_of_a_library_is_a_typed_answer_with_the_security_headers(caplog):
    """Polars raises it beside `Exception`, so that no handler of a framework sees it."""
    from decimal import Decimal

    import polars as pl

    async def panics(scope, receive, send):
        pl.DataFrame([{"price": Decimal("NaN")}])

    (start, body), guard = answered_by(panics)
    assert start["status"] == 500
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert json.loads(body["body"]) == {
        "error": "the server failed",
        "hint": "its log says why",
        "type": "InternalServerError",
    }
    assert "PanicException" in caplog.text
    assert guard._load.at_work == 0


@pytest.mark.parametrize("error", [SystemExit(1), MemoryError(), RecursionError()])
def test_whatever_is_raised_below_is_answered(error):
    async def fails(scope, receive, send):
        raise error

    (start, _), _ = answered_by(fails)
    assert start["status"] == 500


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_interrupt_is_no_answer(error):
    async def fails(scope, receive, send):
        raise error

    with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
        answered_by(fails)


PANICS = """
import polars as pl
import tinymlops as tm

project = tm.Project("p")
customer = project.entity("customer", key="customer")

@project.source(timestamp="at")
def orders() -> str:
    return "select 1 as customer, timestamptz '2024-01-01 00:00:00+00' as at, 2.0::double as amount"

@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    return {"amount": orders["amount"].last()}

def panic(frame):
    if frame["amount"].is_null().any():
        from decimal import Decimal
        pl.DataFrame([{"price": Decimal("NaN")}])
    return frame["amount"]

@project.on_demand
def twice(spending: tm.Inputs) -> dict[str, pl.Expr]:
    both = pl.struct(spending["amount"].alias("amount"))
    return {"twice": both.map_batches(lambda rows: panic(rows.struct.unnest()), return_dtype=pl.Float64)}
"""


def test_after_a_panic_the_application_goes_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "panicking_code.py").write_text(PANICS)
    import panicking_code

    with tm.connect(tmp_path / "p.tm", create=True) as ws:
        ws.apply(panicking_code.project)
        ws.ingest()
        with TestClient(tm.create_app(ws), base_url=LOCAL) as client:

            def ask(customer):
                body = {"features": ["spending", "twice"], "keys": [{"customer": customer}]}
                return client.post(ONLINE, json=body)

            assert ask(1).status_code == 200, ask(1).text
            broken = ask(2)
            assert broken.status_code in (422, 500)
            assert set(broken.json()) == {"error", "hint", "type"}
            assert broken.headers["x-frame-options"] == "DENY"
            assert ask(1).json()["rows"] == [{"customer": 1, "amount": 2.0, "twice": 2.0}]


def test_a_body_that_does_not_end_is_told_so_and_makes_room(served, monkeypatch):
    from tinymlops.server import bodies

    monkeypatch.setattr(bodies, "_SECONDS", 0)
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        await asyncio.sleep(3600)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": PREDICT, "query_string": b"", "headers": headers}
    app = tm.create_app(served)
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert json.loads(sent[1]["body"])["error"] == "the body did not end within 0 seconds"
    assert app.asgi_handler._load.at_work == 0


def test_only_so_much_of_all_bodies_is_held(client, monkeypatch):
    from tinymlops.server import bodies

    monkeypatch.setattr(bodies, "_MOST_BYTES", 1_000)
    response = client.post(PREDICT, content=b'{"rows": [' + b" " * 100_000 + b"]}", headers=JSON)
    assert (response.status_code, response.json()["type"]) == (503, "ServiceUnavailable")
    assert response.headers["retry-after"] == "1"
    for _ in range(20):  # what was held is given back, and a small body always finds room
        assert client.post(PREDICT, json=WRITES[PREDICT]).status_code == 200
