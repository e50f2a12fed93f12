"""`serve`: a real process on a loopback port, from the first request to SIGTERM."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import served_shop
from inside import database_of, environment_of
from network import read_all
from test_server import ONLINE, PREDICT, ROW, WRITES

import tinymlops as tm
from tinymlops.errors import AccessError, ConflictError, DataError
from tinymlops.records import Prediction

PATIENCE = 300
SCRIPT = """
import sys
import served_shop
import tinymlops as tm

with tm.connect(sys.argv[1], clock=tm.ReplayClock(served_shop.NOW)) as ws:
    tm.serve(ws, host=sys.argv[2], port=int(sys.argv[3]))
print("the workspace is closed")
"""


class Running:
    """A server in a process of its own."""

    def __init__(self, path, host="127.0.0.1", port=0, script=None):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script or SCRIPT, str(path), host, str(port)],
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = self.process.stderr.readline()
        self.url = self.said.partition("serving on ")[2].partition(" ")[0]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@pytest.fixture
def running(shop_path):
    started = []

    def start(*arguments, path=shop_path):
        started.append(Running(path, *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate(timeout=PATIENCE)


@pytest.fixture(scope="module")
def server(shop_path):
    """One for the tests that leave it running."""
    shared = Running(shop_path)
    yield shared
    shared.process.kill()
    shared.process.communicate(timeout=PATIENCE)


def logged(shop_path, identifier):
    with tm.connect(shop_path) as ws:
        return database_of(ws).get(Prediction, id=identifier)


def test_a_process_serves_every_route(running):
    server = running()
    assert server.said == f"serving on {server.url} until Ctrl+C\n"
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        for route in ("/healthz", "/readyz", "/v1/models", "/v1/models/splurge", "/schema"):
            response = client.get(route)
            assert response.status_code == 200, response.text
            assert "server" not in response.headers
        for route, body in WRITES.items():
            assert client.post(route, json=body).status_code == 200
        answer = client.post(PREDICT, json={"rows": [ROW]}).json()
        assert (answer["version"], answer["timestamp"]) == (1, "2024-02-01T00:00:00Z")
        assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 403
    assert server.end() == (0, "the workspace is closed\n", "")


def test_what_keeps_it_from_being_ready_is_said_before_it_serves(running, shop_path, tmp_path):
    path = shutil.copytree(shop_path, tmp_path / "torn.tm")
    with tm.connect(path) as ws:
        file = environment_of(ws).blobs.path(ws.models.get("splurge").manifest_sha256)
    file.chmod(0o600)
    file.write_bytes(b"torn")
    server = running(path=path)
    assert server.said.startswith("not ready: splurge@champion: ")
    assert any("serving on" in server.process.stderr.readline() for _ in range(5))
    server.process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_every_prediction_logged(running, shop_path, number):
    server = running()
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        answer = client.post(PREDICT, json={"rows": [ROW] * 50}).json()
    assert server.end(number) == (0, "the workspace is closed\n", "")
    for row in answer["predictions"]:
        assert logged(shop_path, row["id"]) is not None


def test_a_request_on_its_way_is_answered_before_the_end(running):
    server = running()
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps(WRITES[ONLINE]).encode()
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as half:
        head = f"POST {ONLINE} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        half.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert half.recv(100).startswith(b"HTTP/1.1 100")  # it is being answered
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises((ConnectionRefusedError, ConnectionResetError)):  # reset: it closed while we connected
            while True:  # until it takes no new ones
                socket.create_connection((host, int(port)), timeout=PATIENCE).close()
        half.sendall(body)
        with half.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
    out, err = server.process.communicate(timeout=PATIENCE)
    assert (server.process.returncode, out, err) == (0, "the workspace is closed\n", "")


def test_an_answer_does_not_wait_for_its_reader_to_acknowledge(server):
    """With Nagle's algorithm, each answer of a kept connection takes 40 ms; a hundred then take four seconds."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        reader = connection.makefile("rb")
        # The reader never says anything in between, so that only the server decides when a packet goes.
        finished = threading.Event()
        timer = threading.Timer(3, finished.set)
        timer.start()
        for _ in range(100):
            connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            while reader.readline() != b"\r\n":
                pass
            reader.read(len(b'{"status":"up"}'))
        assert not finished.is_set()
        timer.cancel()
        timer.join()
        reader.close()


def test_a_second_server_on_the_port_is_refused_before_anything_is_printed(server, shop_path, capfd):
    port = int(server.url.rpartition(":")[2])
    with tm.connect(shop_path) as ws, pytest.raises(ConflictError) as info:
        tm.serve(ws, port=port)
    assert info.value.message == f"port {port} of 127.0.0.1 is taken: another server is running there"
    assert info.value.hint == f"stop it, or choose another port: tinymlops serve --port {port + 1}"
    assert capfd.readouterr() == ("", "")
    assert httpx.get(f"{server.url}/healthz", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "10.0.0.1", "8.8.8.8", "::ffff:8.8.8.8", "fe80::1"])
