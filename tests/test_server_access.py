"""Who may use which route: every route, by every role and every kind of stranger, from the route table itself."""

import asyncio
import contextlib
import shutil
import sqlite3
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from inside import database_of
from litestar import Litestar, asgi
from litestar.testing import TestClient
from served_shop import NOW
from test_server import JSON, LOCAL, ONLINE, PREDICT, WRITES

import tinymlops as tm
from tinymlops.errors import DefinitionError
from tinymlops.records import AuditEntry
from tinymlops.registry import tokens as registry_tokens
from tinymlops.registry.tokens import ROLES
from tinymlops.server.route_class import MAY, class_of

STRANGERS = ("none", "bad", "expired", "revoked", "basic", "two")
REFUSED = (401, 403)


def handlers_of(app):
    """Every route that a request can reach: its method, its path and its class."""
    return [
        (method, route.path, class_of(handler))
        for route in app.routes
        for handler in route.route_handlers
        for method in sorted(handler.http_methods - {"OPTIONS"})
    ]


def sent(text):
    return {"authorization": f"Bearer {text}", **JSON}


def ask(client, method, path, headers):
    address = path.replace("{name:str}", "splurge").replace("{number:int}", "1")
    content = b"{}" if method == "POST" else None
    return client.request(method, address, content=content, headers=headers)


@pytest.fixture
def served(shop_path, tmp_path):
    """A workspace of its own, because tokens stay; what others read is not in its access log."""
    path = shutil.copytree(shop_path, tmp_path / "shop.tm")
    with contextlib.closing(sqlite3.connect(path / "meta.db")) as database, database:
        database.execute("DELETE FROM accesses")
    with tm.connect(path, clock=tm.ReplayClock(NOW)) as ws:
        yield ws


@pytest.fixture
def issued(served, monkeypatch):
    """A token for every role, and what strangers send."""
    headers = {role: sent(served.tokens.create(f"the-{role}", role).token) for role in ROLES}
    expired = served.tokens.create("expired", "admin", expires="1h")
    revoked = served.tokens.create("revoked", "admin")
    served.tokens.revoke("revoked")
    now = registry_tokens.system_clock
    monkeypatch.setattr(registry_tokens, "system_clock", lambda: now() + timedelta(hours=2))
    admin = headers["admin"]["authorization"]
    return headers | {
        "none": JSON,
        "bad": sent("tm_" + "0" * 12 + "_" + "0" * 64),
        "expired": sent(expired.token),
        "revoked": sent(revoked.token),
        "basic": {"authorization": "Basic " + admin.removeprefix("Bearer "), **JSON},
        "two": [("authorization", admin), ("authorization", admin), *JSON.items()],
    }


@pytest.fixture
def app(served):
    return tm.create_app(served)


def test_every_route_answers_the_roles_that_may_use_it_and_nobody_else(app, issued):
    counted = Counter()
    with TestClient(app, base_url=LOCAL) as client:
        for method, path, kind in handlers_of(app):
            for who, headers in issued.items():
                status = ask(client, method, path, headers).status_code
                counted[status] += 1
                if kind == "open":
                    assert status not in REFUSED, (method, path, who)
                elif who in STRANGERS:
                    assert status == 401, (method, path, who)
                elif kind in MAY[who]:
                    assert status not in REFUSED, (method, path, who)
                else:
                    assert status == 403, (method, path, who)
    print(sum(counted.values()), "requests:", dict(counted))
    assert min(counted[401], counted[403], counted[200]) > 0


