"""The application inside another one: a team's own FastAPI service, or a Litestar one."""

import html
import re

import fastapi
import pytest
from inside import database_of
from litestar import Litestar, asgi
from litestar.testing import TestClient
from test_pages_sign_in import mark_of
from test_server import LOCAL, ONLINE, PREDICT, WRITES

import tinymlops as tm
from tinymlops.records import Prediction
from tinymlops.server.mounting import mounted


def in_fastapi(app):
    outer = fastapi.FastAPI()
    outer.mount("/ml", app)
    return outer


def in_litestar(app):
    return Litestar([asgi("/ml", is_mount=True, copy_scope=True)(app)])


def in_both(app):
    outer = fastapi.FastAPI()
    outer.mount("/team", in_litestar(app))
    return outer


MOUNTS = [(in_fastapi, "/ml"), (in_litestar, "/ml"), (in_both, "/team/ml")]


@pytest.fixture
def outer(served):
    app = fastapi.FastAPI()
    app.mount("/ml", tm.create_app(served, allowed_hosts=["testserver.local"]))

    @app.get("/")
    def home() -> dict[str, str]:
        return {"home": "yes"}

    with TestClient(app) as client:
        yield client


def test_it_answers_under_its_prefix(outer, served):
    assert outer.get("/").json() == {"home": "yes"}
    assert outer.get("/ml/readyz").json()["status"] == "ready"
    assert outer.get("/ml/v1/models/splurge").json()["version"] == 1
    body = outer.post(f"/ml{PREDICT}", json={**WRITES[PREDICT], "sync": True}).json()
    assert database_of(served).get(Prediction, id=body["predictions"][0]["id"]).version == 1
    assert outer.post(f"/ml{ONLINE}", json=WRITES[ONLINE]).status_code == 200


def test_its_errors_stay_its_own(outer):
    response = outer.get("/ml/v1/nothing")
    assert (response.status_code, response.json()["type"]) == (404, "NotFound")
    assert response.json()["error"] == "there is no route /ml/v1/nothing"
    assert outer.get("/nothing").json() == {"detail": "Not Found"}
    assert outer.post(f"/ml{PREDICT}", json={}).status_code == 422


def test_its_document_says_where_it_is_mounted(outer):
    document = outer.get("/ml/schema").json()
    assert document["servers"] == [{"url": "/ml"}]
    for path, item in document["paths"].items():
        if "get" in item and "{" not in path:
            assert outer.get(f"/ml{path}").status_code == 200


def test_its_guard_stays_where_it_is(served):
    app = fastapi.FastAPI()
    app.mount("/ml", tm.create_app(served))
    with TestClient(app) as client:
        refused = client.get("/ml/healthz")
        assert (refused.status_code, refused.json()["type"]) == (403, "AccessError")
    with TestClient(app, base_url=LOCAL) as client:
        assert client.get("/ml/healthz").status_code == 200
        assert client.get("/ml/healthz").headers["x-frame-options"] == "DENY"
        refused = client.post(f"/ml{PREDICT}", json=WRITES[PREDICT], headers={"origin": "http://evil.example"})
        assert refused.status_code == 403


def test_a_model_may_be_named_like_the_prefix(served):
    app = fastapi.FastAPI()
    app.mount("/splurge", tm.create_app(served))
    with TestClient(app, base_url=LOCAL) as client:
        assert client.get("/splurge/v1/models/splurge").json()["name"] == "splurge"
        assert client.post(f"/splurge{PREDICT}", json=WRITES[PREDICT]).status_code == 200


@pytest.mark.parametrize(("mount", "prefix"), MOUNTS)
def test_every_address_of_a_page_begins_with_its_prefix(served, mount, prefix):
    with TestClient(mount(tm.create_app(served)), base_url=LOCAL) as client:
        for path in ("/", "/models", "/catalog?kind=source", "/lineage/source/orders"):
            page = client.get(prefix + path)
            found = [html.unescape(one) for one in re.findall(r'(?:href|src|action|data-live)="([^"]+)"', page.text)]
            assert page.status_code == 200
            assert {one for one in found if not one.startswith((prefix + "/", "#"))} == set()
            for one in {one for one in found if "/assets/" in one}:
                assert client.get(one).status_code == 200
        assert 'aria-current="page"' in client.get(f"{prefix}/models").text
        assert client.get(f"{prefix}/schema").json()["servers"] == [{"url": prefix}]
        assert client.get(f"{prefix}/v1/nothing").json()["error"] == f"there is no route {prefix}/v1/nothing"


@pytest.mark.parametrize(("mount", "prefix"), MOUNTS)
def test_who_signs_in_stays_under_the_prefix(workspace, mount, prefix):
    token = workspace.tokens.create("ana", "reader").token
    with TestClient(mount(tm.create_app(workspace)), base_url=LOCAL) as client:
        client.follow_redirects = False
        led = client.get(f"{prefix}/models?x=1", headers={"accept": "text/html"})
        assert (led.status_code, led.headers["location"]) == (303, f"{prefix}/sign-in?next=%2Fmodels%3Fx%3D1")
        form = {"csrf": mark_of(client.get(f"{prefix}/sign-in")), "token": token, "next": "/models"}
        answer = client.post(f"{prefix}/sign-in", data=form, headers={"origin": LOCAL})
        assert (answer.status_code, answer.headers["location"]) == (303, f"{prefix}/models")
        assert f"Path={prefix};" in answer.headers["set-cookie"] + ";"
        assert client.get(f"{prefix}/models").status_code == 200


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (("", "/models", b"/models"), ("", "/models")),
        (("", "/a b", b"/a%20b"), ("", "/a b")),
        (("", "//x/a b", b"//x/a%20b"), ("", "//x/a b")),
        (("", "/", None), ("", "/")),
        (("/ml", "/ml/models", b"/models"), ("/ml", "/ml/models")),  # Uvicorn with --root-path
        (("/m", "/models", b"/models"), ("/m", "/m/models")),
        (("/ml", "/models", b"/ml/models"), ("/ml", "/ml/models")),  # Starlette before 0.33
        (("", "/", b"/ml"), ("/ml", "/ml")),
        (("", "/models/", b"/ml//models?x=1"), ("/ml", "/ml/models")),
    ],
)
def test_the_prefix_is_found_however_it_is_said(scope, expected):
    root, path, raw = scope
    found = mounted({"root_path": root, "path": path, "raw_path": raw})
    assert (found["root_path"], found["path"]) == expected
