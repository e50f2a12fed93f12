"""The OpenAPI document says exactly what the server takes and answers, and no route escapes classification."""

import json

import msgspec
import pytest
from litestar import get
from litestar.testing import TestClient
from test_server import JSON, LOCAL, ONLINE, OUTCOMES, PREDICT, ROW, WRITES

import tinymlops as tm
from tinymlops.errors import DefinitionError
from tinymlops.server import app
from tinymlops.server.job_messages import PauseRequest, RerunRequest, ResumeRequest, StartRequest
from tinymlops.server.messages import (
    DropRequest,
    FeaturesRequest,
    OutcomesRequest,
    PredictRequest,
    PushRequest,
    ReleaseRequest,
)
from tinymlops.server.route_class import class_of
from tinymlops.server.vector_messages import ClusterRequest, DuplicatesRequest, SearchRequest

ROUTES = {
    ("GET", "/v1/models"): "metadata",
    ("GET", "/v1/audit"): "audit",
    ("GET", "/v1/access"): "audit",
    ("GET", "/v1/models/{name:str}"): "metadata",
    ("POST", "/v1/models/{name:str}/predict"): "predict",
    ("POST", "/v1/features/online"): "read",
    ("GET", "/v1/vectors"): "metadata",
    ("POST", "/v1/vectors/{name:str}/search"): "read",
    ("POST", "/v1/vectors/{name:str}/duplicates"): "read",
    ("POST", "/v1/vectors/{name:str}/cluster"): "read",
    ("POST", "/v1/sources/{name:str}/push"): "write",
    ("GET", "/v1/checks/results"): "read",
    ("GET", "/v1/checks/quarantines"): "read",
    ("GET", "/v1/checks/quarantines/{number:int}/rows"): "read",
    ("POST", "/v1/checks/quarantines/{number:int}/release"): "write",
    ("POST", "/v1/checks/quarantines/{number:int}/drop"): "write",
    ("POST", "/v1/outcomes"): "write",
    ("GET", "/v1/jobs"): "read",
    ("GET", "/v1/jobs/history"): "read",
    ("GET", "/v1/jobs/{name:str}/logs"): "read",
    ("POST", "/v1/jobs/{name:str}/start"): "write",
    ("POST", "/v1/jobs/{name:str}/rerun"): "write",
    ("POST", "/v1/jobs/{name:str}/pause"): "admin",
    ("POST", "/v1/jobs/{name:str}/resume"): "admin",
    ("GET", "/healthz"): "open",
    ("GET", "/readyz"): "open",
    ("POST", "/v1/models/{name:str}/invocations"): "predict",
    ("POST", "/invocations"): "predict",
    ("GET", "/ping"): "open",
}
SCORING = {("POST", "/v1/models/{name:str}/invocations"), ("POST", "/invocations"), ("GET", "/ping")}
"""Documented by MLflow, and in docs/mlflow.md with all below /api/."""
BODILESS = {
    "/api/2.0/mlflow-artifacts/artifacts/{path:path}",
    "/api/2.0/mlflow/logged-models/{model_id:str}/tags/{tag_key:str}",
}
"""An artifact is a body of any type, and some removals of MLflow have none."""
DOCUMENT = {("GET", "/schema"), ("GET", "/schema/openapi.json")}
BODIES = {
    PREDICT: PredictRequest,
    ONLINE: FeaturesRequest,
    OUTCOMES: OutcomesRequest,
    "/v1/sources/clicks/push": PushRequest,
    "/v1/vectors/texts/search": SearchRequest,
    "/v1/vectors/texts/duplicates": DuplicatesRequest,
    "/v1/vectors/texts/cluster": ClusterRequest,
    "/v1/checks/quarantines/1/release": ReleaseRequest,
    "/v1/checks/quarantines/1/drop": DropRequest,
    "/v1/jobs/orders/start": StartRequest,
    "/v1/jobs/orders/rerun": RerunRequest,
    "/v1/jobs/orders/pause": PauseRequest,
    "/v1/jobs/orders/resume": ResumeRequest,
}
NAMED = (ONLINE, "/v1/checks/results", "/v1/checks/quarantines")
"""Routes that name something outside of their address."""


@pytest.fixture
def client(served):
    with TestClient(tm.create_app(served), base_url=LOCAL) as client:
        yield client


@pytest.fixture
def document(client):
    return client.get("/schema").json()


def routes_of(app):
    return {
        (method, route.path)
        for route in app.routes
        for method in route.methods
        if method != "OPTIONS" and not route.path.startswith("/api/")
    }


def operations(document):
    return {(method.upper(), path): one for path, item in document["paths"].items() for method, one in item.items()}


def test_every_route_says_what_it_may_do(served):
    made = tm.create_app(served)
    assert routes_of(made) == set(ROUTES) | DOCUMENT
    said = {
        (method, route.path): class_of(handler)
        for route in made.routes
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS"}
        if (method, route.path) in ROUTES and handler.http_methods != {"OPTIONS"}
    }
    assert said == ROUTES


