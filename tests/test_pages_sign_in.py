"""Signing in to the pages: what a session may, what ends it, and what no other page can make a browser do."""

import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from inside import database_of, environment_of
from litestar.testing import TestClient
from test_server import LOCAL

import tinymlops as tm
from tinymlops.records import PageSession
from tinymlops.registry import page_sessions, tokens
from tinymlops.server.access import cookie_name
from tinymlops.times import system_clock


@pytest.fixture
def ana(workspace):
    return workspace.tokens.create("ana", "reader").token


@pytest.fixture
def client(workspace):
    with TestClient(tm.create_app(workspace), base_url=LOCAL) as client:
        client.follow_redirects = False
        client.headers["accept"] = "text/html"
        yield client


def mark_of(page):
    return re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)[1]


def sign_in(client, token, **fields):
    mark = mark_of(client.get("/sign-in"))
    return client.post("/sign-in", data={"csrf": mark, "token": token, **fields}, headers={"origin": LOCAL})


def test_without_a_token_issued_everybody_on_this_machine_sees_the_pages(client):
    page = client.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Sign out" not in page.text
    assert client.get("/sign-in").headers["location"] == "/"


def test_a_stranger_is_led_to_sign_in_and_back(ana, client):
    lead = client.get("/live?a=1")
    assert (lead.status_code, lead.headers["location"]) == (303, "/sign-in?next=%2Flive%3Fa%3D1")
    assert client.get("/", headers={"accept": "text/event-stream"}).status_code == 401
    lead = client.get("/lineage/file/data%25252Fb%20c.csv")  # a server reads it once, and this client's once before
    assert lead.headers["location"] == "/sign-in?" + urlencode({"next": "/lineage/file/data%252Fb%20c.csv"})
    answer = sign_in(client, ana, next="/lineage/file/data%252Fb%20c.csv")
    assert answer.headers["location"] == "/lineage/file/data%252Fb%20c.csv"
    client.cookies.clear()
    answer = sign_in(client, ana, next="/?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?x=1")
    page = client.get("/")
    assert page.status_code == 200
    assert "ana" in page.text
    assert "Sign out" in page.text


def test_the_cookie_is_for_this_server_alone_and_no_script_reads_it(ana, client, workspace):
    cookie = sign_in(client, ana).headers["set-cookie"]
    assert re.match(r"tinymlops_[0-9a-f]{8}=[0-9a-f]{64}; ", cookie)
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=604800"} <= set(cookie.split("; "))
    secret = cookie.partition("=")[2].partition(";")[0]
    (session,) = database_of(workspace).list(PageSession)
    assert secret.encode() not in session.digest
    assert secret not in "".join(map(str, database_of(workspace).rows("SELECT * FROM audit")))


def test_over_https_the_cookie_never_goes_another_way(ana, workspace):
    secure = LOCAL.replace("http:", "https:")
    with TestClient(tm.create_app(workspace), base_url=secure) as client:
        mark = mark_of(client.get("/sign-in"))
        answer = client.post(
            "/sign-in", data={"csrf": mark, "token": ana}, headers={"origin": secure}, follow_redirects=False
        )
    assert "Secure" in answer.headers["set-cookie"].split("; ")


@pytest.mark.parametrize("token", ["", "tm_", "tm_000000000000_" + "0" * 64, "<script>", "ä" * 300])
def test_what_is_not_a_token_buys_nothing(ana, client, token):
    answer = sign_in(client, token)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert "the token is not known here" in answer.text
    assert "<script>" not in answer.text


def test_the_api_knows_no_cookies_and_the_pages_no_bearers(ana, client):
    sign_in(client, ana)
    assert client.get("/").status_code == 200
    assert client.get("/v1/models").status_code == 401
    client.cookies.clear()
    assert client.get("/v1/models", headers={"authorization": f"Bearer {ana}"}).status_code == 200
    assert client.get("/", headers={"authorization": f"Bearer {ana}"}).status_code == 303


def test_a_session_ends_with_its_token(ana, client, workspace):
    sign_in(client, ana)
    workspace.tokens.revoke("ana")
    assert client.get("/").status_code == 303


def test_a_session_ends_after_a_week_or_with_its_token_and_is_cleared_away(client, workspace, monkeypatch):
    token = workspace.tokens.create("ana", "reader", expires="1d").token
    long = workspace.tokens.create("ben", "reader").token
    sign_in(client, token)
    assert database_of(workspace).list(PageSession)[0].expires_at <= system_clock() + timedelta(days=1)
    client.cookies.clear()
    sign_in(client, long)
    monkeypatch.setattr(page_sessions, "system_clock", lambda: system_clock() + timedelta(days=8))
    monkeypatch.setattr(tokens, "system_clock", lambda: system_clock() + timedelta(days=8))
    assert client.get("/").status_code == 303
    workspace.tokens.create("eva", "reader")
    sign_in(client, long)
    assert database_of(workspace).count(PageSession) == 1


