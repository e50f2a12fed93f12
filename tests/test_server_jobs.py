"""Jobs over HTTP, and by the client: what commands show and ask for, with the same words, by the roles that may."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from litestar.testing import TestClient
from served_jobs import NIGHTLY, ORDERS, SPENDING, attempt
from test_server import JSON, LOCAL

import tinymlops as tm
from tinymlops.client import Client, connection
from tinymlops.errors import ConflictError, DataError, NotFoundError
from tinymlops.schedules import Job, due_times, next_due, schedule_of

NOON = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)


class AnyClock:
    """A clock that goes as it is told."""

    now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return AnyClock()


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.jobs.decide([ORDERS, NIGHTLY, SPENDING])
        clock.now += timedelta(hours=1)
        ws.jobs.decide([ORDERS, NIGHTLY, SPENDING])
        yield ws


@pytest.fixture
def http(ws):
    with TestClient(tm.create_app(ws), base_url=LOCAL) as http:
        http.headers.update(JSON)
        yield http


@pytest.fixture
def client(ws, http, monkeypatch):
    """A client whose requests go to the application."""

    def connected(self):
        return http

    monkeypatch.setattr(connection.Connection, "_connected", connected)
    with Client(LOCAL) as client:
        yield client


def test_jobs_are_listed_with_when_they_are_due(ws, http):
    said = http.get("/v1/jobs").json()
    assert [(one["job"], one["when"], one["next"]) for one in said["jobs"]] == [
        ("nightly", "30 2 * * * (Europe/Vienna)", "2024-05-02T00:30:00Z"),
        ("orders", "every 1h", "2024-05-01T14:00:00Z"),
        ("spending", "after orders", None),
    ]
    assert (said["now"], said["next"]) == ("2024-05-01T13:30:00Z", None)
    orders = said["jobs"][1]
    assert (orders["last"]["due"], orders["last"]["state"]) == ("2024-05-01T13:00:00Z", "waiting")
    pages = [http.get("/v1/jobs", params={"limit": 1, "after": name}).json() for name in ("", "nightly", "orders")]
    assert [(page["jobs"][0]["job"], page["next"]) for page in pages] == [
        ("nightly", "nightly"),
        ("orders", "orders"),
        ("spending", None),
    ]


def test_a_run_is_shown_with_its_attempts_and_its_log(ws, http):
    assert http.get("/v1/jobs/orders/logs").json()["log"] is None
    first = attempt(ws)
    said = http.get("/v1/jobs/orders/logs", params={"due": "2024-05-01T15:00:00+02:00"}).json()
    assert (said["run"]["state"], said["run"]["told"], said["attempt"], said["log"]) == (
        "failed",
        "no disk",
        first,
        "it said\nno disk\n",
    )
    assert [(one["id"], one["state"]) for one in said["attempts"]] == [(first, "failed")]
    ws.jobs.rerun("orders")
    attempt(ws, "succeeded", told=None, log="well")
    assert http.get("/v1/jobs/orders/logs").json()["log"] == "well"
    assert http.get("/v1/jobs/orders/logs", params={"attempt": first}).json()["log"] == "it said\nno disk\n"
    (run,) = http.get("/v1/jobs/history", params={"job": "orders", "state": "succeeded"}).json()["runs"]
    assert run["due"] == "2024-05-01T13:00:00Z"
    assert http.get("/v1/jobs/history", params={"state": "failed"}).json() == {"runs": []}


REFUSED = [
    ("GET", "/v1/jobs/order/logs", None, 404, "there is no run of a job 'order'"),
    ("GET", "/v1/jobs/orders/logs?due=2024-05-01T12:00:00Z", None, 404, "that was due at 2024-05-01 12:00:00 UTC"),
    ("GET", "/v1/jobs/orders/logs?due=2024-05-01T13:00:00", None, 422, "has no time zone"),
    ("GET", "/v1/jobs/orders/logs?due=soon", None, 422, "due"),
    ("GET", "/v1/jobs/orders/logs?attempt=7", None, 404, "has no attempt 7"),
    ("GET", "/v1/jobs/orders/logs?attempt=0", None, 422, "attempt"),
    ("GET", "/v1/jobs/history?state=done", None, 422, "state"),
    ("GET", "/v1/jobs/history?jobs=orders", None, 422, "takes no query parameter 'jobs'"),
    ("GET", "/v1/jobs?limit=1001", None, 422, "limit"),
    ("POST", "/v1/jobs/order/start", {}, 404, "no runner has seen a job 'order'"),
    ("POST", "/v1/jobs/orders/start", {"due": "2024-05-01T13:00:00Z"}, 422, "not of the last ten minutes"),
    ("POST", "/v1/jobs/orders/start", {"due": "2024-05-01T13:30:00"}, 422, "with a timezone"),
    ("POST", "/v1/jobs/orders/start", {"at": None}, 422, "unknown field `at`"),
    ("POST", "/v1/jobs/orders/rerun", {}, 409, "is waiting already"),
    ("POST", "/v1/jobs/orders/rerun", {"due": "2024-05-01T12:00:00Z"}, 404, "there is no run of a job 'orders'"),
    ("POST", "/v1/jobs/orders/rerun", {"due": "0001-01-01T00:00:00+23:00"}, 422, ""),
    ("POST", "/v1/jobs/order/pause", {}, 404, "no runner has seen a job 'order'"),
    ("POST", "/v1/jobs/orders/pause", {"now": 1}, 422, "unknown field `now`"),
    ("POST", "/v1/jobs/order/resume", {}, 404, "no runner has seen a job 'order'"),
    ("POST", "/v1/jobs/orders/backfill", {}, 404, "there is no route"),
]


def test_what_cannot_be_done_is_told_as_elsewhere(ws, http):
    for method, path, body, status, said in REFUSED:
        answer = http.request(method, path, content=None if body is None else json.dumps(body))
        assert (answer.status_code, set(answer.json())) == (status, {"error", "hint", "type"}), (path, answer.text)
        assert said in answer.json()["error"], path
        if "'order'" in said:
            assert answer.json()["hint"] == "did you mean 'orders'?"
    assert [one.cause for one in ws.jobs.history()] == ["schedule"]


def test_no_body_is_a_defect(ws, http):
    odd = (
        None,
        [],
        7,
        "x",
        {"due": 7},
        {"due": ""},
        {"due": "9999-12-31T23:59:59-23:59"},
        {"due": "\x00"},
        {"due": []},
    )
    for verb in ("start", "rerun", "pause", "resume"):
        for body in odd:
            answer = http.post(f"/v1/jobs/orders/{verb}", content=json.dumps(body))
            assert answer.status_code in (404, 422), (verb, body, answer.text)
        assert http.post(f"/v1/jobs/orders/{verb}", content=b"").status_code == 400


def test_a_job_is_started_once_however_often_a_named_start_is_sent(ws, http, clock):
    due = http.get("/v1/jobs").json()["now"]
    clock.now += timedelta(minutes=9)
    first = http.post("/v1/jobs/orders/start", json={"due": due})
    assert (first.status_code, first.json()["cause"], first.json()["due"]) == (200, "by hand", due)
    assert http.post("/v1/jobs/orders/start", json={"due": due}).json() == first.json()
    assert len([one for one in ws.jobs.history("orders") if one.cause == "by hand"]) == 1
    assert len(ws.audit.list(action="job.start")) == 1
    clock.now += timedelta(seconds=1)
    assert http.post("/v1/jobs/orders/start", json={}).json()["due"] == "2024-05-01T13:39:01Z"
    clock.now -= timedelta(seconds=2)  # set back a little
    assert http.post("/v1/jobs/orders/start", json={"due": "2024-05-01T13:39:01Z"}).status_code == 200


def test_the_client_has_the_words_of_the_workspace(ws, client, clock):
    assert [(one.job, one.next) for one in client.jobs.list()][1] == ("orders", NOON + timedelta(hours=1.5))
    number = attempt(ws)
    assert [(one.due, one.state) for one in client.jobs.history("orders")] == [(NOON + timedelta(hours=0.5), "failed")]
    found = client.jobs.logs("orders", due=NOON + timedelta(hours=0.5), attempt=number)
    assert (found.log, found.run.told, found.attempts[0].state) == ("it said\nno disk\n", "no disk", "failed")
    assert client.jobs.rerun("orders", NOON + timedelta(hours=0.5)).state == "waiting"
    with pytest.raises(ConflictError, match="is waiting already"):
        client.jobs.rerun("orders")
    with pytest.raises(NotFoundError) as raised:
        client.jobs.logs("order")
    assert raised.value.hint == "did you mean 'orders'?"
    with pytest.raises(DataError, match="state"):
        client.jobs.history(state="done")
    assert client.jobs.start("orders").cause == "by hand"
    assert client.jobs.pause("orders").paused_at == clock.now
    assert ws.jobs.state("orders").paused_at == clock.now
    assert {one.job: one.next is None for one in client.jobs.list()}["orders"]
    assert client.jobs.pause("orders", resume=True).paused_at is None


def test_a_start_whose_answer_is_lost_counts_once(ws, client, http, monkeypatch):
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.0)
    real, lost = http.request, []

    def request(method, path, **options):
        answer = real(method, path, **options)
        if path.endswith("/start") and not lost:
            lost.append(answer)
            raise httpx.ReadError("the connection is gone")
        return answer

    monkeypatch.setattr(http, "request", request)
    assert client.jobs.start("orders").cause == "by hand"
    assert len(lost) == 1
    assert len([one for one in ws.jobs.history("orders") if one.cause == "by hand"]) == 1


def test_more_jobs_than_a_page_has_are_all_listed(ws, client, clock):
    ws.jobs.decide([Job(name=f"j{number:04}", schedule=ORDERS.schedule) for number in range(1_100)])
    names = [one.job for one in client.jobs.list()]
    assert (len(names), names) == (1_103, sorted(names))


def test_who_started_a_job_is_in_the_audit_log(ws, tmp_path):
    editor, reader = ws.tokens.create("ana", "editor").token, ws.tokens.create("bo", "reader").token
    with TestClient(tm.create_app(ws), base_url=LOCAL) as http:

        def ask(token, path):
            return http.post(path, json={}, headers={"authorization": f"Bearer {token}", **JSON}).status_code

        assert ask(reader, "/v1/jobs/orders/start") == 403
        assert ask(editor, "/v1/jobs/orders/pause") == 403
        assert ask(editor, "/v1/jobs/orders/start") == 200
    (entry,) = ws.audit.list(action="job.start")
    assert (entry.actor, entry.subject) == ("ana", "job:orders")


@pytest.mark.parametrize("every", ["1s", "90s", "1h", "1h30m", "7d", "250d3h", "36500d"])
def test_a_duration_that_is_stored_as_text_is_due_as_it_was_declared(every):
    schedule = schedule_of(every, None, "UTC")
    assert next_due(Job(name="x", schedule=schedule).when, NOON) == next(due_times(schedule, NOON))


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/5 1-3 1,15 * 1-5", "0 0 29 2 *"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires", "Etc/GMT+3"])
def test_a_line_that_is_stored_as_text_is_due_as_it_was_declared(cron, zone):
    schedule = schedule_of(None, cron, zone)
    assert next_due(Job(name="x", schedule=schedule).when, NOON) == next(due_times(schedule, NOON))


@pytest.mark.parametrize("when", ["after orders", "None", "", "every soon", "every", "x (UTC)", "1 2 3 4 5 (Mars)"])
def test_other_text_is_not_due(when):
    assert next_due(when, NOON) is None


def test_it_is_shown_by_a_copy_of_the_workspace(ws, tmp_path):
    """A server on a backup shows what there was."""
    attempt(ws)
    ws.backup(tmp_path / "copy")
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    with (
        tm.connect(tmp_path / "again.tm") as again,
        TestClient(tm.create_app(again), base_url=LOCAL) as http,
    ):
        assert http.get("/v1/jobs/orders/logs").json()["log"] == "it said\nno disk\n"