def test_the_guide_shows_the_routes_by_role(app):
    kinds = {}
    for method, path, kind in handlers_of(app):
        shown = path.replace(":str", "").replace(":int", "").replace(":path", "")
        # Those of MLflow are listed in docs/mlflow.md.
        shown = "those of [MLflow](../mlflow.md)" if path.startswith("/api/") else f"`{method} {shown}`"
        kinds.setdefault(kind, []).append(shown)
    rows = ["| class | routes | " + " | ".join(ROLES) + " |", "|---|---|" + "---|" * len(ROLES)]
    for kind, routes in sorted(kinds.items()):
        may = ["yes" if kind in MAY[role] else "" for role in ROLES]
        rows.append(f"| {kind} | {', '.join(sorted(set(routes)))} | " + " | ".join(may) + " |")
    counts = [sum(len(routes) for kind, routes in kinds.items() if kind in MAY[role]) for role in ROLES]
    rows.append(f"| in all | {sum(map(len, kinds.values()))} | " + " | ".join(map(str, counts)) + " |")
    table = "\n".join(rows)
    assert table in Path("docs/guide/tokens.md").read_text(), f"the table is now\n{table}"


@pytest.mark.parametrize(
    "path", ["/", "/v2", "/v1/models/splurge/nothing", "/healthz/../v1/models", "//healthz", "/healthz/"]
)
def test_unknown_paths_tell_a_stranger_nothing(app, issued, path):
    with TestClient(app, base_url=LOCAL) as client:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            response = client.request(method, path, headers=JSON)
            assert response.status_code == 401 or path == "/healthz/", (method, path)
            if response.status_code == 401 and response.request.url.path != "/":  # where a page asks to sign in
                assert response.headers["www-authenticate"] == 'Bearer realm="tinymlops"'


def test_a_refusal_is_documented_and_says_what_to_do(app, issued):
    with TestClient(app, base_url=LOCAL) as client:
        missing = client.post(ONLINE, json=WRITES[ONLINE])
        assert (missing.status_code, missing.json()["error"]) == (401, "this server needs a token")
        wrong = client.post(ONLINE, json=WRITES[ONLINE], headers=issued["predictor"])
        assert wrong.json()["error"] == "the role 'predictor' may not use routes of the class 'read'"
        assert "reader or editor or admin" in wrong.json()["hint"]
        document = client.get("/schema", headers=issued["auditor"]).json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert all("401" in one["responses"] for item in document["paths"].values() for one in item.values())


def test_a_write_is_audited_in_the_name_of_its_token(app, served, issued):
    with TestClient(app, base_url=LOCAL) as client:
        for path in (PREDICT, *WRITES):
            assert client.post(path, json=WRITES[path], headers=issued["editor"]).status_code == 200
    actors = {one.action: one.actor for one in database_of(served).list(AuditEntry, order="n")}
    assert {actors["push"], actors["outcomes.log"]} == {"the-editor"}
    read = {(one.actor, one.kind, one.names): one.calls for one in served.access.list()}
    assert read == {("the-editor", "online", "spending"): 1, ("the-editor", "model", "splurge:1"): 2}


def test_threads_that_share_a_commit_keep_their_names(served):
    names = [f"client-{number}" for number in range(8)]
    headers = {name: sent(served.tokens.create(name, "editor").token) for name in names}
    app = tm.create_app(served)

    def body(number, turn):
        rows = [{**WRITES["/v1/sources/clicks/push"]["rows"][0], "click": 1_000 * number + turn}]
        return {"rows": rows, "batch_id": f"{number}-{turn}"}

    with TestClient(app, base_url=LOCAL) as client:

        async def push(number):
            for turn in range(5):
                answer = await asyncio.to_thread(
                    client.post, "/v1/sources/clicks/push", json=body(number, turn), headers=headers[names[number]]
                )
                assert answer.status_code == 200, answer.text

        async def all_of_them():
            await asyncio.gather(*(push(number) for number in range(8)))

        asyncio.run(all_of_them())
    pushed = Counter(one.actor for one in database_of(served).list(AuditEntry) if one.action == "push")
    assert {name: pushed[name] for name in names} == dict.fromkeys(names, 5)


