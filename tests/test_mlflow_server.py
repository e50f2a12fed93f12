"""The protocol over the wire: a server in a process of its own, killed, overloaded, lied to, and asked by a real client."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import msgspec
import pytest
from mlflow_calls import API, FILES, JSON, Calls
from network import PATIENCE, Server, read_all, statuses

import tinymlops as tm

HERE = Path(__file__).parent
SHORT = ("experiments", "runs", "statuses", "nested_and_resumed", "files", "search", "registry", "not_spoken")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("tracking") / "shop.tm"
    with tm.connect(path, create=True):
        pass
    return path


@pytest.fixture(scope="module")
def server(place):
    with Server(place) as found:
        yield found


@pytest.fixture
def calls(server):
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        yield Calls(client)


def request(method, path, body=b"", kind="application/json"):
    """The bytes of a request whose connection stays open."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def last(raw):
    """The same request as the last one of its connection."""
    return raw.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


def test_an_unmodified_client_logs_searches_registers_and_loads(server):
    """The short form of `make conformance`, with mlflow-skinny."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": ""}
    asked = subprocess.run(
        [sys.executable, HERE / "conformance" / "mlflow_client.py", server.url, *SHORT],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment,
    )
    said = [json.loads(line) for line in asked.stdout.splitlines() if line.startswith("{")]
    assert [one["step"] for one in said[1:]] == list(SHORT), asked.stderr[-2_000:]
    assert [one["error"] for one in said[1:] if one["error"]] == []


def test_an_answer_comes_in_one_piece_on_a_connection_that_stays(server, calls):
    run = calls.run()
    with server.connect() as connection:
        for number in range(20):
            body = msgspec.json.encode(
                {"run_id": run, "key": "m", "value": number, "timestamp": number, "step": number}
            )
            connection.sendall(request("POST", API + "runs/log-metric", body))
            piece = connection.recv(65536)
            head, _, content = piece.partition(b"\r\n\r\n")
            assert (statuses(head + b"\r\n"), content) == ([200], b"{}"), piece
    assert len(calls.get("metrics/get-history", run_id=run, metric_key="m")["metrics"]) == 20


def test_what_was_answered_with_200_survives_kill_9(tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True):
        pass
    counts = [0] * 4
    with Server(path) as server:
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
            first = Calls(client)
            run = first.run(run_name="killed")
            first.put(f"runs/{run}/a.bin", b"kept", **{"content-type": "application/octet-stream"})

        def log(worker):
            with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
                for number in range(10_000):
                    body = {"run_id": run, "key": f"m{worker}", "value": number, "timestamp": number, "step": number}
                    try:
                        answer = client.post(API + "runs/log-metric", content=msgspec.json.encode(body), headers=JSON)
                    except httpx.HTTPError:
                        return
                    assert answer.status_code == 200
                    counts[worker] = number + 1

        workers = [threading.Thread(target=log, args=(worker,)) for worker in range(4)]
        for one in workers:
            one.start()
        while min(counts) < 15:
            pass
        server.process.send_signal(signal.SIGKILL)
        for one in workers:
            one.join()
    with tm.connect(path) as ws:
        for worker, answered in enumerate(counts):
            points = ws.runs.points(run, f"m{worker}")
            assert points.size in (answered, answered + 1)
            assert points.values.tolist() == list(range(points.size))
        assert ws.runs.read_artifact(run, "a.bin") == b"kept"
        assert not [one for one in os.listdir(path / "tmp") if one.endswith(".part")]


HOSTILE = [
    "../../x",
    "a/../../x",
    "..",
    "./x",
    "%2e%2e/%2e%2e/x",
    "..%2f..%2fx",
    "a%00b",
    "a%0ab",
    "..\\x",
    "%5c..%5cx",
    "a%22b",
    "x" * 10_000,
    "%ff%fe",
    "%zz/..",
]


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_no_path_leads_out_of_the_labels(server, calls, place, method):
    run = calls.run()
    assert calls.put(f"runs/{run}/x", b"kept").status_code == 200
    before = sorted(str(one) for one in place.parent.rglob("*") if one.is_dir())
    for name in HOSTILE:
        body = b"bad" if method == "PUT" else b""
        answer = server.say(last(request(method, f"{FILES}/runs/{run}/{name}", body, "text/plain")))
        assert statuses(answer)[0] in (400, 404), (name[:50], answer[:300])
        assert b'"error_code"' in answer, (name[:50], answer[:300])
    assert [one["path"] for one in calls.get("artifacts/list", run_id=run)["files"]] == ["x"]
    assert sorted(str(one) for one in place.parent.rglob("*") if one.is_dir()) == before


@pytest.mark.parametrize("name", ["/etc/passwd", "//etc//passwd", "a//b"])
def test_slashes_too_many_are_slashes_of_a_label(server, calls, name):
    run = calls.run()
    raw = request("PUT", f"{FILES}/runs/{run}/{name}", b"x", "text/plain")
    assert statuses(server.say(last(raw)))[0] in (200, 400)
    found = calls.get("artifacts/list", run_id=run).get("files", [])
    assert all(re.fullmatch(r"[a-z]+", one["path"]) for one in found)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_upload_is_never_held_whole(server, calls):
    run = calls.run()
    calls.put(f"runs/{run}/warm", b"x" * 5_000_000)

    def most():
        text = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) / 1024

    before, pieces = most(), 160
    answer = calls.put(f"runs/{run}/large", (bytes([number]) * 2**20 for number in range(pieces)))
    assert answer.status_code == 200
    with calls.client.stream("GET", f"{FILES}/runs/{run}/large") as stream:
        received = [(piece[:1], len(piece)) for piece in stream.iter_bytes(2**20)]
    assert received == [(bytes([number]), 2**20) for number in range(pieces)]
    assert most() - before < pieces / 2, "megabytes"


def test_an_upload_that_breaks_off_leaves_nothing(server, calls, place):
    run = calls.run()
    head = request("PUT", f"{FILES}/runs/{run}/half", b"", "text/plain").replace(
        b"Content-Length: 0", b"Content-Length: 5000000"
    )
    with server.connect() as connection:
        connection.sendall(head + b"x" * 3_000_000)
    for _ in range(500):
        if not [one for one in os.listdir(place / "tmp") if one.endswith(".part")]:
            break
        threading.Event().wait(0.02)
    assert not [one for one in os.listdir(place / "tmp") if one.endswith(".part")]
    assert "files" not in calls.get("artifacts/list", run_id=run)


def test_a_file_that_says_it_is_too_large_is_refused_before_it_is_sent(server, calls):
    run = calls.run()
    head = request("PUT", f"{FILES}/runs/{run}/huge", b"", "text/plain").replace(
        b"Content-Length: 0", b"Content-Length: 10000000000"
    )
    with server.connect() as connection:
        connection.sendall(head)
        answer = connection.recv(65536)
    assert statuses(answer) == [413]
    assert b"at most 8589934592 bytes" in answer


def test_a_slow_upload_that_keeps_coming_is_waited_for_and_a_stalled_one_is_not(place):
    constants = {"bodies._SECONDS": 0.5, "bodies._STREAMED_BYTES": 2_000, "connections._BODY_SECONDS": 30}
    with Server(place, constants) as server, httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        calls = Calls(client)
        run = calls.run()
        head = request("PUT", f"{FILES}/runs/{run}/slow", b"", "text/plain").replace(
            b"Content-Length: 0", b"Content-Length: 4000\r\nConnection: close"
        )
        with server.connect() as connection:
            connection.sendall(head)
            for _ in range(4):
                connection.sendall(b"x" * 1_000)
                threading.Event().wait(0.25)
            assert statuses(read_all(connection)) == [200]
        with server.connect() as connection:
            connection.sendall(head + b"x")
            assert statuses(connection.recv(65536)) == [408]
