"""The pages of jobs: what is told of each and its runs, and what buttons ask for, by the roles that may."""

import html
import re
from datetime import timedelta
from urllib.parse import quote

import pytest
from litestar.testing import TestClient
from test_pages_catalog import HOSTILE, links, words
from test_pages_sign_in import mark_of
from test_server import LOCAL
from test_server_jobs import ORDERS, attempt, clock, ws

import tinymlops as tm

__all__ = ["clock", "ws"]

DUE = "2024-05-01T13%3A00%3A00Z"


@pytest.fixture
def client(ws):
    with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        client.headers["accept"] = "text/html"
        client.follow_redirects = False
        yield client


def send(client, path, page=None, **fields):
    page = client.get(page or path.rpartition("/")[0])
    return client.post(path, data={"csrf": mark_of(page), **fields}, headers={"origin": LOCAL})


def test_failed_jobs_come_first_and_each_tells_where_it_stands(ws, client, clock):
    assert re.findall(r'scope="row"><a href="/jobs/(\w+)"', client.get("/jobs").text) == [
        "orders",
        "nightly",
        "spending",
    ]
    attempt(ws, told=f"no disk {HOSTILE}")
    clock.now += timedelta(minutes=2)
    told = words(client.get("/jobs"))
    assert f"orders failed in 28 min 32 min ago every 1h no disk {HOSTILE}" in told
    assert "<img" not in client.get("/jobs").text.partition("<main")[2]
    ws.jobs.pause("orders")
    assert "orders paused \u2013" in words(client.get("/jobs"))
    assert "Due next \u2013" in words(client.get("/jobs/orders"))


def test_a_job_that_no_runner_looks_at_is_overdue(client, clock):
    clock.now += timedelta(minutes=20)
    assert "overdue" not in words(client.get("/jobs"))
    clock.now += timedelta(minutes=20)
    assert "no runner has looked" in words(client.get("/jobs"))
    assert "orders overdue" in words(client.get("/jobs"))


def test_a_project_without_jobs_is_told_how_to_begin(workspace):
    with TestClient(tm.create_app(workspace), base_url=LOCAL) as client:
        assert "tinymlops jobs run" in words(client.get("/jobs"))


def test_a_job_shows_its_history_by_state_and_in_parts(ws, client, clock):
    for _ in range(130):
        clock.now += timedelta(hours=1)
        ws.jobs.decide([ORDERS])
    page = client.get("/jobs/orders")
    assert page.text.count('scope="row"') == 50
    seen, path = set(), "/jobs/orders?state=skipped"
    while path:
        page = client.get(path)
        seen |= set(re.findall(r'scope="row"><a href="([^"]+)"', page.text))
        path = next(iter(re.findall(r'rel="next" href="([^"]+)"', page.text)), None)
        path = path and html.unescape(path)
    assert len(seen) == len(ws.jobs.history("orders", state="skipped", limit=None)) == 130
    assert client.get("/jobs/orders?state=done").status_code in (400, 422)
    assert client.get("/jobs/orders?before=noon").status_code in (400, 422)
    assert 'aria-label="the last 60 runs of orders"' in page.text


def test_a_run_shows_its_attempts_and_what_they_wrote_as_text(ws, client):
    first = attempt(ws, log=f"\x1b[31mred\x1b[0m {HOSTILE}\x07\nnext\tline")
    ws.jobs.rerun("orders")
    second = attempt(ws, log="")
    page = client.get(f"/jobs/orders/{DUE}")
    assert "Nothing, or nothing that is still kept." in words(page)
    assert f"/jobs/orders/{DUE}?attempt={first}#log" in links(page)
    shown = client.get(f"/jobs/orders/{DUE}?attempt={first}")
    assert html.unescape(re.search(r"<pre>(.*?)</pre>", shown.text, re.DOTALL)[1]) == f"red {HOSTILE}\\x07\nnext\tline"
    assert "<img" not in shown.text.partition("<main")[2]
    assert client.get(f"/jobs/orders/{DUE}?attempt={second + 1}").status_code == 404
    assert client.get("/jobs/orders/2024-05-01T13%3A00%3A01Z").status_code == 404
    assert client.get("/jobs/orders/noon").status_code in (400, 422)
    assert client.get("/jobs/order").status_code == 404


