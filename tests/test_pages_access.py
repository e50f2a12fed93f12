"""The pages of access and audit: who read what, who changed what, whether the log is whole, who holds a token."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
import served_shop
from inside import database_of
from litestar.testing import TestClient
from tampering import forge
from test_pages_catalog import HOSTILE, words
from test_pages_sign_in import mark_of
from test_server import LOCAL

import tinymlops as tm
from tinymlops.records import Access

MINUTE = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture
def client(workspace):
    with TestClient(tm.create_app(workspace, auth=lambda _: ("otto", "auditor")), base_url=LOCAL) as client:
        client.follow_redirects = False
        yield client


def note(workspace, minutes, actor="ana", names="spending", calls=1, consumer=""):
    with database_of(workspace).write(actor=None) as tx:
        at = MINUTE - timedelta(minutes=minutes)
        tx.put(Access(minute=at, actor=actor, consumer=consumer, kind="online", names=names, calls=calls))


def prove(client, against=""):
    mark = mark_of(client.get("/access/audit"))
    return client.post("/access/audit", data={"csrf": mark, "against": against}, headers={"origin": LOCAL})


def test_reads_are_told_by_who_what_and_when(client, workspace):
    note(workspace, 1, "ana", f"spending:{HOSTILE[:20]},interest", 1234)
    note(workspace, 2, "ben", "splurge:1")
    note(workspace, 60 * 24 * 20, "eva", "spending")
    told = words(client.get("/access"))
    assert "1,234" in told
    assert HOSTILE[:20] in told
    assert "eva" not in told
    assert "eva" in words(client.get("/access?days=30"))
    assert "ben" not in words(client.get("/access?who=ana"))
    assert "ana" not in words(client.get("/access?name=splurge"))
    assert "Nobody read anything like that" in words(client.get("/access", params={"who": HOSTILE}))
    assert client.get("/access?days=3").status_code in (400, 422)
    assert client.get("/access?until=x").status_code in (400, 422)


def test_every_read_is_on_one_page_and_on_no_two(client, workspace):
    for minute in range(60):
        for actor in range(4):
            note(workspace, minute, f"actor-{minute}-{actor}")
    seen, path = [], "/access"
    while path:
        page = client.get(path)
        seen += re.findall(r">(actor-\d+-\d)<", page.text)
        path = next(map(html.unescape, re.findall(r'rel="next" href="([^"]+)"', page.text)), None)
    assert len(seen) == 240
    assert sorted(seen) == sorted(f"actor-{minute}-{actor}" for minute in range(60) for actor in range(4))


def test_a_minute_with_more_reads_than_a_page_goes_on(client, workspace):
    noted = [("first", 2), *((f"actor-{actor}", 3) for actor in range(250)), ("last", 4)]
    for actor, minutes in noted:
        note(workspace, minutes, "ana" if actor.startswith("actor-") else actor, consumer=actor)
    seen, path = [], "/access"
    while path:
        page = client.get(path)
        seen += re.findall(r"<td>(first|last|actor-\d+)</td>", page.text)
        path = next(map(html.unescape, re.findall(r'rel="next" href="([^"]+)"', page.text)), None)
    assert (seen[0], seen[-1], sorted(seen)) == ("first", "last", sorted(actor for actor, _ in noted))
    for skip in (-1, 2**70):
        assert client.get("/access", params={"skip": skip}).status_code == 200


def test_changes_are_filtered_and_come_in_parts(workspace, client):
    project = tm.Project("wide")
    for number in range(230):
        project.entity(f"one_{number:03}", key="key")
    workspace.apply(project)
    seen, path = [], "/access/audit?action=definition"
    while path:
        page = client.get(path)
        seen += re.findall(r">entity:(one_\d+)<", page.text)
        path = next(map(html.unescape, re.findall(r'rel="next" href="([^"]+)"', page.text)), None)
    assert sorted(seen) == [f"one_{number:03}" for number in range(230)]
    assert "entity:one_007" in words(client.get("/access/audit?subject=one_007"))
    assert "one_008" not in words(client.get("/access/audit?subject=one_007"))
    assert "Nothing like that" in words(client.get("/access/audit", params={"who": HOSTILE, "action": HOSTILE}))
    assert "Nothing like that" in words(client.get("/access/audit?since=2999-01-01"))
    assert "one_007" in words(client.get("/access/audit?since=2020-01-01&subject=one_007"))
    assert client.get("/access/audit?since=yesterday").status_code in (400, 422)
    assert client.get("/access/audit?before=-1").status_code == 200


def test_a_whole_log_is_proved_and_a_changed_one_is_not(tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True) as ws:
        for number in range(3):
            ws.tokens.create(f"token-{number}", "reader")
        head = str(ws.audit.head())
    with (
        tm.connect(path) as ws,
        TestClient(tm.create_app(ws, auth=lambda _: ("otto", "auditor")), base_url=LOCAL) as client,
    ):
        assert head in words(client.get("/access/audit"))
        assert "4 entries: each follows from the one before" in words(prove(client))
        ws.tokens.create("later", "reader")
        assert "since entry 4, whose hash was kept elsewhere" in words(prove(client, head))
        assert "not what was written" in words(prove(client, f"4:{'0' * 64}"))
        before = ws.audit.head()
        for wrong in ("../../etc", "/etc/passwd", "7", HOSTILE, f"4:{'0' * 63}"):
            answer = prove(client, wrong)
            assert answer.status_code in (400, 422), wrong
            assert "<img" not in answer.text.partition("<main")[2]
        assert ws.audit.head() == before
    forge(path / "meta.db", lambda rows: [[*row[:2], "nobody", *row[3:]] if row[0] == 2 else row for row in rows])
    with (
        tm.connect(path) as ws,
        TestClient(tm.create_app(ws, auth=lambda _: ("otto", "auditor")), base_url=LOCAL) as client,
    ):
        assert "The log is not what was written" in words(prove(client))


def test_tokens_are_told_without_their_secrets(workspace, client):
    new = [
        workspace.tokens.create("billing", "predictor", expires="90d", rate=20),
        workspace.tokens.create("ana", "admin"),
    ]
    workspace.tokens.revoke("ana")
    page = client.get("/access/tokens")
    told = words(page)
    assert told.index("billing active predictor") < told.index("ana revoked")
    for one in new:
        _, identity, secret = one.token.split("_")
        assert identity not in page.text
        assert secret not in page.text


@pytest.mark.parametrize(
    ("role", "sees"), [("reader", 403), ("editor", 403), ("predictor", 403), ("admin", 200), ("auditor", 200)]
)
def test_the_log_is_for_those_who_audit(workspace, role, sees):
    with TestClient(tm.create_app(workspace, auth=lambda _: ("ana", role)), base_url=LOCAL) as client:
        for path in ("/access", "/access/audit", "/access/tokens"):
            assert client.get(path).status_code == sees
        assert ("Access and audit" in client.get("/").text) == (sees == 200)
        mark = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/").text)[1]
        answer = client.post("/access/audit", data={"csrf": mark}, headers={"origin": LOCAL})
        assert answer.status_code == sees


def test_a_read_of_a_moment_ago_is_there(served):
    served.get_online_features([served_shop.spending], [{"customer": 1}], consumer="checkout")
    with TestClient(tm.create_app(served), base_url=LOCAL) as client:
        assert "checkout online spending" in words(client.get("/access"))
