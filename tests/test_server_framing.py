"""What a server reads as a request: raw bytes that another reader would take for two, or for another one."""

import json

import h11
import pytest
from network import FULL, Server, statuses
from test_server import CLICKS, ONLINE, WRITES

from tinymlops.server.framing import StrictConnection

BODY = json.dumps(WRITES[ONLINE]).encode()
HIDDEN = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(shop_path):
    with Server(shop_path) as server:
        yield server


ROUTE = ONLINE.encode()


def head(*lines, method=b"POST", target=ROUTE, version=b"HTTP/1.1", host=b"Host: localhost"):
    first = b"%s %s %s" % (method, target, version)
    return b"\r\n".join([first, *([host] if host else []), b"Content-Type: application/json", *lines, b"", b""])


def chunked(*parts):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
REFUSED = {
    "a length and chunks": head(LENGTH, CHUNKED) + chunked(BODY) + HIDDEN,
    "chunks and a length": head(CHUNKED, b"Content-Length: 4") + b"0\r\n\r\n" + HIDDEN,
    "two lengths": head(LENGTH, b"Content-Length: 0") + BODY + HIDDEN,
    "two lengths in one": head(b"Content-Length: %d, 0" % len(BODY)) + BODY + HIDDEN,
    "a length with a sign": head(b"Content-Length: +%d" % len(BODY)) + BODY + HIDDEN,
    "a length below zero": head(b"Content-Length: -1") + BODY + HIDDEN,
    "a length in hex": head(b"Content-Length: 0x10") + BODY + HIDDEN,
    "a length with a space in it": head(b"Content-Length: 1 0") + BODY + HIDDEN,
    "no digits of a length": head(b"Content-Length: ") + HIDDEN,
    "a length beyond any": head(b"Content-Length: " + b"9" * 40) + HIDDEN,
    "a length in other digits": head("Content-Length: ٣".encode()) + HIDDEN,
    "an odd transfer coding": head(b"Transfer-Encoding: xchunked") + chunked(BODY) + HIDDEN,
    "identity": head(b"Transfer-Encoding: identity", LENGTH) + BODY + HIDDEN,
    "a list of codings": head(b"Transfer-Encoding: gzip, chunked") + chunked(BODY) + HIDDEN,
    "an empty one in the list": head(b"Transfer-Encoding: ,chunked") + chunked(BODY) + HIDDEN,
    "chunked twice": head(CHUNKED, CHUNKED) + chunked(BODY) + HIDDEN,
    "chunked and identity": head(CHUNKED, b"Transfer-Encoding: identity") + chunked(BODY) + HIDDEN,
    "a space before the colon": head(b"Transfer-Encoding : chunked", LENGTH) + BODY + HIDDEN,
    "a space before the name": head(b" Transfer-Encoding: chunked", LENGTH) + BODY + HIDDEN,
    "a vertical tab": head(b"Transfer-Encoding: \x0bchunked", LENGTH) + BODY + HIDDEN,
    "marks around chunked": head(b"Transfer-Encoding: \x1cchunked\x85\xa0") + chunked(BODY) + HIDDEN,
    "a quoted coding": head(b'Transfer-Encoding: "chunked"') + chunked(BODY) + HIDDEN,
    "a zero byte": head(b"X-A: a\x00b", LENGTH) + BODY + HIDDEN,
    "a zero byte in a name": head(b"X\x00A: b", LENGTH) + BODY + HIDDEN,
    "no colon": head(b"Nonsense", LENGTH) + BODY + HIDDEN,
    "no name": head(b": value", LENGTH) + BODY + HIDDEN,
    "a folded header": head(b"X-A: a\r\n b", LENGTH) + BODY + HIDDEN,
    "a folded length": head(b"Content-Length:\r\n %d" % len(BODY)) + BODY + HIDDEN,
    "bare line feeds": head(LENGTH).replace(b"\r\n", b"\n") + BODY + HIDDEN,
    "one bare line feed": head(b"X-A: a\nContent-Length: 0", LENGTH) + BODY + HIDDEN,
    "a bare carriage return": head(b"X-A: a\rContent-Length: 0", LENGTH) + BODY + HIDDEN,
    "a bare line feed at the end": head(LENGTH)[:-2] + b"\n" + BODY + HIDDEN,
    "chunks in HTTP/1.0": head(CHUNKED, version=b"HTTP/1.0") + chunked(BODY) + HIDDEN,
    "no host": head(LENGTH, host=b"") + BODY + HIDDEN,
    "two hosts": head(LENGTH, b"Host: evil.example") + BODY + HIDDEN,
    "the same host twice": head(LENGTH, b"Host: localhost") + BODY + HIDDEN,
    "an absolute target": head(LENGTH, target=b"http://localhost" + ONLINE.encode()) + BODY + HIDDEN,
    "another's absolute target": head(LENGTH, target=b"http://evil.example/healthz") + BODY + HIDDEN,
    "no slash": head(LENGTH, target=b"healthz") + BODY + HIDDEN,
    "a star": head(method=b"OPTIONS", target=b"*") + HIDDEN,
    "a tunnel": head(method=b"CONNECT", target=b"127.0.0.1:22") + HIDDEN,
    "a space in the target": head(LENGTH, target=b"/healthz HTTP/1.1 /x") + BODY + HIDDEN,
    "no version": b"GET /healthz\r\nHost: localhost\r\n\r\n" + HIDDEN,
    "version 0.9": b"GET /healthz\r\n\r\n",
    "version 2.0": head(LENGTH, version=b"HTTP/2.0") + BODY + HIDDEN,
    "version 1.9": head(LENGTH, version=b"HTTP/1.9") + BODY + HIDDEN,
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version in small letters": head(LENGTH, version=b"http/1.1") + BODY + HIDDEN,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600) + b"\r\n\r\n",
    "a proxy's own line": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + HIDDEN,
    "an empty line first": b"\r\n" * 3 + HIDDEN,
    "a head of 65 kB": head(b"X-A: " + b"a" * 65_600, LENGTH) + BODY + HIDDEN,
    "a path of 65 kB": head(LENGTH, target=b"/" + b"a" * 65_600) + BODY + HIDDEN,
    "a head that goes on": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 300_000,
    "10,000 headers": head(*[b"X-%d: a" % number for number in range(10_000)], LENGTH) + BODY + HIDDEN,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_two_readers_may_read_as_two_ends_the_connection(server, name):
    said = server.say(REFUSED[name])
    (status,) = statuses(said)
    assert status in (400, 431, 501, 505)
    top, _, body = said.partition(b"\r\n\r\n")
    assert b"connection: close" in top.lower()
    assert b"x-content-type-options: nosniff" in top.lower()
    assert set(json.loads(body)) == {"error", "hint", "type"}


BROKEN_CHUNKS = {
    "a size that is not hex": b"xyz\r\n" + BODY,
    "a size with a sign": b"+5\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n",
    "a size beyond any": b"f" * 40 + b"\r\n",
    "a bare line feed after the size": b"5\nhello\n0\n\n",
    "a line feed in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "more than the size says": b"2\r\nhello\r\n0\r\n\r\n",
    "no line end after the chunk": b"5\r\nhelloXX0\r\n\r\n",
    "a bare line feed after the chunk": b"5\r\nhello\n0\r\n\r\n",
    "a size that does not end": b"1" * 100_000,
    "an extension that does not end": b"5;" + b"a" * 100_000,
}


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_broken_chunks_end_the_connection(server, name):
    said = server.say(head(CHUNKED) + BROKEN_CHUNKS[name] + HIDDEN)
    assert statuses(said) == [400]
    assert b"up" not in said


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_broken_chunks_of_a_body_that_was_refused_already_end_the_connection_too(server, name):
    refused = head(CHUNKED).replace(b"application/json", b"text/plain")
    with server.connect() as connection:
        connection.sendall(refused)
        assert connection.recv(12) == b"HTTP/1.1 415"
        connection.sendall(BROKEN_CHUNKS[name] + HIDDEN)
        rest = b""
        try:
            while part := connection.recv(65536):
                rest += part
        except ConnectionResetError:
            pass
    assert statuses(rest) == []


def one_answer(server, raw):
    """The only answer on a connection whose client says that it ends."""
    said = server.say(raw)
    assert len(statuses(said)) == 1, said
    return statuses(said)[0], said


@pytest.mark.parametrize(
    "body",
    [
        chunked(BODY),
        chunked(*(bytes([one]) for one in BODY)),
        b"%x;name=value;other\r\n%s\r\n0;last\r\n\r\n" % (len(BODY), BODY),
        b"%X\r\n%s\r\n000\r\nX-Trailer: a\r\n\r\n" % (len(BODY), BODY),
    ],
)
def test_chunks_that_are_right_are_one_body(server, body):
    assert one_answer(server, head(CHUNKED, b"Connection: close") + body + HIDDEN)[0] == 200


def test_nothing_that_was_hidden_in_a_body_is_asked(server):
    """The body of the first is as long as it says, whatever stands in it."""
    inner = json.dumps({"rows": [{"click": 77, "shopper": "x", "at": "2024-01-31T00:00:00Z", "seconds": 1.0}]}).encode()
    hidden = head(b"Content-Length: %d" % len(inner), target=CLICKS.encode()) + inner
    for framing, body in ((b"Content-Length: %d" % len(hidden), hidden), (CHUNKED, chunked(hidden))):
        said = server.say(head(framing) + body + HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert statuses(said) == [400, 200]
        assert b'"rows_new"' not in said


def test_requests_in_one_packet_are_answered_in_their_order(server):
    last = HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    missing = HIDDEN.replace(b"/healthz", b"/nothing")
    said = server.say((HIDDEN + missing) * 50 + head(LENGTH) + BODY + last)
    assert statuses(said) == [200, 404] * 50 + [200, 200]


def test_after_an_end_nothing_more_is_read(server):
    ended = HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert statuses(server.say(ended + HIDDEN * 5)) == [200]


@pytest.mark.parametrize(
    ("method", "status"),
    [
        (b"HEAD", 405),
        (b"OPTIONS", 204),
        (b"TRACE", 405),
        (b"DELETE", 405),
        (b"PUT", 405),
        (b"NONSENSE", 405),
        (b"get", 405),
    ],
)
def test_every_other_method_has_its_status(server, method, status):
    found, said = one_answer(server, head(b"Connection: close", method=method, target=b"/healthz"))
    assert found == status
    if method in (b"HEAD", b"OPTIONS"):
        assert said.endswith(b"\r\n\r\n")
    assert b"localhost" not in said, "TRACE would give back what was sent"


UPGRADES = {
    "a websocket": [
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ],
    "HTTP/2": [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"],
}


@pytest.mark.parametrize("name", UPGRADES)
def test_an_upgrade_is_passed_over(server, name):
    raw = head(*UPGRADES[name], method=b"GET", target=b"/healthz")
    said = server.say(raw + HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert statuses(said) == [200, 200]


def test_who_asks_before_sending_is_told_to_go_on_and_a_refusal_comes_first(server):
    with server.connect() as connection:
        connection.sendall(head(LENGTH, b"Expect: 100-continue", b"Connection: close"))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(BODY)
        assert connection.recv(12) == b"HTTP/1.1 200"
    with server.connect() as connection:
        connection.sendall(head(LENGTH, b"Expect: 100-continue", host=b"Host: evil.example"))
        assert connection.recv(12) == b"HTTP/1.1 403"


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "user@localhost",
            "localhost:x",
            "localhost:99999",
            "localhost:",
            "localhost:1:2",
            "[::1",
            "::1",
        ),
        *(
            "localhost, evil.example",
            "http://localhost",
            "localhost/x",
            "127.0.0.2",
            "[::ffff:127.0.0.1]:x",
            "127.1",
            "",
        ),
        *(
            "localhost:\xb2",
            "[127.0.0.1]",
            "[::1%lo]",
            "2130706433",
            "0.0.0.0",
            "localhost%00",
            "localhost#",
            "localhost?",
        ),
    ],
)
def test_an_odd_host_is_refused(server, host):
    raw = head(b"Connection: close", method=b"GET", target=b"/healthz", host=b"Host: " + host.encode("latin-1"))
    assert one_answer(server, raw)[0] == 403


def test_an_old_client_names_its_host_too(server):
    assert one_answer(server, b"GET /healthz HTTP/1.0\r\n\r\n")[0] == 403
    assert one_answer(server, b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")[0] == 200


def test_nothing_of_this_is_logged_or_ends_the_server(shop_path):
    step = 1 if FULL else 6  # each was sent to a server above; here what it says in the end is looked at
    with Server(shop_path) as server:
        for raw in list(REFUSED.values())[::step]:
            server.say(raw)
        for body in list(BROKEN_CHUNKS.values())[::step]:
            server.say(head(CHUNKED) + body)
        for lines in UPGRADES.values():
            server.say(head(*lines, b"Connection: close", method=b"GET", target=b"/healthz"))
        assert statuses(server.say(HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) == [200]
        assert server.stop()[:2] == (0, "")


def test_the_head_of_an_answer_waits_for_what_comes_next():
    connection = StrictConnection()
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    while connection.next_event() not in (h11.NEED_DATA, h11.PAUSED):
        pass
    assert connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"2")])) == b""
    both = connection.send(h11.Data(b"{}"))
    assert both.startswith(b"HTTP/1.1 200")
    assert both.endswith(b"\r\n\r\n{}")
    assert connection.send(h11.EndOfMessage()) == b""
