"""The pages of models: versions, who was champion when, and promotion with a reason."""

import re
import shutil
from html import unescape

import pytest
import served_shop
from litestar.testing import TestClient
from test_pages_runs import text_of
from test_pages_sign_in import mark_of
from test_server import LOCAL

import tinymlops as tm
from tinymlops.display.measured import wilson


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "shop.tm"
    served_shop.build(path)
    return path


@pytest.fixture
def shop(built, tmp_path):
    path = shutil.copytree(built, tmp_path / "shop.tm")
    with (
        tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws,
        TestClient(tm.create_app(ws), base_url=LOCAL) as client,
    ):
        client.follow_redirects = False
        yield ws, client


def send(client, action, **fields):
    mark = mark_of(client.get("/models/splurge"))
    return client.post(f"/models/splurge/{action}", data={"csrf": mark, **fields}, headers={"origin": LOCAL})


def test_a_model_is_promoted_and_rolled_back_with_a_reason_and_the_page_says_who_was_champion_when(shop):
    ws, client = shop
    assert "champion v1" in text_of(client.get("/models").text)
    assert re.search(r"Estimator\s+Pipeline\[Log", text_of(client.get("/models/splurge/1").text)), (
        "a module's path is too long"
    )
    reason = "<b>better</b> on the newest rows"
    answer = send(client, "promote", version="2", expected="1", alias="champion", reason=reason)
    assert (answer.status_code, answer.headers["location"]) == (303, "/models/splurge")
    assert ws.models.get("splurge").version == 2
    page = client.get("/models/splurge").text
    assert "<b>better" not in page
    assert f"Promoted to champion: {reason}" in unescape(page)
    assert "after v1" in text_of(page)
    assert send(client, "rollback", alias="champion", reason="it was slow").status_code == 303
    assert ws.models.get("splurge").version == 1
    moves = ws.models.moves("splurge")
    assert [(one.version, one.is_rollback, one.until is None) for one in moves] == [
        (1, True, True),
        (2, False, False),
        (1, False, False),
    ]
    assert moves[1].until == moves[0].since
    assert [one.reason for one in moves] == ["it was slow", reason, ""]
    assert "rolled back" in text_of(client.get("/models/splurge").text)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"version": "2", "expected": "1", "reason": " "}, 422),
        ({"version": "2", "expected": "2", "reason": "x"}, 409),
        ({"version": "9", "expected": "1", "reason": "x"}, 404),
        ({"version": "²", "expected": "1", "reason": "x"}, 422),
        ({"expected": "1", "reason": "x"}, 422),
        ({"version": "2", "expected": "1", "reason": "x", "alias": "latest"}, 422),
    ],
)
def test_a_promotion_that_is_not_meant_so_changes_nothing(shop, fields, status):
    ws, client = shop
    assert send(client, "promote", **fields).status_code == status
    assert ws.models.get("splurge").version == 1
    assert len(ws.models.moves("splurge")) == 1


def test_a_version_says_what_it_reads_and_where_it_comes_from(shop):
    ws, client = shop
    version = ws.models.get("splurge:2")
    page = client.get("/models/splurge/2").text
    assert f"/runs/{version.run}" in page
    assert f"/training-sets/{ws.models.manifest(version).training_set.id}" in page
    assert 'href="/catalog/feature/spending/last_amount"' in page
    assert 'href="/catalog/feature/room/left"' in page, "also one that is computed on demand"
    assert 'href="/catalog/feature/spending/last_amount"' in client.get(f"/runs/{version.run}").text
    text = text_of(page)
    for part in ("spending", "last_amount", "auc", "192 rows", "so these flatter it", "LogisticRegression"):
        assert part in text
    assert client.get("/models/splurge/3").status_code == 404
    assert client.get("/models/none").status_code == 404


def test_a_first_version_is_promoted_on_the_page(shop):
    ws, client = shop
    ws.register_model("alone", run=ws.models.get("splurge:1").run)
    page = client.get("/models/alone")
    assert '<option value="1">' in page.text
    form = {"csrf": mark_of(page), "version": "1", "alias": "champion", "expected": "0", "reason": "the first"}
    assert client.post("/models/alone/promote", data=form, headers={"origin": LOCAL}).status_code == 303
    assert (ws.models.get("alone").version, "New champion" in client.get("/models/alone").text) == (1, False)


def test_lineage_of_a_model_whose_definitions_are_gone_leads_to_no_page_that_is_not_there(shop):
    ws, client = shop
    ws.apply(tm.Project("shop"))
    seen, waiting = set(), ["/lineage/model/splurge%3A1"]
    while waiting:
        seen.add(path := waiting.pop())
        page = client.get(path)
        assert page.status_code == 200, path
        found = {unescape(one).partition("#")[0] for one in re.findall(r'href="(/[^"]+)"', page.text)}
        waiting += sorted(one for one in found - seen - set(waiting) if one.startswith(("/lineage/", "/catalog/")))
    assert {"/lineage/model/splurge%3A1", "/lineage/model/splurge%3A2"} < seen
    assert "spending" in text_of(client.get("/lineage/model/splurge%3A1").text)


def test_only_an_admin_may_promote_and_only_an_auditor_sees_who_did(shop):
    from test_pages_sign_in import sign_in

    ws, client = shop
    tokens = {role: ws.tokens.create(role, role).token for role in ("reader", "editor", "admin")}
    for role, token in tokens.items():
        client.cookies.clear()
        sign_in(client, token)
        page = client.get("/models/splurge").text
        assert ("Make it champion" in page) == (role == "admin")
        assert ('<th scope="col">By</th>' in page) == (role == "admin")
        answer = send(client, "promote", version="2", expected="1", reason="because")
        assert answer.status_code == (303 if role == "admin" else 403)
    assert ws.models.moves("splurge")[0].actor == "admin"


def test_a_share_has_the_interval_of_wilson():
    assert [round(end, 4) for end in wilson(0.5, 100)] == [0.4038, 0.5962]
    assert wilson(1.0, 10)[1] == pytest.approx(1.0)
    assert wilson(0.0, 10)[0] == pytest.approx(0.0)
    assert wilson(0.5, 0) is None