def test_signing_out_ends_the_session_also_for_who_copied_the_cookie(ana, client, workspace):
    sign_in(client, ana)
    stolen = dict(client.cookies)
    mark = mark_of(client.get("/"))
    answer = client.post("/sign-out", data={"csrf": mark}, headers={"origin": LOCAL})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    client.cookies.update(stolen)
    assert client.get("/").status_code == 303
    assert [one.actor for one in workspace.audit.list(action="session.end")] == ["ana"]


def test_a_session_that_was_planted_is_not_the_one_that_begins(ana, client, workspace):
    planted = workspace._page_sessions.begin(workspace.tokens.create("mallory", "admin").token).secret
    name = next(iter(re.findall(r"tinymlops_[0-9a-f]{8}", sign_in(client, ana).headers["set-cookie"])))
    client.cookies.clear()
    client.cookies.set(name, planted, domain="127.0.0.1")
    mark = mark_of(client.get("/"))
    answer = client.post("/sign-in", data={"csrf": mark, "token": ana}, headers={"origin": LOCAL})
    assert planted not in answer.headers["set-cookie"]
    with pytest.raises(tm.AccessError):
        workspace._page_sessions.token_of(planted)


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": LOCAL + ".evil.example"}, {"origin": ""}],
)
def test_a_form_of_another_page_is_refused(ana, client, headers):
    mark = mark_of(client.get("/sign-in"))
    answer = client.post("/sign-in", data={"csrf": mark, "token": ana}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_form_without_the_mark_of_its_session_is_refused(ana, client):
    sign_in(client, ana)
    before = mark_of(client.get("/"))
    client.cookies.clear()
    sign_in(client, ana)
    for fields in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": before}):
        assert client.post("/sign-out", data=fields, headers={"origin": LOCAL}).status_code == 403
    assert client.get("/").status_code == 200


def test_a_page_takes_no_json_and_the_api_no_forms(client):
    answer = client.post("/sign-in", json={"token": "x"}, headers={"origin": LOCAL})
    assert (answer.status_code, "not as a form" in answer.text) == (415, True)
    answer = client.post("/v1/sources/x/push", data={"rows": "x"}, headers={"origin": LOCAL})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\\..", "\x00/"]
)
def test_signing_in_leads_to_pages_of_this_server_alone(ana, client, elsewhere):
    assert sign_in(client, ana, next=elsewhere).headers["location"] == "/"


def test_nothing_but_the_sign_in_and_its_looks_is_shown_to_strangers(ana, client):
    assert client.get("/live").status_code == 303
    style = re.search(r'href="(/assets/[0-9a-f]{12}/page.css)"', client.get("/sign-in").text)[1]
    answer = client.get(style)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert client.get("/assets/0/page.css").headers["cache-control"] == "no-store"
    for name in ("nothing.css", "..%2Fassets.py", "uplot.LICENSE.txt"):
        assert client.get(f"/assets/0/{name}").status_code == 404


def test_every_page_says_what_a_browser_may_do_with_it(client):
    headers = client.get("/").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["cache-control"], headers["x-frame-options"]) == ("no-store", "DENY")


def test_an_error_is_a_page(client):
    client.get("/")
    answer = client.get("/?nonsense=1")
    assert answer.status_code == 422
    assert "takes no query parameter" in answer.text


def test_pages_can_be_left_out(workspace):
    with TestClient(tm.create_app(workspace, pages=False), base_url=LOCAL) as client:
        assert client.get("/").status_code == 404
        assert client.get("/sign-in").json()["type"] == "NotFound"


def test_an_application_that_knows_its_users_needs_no_signing_in(workspace):
    app = tm.create_app(workspace, auth=lambda connection: ("ana", "reader"))
    with TestClient(app, base_url=LOCAL) as client:
        assert "ana" in client.get("/").text


def test_a_mark_is_of_whom_a_function_names_and_no_cookie_chooses_it(workspace):
    app = tm.create_app(workspace, auth=lambda connection: (connection.headers["actor"], "admin"))
    cookie = cookie_name(str(environment_of(workspace).path))
    with TestClient(app, base_url=LOCAL) as client:

        def mark(**headers):
            return re.search(r'name="csrf" value="(\w+)"', client.get("/sql", headers=headers).text)[1]

        ana = mark(actor="ana")
        assert mark(actor="ana", cookie=f"{cookie}=planted") == ana
        assert mark(actor="bea") != ana