def test_an_address_beyond_loopback_is_refused_while_there_is_no_token(served, host, capfd):
    with pytest.raises(AccessError) as info:
        tm.serve(served, host=host)
    assert "is not of the loopback interface, and no token was issued" in info.value.message
    assert info.value.hint == "make one first: tinymlops token create NAME --role ROLE; or serve on 127.0.0.1"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("host", ["example.com", "", "127.1", "localhost:8000", "127.0.0.1/8", "0x7f000001", "*"])
def test_what_is_not_an_address_is_refused(served, host, capfd):
    with pytest.raises(AccessError) as info:
        tm.serve(served, host=host)
    assert info.value.message == f"{host!r} is not an address"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_a_port_that_does_not_exist_is_refused(served, port):
    with pytest.raises(DataError) as info:
        tm.serve(served, port=port)
    assert info.value.message == f"port {port} does not exist"


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.5", "127.0.0.5"), ("localhost", "127.0.0.1")])
def test_any_loopback_address_can_be_served_and_localhost_is_one_whatever_the_system_says(running, host, shown):
    server = running(host)
    assert server.url.startswith(f"http://{shown}:")
    assert httpx.get(f"{server.url}/healthz", timeout=PATIENCE).json() == {"status": "up"}


def test_serving_leaves_the_handlers_of_signals_as_they_were(served):
    """A thread stops this very process's server as soon as it answers."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def stop():
        with httpx.Client(transport=httpx.HTTPTransport(retries=30), timeout=PATIENCE) as client:
            client.get(f"http://127.0.0.1:{port}/healthz")
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop)
    stopping.start()
    tm.serve(served, port=port)
    stopping.join()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_replay_clock_is_the_servers_time(server):
    moment = httpx.post(f"{server.url}{ONLINE}", json=WRITES[ONLINE], timeout=PATIENCE).json()["timestamp"]
    assert moment == served_shop.NOW.isoformat().replace("+00:00", "Z")


IMPATIENT = """
import resource, sys
from tinymlops.server import connections
connections._LOOK_SECONDS = connections._HEAD_SECONDS = 0.2
resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def test_silent_connections_are_closed_and_never_take_the_last_descriptor(shop_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SCRIPT", IMPATIENT + SCRIPT)
    server = Running(shop_path)
    host, port = server.url.removeprefix("http://").split(":")
    silent = [socket.create_connection((host, int(port)), timeout=30) for _ in range(300)]
    try:
        silent[0].sendall(b"GET /healthz HTT")  # and no more
        assert b"HTTP/1.1 408 " in read_all(silent[0])
        for one in silent[1:]:
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(1) == b""
        assert httpx.get(f"{server.url}/healthz", timeout=PATIENCE).json() == {"status": "up"}
    finally:
        for one in silent:
            one.close()
    assert server.end() == (0, "the workspace is closed\n", "")


def address_of_this_machine():
    """An address of this machine that is not of loopback; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.77", 9))
        except OSError:
            pytest.skip("this machine has only loopback")
        return probe.getsockname()[0]


@pytest.fixture
def outward(shop_path, tmp_path):
    """A server on every address, whose process may have few descriptors; and a token for it."""
    path = shutil.copytree(shop_path, tmp_path / "outward.tm")
    with tm.connect(path) as ws:
        text = ws.tokens.create("billing", "editor").token
    server = Running(path, "0.0.0.0", script=FEW + SCRIPT)
    yield int(server.url.rpartition(":")[2]), {"authorization": f"Bearer {text}"}
    assert server.end() == (0, "the workspace is closed\n", "")


FEW = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (400, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


def test_with_a_token_every_address_is_served_and_only_to_who_has_it(outward):
    port, headers = outward
    for address in (address_of_this_machine(), "127.0.0.1"):
        with httpx.Client(base_url=f"http://{address}:{port}", timeout=PATIENCE) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/v1/models").status_code == 401
            assert client.get("/v1/models", headers=headers).status_code == 200
            assert client.post(ONLINE, json=WRITES[ONLINE], headers=headers).status_code == 200
            assert client.get("/v1/models", headers={**headers, "host": "evil.example"}).status_code == 403


def test_one_address_takes_only_its_share_of_the_connections(outward):
    """Of 200 connections, an address of the network has 50; loopback, and others, go on."""
    port, headers = outward
    address = address_of_this_machine()
    held = [socket.create_connection((address, port), timeout=PATIENCE) for _ in range(80)]
    try:
        for one in held:
            one.setblocking(False)
        ended = set()
        deadline = time.monotonic() + 8  # less than the time for a head
        while len(ended) < 30 and time.monotonic() < deadline:
            for place, one in enumerate(held):
                with contextlib.suppress(BlockingIOError):
                    try:
                        ended |= {place} if one.recv(1) == b"" else set()
                    except ConnectionResetError:
                        ended.add(place)
            time.sleep(0.05)
        assert len(ended) == 30
        for _ in range(20):
            answer = httpx.get(f"http://127.0.0.1:{port}/v1/models", headers=headers, timeout=PATIENCE)
            assert answer.status_code == 200
    finally:
        for one in held:
            one.close()
    with httpx.Client(transport=httpx.HTTPTransport(retries=30), timeout=PATIENCE) as client:
        for _ in range(100):  # their places are given back
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"http://{address}:{port}/healthz").status_code == 200:
                    return
            time.sleep(0.05)
    pytest.fail("the address stays shut out")
