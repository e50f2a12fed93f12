"""The first page of the day: what needs a look, the most urgent first, and an honest word where nothing does."""

import asyncio
import re
from datetime import datetime, timedelta

import houses
import polars as pl
import pytest
import served_shop
from inside import database_of
from litestar.testing import TestClient
from test_pages_catalog import HOSTILE, links, words
from test_server import LOCAL
from test_server_jobs import NIGHTLY, ORDERS, attempt

import tinymlops as tm
from tinymlops.records import CheckResult
from tinymlops.registry.checks import newest_results
from tinymlops.server.pages import live


class AnyClock:
    """A clock that goes as it is told."""

    now = served_shop.NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return AnyClock()


def project_of(rows):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order", delay="1h")
    def orders() -> pl.DataFrame:
        if isinstance(rows[0], Exception):
            raise rows[0]
        return pl.DataFrame(rows)

    project.check(orders, tm.between("amount", 0, 100), action="quarantine")
    project.check(orders, tm.not_null("amount"), action="warn")
    return project


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


@pytest.fixture
def client(ws):
    with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        yield client


def needs(page):
    """State and name of each thing that needs a look, in order."""
    part = page.text.partition('id="needs"')[2].partition("</section>")[0]
    return re.findall(r'class="state \w+">(\w+)</span>.*?<a href="[^"]+">([^<]+)</a>', part, re.DOTALL)


def test_an_empty_workspace_is_told_how_to_begin(client):
    told = words(client.get("/"))
    assert "Nothing here yet" in told
    assert "tinymlops apply" in told
    assert "All is well" not in told


def test_all_is_well_says_what_was_looked_at(client, ws, clock):
    ws.apply(
        project_of([{"order": 1, "at": clock.now - timedelta(hours=1), "amount": 5.0}]), message=f"first {HOSTILE}"
    )
    ws.ingest()
    ws.jobs.decide([ORDERS])
    told = words(client.get("/"))
    assert "All is well Looked at 1 job, 1 source and 2 checks: nothing failed, nothing is late." in told
    assert f"Definitions changed now , by {ws.catalog.last_apply().author}: first {HOSTILE}" in told
    assert "orders now 1 h ago" in told


def test_what_failed_comes_before_what_is_late_and_what_may_become_worse(client, ws, clock):
    at = clock.now - timedelta(hours=1)
    ws.apply(project_of([{"order": one, "at": at, "amount": amount} for one, amount in enumerate((1.0, 500.0, None))]))
    with pytest.warns(UserWarning, match="do not pass"):
        ws.ingest()
    ws.jobs.decide([ORDERS, NIGHTLY])
    clock.now += timedelta(hours=1)
    ws.jobs.decide([ORDERS, NIGHTLY])
    attempt(ws, told=f"no disk {HOSTILE}")
    with pytest.raises(RuntimeError), ws.start_run("train") as run:
        raise RuntimeError(f"nan {HOSTILE}")
    assert run.id
    clock.now += timedelta(hours=3)
    page = client.get("/")
    assert needs(page) == [
        ("failed", "orders"),
        ("failed", "train"),
        ("overdue", "nightly"),
        ("warn", "orders"),
        ("warn", "orders"),
    ]
    told = words(page)
    assert f"no disk {HOSTILE}" in told
    assert 'not_null("amount"): 1 of 3 rows' in told
    assert "1 row in quarantine" in told
    assert "<img" not in page.text.partition("<main")[2]
    assert "All is well" not in told
    for path in {one for one in links(page) if one.startswith("/") and not one.startswith("/live")}:
        assert client.get(path).status_code == 200, path
    ws.jobs.pause("orders")
    assert ("failed", "orders") not in needs(client.get("/"))


def test_a_failed_ingest_and_a_late_source_need_a_look(client, ws, clock):
    rows = [{"order": 1, "at": clock.now, "amount": 5.0}]
    ws.apply(project_of(rows))
    for number in range(5):
        rows.append({"order": number + 2, "at": clock.now, "amount": 1.0})
        ws.ingest()
        clock.now += timedelta(hours=1)
    assert needs(client.get("/")) == []
    clock.now += timedelta(hours=9)
    assert needs(client.get("/")) == [("late", "orders")]
    rows.insert(0, RuntimeError("no disk"))
    with pytest.raises(tm.TinyMLOpsError):
        ws.ingest()
    assert needs(client.get("/")) == [("failed", "orders"), ("late", "orders")]


def test_a_job_without_a_runner_is_overdue(client, ws, clock):
    ws.jobs.decide([ORDERS])
    clock.now += timedelta(hours=3)
    assert needs(client.get("/")) == [("overdue", "orders")]


def test_champions_say_since_when_and_until_when_outcomes_are_known(served):
    with TestClient(tm.create_app(served), base_url=LOCAL) as client:
        assert "splurge:1 now 2024-01-31 00:00:00" in words(client.get("/"))


