"""Whatever a client sends, by whichever role: no answer of 500, and none that the OpenAPI document does not announce."""

import shutil
from collections import Counter
from datetime import datetime

import pytest
import schemathesis
from fuzzing import scaled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_server_running import Running

import tinymlops as tm
from tinymlops.registry.tokens import ROLES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
WHO = (*ROLES, "stranger")
CASES = 1
"""For each role, operation and mode; `make fuzz` multiplies it."""


@pytest.fixture(scope="module")
def path(shop_path, tmp_path_factory):
    path = shutil.copytree(shop_path, tmp_path_factory.mktemp("fuzzed") / "shop.tm")
    notes = tm.Project("notes")

    @notes.source(timestamp="at", id="n")
    def remarks() -> tm.Schema:
        return {"n": int, "at": datetime, "text": str}

    notes.embedding("texts", source=remarks, text="text", model="tfidf", dimension=4)
    with tm.connect(path) as ws:
        ws.apply(notes)
        ws.push("remarks", [{"n": 1, "at": "2024-01-01T00:00Z", "text": "red wine"}])
        ws.vectors.follow()
    return path


@pytest.fixture(scope="module")
def tokens(path):
    with tm.connect(path) as ws:
        issued = {role: ws.tokens.create(f"the-{role}", role).token for role in ROLES}
    return issued | {"stranger": "tm_" + "0" * 12 + "_" + "0" * 64}


@pytest.fixture(scope="module")
def server(path, tokens):
    running = Running(path)
    yield running
    running.process.kill()
    running.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def schema(server, tokens):
    headers = {"Authorization": f"Bearer {tokens['admin']}"}
    return schemathesis.openapi.from_url(f"{server.url}/schema", headers=headers)


@pytest.mark.parametrize("who", WHO)
def test_no_answer_is_a_defect_or_a_surprise(schema, tokens, who):
    statuses = Counter()
    headers = {"Authorization": f"Bearer {tokens[who]}"}
    for found in schema.get_all_operations():
        operation = found.ok()
        modes = [GenerationMode.POSITIVE] + [GenerationMode.NEGATIVE] * (operation.method == "post")
        cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

        @settings(
            max_examples=scaled(CASES * len(modes)),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases)
        def ask(case):
            response = case.call(headers=headers)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        ask()
    print(who, dict(sorted(statuses.items())))
    assert set(statuses) <= {200, 400, 401, 403, 404, 409, 413, 422, 503}
    assert who != "stranger" or set(statuses) <= {200, 400, 401, 422}


