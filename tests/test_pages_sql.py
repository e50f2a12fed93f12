"""`/sql`: a query of a page runs in a process of its own, for whom this session's own page asked, and leaves nothing."""

import io
import re
import signal
import time
from contextlib import ExitStack
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import httpx
import polars as pl
import pytest
import served_shop
from litestar.testing import TestClient
from network import FULL, PATIENCE, Server, read_all
from test_pages_runs import text_of
from test_pages_sign_in import mark_of, sign_in
from test_queries import ENDLESS, gone, processes_below
from test_server import LOCAL

import tinymlops as tm

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("sql") / "shop.tm"
    with tm.connect(path, create=True, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        ws.apply(served_shop.project)
        ws.ingest()
    return path


@pytest.fixture(scope="module")
def ws(path):
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        yield ws


@pytest.fixture(scope="module")
def client(ws):
    with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        client.follow_redirects = False
        client.headers["accept"] = "text/html"
        yield client


def send(client, path, origin=LOCAL, **fields):
    mark = mark_of(client.get("/sql"))
    return client.post(path, data={"csrf": mark, **fields}, headers={"origin": origin})


def run(client, q, **fields):
    """Press Run, and return the page that this leads to."""
    lead = send(client, "/sql", q=q, **fields)
    assert lead.status_code == 303, lead.text
    return client.get(lead.headers["location"])


def links(page, label):
    return [unescape(href) for href in re.findall(rf'href="([^"]+)"[^>]*>{label}', page.text)]


def test_the_page_tells_which_tables_and_columns_there_are(client):
    page = client.get("/sql")
    text = text_of(page.text)
    for name in ("orders", "orders_history", "spending", "run_metrics", "corrections included"):
        assert name in text
    (href,) = links(page, "spending<")
    assert "spent_7d" in text_of(client.get(href).text)
    for table, column in (
        ("orders", "amount"),
        ("orders_history", "__sequence"),
        ("metrics", "step"),
        ("runs", "status"),
    ):
        assert f">{column}<" in client.get("/sql", params={"table": table}).text
    assert "There is no such table" in text_of(client.get("/sql", params={"table": HOSTILE}).text)
    assert client.get("/sql", params={"other": "1"}).status_code == 422


def test_a_result_is_a_table_a_picture_and_two_files_and_is_text_alone(client, ws):
    query = f"""select '{HOSTILE.replace("'", "''")}' as "{HOSTILE.replace('"', '""')}", null as nothing,\r\ncustomer, amount\r\nfrom orders"""  # noqa: E501 - one text
    page = run(client, query, chart="bar", x="customer", y="amount")
    text = text_of(page.text)
    assert page.status_code == 200
    assert "600 rows" in text
    assert "the first 200 are shown" in text
    assert "60 of 600 bars" in re.sub(r"\s+", " ", text)
    assert '<span class="null">null</span>' in page.text
    assert "<img src=x" not in page.text
    assert page.text.count("&lt;img src=x onerror=alert(1)&gt;") >= 200
    assert 'class="bars"' in page.text
    (csv,), (parquet,) = links(page, "CSV"), links(page, "Parquet")
    answer = client.get(parquet)
    wanted = ws.sql(query.replace("\r\n", "\n"))
    assert pl.read_parquet(io.BytesIO(answer.content)).equals(wanted)
    for told in ("attachment", "query.parquet"):
        assert told in answer.headers["content-disposition"]
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get(csv.replace("kind=csv", "kind=html")).status_code == 422
    other = re.sub("run=[0-9a-f]+", f"run={'0' * 32}", csv)
    assert client.get(other).status_code == 403


def test_a_wrong_query_is_shown_with_the_place_and_keeps_what_was_typed(client):
    page = run(client, "select customer\nfrom orders\nwhere amounts > 1")
    assert page.status_code == 422
    assert "Line 3, column 7." in text_of(page.text)
    assert "<mark>amounts</mark>" in page.text
    assert "where amounts &gt; 1</textarea>" in page.text
    assert "/tmp/" not in page.text


def test_a_link_from_elsewhere_shows_a_query_and_does_not_run_it(client, ws):
    address = "/sql?" + urlencode({"q": "from orders", "chart": "bar"})
    for headers in (
        {},
        {"sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example", "referer": "https://evil.example/"},
    ):
        page = client.get(address, headers=headers)
        assert (page.status_code, "was not run" in text_of(page.text)) == (200, True)
        assert "600 rows" not in page.text
    ours = send(client, "/sql", q="from orders").headers["location"]
    for changed in (ours.replace("orders", "visits"), ours + "0", re.sub("run=.*", "run=é", ours)):
        assert "was not run" in text_of(client.get(changed).text)
    with TestClient(tm.create_app(ws), base_url=LOCAL) as other:  # another process, whose marks are others
        assert "was not run" in text_of(other.get(ours).text)
    assert send(client, "/sql", origin="https://evil.example", q="from orders").status_code == 403
    assert client.post("/sql", data={"q": "from orders"}, headers={"origin": LOCAL}).status_code == 403
    assert client.post("/sql", json={"q": "from orders"}, headers={"origin": LOCAL}).status_code == 415


def test_a_query_is_saved_changed_and_deleted_and_two_tabs_do_not_overwrite_each_other(client, ws):
    fields = {"q": "from orders\r\nlimit 3", "chart": "line", "x": "at", "y": "amount", "name": HOSTILE}
    lead = send(client, "/sql/save", **fields)
    kept = ws.queries.get(HOSTILE)
    assert (lead.status_code, kept.text, kept.chart, kept.x, kept.y) == (
        303,
        "from orders\nlimit 3",
        "line",
        "at",
        "amount",
    )
    page = client.get("/sql", params={"saved": HOSTILE})
    assert ("<img src=x" in page.text, kept.text in unescape(page.text)) == (False, True)
    seen = re.search(r'name="seen" value="([^"]+)"', page.text)[1]
    assert send(client, "/sql/save", **fields).status_code == 409
    ws.queries.delete(HOSTILE)
    later = ws.queries.save(HOSTILE, "from visits", seen=None)
    assert later.at == kept.at  # a replayed clock stands still
    assert send(client, "/sql/save", **{**fields, "q": "from clicks"}, seen=seen).status_code == 303
    assert send(client, "/sql/save", **fields, seen="nonsense").status_code == 422
    assert send(client, "/sql/save", q="from orders", name="").status_code == 422
    assert send(client, "/sql/save", q=" ", name="a").status_code == 422
    assert send(client, "/sql/save", q="from orders", name="a", chart="pie").status_code == 422
    assert client.get("/sql", params={"saved": "other"}).status_code == 404
    assert ws.sql("select name, author from saved_queries").rows() == [(HOSTILE, ws.queries.get(HOSTILE).author)]
    assert send(client, "/sql/delete", name=HOSTILE).headers["location"] == "/sql"
    assert send(client, "/sql/delete", name=HOSTILE).status_code == 404
    assert ws.queries.list() == []
    assert [one.action for one in ws.audit.list(subject=HOSTILE)][:1] == ["query.delete"]


def test_roles_hold(tmp_path):
    with (
        tm.connect(tmp_path / "shop.tm", create=True) as ws,
        TestClient(tm.create_app(ws), base_url=LOCAL) as client,
    ):
        client.follow_redirects = False
        client.headers["accept"] = "text/html"
        tokens = {role: ws.tokens.create(role, role).token for role in ("reader", "predictor", "editor", "auditor")}
        assert client.get("/sql").status_code == 303
        for role, token in tokens.items():
            client.cookies.clear()
            sign_in(client, token)
            page = client.get("/sql")
            assert page.status_code == (200 if role in ("reader", "editor") else 403)
            assert ('href="/sql"' in client.get("/").text) == (role in ("reader", "editor"))
            if page.status_code == 200:
                assert ">audit<" not in page.text
                assert "was not run" not in page.text
                assert send(client, "/sql/save", q="from orders", name=role).status_code == (
                    303 if role == "editor" else 403
                )
                assert send(client, "/sql/delete", name="nothing").status_code == (404 if role == "editor" else 403)
                assert ("Save this query" in client.get("/sql?q=from+orders").text) == (role == "editor")
        client.cookies.clear()
        sign_in(client, tokens["reader"])
        refused = run(client, "from tinymlops.audit")
        assert (refused.status_code, "there is no table" in refused.text) == (404, True)


class Viewer:
    """Somebody who signed in, and who can cut a connection while its query runs."""

    def __init__(self, server, client, token):
        self.server, self.client = server, client
        client.headers["origin"] = server.url
        client.post("/sign-in", data={"csrf": mark_of(client.get("/sign-in")), "token": token})

    def lead(self, q):
        return self.client.post("/sql", data={"csrf": mark_of(self.client.get("/sql")), "q": q}).headers["location"]

    def ask(self, q):
        return self.client.get(self.lead(q))

    def begin(self, q):
        """Return a connection on which a query runs."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
        target, connection = self.lead(q), self.server.connect()
        lines = [f"GET {target} HTTP/1.1", f"Host: {self.server.host}", f"Cookie: {cookies}", "Connection: close"]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection


def busy(server):
    """Return the processes of queries that are at work: those that may write no file."""
    found = set()
    for process in processes_below(server.process.pid):
        try:
            if re.search(r"Max file size +0 +0", Path(f"/proc/{process}/limits").read_text()):
                found.add(process)
        except OSError:
            continue
    return found


def wait_for(look):
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def test_each_has_one_query_two_run_at_once_and_all_end_with_who_asked_and_with_the_server(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        tokens = [ws.tokens.create(name, "reader").token for name in ("ana", "bo", "cy")]
    with ExitStack() as stack:
        server = stack.enter_context(Server(tmp_path / "shop.tm"))
        clients = [stack.enter_context(httpx.Client(base_url=server.url, timeout=PATIENCE)) for _ in tokens]
        ana, bo, cy = map(Viewer, [server] * 3, clients, tokens)
        first = ana.begin(ENDLESS)
        (child,) = wait_for(lambda: busy(server))
        refused = ana.ask("select 1")
        assert (refused.status_code, "a query of yours runs already" in text_of(refused.text)) == (503, True)
        first.close()
        both = [ana.begin(ENDLESS), bo.begin(ENDLESS)]  # at once: what was stopped keeps nobody waiting
        assert gone(child)
        wait_for(lambda: not Path(f"/proc/{child}").exists())  # somebody waited for it
        children = wait_for(lambda: busy(server) if len(busy(server)) == 2 else None)
        refused = cy.ask("select 1")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "3")
        assert "2 queries run already" in text_of(refused.text)
        assert "select 1</textarea>" in refused.text
        everything = processes_below(server.process.pid)
        if FULL:
            both[1].close()
            wait_for(lambda: len(busy(server)) == 1)
            code, err, seconds = server.stop()
            assert (code, err) == (0, "")
            assert seconds < 8
            assert b"503" in read_all(both[0])
        else:
            server.process.send_signal(signal.SIGKILL)
        assert children <= {*everything}
        assert all(map(gone, everything))
        for one in both:
            one.close()


@pytest.mark.skipif(not FULL, reason="the long form")
def test_a_query_without_end_is_told_so_by_the_page(client):
    begun = time.monotonic()
    page = run(client, ENDLESS)
    assert (page.status_code, "was stopped after 10s" in text_of(page.text)) == (422, True)
    assert time.monotonic() - begun < 25


def test_a_long_query_is_answered_by_the_form_itself(client):
    long = "select 1 as a -- " + "x" * 7_000
    answer = send(client, "/sql", q=long)
    assert (answer.status_code, "1 row" in text_of(answer.text)) == (200, True)
    assert "too long for a link" in text_of(answer.text)
    assert send(client, "/sql", q="").headers["location"] == "/sql"