def test_the_end_of_a_long_log_is_shown_and_what_is_left_out_is_told(ws, client):
    attempt(ws, log="a" * 250_000 + "the end")
    page = client.get(f"/jobs/orders/{DUE}")
    assert "50,007 characters before are left out" in words(page)
    assert "the end</pre>" in page.text


def test_a_start_that_is_sent_twice_starts_once(ws, client, clock):
    page = client.get("/jobs/orders")
    moment = re.search(r'name="moment" value="([^"]+)"', page.text)[1]
    answers = [send(client, "/jobs/orders/start", moment=moment) for _ in range(2)]
    assert [one.status_code for one in answers] == [303, 303]
    assert answers[0].headers["location"] == answers[1].headers["location"] == f"/jobs/orders/{quote(moment, safe='')}"
    assert len(ws.jobs.history("orders", state="waiting")) == 2
    clock.now += timedelta(hours=2)
    assert send(client, "/jobs/orders/start", moment=moment).status_code == 303
    assert len(ws.jobs.history("orders", state="waiting")) == 3
    clock.now += timedelta(seconds=1)
    assert send(client, "/jobs/orders/start", moment="<script>").status_code == 303
    assert send(client, "/jobs/order/start", page="/jobs/orders").status_code == 404


def test_a_run_is_run_again_but_not_while_it_waits(ws, client):
    answer = send(client, f"/jobs/orders/{DUE}/rerun", page="/jobs/orders")
    assert answer.status_code == 409
    assert "Run again" not in client.get(f"/jobs/orders/{DUE}").text
    attempt(ws)
    assert "Run again" in client.get(f"/jobs/orders/{DUE}").text
    answer = send(client, f"/jobs/orders/{DUE}/rerun")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/orders/{DUE}")
    assert ws.jobs.get("orders").state == "waiting"


def test_a_job_is_paused_and_resumed(ws, client):
    assert send(client, "/jobs/orders/pause").headers["location"] == "/jobs/orders"
    assert ws.jobs.state("orders").paused_at is not None
    assert "Resume" in client.get("/jobs/orders").text
    send(client, "/jobs/orders/resume")
    assert ws.jobs.state("orders").paused_at is None


@pytest.mark.parametrize(
    ("role", "sees", "starts", "pauses"),
    [
        ("reader", 200, 403, 403),
        ("predictor", 403, 403, 403),
        ("editor", 200, 303, 403),
        ("admin", 200, 303, 303),
        ("auditor", 403, 403, 403),
    ],
)
def test_each_role_sees_and_asks_for_what_the_interface_lets_it(ws, role, sees, starts, pauses):
    with TestClient(tm.create_app(ws, auth=lambda _: ("ana", role)), base_url=LOCAL) as client:
        client.follow_redirects = False
        page = client.get("/jobs/orders")
        assert page.status_code == sees
        assert ("Run now" in page.text, "Pause" in page.text) == (starts == 303, pauses == 303)
        assert ('href="/jobs"' in client.get("/").text) == (sees == 200)
        home = "/sign-in" if role in ("predictor", "auditor") else "/jobs/orders"
        mark = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/").text)[1]
        for path, expected in (("start", starts), (f"{DUE}/rerun", 409 if starts == 303 else 403), ("pause", pauses)):
            answer = client.post(f"/jobs/orders/{path}", data={"csrf": mark}, headers={"origin": LOCAL})
            assert answer.status_code == expected, (path, home)
    if starts == 303:
        assert {one.actor for one in ws.audit.list(action="job.start")} == {"ana"}


def test_no_button_is_taken_without_the_mark_of_its_page(ws, client):
    for path in ("start", "pause", "resume", f"{DUE}/rerun"):
        for fields, headers in (({}, {"origin": LOCAL}), ({"csrf": mark_of(client.get("/jobs/orders"))}, {})):
            assert client.post(f"/jobs/orders/{path}", data=fields, headers=headers).status_code == 403
        assert client.get(f"/jobs/orders/{path}").status_code in (404, 405, 422, 400)
    assert ws.audit.list(action="job") == []
