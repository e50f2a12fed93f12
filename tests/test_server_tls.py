"""HTTPS with a certificate made here, and what cannot be one."""

import os
import shutil
import socket
import ssl
import subprocess
import time

import httpx
import pytest
from network import FULL, PATIENCE, Server
from test_server import PREDICT, WRITES

import tinymlops as tm
from tinymlops.errors import AccessError
from tinymlops.server.certificates import secure_context

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


def make(directory, name):
    """A certificate of 127.0.0.1 that it signs itself, and its key."""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, *subject, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return cert, key


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return make(tmp_path_factory.mktemp("tls"), "one")


@pytest.fixture(scope="module")
def server(shop_path, pair):
    with Server(shop_path, certfile=str(pair[0]), keyfile=str(pair[1])) as server:
        yield server


def trusting(pair):
    return ssl.create_default_context(cafile=pair[0])


def test_every_answer_comes_over_tls(server, pair):
    assert server.url.startswith("https://127.0.0.1:")
    with httpx.Client(base_url=server.url, verify=trusting(pair), timeout=PATIENCE) as client:
        for _ in range(3):
            assert client.get("/healthz").json() == {"status": "up"}
            assert client.post(PREDICT, json=WRITES[PREDICT]).status_code == 200
        page = {"origin": server.url}
        assert client.post(PREDICT, json=WRITES[PREDICT], headers=page).status_code == 200
        page = {"origin": server.url.replace("https", "http")}
        assert client.post(PREDICT, json=WRITES[PREDICT], headers=page).status_code == 403


def test_a_client_that_does_not_know_the_certificate_says_so(server):
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.url}/healthz", timeout=PATIENCE)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_later_are_spoken(server, pair, version):
    context = trusting(pair)
    context.minimum_version = context.maximum_version = version
    with server.connect() as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
        request = f"GET /healthz HTTP/1.1\r\nHost: {server.host}\r\nConnection: close\r\n\r\n"
        secured.sendall(request.encode())
        assert secured.recv(100).startswith(b"HTTP/1.1 200")


def test_http_to_the_port_of_https_is_ended(server):
    assert server.say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")[:5] != b"HTTP/"


def test_a_large_body_and_requests_at_once_come_through(server, pair):
    body = b'{"rows": [' + b" " * 3_000_000 + b'{"customer": 1, "budget": 1.0}]}'
    headers = {"content-type": "application/json"}
    with httpx.Client(base_url=server.url, verify=trusting(pair), timeout=PATIENCE) as client:
        assert client.post(PREDICT, content=body, headers=headers).status_code == 200


def test_half_a_handshake_is_ended_in_time_and_the_stop_does_not_wait_for_it(shop_path, pair):
    short = {"handshakes._SECONDS": 2.0} | ({} if FULL else {"handshakes._CLOSING_SECONDS": 1.0})
    with Server(shop_path, short, certfile=str(pair[0]), keyfile=str(pair[1])) as server:
        silent = [server.connect(timeout=30) for _ in range(20)]
        for one in silent[:10]:
            one.sendall(b"\x16\x03\x01")
        begun = time.monotonic()
        for one in silent[:2]:
            assert one.recv(1) == b""
        assert 1 < time.monotonic() - begun < 15
        more = [server.connect() for _ in range(20)]
        with httpx.Client(base_url=server.url, verify=trusting(pair), timeout=PATIENCE) as client:
            assert client.get("/healthz").status_code == 200
            code, err, seconds = server.stop()
        assert (code, err) == (0, "")
        assert seconds < 20
        for one in (*silent, *more):
            one.close()


# What cannot be a certificate


def refused(served, **options):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AccessError) as info:
        tm.serve(served, port=taken.getsockname()[1], **options)  # the port is taken: it is not even tried
    return info.value


def test_a_file_that_is_not_there_is_named(served, pair, tmp_path):
    for options in ({"certfile": tmp_path / "no.pem", "keyfile": pair[1]}, {"certfile": pair[0], "keyfile": tmp_path}):
        assert "cannot be read" in refused(served, **options).message


def test_a_key_without_a_certificate_is_refused(served, pair):
    error = refused(served, keyfile=pair[1])
    assert (error.message, error.option) == ("a key needs its certificate", "keyfile")


def test_a_key_of_another_certificate_is_refused(served, pair, tmp_path):
    _, other = make(tmp_path, "other")
    assert "is not the key of the certificate" in refused(served, certfile=pair[0], keyfile=other).message


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", b"\x00" * 99]
)
def test_what_is_not_pem_is_refused(served, pair, tmp_path, content):
    (tmp_path / "odd").write_bytes(content)
    (tmp_path / "odd").chmod(0o600)
    for options in (
        {"certfile": tmp_path / "odd", "keyfile": pair[1]},
        {"certfile": pair[0], "keyfile": tmp_path / "odd"},
    ):
        assert "are not a certificate and its key, as PEM" in refused(served, **options).message


def test_a_certificate_without_its_key_is_refused(served, pair, tmp_path):
    alone = tmp_path / "alone.pem"
    shutil.copy(pair[0], alone)
    alone.chmod(0o600)
    assert "are not a certificate and its key" in refused(served, certfile=alone).message


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(served, pair, tmp_path):
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", pair[1], "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    locked.chmod(0o600)
    assert "has a passphrase" in refused(served, certfile=pair[0], keyfile=locked).message


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o666, 0o620, 0o602])
def test_a_key_that_others_may_read_or_change_is_refused(served, pair, tmp_path, mode):
    key = tmp_path / "open.key"
    shutil.copy(pair[1], key)
    key.chmod(mode)
    error = refused(served, certfile=pair[0], keyfile=key)
    assert f"(mode {mode:04o})" in error.message
    assert error.hint == f"chmod 600 {key}"


def test_a_pair_in_one_file_of_a_group_is_taken(pair, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(pair[0].read_bytes() + pair[1].read_bytes())
    both.chmod(0o640)
    assert secure_context(both).minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_key_that_this_user_may_not_read_is_named(served, pair, tmp_path):
    key = tmp_path / "closed.key"
    shutil.copy(pair[1], key)
    key.chmod(0)
    assert "Permission denied" in refused(served, certfile=pair[0], keyfile=key).message