INJECTIONS = [
    *("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "....//....//etc/passwd", "/etc/passwd", "file:///etc/passwd"),
    *("..\\..\\windows\\win.ini", "%00", "\x00", "a\x00.txt", "C:\\", "\\\\host\\share", "~root", "."),
    *("'; DROP TABLE tokens; --", "' OR '1'='1", '" OR ""="', "1; ATTACH 'x' AS y", "read_csv('/etc/passwd')"),
    *("${jndi:ldap://x}", "{{7*7}}", "<script>alert(1)</script>", "$(id)", "`id`", "| id", "%n%s%x", "\r\nX-A: b"),
    *(
        "\U0001d54a",
        "é" * 500,
        "\u202e",
        "\ufeff",
        "null",
        "None",
        "true",
        "-1",
        "9" * 400,
        "1e999",
        "__proto__",
        "constructor",
    ),
]
ROW = {"click": 1, "shopper": "a", "at": "2024-01-31T00:00:00Z", "seconds": 1.0}


def places(text):
    """Every field of every route that takes text, with this text in it."""
    from urllib.parse import quote

    name = quote(text, safe="")
    yield "GET", f"/v1/models/{name}", None
    yield "GET", f"/{name}", None
    yield "GET", f"/v1/models?{name}={name}", None
    yield "POST", f"/v1/models/{name}/predict", {"rows": [{"customer": 1}]}
    yield "POST", "/v1/models/splurge/predict", {"rows": [{text: 1}]}
    yield "POST", "/v1/models/splurge/predict", {"rows": [{"customer": text, "budget": text}]}
    yield "POST", "/v1/models/splurge/predict", {"rows": [{"customer": 1}], "alias": text}
    yield "POST", "/v1/models/splurge/predict", {"rows": [{"customer": 1}], "request_id": text}
    yield "POST", "/v1/models/splurge/predict", {"rows": [{"customer": 1}], "consumer": text}
    yield "POST", "/v1/features/online", {"features": [text], "keys": [{"customer": 1}]}
    yield "POST", "/v1/features/online", {"features": ["spending"], "keys": [{"customer": text}]}
    yield "POST", "/v1/features/online", {"features": ["spending"], "keys": [{text: text, "customer": 1}]}
    yield "POST", f"/v1/vectors/{name}/search", {"query": "wine"}
    for mode in ("text", "vector", "hybrid"):
        yield "POST", "/v1/vectors/texts/search", {"query": text, "mode": mode}
    yield "POST", "/v1/vectors/texts/search", {"query": "wine", "mode": text, "at": text}
    yield "POST", "/v1/vectors/texts/search", {"query": "wine", "where": {"text": text}}
    yield "POST", "/v1/vectors/texts/search", {"query": "wine", "where": {text: 1}}
    for verb in ("duplicates", "cluster"):
        yield "POST", f"/v1/vectors/{name}/{verb}", {}
        yield "POST", f"/v1/vectors/texts/{verb}", {"at": text}
    yield "GET", f"/vectors/{name}", None
    yield "GET", f"/vectors/texts?q={name}&at={name}&mode={name}", None
    yield "GET", f"/sql?q={name}&chart={name}&x={name}&saved={name}&table={name}&run={name}", None
    yield "GET", f"/sql/file?q={name}&kind=csv&run={name}", None
    yield "POST", f"/v1/sources/{name}/push", {"rows": [ROW]}
    yield "POST", "/v1/sources/clicks/push", {"rows": [{**ROW, "shopper": text}]}
    yield "POST", "/v1/sources/clicks/push", {"rows": [{**ROW, text: text}]}
    yield "POST", "/v1/sources/clicks/push", {"rows": [{**ROW, "at": text}]}
    yield "POST", "/v1/sources/clicks/push", {"rows": [ROW], "batch_id": text}
    yield "POST", "/v1/outcomes", {"outcomes": [{"prediction_id": text, "value": text}]}
    yield "POST", "/v1/outcomes", {text: text}
    yield "POST", f"/v1/jobs/{name}/start", {}
    yield "POST", f"/v1/jobs/{name}/rerun", {"due": text}
    yield "POST", f"/v1/jobs/{name}/pause", {text: text}


def test_no_text_leads_anywhere(server, tokens, path):
    """A text in any field is a name that is not there, a value, or an error of the client; nothing of the system comes back."""
    import httpx

    before = sorted(one for one in path.parent.rglob("*") if one.suffix in (".txt", ".csv", ".ini"))
    statuses = Counter()
    with httpx.Client(
        base_url=server.url, headers={"authorization": f"Bearer {tokens['admin']}"}, timeout=60
    ) as client:
        for text in INJECTIONS:
            for method, address, body in places(text):
                response = client.request(method, address, json=body)
                statuses[response.status_code] += 1
                assert response.status_code < 500, (method, address, body, response.text)
                assert "root:x:" not in response.text
                assert "Traceback" not in response.text
        assert client.get("/v1/models").status_code == 200
    print(dict(statuses))
    assert sorted(one for one in path.parent.rglob("*") if one.suffix in (".txt", ".csv", ".ini")) == before
    with tm.connect(path) as ws:
        assert len(ws.tokens.list()) == len(ROLES)
        assert not ws.sql("SELECT 1 AS one WHERE false").height
