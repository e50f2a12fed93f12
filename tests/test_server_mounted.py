"""The application inside another one: a team's own FastAPI service."""

import fastapi
import pytest
from inside import database_of
from litestar.testing import TestClient
from test_server import LOCAL, ONLINE, PREDICT, WRITES

import tinymlops as tm
from tinymlops.records import Prediction


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