def test_an_application_with_a_route_that_does_not_say_it_is_not_made(served, monkeypatch):
    @get("/v1/secrets", sync_to_thread=False)
    def secrets() -> str:
        return "none"

    monkeypatch.setattr(app, "NOUNS", (*app.NOUNS, lambda _: [secrets]))
    with pytest.raises(DefinitionError, match="the route /v1/secrets does not say what it may do"):
        tm.create_app(served)


def test_every_write_takes_a_strict_body_and_no_read_does(served):
    for route in tm.create_app(served).routes:
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                body = handler.parsed_data_field
                assert (body is not None) == (method != "GET" and route.path not in BODILESS), route.path
                if body is not None:
                    assert body.annotation.__struct_config__.forbid_unknown_fields


def test_every_handler_that_works_does_so_off_the_event_loop(served):
    """The process's own pulse and the document are all that the loop answers itself."""
    on_the_loop = {
        route.path
        for route in tm.create_app(served).routes
        for handler in route.route_handlers
        if handler.has_sync_callable
        and "GET" in handler.http_methods | {"POST"} - {"OPTIONS"}
        and "OPTIONS" not in handler.http_methods
    }
    assert on_the_loop == {"/healthz", "/ping", "/schema", "/schema/openapi.json"}


def test_the_document_is_at_two_paths_and_needs_nothing_else(client, document):
    assert client.get("/schema/openapi.json").json() == document
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == tm.__version__
    assert document["servers"] == [{"url": "/"}]
    assert "http://" not in json.dumps(document).replace("http://localhost", "")


def test_the_document_has_every_route_but_its_own(document):
    listed = {
        (method, path.replace("{name}", "{name:str}").replace("{number}", "{number:int}"))
        for method, path in operations(document)
    }
    assert listed == {route for route in ROUTES if not route[1].startswith("/schema")} - SCORING


def test_every_operation_documents_its_errors_as_problems(document):
    for (method, path), operation in operations(document).items():
        statuses = set(operation["responses"])
        assert {"200", "403", "422", "500", "503"} <= statuses, path
        assert method == "GET" or {"400", "408", "413", "415"} <= statuses, path
        assert ("{n" in path) == ("404" in statuses) or path in NAMED, path
        for status, response in operation["responses"].items():
            (content,) = response["content"].values()
            reference = content["schema"]["$ref"]
            assert reference.rpartition("/")[2] in document["components"]["schemas"]
            assert reference.endswith("/Problem") == (status != "200"), (path, status)
        assert operation["description"]


def test_every_reference_leads_somewhere(document):
    text = json.dumps(document)
    names = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names == set(document["components"]["schemas"])


@pytest.mark.parametrize("route", BODIES)
def test_the_schema_of_a_body_is_what_is_enforced(document, route):
    name = BODIES[route].__name__
    schema = document["components"]["schemas"][name]
    assert (
        schema == msgspec.json.schema_components([BODIES[route]], ref_template="#/components/schemas/{name}")[1][name]
    )
    assert schema["additionalProperties"] is False


def test_limits_inside_of_lists_are_in_the_document(document):
    rows = document["components"]["schemas"]["PredictRequest"]["properties"]["rows"]
    assert (rows["minItems"], rows["maxItems"]) == (1, 10_000)
    assert rows["items"]["maxProperties"] == 1_000
    integer = next(one for one in rows["items"]["additionalProperties"]["anyOf"] if one.get("type") == "integer")
    assert (integer["minimum"], integer["maximum"]) == (-(2**63), 2**63 - 1)


VALUES = [
    None,
    True,
    0,
    -1,
    2**53 + 1,
    2**63,
    1.5,
    1e308,
    "",
    "x",
    "2024-01-01T00:00:00Z",
    "\x00",
    "é",
    [],
    [1],
    [[1]],
    {},
    {"a": 1},
]


@pytest.mark.parametrize("route", WRITES)
def test_no_body_at_all_gives_an_undocumented_status_or_a_defect(client, document, route):
    """Every field of a good body, replaced by every odd value, one at a time."""
    path = {PREDICT: "/v1/models/{name}/predict", "/v1/sources/clicks/push": "/v1/sources/{name}/push"}.get(
        route, route
    )
    documented = {int(status) for status in operations(document)["POST", path]["responses"]}
    for body in mutated(WRITES[route]):
        response = client.post(route, content=msgspec.json.encode(body), headers=JSON)
        assert response.status_code in documented - {500, 503}, (body, response.text)
        if response.status_code != 200:
            assert set(response.json()) == {"error", "hint", "type"}


def mutated(value):
    """Yield a value with each of its parts replaced by each odd value."""
    yield from VALUES
    if isinstance(value, dict):
        for name, part in value.items():
            yield from ({**value, name: other} for other in mutated(part))
            yield {other: one for other, one in value.items() if other != name}
        yield {**value, "unheard_of": 1}
    if isinstance(value, list):
        for number, part in enumerate(value):
            yield from ([*value[:number], other, *value[number + 1 :]] for other in mutated(part))


def test_odd_fields_of_a_model_are_answered_as_well(client):
    for value in VALUES:
        for name in ROW:
            response = client.post(PREDICT, content=msgspec.json.encode({"rows": [{**ROW, name: value}]}), headers=JSON)
            assert response.status_code in (200, 422), response.text
