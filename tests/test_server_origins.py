"""Pages of other origins: those that were named may read and write, and no answer gives others leave."""

import pytest
from litestar.testing import TestClient
from test_server import LOCAL, ONLINE, PREDICT, WRITES

import tinymlops as tm
from tinymlops.errors import AccessError

APP = "https://app.example.com"
OTHER = "http://localhost:3000"
STRANGERS = [
    *(
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://evil.example",
        "https://app.example.com.evil.example",
    ),
    *(
        "https://evilapp.example.com",
        "https://appXexample.com",
        "https://app.example.com@evil.example",
        "null",
        "*",
        "",
    ),
    *("HTTPS://APP.EXAMPLE.COM", "https://app.example.com/", "https://app.example.com https://evil.example", "file://"),
    *(
        "https://app.example.com, https://evil.example",
        "app.example.com",
        "https://app.example.com:443",
        "http://localhost",
    ),
]


@pytest.fixture
def client(served):
    with TestClient(tm.create_app(served, origins=[APP, OTHER]), base_url=LOCAL) as client:
        yield client


def allowed(response):
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("origin", [APP, OTHER])
def test_a_page_of_a_named_origin_reads_and_writes(client, origin):
    read = client.get("/v1/models", headers={"origin": origin})
    written = client.post(PREDICT, json=WRITES[PREDICT], headers={"origin": origin})
    failed = client.post(ONLINE, json={"features": ["nothing"], "keys": [{"customer": 1}]}, headers={"origin": origin})
    assert (read.status_code, written.status_code, failed.status_code) == (200, 200, 404)
    for response in (read, written, failed):
        assert allowed(response) == {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": "retry-after",
        }
        assert response.headers["vary"] == "origin"


@pytest.mark.parametrize("route", [PREDICT, "/v1/models", "/nothing"])
def test_a_browser_that_asks_first_gets_leave_for_a_named_origin(client, route):
    asks = {"origin": APP, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    response = client.options(route, headers=asks)
    assert (response.status_code, response.content) == (204, b"")
    found = allowed(response)
    assert found["access-control-allow-origin"] == APP
    assert found["access-control-allow-headers"] == "authorization, content-type"
    assert "POST" in found["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in found
    assert response.headers["vary"] == "origin"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("origin", STRANGERS)
def test_no_other_origin_gets_leave(client, origin):
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    for response in (
        client.options(PREDICT, headers={"origin": origin, **asks}),
        client.get("/v1/models", headers={"origin": origin}),
    ):
        assert allowed(response) == {}
        assert response.headers["vary"] == "origin"
    written = client.post(PREDICT, json=WRITES[PREDICT], headers={"origin": origin})
    assert (written.status_code, allowed(written)) == (403, {})


def test_two_origins_are_none(client):
    headers = [("origin", "https://evil.example"), ("origin", APP), ("content-type", "application/json")]
    assert client.post(PREDICT, content=b"{}", headers=headers).status_code == 403


def test_leave_does_not_make_another_host_ours(client):
    assert client.get("/v1/models", headers={"origin": APP, "host": "evil.example"}).status_code == 403
    asks = {"origin": APP, "access-control-request-method": "POST", "host": "evil.example"}
    assert client.options(PREDICT, headers=asks).status_code == 403


def test_the_port_of_the_scheme_says_nothing(served):
    app = tm.create_app(served, origins=["https://APP.example.com:443"], allowed_hosts=["ml.example.com"])
    with TestClient(app, base_url="https://ml.example.com") as client:
        for origin in (APP, "https://ml.example.com"):
            headers = {"origin": origin, "host": "ml.example.com:443"}
            assert client.post(PREDICT, json=WRITES[PREDICT], headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "*",
            "null",
            "",
            "app.example.com",
            "https://",
            "https://*.example.com",
            "https://app.example.com/",
            "file:///x",
        ),
        *(
            "ftp://app.example.com",
            "https://u@app.example.com",
            "https://app.example.com:x",
            "https://a b",
            "https://a,b",
        ),
        *("https://app.example.com?x", "https://app.example.com#", "https://b\xfccher.example", "https://a\n"),
    ],
)
def test_what_is_not_an_origin_is_refused(served, origin):
    with pytest.raises(AccessError) as info:
        tm.create_app(served, origins=[origin])
    assert info.value.message == f"{origin!r} is not an origin"