def test_without_a_token_issued_everything_is_as_before(app, served):
    with TestClient(app, base_url=LOCAL) as client:
        assert client.post(ONLINE, json=WRITES[ONLINE]).status_code == 200
        text = served.tokens.create("first", "reader").token
        assert client.post(ONLINE, json=WRITES[ONLINE]).status_code == 401
        assert client.post(ONLINE, json=WRITES[ONLINE], headers=sent(text)).status_code == 200
        served.tokens.revoke("first")
        assert client.post(ONLINE, json=WRITES[ONLINE], headers=sent(text)).status_code == 401
        assert client.post(ONLINE, json=WRITES[ONLINE]).status_code == 401  # the last one revoked opens nothing


def test_readiness_tells_names_only_to_those_who_may_know(served, issued):
    served.apply(tm.Project("shop"))  # nothing is left of what the model reads
    with TestClient(tm.create_app(served), base_url=LOCAL) as client:
        told, hidden = client.get("/readyz", headers=issued["auditor"]), client.get("/readyz")
        assert told.status_code == hidden.status_code
        assert set(hidden.json()) <= {"status", "error", "hint", "type"}
        assert "splurge" not in hidden.text


def test_an_application_may_know_its_users_itself(served):
    async def auth(connection):
        name = connection.headers.get("x-user")
        return (name, "reader") if name else None

    served.tokens.create("unused", "admin")  # tokens play no part then
    with TestClient(tm.create_app(served, auth=auth), base_url=LOCAL) as client:
        assert client.post(ONLINE, json=WRITES[ONLINE], headers={"x-user": "Ana Ruiz"}).status_code == 200
        assert client.post(PREDICT, json=WRITES[PREDICT], headers={"x-user": "Ana Ruiz"}).status_code == 403
        assert client.post(ONLINE, json=WRITES[ONLINE]).status_code == 401
        assert client.get("/healthz").status_code == 200
    assert [one.actor for one in served.access.list()] == ["Ana Ruiz"]


def test_an_application_that_keeps_strangers_out_needs_no_tokens(served):
    served.tokens.create("unused", "admin")
    with TestClient(tm.create_app(served, auth=None), base_url=LOCAL) as client:
        assert client.post(ONLINE, json=WRITES[ONLINE]).status_code == 200


@pytest.mark.parametrize(
    "said", ["ana", ("ana",), ("ana", "root"), ("", "reader"), (7, "reader"), ("a\nb", "reader"), 7]
)
def test_an_application_that_answers_nonsense_is_told(served, said):
    with TestClient(tm.create_app(served, auth=lambda _: said), base_url=LOCAL) as client:
        response = client.post(ONLINE, json=WRITES[ONLINE])
        assert response.status_code == 500
        assert "Traceback" not in response.text


@pytest.mark.parametrize("auth", ["token", "", 7, True])
def test_what_is_no_way_to_know_who_asks_is_refused(served, auth):
    with pytest.raises(DefinitionError, match="is no way to know who asks"):
        tm.create_app(served, auth=auth)


def test_a_mounted_application_asks_for_tokens_too(served, issued):
    outer = Litestar([asgi("/ml", is_mount=True, copy_scope=True)(tm.create_app(served))])
    with TestClient(outer, base_url=LOCAL) as client:
        assert client.get("/ml/healthz").status_code == 200
        assert client.get("/ml/v1/models").status_code == 401
        assert client.get("/ml/v1/models", headers=issued["reader"]).status_code == 200


def test_what_local_reads_ask_for_is_in_the_access_log(served):
    served.get_online_features(["spending"], [{"customer": 1}], consumer="billing")
    served.get_online_features(["spending:spent_7d"], [{"customer": 1}])
    found = {(one.consumer, one.names): one.actor for one in served.access.list()}
    user = database_of(served).list(AuditEntry)[-1].actor
    assert found == {("billing", "spending"): user, ("", "spending:spent_7d"): user}
    assert [one.names for one in served.access.list(name="spending:spent_7d")] == ["spending:spent_7d"]
    assert len(served.access.list(name="spending")) == 2
    assert served.access.list(who="nobody") == []
