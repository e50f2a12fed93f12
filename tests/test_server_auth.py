"""`create_app(ws, auth=function)`: an application that knows its users itself, well or badly."""

import asyncio
import functools
import threading
import time

import pytest
from litestar import Litestar, asgi
from litestar.testing import TestClient
from test_server import JSON, LOCAL, ONLINE, PREDICT, WRITES

import tinymlops as tm
from tinymlops.errors import AccessError


class Object:
    async def __call__(self, connection):
        return by_header(connection)


def by_header(connection):
    name = connection.headers.get("x-user")
    return (name, "reader") if name else None


async def by_coroutine(connection):
    await asyncio.sleep(0)
    return by_header(connection)


WAYS = {
    "function": by_header,
    "coroutine": by_coroutine,
    "a function that answers a coroutine": lambda connection: by_coroutine(connection),
    "a part of a coroutine": functools.partial(by_coroutine),
    "object": Object(),
    "list": lambda connection: list(by_header(connection) or ()) or None,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_function_is_asked(served, way):
    with TestClient(tm.create_app(served, auth=WAYS[way]), base_url=LOCAL) as client:
        assert client.post(ONLINE, json=WRITES[ONLINE], headers={"x-user": "ana"}).status_code == 200
        assert client.post(PREDICT, json=WRITES[PREDICT], headers={"x-user": "ana"}).status_code == 403
        refused = client.post(ONLINE, json=WRITES[ONLINE])
    assert (refused.status_code, refused.json()["error"]) == (401, "the application does not know who asks")


ERRORS = [
    RuntimeError("the password is hunter2"),
    KeyError("hunter2"),
    StopIteration("hunter2"),
    SystemExit("hunter2"),
    RecursionError("hunter2"),
    tm.TinyMLOpsError("hunter2"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("is_coroutine", [False, True])
def test_what_it_raises_is_a_defect_without_details(served, error, is_coroutine):
    def fails(connection):
        raise error

    async def fails_later(connection):
        raise error

    if is_coroutine and isinstance(error, StopIteration):
        pytest.skip("Python makes a RuntimeError of it")
    with TestClient(tm.create_app(served, auth=fails_later if is_coroutine else fails), base_url=LOCAL) as client:
        answer = client.post(ONLINE, json=WRITES[ONLINE])
        assert (answer.status_code, answer.json()["error"]) == (500, "the server failed")
        assert "hunter2" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/healthz").status_code == 200  # which does not ask


def test_it_may_refuse_by_an_error(served):
    def refuses(connection):
        raise AccessError("your session has ended", hint="sign in again")

    with TestClient(tm.create_app(served, auth=refuses), base_url=LOCAL) as client:
        answer = client.post(ONLINE, json=WRITES[ONLINE])
    assert (answer.status_code, answer.json()["error"]) == (401, "your session has ended")


@pytest.mark.parametrize("actor", ["a" * 200, "Ana Ruiz", "ana@example.com", "アナ", "tm_x"])
def test_an_actor_is_any_printable_name(served, actor):
    with TestClient(tm.create_app(served, auth=lambda _: (actor, "editor")), base_url=LOCAL) as client:
        assert client.post(ONLINE, json=WRITES[ONLINE]).status_code == 200
    assert actor in {one.actor for one in served.access.list()}


@pytest.mark.parametrize(
    "said", [(), [], ["ana"], ("ana", "reader", "more"), {"ana": "reader"}, ("a" * 201, "reader"), ("a\x00", "reader"),
             ("a\u202eb", "reader"), (None, "reader"), ("ana", None), ("ana", "Admin"), ("ana", ["admin"]), True, b"ab"],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_an_actor_and_a_role_is_a_defect(served, said):
    with TestClient(tm.create_app(served, auth=lambda _: said), base_url=LOCAL) as client:
        assert client.post(ONLINE, json=WRITES[ONLINE]).status_code == 500


def test_a_slow_function_holds_nobody_else_up(served, capsys):
    """Eight users whose sign-in takes a second each: another, known at once, is answered meanwhile."""
    slow_ones = threading.Semaphore(0)

    def auth(connection):
        name = connection.headers["x-user"]
        if name == "slow":
            slow_ones.release()
            time.sleep(1)
        return name, "reader"

    app = tm.create_app(served, auth=auth)

    async def ask(name):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/models",
            "raw_path": b"/v1/models",
            "query_string": b"",
            "http_version": "1.1",
            "scheme": "http",
            "root_path": "",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"localhost"), (b"x-user", name.encode())],
            "state": {},
        }
        found = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            found.append(message.get("status"))

        await app(scope, receive, send)
        return found[0]

    async def scene():
        await ask("quick")
        slow = [asyncio.create_task(ask("slow")) for _ in range(8)]
        await asyncio.to_thread(lambda: [slow_ones.acquire() for _ in slow])
        times = []
        while len(times) < 20:
            begun = time.perf_counter()
            assert await ask("quick") == 200
            times.append(time.perf_counter() - begun)
        is_meanwhile = not any(one.done() for one in slow)
        assert await asyncio.gather(*slow) == [200] * 8
        return times, is_meanwhile

    times, is_meanwhile = asyncio.run(scene())
    with capsys.disabled():
        print(f"\nbeside 8 slow sign-ins of a second: {max(times) * 1e3:.0f} ms at most")
    assert max(times) < 0.9
    assert is_meanwhile


def test_the_body_of_a_stranger_is_never_read(served):
    asked = []

    async def receive():
        asked.append("body")
        raise AssertionError

    async def send(message):
        asked.append(message.get("status", "body of the answer"))

    for auth in (lambda _: None, by_coroutine):
        asked.clear()
        headers = [(b"host", b"localhost"), (b"content-length", b"8000000"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": ONLINE, "query_string": b"", "headers": headers, "state": {}}
        asyncio.run(tm.create_app(served, auth=auth)(scope, receive, send))
        assert asked == [401, "body of the answer"]


def test_a_mounted_application_is_asked_with_the_outer_connection(served):
    outer = Litestar([asgi("/ml", is_mount=True, copy_scope=True)(tm.create_app(served, auth=by_header))])
    with TestClient(outer, base_url=LOCAL) as client:
        assert client.get("/ml/v1/models", headers={"x-user": "ana", **JSON}).status_code == 200
        assert client.get("/ml/v1/models").status_code == 401
        assert client.get("/ml/healthz").status_code == 200
