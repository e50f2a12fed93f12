"""Clients that take their time: 300 of them shut nobody out, and the server still ends when it is told to."""

import contextlib
import json
import select
import socket
import threading
import time

import pytest
from network import FULL, Ordinary, Server, read_all, some
from test_server import ONLINE, PREDICT, WRITES

COUNT = 300
SECONDS = 60 if FULL else 4
HEAD = "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
ANSWERED = json.dumps({"features": ["spending"], "keys": [{"customer": number} for number in range(5_000)]})


class Slow(threading.Thread):
    """Many connections, on each of which a byte is said now and then; each that ends is begun anew."""

    def __init__(self, server, first, after):
        super().__init__()
        self._server, self._first, self._after = server, first, after
        self._ended = threading.Event()
        self.open = []
        self.ended = 0

    def _begin(self):
        one = self._server.connect()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.send(self._first)
        return one

    def run(self):
        self.open = [self._begin() for _ in range(COUNT)]
        while not self._ended.wait(0.2):
            for place, one in enumerate(self.open):
                try:
                    one.send(self._after)
                except BlockingIOError:
                    pass
                except OSError:
                    self.ended += 1
                    one.close()
                    self.open[place] = self._begin()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()
        for one in self.open:
            one.close()


def request(server, route, body):
    return (HEAD.format(route, server.host, len(body)) + body).encode()


KINDS = {
    "heads a byte at a time": lambda server: (b"GET /healthz HTTP/1.1\r\nX-A: ", b"a"),
    "bodies a byte at a time": lambda server: (request(server, PREDICT, " " * 8_000_000)[:500], b" "),
    "nothing at all": lambda server: (b"", b""),
    "answers that nobody reads": lambda server: (
        f"GET /schema HTTP/1.1\r\nHost: {server.host}\r\n\r\n".encode() * 5,
        b"",
    ),
    "bodies that were refused": lambda server: (
        request(server, PREDICT, " " * 8_000_000)[:500].replace(b"application/json", b"text/plain"),
        b" ",
    ),
}


def ask(client):
    return client.post(PREDICT, json=WRITES[PREDICT])


@pytest.mark.parametrize("kind", some(KINDS, "heads a byte at a time"))
def test_300_slow_clients_shut_nobody_out(shop_path, kind, capsys):
    with Server(shop_path) as server:
        with Ordinary(server.url, ask) as before:
            time.sleep(2 if FULL else 0.5)
        with Slow(server, *KINDS[kind](server)) as slow, Ordinary(server.url, ask) as beside:
            time.sleep(SECONDS)
            ended = slow.ended
        with capsys.disabled():
            print(f"\n{COUNT} clients, {kind}: {len(beside.seconds)} predictions, milliseconds (median, 99 %, longest)")
            print(f"alone {before.told()}, beside them {beside.told()}; {ended} slow connections were ended")
        assert beside.bad == []
        assert len(beside.seconds) > 10
        code, err, seconds = server.stop()
        assert (code, err) == (0, "")
        assert seconds < 30


SHORT = {
    "connections._LOOK_SECONDS": 0.1,
    "connections._HEAD_SECONDS": 1,
    "connections._REST_SECONDS": 1,
    "connections._READ_SECONDS": 1,
    "connections._READ_BYTES": 2**30,
    "bodies._SECONDS": 1,
}


@pytest.fixture(scope="module")
def impatient(shop_path):
    with Server(shop_path, SHORT) as server:
        yield server


def dribble(connection, mark, seconds=30):
    """Say a mark now and then; return what came, and after how long the connection ended."""
    begun, came = time.monotonic(), b""
    while time.monotonic() - begun < seconds:
        with contextlib.suppress(OSError):
            connection.send(mark)
        if select.select([connection], [], [], 0.1)[0]:
            try:
                part = connection.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                return came, time.monotonic() - begun
            came += part
    raise AssertionError(f"still open after {seconds} seconds")


def test_a_head_that_does_not_end_is_told_so_whatever_comes_in_between(impatient):
    with impatient.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        came, seconds = dribble(connection, b"a")
    assert came.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert 1 <= seconds < 10


def test_a_second_head_has_its_own_time(impatient):
    with impatient.connect() as connection:
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {impatient.host}\r\n\r\nGET /hea".encode())
        came, seconds = dribble(connection, b"l")
    assert came.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in came
    assert seconds >= 1


def test_a_body_that_does_not_end_is_told_so_and_the_connection_ends(impatient):
    with impatient.connect() as connection:
        connection.sendall(request(impatient, PREDICT, " " * 1_000_000)[:400])
        came, seconds = dribble(connection, b" ")
    assert came.startswith(b"HTTP/1.1 408")
    assert 2 <= seconds < 15


def test_the_rest_of_a_refused_body_is_not_waited_for(impatient):
    with impatient.connect() as connection:
        connection.sendall(request(impatient, PREDICT, " " * 1_000_000)[:400].replace(b"/json", b"/text"))
        came, _ = dribble(connection, b" ")
    assert came.startswith(b"HTTP/1.1 415")


def test_an_answer_that_nobody_reads_is_given_up(impatient):
    with impatient.connect() as connection:
        many = request(impatient, ONLINE, ANSWERED) * 100
        begun = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
            connection.settimeout(60)
            while True:
                connection.sendall(many)
        assert time.monotonic() - begun < 50


def test_a_slow_request_that_is_whole_has_no_deadline_and_idle_ones_are_kept(impatient):
    with impatient.connect() as connection:
        raw = f"GET /healthz HTTP/1.1\r\nHost: {impatient.host}\r\n\r\n".encode()
        for _ in range(3):
            connection.sendall(raw)
            came = b""
            while not came.endswith(b"}"):
                part = connection.recv(4096)
                assert part, came
                came += part
            assert came.startswith(b"HTTP/1.1 200")
            time.sleep(1.5)


def test_it_stops_in_time_while_clients_hang(shop_path, capsys):
    with Server(shop_path, {} if FULL else {"connections._LAST_SECONDS": 1}) as server:
        hanging = []
        for first, _ in [make(server) for make in KINDS.values()] * 5:
            one = server.connect()
            one.sendall(first)
            hanging.append(one)
        time.sleep(1)
        code, err, seconds = server.stop()
        with capsys.disabled():
            print(f"\nstopped with {len(hanging)} hanging clients: {seconds:.1f} seconds")
        assert (code, err) == (0, "")
        assert seconds < 25
        for one in hanging:
            one.settimeout(5)
            read_all(one)
            one.close()