@pytest.mark.parametrize("late", ["3d", "wait"])
def test_outcomes_are_known_only_when_late_rows_have_come(client, ws, clock, late):
    project = tm.Project("delayed")
    house = project.entity("house", key="house")

    @project.source(timestamp="at", id="n", delay=late)
    def sales() -> pl.DataFrame:
        return houses.sales_of(300)

    past, next_paid = houses.features_of(project, house, sales)
    sold = project.training_set("sold", spine=sales, label=next_paid, features=[past])
    houses.register(ws, project, sold, alias="champion")
    before = "\N{EN DASH}" if late == "wait" else "2024-01-28 00:00:00"
    assert f"price:1 now {before}" in words(client.get("/"))
    ws.predict("price", [{"house": 3}], sync=True)
    report = ws.monitor("price", keep=True)
    assert report.coming.next_at - clock() == timedelta(microseconds=report.coming.after)
    until = "2024-01-27 23:00:00" if late == "wait" else "2024-01-28 00:00:00"
    assert f"price:1 now {until}" in words(client.get("/"))


def test_a_run_that_goes_on_is_shown_and_one_whose_process_died_is_lost(client, ws):
    run = ws.start_run("train <b>&{{7*7}}")
    assert "train <b>&{{7*7}}" in words(client.get("/")).partition("Running now")[2]
    run.finish()
    assert "No run goes on." in words(client.get("/"))


def test_head_is_answered_as_get_without_a_body(ws):
    app = tm.create_app(ws)
    with TestClient(app, base_url=LOCAL) as client:
        styles = re.search(r'href="([^"]+page.css)"', client.get("/").text)[1]
        for path in ("/", "/runs", "/catalog/view/none", "/runs?nothing=1", "/sign-in", "/sign-out", styles):
            asked, answered = (ask(path, follow_redirects=False) for ask in (client.get, client.head))
            assert (answered.status_code, answered.content) == (asked.status_code, b""), path
            assert answered.headers == asked.headers
        for _ in range(3):
            assert client.head("/live").headers["content-type"].startswith("text/event-stream")
        assert client.head("/v1/models").status_code == 405


def test_an_open_page_is_not_told_of_uses_of_tokens(workspace, monkeypatch):
    monkeypatch.setattr(live, "_LOOK", 0.02)
    token = workspace.tokens.create("ana", "reader").token

    def use():
        workspace.tokens.verify(token)
        workspace.access.list()  # which stores what was counted

    async def story():
        streams = live.Streams(workspace)
        events = streams.open()
        assert await anext(events) == b"retry: 3000\n\n"
        told = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.1)
        for _ in range(3):
            await asyncio.to_thread(use)
            await asyncio.sleep(0.2)
        was_quiet = not told.done()
        await asyncio.to_thread(workspace.runs.start, "train", patch=False, origin="test")
        event = await asyncio.wait_for(told, 20)
        await events.aclose()
        await streams.close()
        return was_quiet, event

    assert asyncio.run(story()) == (True, b"event: changed\ndata: \n\n")
    assert workspace.tokens.list()[0].requests == 3


def test_failures_are_told_to_roles_that_may_read_them(ws, clock):
    ws.apply(project_of([{"order": 1, "at": clock.now - timedelta(hours=1), "amount": None}]))
    with pytest.warns(UserWarning, match="do not pass"):
        ws.ingest()
    ws.jobs.decide([ORDERS])
    clock.now += timedelta(hours=1)
    ws.jobs.decide([ORDERS])
    attempt(ws, told="of ana@example.org")
    with pytest.raises(RuntimeError), ws.start_run("train"):
        raise RuntimeError("of ben@example.org")
    with TestClient(tm.create_app(ws, auth=lambda _: ("otto", "auditor")), base_url=LOCAL) as client:
        told = words(client.get("/"))
        assert "failed train run" in told
        assert "example.org" not in told
        assert "Due next" not in told
        assert "check" not in told.partition("Champions")[0].replace("Looked at", "")


def test_the_newest_results_are_those_among_the_last(ws):
    database = database_of(ws)

    def put(count, rule, passed):
        with database.write(actor=None) as tx:
            for _ in range(count):
                tx.insert(
                    CheckResult(
                        target="orders",
                        definition="check",
                        rule=rule,
                        action="warn",
                        moment="ingest",
                        rows=1,
                        failed=0,
                        passed=passed,
                        at=datetime(2024, 1, 1, tzinfo=served_shop.NOW.tzinfo),
                    )
                )

    put(1, "old", passed=False)
    put(10, "new", passed=True)
    assert [one.rule for one in newest_results(database)] == ["old", "new"]
    assert [one.rule for one in newest_results(database, among=10)] == ["new"]
    assert [one.rule for one in newest_results(database, among=11)] == ["old", "new"]
