"""What is believed of a client: the proxy's word from a named address, and nothing else."""

import asyncio

import httpx
import pytest
from test_server import LOCAL, PREDICT, WRITES

import tinymlops as tm
from tinymlops.errors import AccessError
from tinymlops.server.proxies import Forwarded, Proxies

TRUSTED = ("10.0.0.1", "172.18.0.0/16", "2001:db8::1")


def seen(peer, *headers, trusted=TRUSTED, scheme="http"):
    """What an application behind proxies sees: the client's address and the scheme."""
    found = {}

    async def application(scope, receive, send):
        found.update(scope)

    given = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": "GET", "client": (peer, 4711), "scheme": scheme, "headers": given}
    asyncio.run(Forwarded(application, Proxies(trusted))(scope, None, None))
    return found["client"][0], found["scheme"]


def client(peer, *values, **options):
    return seen(peer, *(("x-forwarded-for", value) for value in values), **options)[0]


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (["8.8.8.8"], "8.8.8.8"),
        (["1.1.1.1, 8.8.8.8"], "8.8.8.8"),
        (["1.1.1.1", "8.8.8.8"], "8.8.8.8"),
        (["8.8.8.8, 172.18.3.4"], "8.8.8.8"),
        (["8.8.8.8", "172.18.3.4, 10.0.0.1"], "8.8.8.8"),
        (["10.0.0.1, 8.8.8.8"], "8.8.8.8"),
        (["127.0.0.1, 8.8.8.8"], "8.8.8.8"),
        (["  8.8.8.8\t,172.18.3.4 "], "8.8.8.8"),
        (["8.8.8.8:80"], "8.8.8.8"),
        (["2001:db8::7"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["2001:DB8:0::7"], "2001:db8::7"),
        (["8.8.8.8, 2001:0db8:0:0::1"], "8.8.8.8"),
        (["::ffff:8.8.8.8"], "8.8.8.8"),
        (["8.8.8.8, ::ffff:10.0.0.1"], "8.8.8.8"),
        (["172.18.3.4"], "172.18.3.4"),
        (["172.18.3.4, 172.18.3.5"], "172.18.3.4"),
    ],
)
def test_the_last_address_that_is_not_a_proxy_is_the_clients(values, address):
    for peer in ("10.0.0.1", "172.18.255.1", "2001:db8::1", "::ffff:10.0.0.1"):
        assert client(peer, *values) == address


@pytest.mark.parametrize(
    "junk",
    [
        *(
            "",
            ",",
            "unknown",
            "_hidden",
            "localhost",
            "8.8.8.8:",
            "8.8.8.8:x",
            "8.8.8.8:80:80",
            "08.8.8.8",
            "8.8.8",
            "-1",
        ),
        *("[8.8.8.8]", "[::1", "::1]", "[::1]x", "[::1]:", "8.8.8.8;9.9.9.9", "for=8.8.8.8", "8.8.8.8/8", "'8.8.8.8'"),
        *("\xb2.8.8.8", "8.8.8.8 9.9.9.9", "*", "0x8.8.8.8", "134744072", "a" * 10_000),
    ],
)
def test_at_what_is_not_an_address_the_proxy_before_it_counts(junk):
    assert client("10.0.0.1", junk) == "10.0.0.1"
    assert client("10.0.0.1", f"9.9.9.9, {junk}") == "10.0.0.1"
    assert client("10.0.0.1", f"9.9.9.9, {junk}, 172.18.3.4") == "172.18.3.4"
    assert client("10.0.0.1", f"{junk}, 8.8.8.8") == "8.8.8.8"


@pytest.mark.parametrize(
    "peer", ["8.8.8.8", "10.0.0.2", "172.19.0.1", "127.0.0.1", "::1", "2001:db8::2", "testclient", ""]
)
def test_from_any_other_address_nothing_is_believed(peer):
    spoofed = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.example")]
    assert seen(peer, *spoofed) == (peer, "http")
    assert seen(peer, *spoofed, trusted=()) == (peer, "http")


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        (["https"], "https"),
        (["HTTPS"], "https"),
        (["http"], "http"),
        (["http, https"], "https"),
        (["https, http"], "http"),
        (["https", "http"], "http"),
        (["wss"], "http"),
        (["javascript"], "http"),
        ([""], "http"),
        (["https://"], "http"),
        ([" https "], "https"),
    ],
)
def test_the_scheme_is_what_the_last_proxy_says(values, scheme):
    assert seen("10.0.0.1", *(("x-forwarded-proto", value) for value in values))[1] == scheme


def test_no_header_leaves_all_as_it_is():
    assert seen("10.0.0.1", scheme="https") == ("10.0.0.1", "https")
    assert seen("10.0.0.1", ("forwarded", "for=8.8.8.8;proto=http"), ("x-real-ip", "8.8.8.8"), scheme="https") == (
        "10.0.0.1",
        "https",
    )


@pytest.mark.parametrize(
    "address", ["", "*", "proxy", "0.0.0.0/0", "::/0", "10.0.0.1/8", "10.0.0", "10.0.0.1:80", "fe80::1%"]
)
def test_a_proxy_has_an_address_that_not_everybody_has(address):
    with pytest.raises(AccessError) as info:
        Proxies([address])
    assert f"{address!r} is not the address of a proxy" in info.value.message


def test_a_page_is_of_this_server_by_the_scheme_that_the_client_used(served):
    """With TLS ended by the proxy, the page is of https, and a page of http is another origin."""
    app = Forwarded(tm.create_app(served, allowed_hosts=["ml.example.com"]), Proxies(["10.0.0.1"]))

    def status(origin, peer="10.0.0.1", **headers):
        given = {"origin": origin, **headers}
        return asked(app, "POST", PREDICT, peer, "http://ml.example.com", json=WRITES[PREDICT], headers=given)

    assert status("https://ml.example.com", **{"x-forwarded-proto": "https"}) == 200
    assert status("http://ml.example.com", **{"x-forwarded-proto": "https"}) == 403
    assert status("https://ml.example.com") == 403
    assert status("https://ml.example.com", peer="10.0.0.2", **{"x-forwarded-proto": "https"}) == 403
    evil = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    assert status("https://evil.example", **evil) == 403


def asked(app, method, route, peer, base, **options):
    """The status of an answer to a client at an address."""

    async def ask():
        transport = httpx.ASGITransport(app, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return (await client.request(method, route, **options)).status_code

    return asyncio.run(ask())


def test_another_host_is_refused_whatever_a_proxy_says_of_it(served):
    app = Forwarded(tm.create_app(served), Proxies(["10.0.0.1"]))
    for host, other, status in (("evil.example", "localhost", 403), ("localhost", "evil.example", 200)):
        headers = {"host": host, "x-forwarded-host": other}
        assert asked(app, "GET", "/healthz", "10.0.0.1", LOCAL, headers=headers) == status
