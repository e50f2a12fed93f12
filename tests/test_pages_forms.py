"""Every form of every page: what is typed is text, and nobody sends it who did not open the page, or no longer may."""

import html
import re
from html.parser import HTMLParser

import msgspec
import pages_shop
import pytest
import served_shop
from inside import database_of
from litestar.testing import TestClient
from test_pages_sign_in import mark_of, sign_in
from test_server import LOCAL
from visiting import kind_of_page, template_of, templates

import tinymlops as tm
from tinymlops.records import PageSession

TEXTS = ("text", "search", "textarea", "password")


class Forms(HTMLParser):
    """The forms and links of a page.

    Attributes:
        forms: Of each: how it is sent, where to, and the kind and value of each of its fields.
        links: Paths.
    """

    def __init__(self, page):
        super().__init__()
        self.forms, self.links, self._choice = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if tag == "a" and (named.get("href") or "").startswith("/") and "download" not in named:
            self.links.append(named["href"].partition("#")[0])
        elif tag == "form":
            self.forms.append((named.get("method", "get"), named["action"], {}))
        elif tag in ("input", "textarea", "select") and "name" in named and self.forms:
            kind = named.get("type", "text") if tag == "input" else tag
            self.forms[-1][2][named["name"]] = (kind, named.get("value") or "")
            self._choice = named["name"]
        elif tag == "option" and self._choice and "value" in named:
            self.forms[-1][2][self._choice] = ("select", named["value"])


@pytest.fixture(scope="module")
def shop(shop_path, tmp_path_factory):
    """A workspace with a signed-in admin, and the forms of all its pages, each once."""
    pages_shop.fill(shop_path)
    known = templates(tmp_path_factory.mktemp("known"))
    with tm.connect(shop_path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        token = ws.tokens.create("ana", "admin").token
        with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
            client.headers["accept"] = "text/html"
            client.follow_redirects = False
            sign_in(client, token)
            yield ws, client, *visited(client, known)


def visited(client, known):
    """Return one path of each kind of page, and each kind of form with the page that has it."""
    pages, forms, waiting = {}, {}, ["/", "/catalog/view/spending", "/jobs/orders", "/catalog?q=spending"]
    while waiting:
        path = waiting.pop(0)
        kind = kind_of_page(path, known, whole=False)
        if kind in pages or kind[0] is None:
            continue
        answer = client.get(path)
        assert answer.status_code == 200, path
        pages[kind] = path
        found = Forms(answer.text)
        waiting += found.links
        for method, action, fields in found.forms:
            forms.setdefault((template_of(path, known), method, re.sub(r"[0-9a-f]{32}", "*", action)), (path, fields))
    return list(pages.values()), [(method, action, *where) for (_, method, action), where in forms.items()]


def state_of(ws):
    """Return what no refused form may change."""
    return [
        database_of(ws).rows(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("audit", "predictions", "saved_queries")
    ]


def posts(forms):
    return [form for form in forms if form[0] == "post" and not form[1].endswith("sign-out")]


def test_every_page_has_its_forms(shop):
    _, _, pages, forms = shop
    actions = {action for _, action, _, _ in forms}
    assert len(pages) > 15
    assert len(posts(forms)) >= 8
    assert {
        "/catalog",
        "/runs",
        "/predictions",
        "/sql",
        "/sql/save",
        "/access",
        "/access/audit",
        "/sign-out",
    } <= actions
    assert {"/jobs/orders/start", "/jobs/orders/pause", "/models/splurge/promote"} <= actions


def test_no_form_is_taken_from_elsewhere_or_from_another_session(shop):
    ws, client, _, forms = shop
    before, mark = state_of(ws), mark_of(client.get("/"))
    for _, action, _, fields in posts(forms):
        whole = {name: value for name, (_, value) in fields.items()} | {"csrf": mark}
        for headers in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
            assert client.post(action, data=whole, headers=headers).status_code == 403, action
        for wrong in ("", "0" * 64):
            answer = client.post(action, data=whole | {"csrf": wrong}, headers={"origin": LOCAL})
            assert answer.status_code == 403, action
        assert client.get(action, params=whole).status_code in (200, 404, 405, 422), action
    assert state_of(ws) == before


def test_what_is_typed_into_every_field_is_text(shop):
    _, client, _, forms = shop
    told = set()
    for method, action, page, fields in forms:
        if action.endswith("sign-out"):
            continue
        typed = {name: pages_shop.HOSTILE if kind in TEXTS else value for name, (kind, value) in fields.items()}
        if method == "post":
            typed["csrf"] = mark_of(client.get(page))
            answer = client.post(action, data=typed, headers={"origin": LOCAL})
        else:
            answer = client.get(action, params=typed)
        assert answer.status_code < 500, (action, answer.text)
        if answer.status_code == 303:
            answer = client.get(answer.headers["location"])
        assert "<img src=x" not in answer.text, action
        assert "\u202e" not in re.sub(r'<textarea.*?</textarea>|value="[^"]*"', "", answer.text, flags=re.DOTALL), (
            action
        )
        if pages_shop.NAME in html.unescape(answer.text):
            told.add(action)
    assert told >= {"/access", "/access/audit", "/catalog", "/models/splurge/promote", "/predictions", "/runs", "/sql"}


def test_every_page_and_form_is_closed_when_the_session_is_over(shop):
    ws, client, pages, forms = shop
    mark = mark_of(client.get("/"))
    database = database_of(ws)
    (session,) = database.list(PageSession)
    put(database, msgspec.structs.replace(session, expires_at=session.created_at))
    try:
        for path in pages:
            answer = client.get(path)
            assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), path
        before = state_of(ws)
        for _, action, _, fields in posts(forms):
            whole = {name: value for name, (_, value) in fields.items()} | {"csrf": mark}
            answer = client.post(action, data=whole, headers={"origin": LOCAL})
            assert (answer.status_code, "sign-in" in answer.headers["location"]) == (401, True), action
        assert state_of(ws) == before
    finally:
        put(database, session)


def put(database, session):
    with database.write(actor=None) as tx:
        tx.put(session)
