"""The routes, each with good and bad requests."""

import logging
import sqlite3
import threading
from datetime import datetime

import msgspec
import pytest
from inside import database_of, environment_of
from litestar.testing import TestClient
from served_shop import NOW
from sklearn.dummy import DummyClassifier

import tinymlops as tm
from tinymlops import errors
from tinymlops.errors import (
    AccessError,
    ConflictError,
    DataError,
    DefinitionError,
    IntegrityError,
    LeakageError,
    MissingDependencyError,
    NotFoundError,
    TinyMLOpsError,
    UnavailableError,
    UntrustedModelError,
)
from tinymlops.records import Outcome, Prediction
from tinymlops.server.errors import answer

LOCAL = "http://127.0.0.1:8000"
PREDICT = "/v1/models/splurge/predict"
ONLINE = "/v1/features/online"
CLICKS = "/v1/sources/clicks/push"
OUTCOMES = "/v1/outcomes"
ROW = {"customer": 1, "budget": 30.0}
WRITES = {
    PREDICT: {"rows": [ROW]},
    ONLINE: {"features": ["spending"], "keys": [{"customer": 1}]},
    CLICKS: {"rows": [{"click": 1, "shopper": "a", "at": "2024-01-31T00:00:00Z", "seconds": 1.0}]},
    OUTCOMES: {"outcomes": [{"prediction_id": "nobody", "value": 1}]},
}
JSON = {"content-type": "application/json"}


@pytest.fixture
def client(served):
    with TestClient(tm.create_app(served), base_url=LOCAL) as client:
        yield client


def failed(response, status, message, hint="", kind="DataError"):
    """Check an error's status and its whole body."""
    assert response.status_code == status, response.text
    assert response.json() == {"error": message, "hint": hint, "type": kind}


def predicted(ws, reference, rows, **options):
    """Answers without their ids."""
    return [
        {name: value for name, value in row.items() if name != "id"} for row in ws.predict(reference, rows, **options)
    ]


# Predict


def test_a_prediction_is_what_the_workspace_predicts(client, served):
    response = client.post(PREDICT, json={"rows": [ROW, {"customer": 2, "budget": None}]})
    body = response.json()
    assert response.status_code == 200
    assert [body["model"], body["version"], body["timestamp"]] == ["splurge", 1, "2024-02-01T00:00:00Z"]
    assert body["sequence"] == served.get_online_features(["spending"], [ROW]).sequence
    answers = [{name: value for name, value in row.items() if name != "id"} for row in body["predictions"]]
    assert answers == predicted(served, "splurge@champion", [ROW, {"customer": 2, "budget": None}])
    assert [row["prediction"] for row in answers] == [True, False]


def test_every_answer_has_an_id_under_which_it_is_logged_with_its_features(client, served):
    body = client.post(PREDICT, json={"rows": [ROW, ROW], "sync": True}).json()
    ids = [row["id"] for row in body["predictions"]]
    assert len(set(ids)) == 2
    logged = database_of(served).get(Prediction, id=ids[0])
    assert (logged.model, logged.version, logged.at) == ("splurge", 1, NOW)
    assert logged.features["last_amount"] == served.get_online_features(["spending"], [ROW]).to_dict()["last_amount"][0]
    assert logged.request == ROW


def test_a_prediction_that_is_not_synchronous_is_durable_once_the_application_has_ended(served):
    with TestClient(tm.create_app(served), base_url=LOCAL) as client:
        body = client.post(PREDICT, json={"rows": [ROW]}).json()
    assert database_of(served).get(Prediction, id=body["predictions"][0]["id"]) is not None


def test_champion_answers_by_default_and_the_newest_where_there_is_none(client, served):
    assert client.post(PREDICT, json={"rows": [ROW]}).json()["version"] == 1
    served.register_model("plain", run=served.search_runs()["id"][0])
    served.register_model("plain", run=served.search_runs()["id"][0])
    assert client.post("/v1/models/plain/predict", json={"rows": [ROW]}).json()["version"] == 2


def test_a_bare_name_and_latest_mean_the_same_here_as_in_python(client, served):
    for version, body in [
        (served.predict("splurge", [ROW]).version, {}),
        (served.predict("splurge@latest", [ROW]).version, {"alias": "latest"}),
    ]:
        assert client.post(PREDICT, json={"rows": [ROW], **body}).json()["version"] == version
    assert client.get("/v1/models/splurge").json()["version"] == served.load_model("splurge").version == 1
    assert served.monitor("splurge").version == 1
    assert served.load_model("splurge@latest").version == len(served.models.versions("splurge")) > 1


def test_a_version_or_an_alias_can_be_named(client, served):
    body = client.post(PREDICT, json={"rows": [ROW], "version": 2}).json()
    assert body["version"] == 2
    assert body["predictions"][0]["probability"] == served.predict("splurge:2", [ROW])[0]["probability"]
    assert client.post(PREDICT, json={"rows": [ROW], "alias": "champion"}).json()["version"] == 1


def test_full_rows_of_features_can_be_sent(client, served):
    row = {"last_amount": 50.0, "spent_7d": 400.0, "left": -20.0}
    body = client.post(PREDICT, json={"rows": [row]}).json()
    assert body["sequence"] is None
    assert body["predictions"][0]["probability"] == served.predict("splurge:1", [row])[0]["probability"]


def test_details_add_the_status_of_each_feature(client, served):
    body = client.post(PREDICT, json={"rows": [{"customer": 99, "budget": 1.0}], "details": True}).json()
    without_id = {name: value for name, value in body["predictions"][0].items() if name != "id"}
    assert [without_id] == predicted(served, "splurge@champion", [{"customer": 99, "budget": 1.0}], details=True)
    assert without_id["status"]["last_amount"] == "NOT_FOUND"


def test_the_time_is_the_workspaces_clock(shop_path):
    clock = tm.ReplayClock(NOW)
    with tm.connect(shop_path, clock=clock) as ws, TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        clock.advance("90m")
        for route in (PREDICT, ONLINE):
            moment = client.post(route, json=WRITES[route]).json()["timestamp"]
            assert datetime.fromisoformat(moment) == clock()


def test_many_may_ask_at_once(client, served):
    """Forty threads ask for rows of their own; each gets its own answer."""
    expected = {who: predicted(served, "splurge:1", [{"customer": who, "budget": 5.0}]) for who in range(10)}
    wrong = []

    def ask(who):
        for _ in range(3):
            body = client.post(PREDICT, json={"rows": [{"customer": who, "budget": 5.0}]}).json()
            got = [{name: value for name, value in row.items() if name != "id"} for row in body["predictions"]]
            if got != expected[who]:
                wrong.append((who, body))

    threads = [threading.Thread(target=ask, args=(number % 10,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_unknown_model_is_named_with_its_near_match(client):
    failed(
        client.post("/v1/models/splurg/predict", json={"rows": [ROW]}),
        404,
        "there is no model 'splurg'",
        "did you mean 'splurge'?",
        "NotFoundError",
    )


@pytest.mark.parametrize("name", ["splurge@", "splurge:x", "splurge@2", "Splurge", "splurge%00", "..%2f..", "é"])
def test_what_is_no_name_of_a_model_is_not_found(client, name):
    for response in (client.post(f"/v1/models/{name}/predict", json={"rows": [ROW]}), client.get(f"/v1/models/{name}")):
        assert response.status_code == 404, response.text
        assert response.json()["type"] in ("NotFoundError", "NotFound")


@pytest.mark.parametrize(("name", "version"), [("splurge@champion", 1), ("splurge@v2", 2), ("splurge:2", 2)])
def test_the_address_may_name_a_version(client, name, version):
    answer = client.post(f"/v1/models/{name}/predict", json={"rows": [ROW]}).json()
    assert (answer["model"], answer["version"]) == ("splurge", version)
    shown = client.get(f"/v1/models/{name}").json()
    assert (shown["name"], shown["version"]) == ("splurge", version)
    twice = client.post(f"/v1/models/{name}/predict", json={"rows": [ROW], "version": 1})
    assert twice.status_code == 422
    assert twice.json()["hint"] == "post to /v1/models/splurge/predict"


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ({"alias": "champio"}, "model 'splurge' has no alias 'champio'", "did you mean 'champion'?"),
        ({"version": 7}, "model 'splurge' has no version 7", None),
    ],
)
def test_an_unknown_version_or_alias_is_not_found(client, asked, message, hint):
    response = client.post(PREDICT, json={"rows": [ROW], **asked})
    assert (response.status_code, response.json()["error"]) == (404, message)
    assert hint is None or response.json()["hint"] == hint


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"budget": 1.0}, "customer"),
        ({"customer": 1}, "budget"),
        ({"customer": "1", "budget": 1.0}, "customer"),
        ({"customer": 1.5, "budget": 1.0}, "customer"),
        ({"customer": True, "budget": 1.0}, "customer"),
        ({"customer": [1], "budget": 1.0}, "customer"),
        ({"customer": 1, "budget": "much"}, "budget"),
        ({}, "customer"),
    ],
)
def test_a_missing_or_mistyped_field_is_named(client, row, names):
    response = client.post(PREDICT, json={"rows": [row]})
    assert (response.status_code, response.json()["type"]) == (422, "DataError"), response.text
    assert repr(names) in response.json()["error"]


# Features


def test_online_features_are_what_the_workspace_reads(client, served):
    rows = [{"customer": 1, "budget": 5.5}, {"customer": 99, "budget": None}]
    body = client.post(ONLINE, json={"features": ["spending", "room"], "keys": rows}).json()
    found = served.get_online_features(["spending", "room"], rows)
    assert body["rows"] == found.to_polars().to_dicts()
    assert (body["timestamp"], body["sequence"]) == ("2024-02-01T00:00:00Z", found.sequence)
    assert body["rows"][1]["last_amount"] is None


def test_single_features_details_and_columns_of_keys(client):
    body = client.post(
        ONLINE, json={"features": ["spending:last_amount"], "keys": {"customer": [1, 2]}, "details": True}
    ).json()
    assert [set(row) for row in body["rows"]] == [
        {"customer", "last_amount", "last_amount_status", "last_amount_event_time"}
    ] * 2
    assert body["rows"][0]["last_amount_status"] == "PRESENT"
    assert datetime.fromisoformat(body["rows"][0]["last_amount_event_time"]).utcoffset() is not None


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({"features": ["spendin"], "keys": [{"customer": 1}]}, 404, "there is no feature view 'spendin'"),
        ({"features": ["spending:last"], "keys": [{"customer": 1}]}, 404, "has no feature 'last'"),
        ({"features": ["spending"], "keys": [{"custome": 1}]}, 422, "'customer'"),
        ({"features": ["spending"], "keys": {"customer": [1, 2], "x": [1]}}, 422, "cannot be read as a table"),
        ({"features": ["spending"], "keys": [{"customer": 1}, {"customer": "a"}]}, 422, "'customer' mixes types"),
        ({"features": ["spending"], "keys": {}}, 422, "no keys were given"),
        ({"features": ["spending", "room"], "keys": [{"customer": 1}]}, 422, "'budget'"),
    ],
)
def test_features_that_cannot_be_read_are_named(refusing, asked, status, message):
    response = refusing.post(ONLINE, json=asked)
    assert response.status_code == status, response.text
    assert message in response.json()["error"]


def test_no_keys_give_no_rows(client):
    assert client.post(ONLINE, json={"features": ["spending"], "keys": {"customer": []}}).json()["rows"] == []


# Push


def test_a_pushed_row_is_read_at_once_and_counted_once(client):
    rows = [{"click": 11, "shopper": "ann", "at": "2024-01-31T23:00:00Z", "seconds": 12.5}]
    first = client.post(CLICKS, json={"rows": rows})
    again = client.post(CLICKS, json={"rows": rows})
    assert (first.status_code, again.status_code) == (200, 200), first.text
    assert first.json()["rows_new"] == 1
    assert again.json()["rows_new"] == 0
    assert again.json()["sequence"] == first.json()["sequence"]
    body = client.post(ONLINE, json={"features": ["interest"], "keys": [{"shopper": "ann"}]}).json()
    # A window ends just before the moment it is read at, and the clock stands still.
    assert body["rows"] == [{"shopper": "ann", "last_seconds": 12.5, "clicks_1d": 0}]


def test_a_batch_without_ids_is_known_by_its_name(client):
    rows = [{"shopper": "ann", "at": "2024-01-31T23:00:00Z", "strength": 3}]
    for expected in (1, 0):
        body = client.post("/v1/sources/pings/push", json={"rows": rows, "batch_id": "phone-1"}).json()
        assert (body["rows_new"], body["batch_id"]) == (expected, "phone-1")


def test_a_batch_without_ids_and_without_a_name_is_refused(client, served):
    before = database_of(served).sequence()
    rows = [{"shopper": "ann", "at": "2024-01-31T23:00:00Z", "strength": 3}]
    for body in ({"rows": rows}, {"rows": rows, "batch_id": None}):
        response = client.post("/v1/sources/pings/push", json=body)
        assert response.status_code == 422
        assert "source 'pings' has no id, so a push to it needs a batch_id" in response.json()["error"]
        assert "the same one when you try again" in response.json()["hint"]
    assert database_of(served).sequence() == before


@pytest.mark.parametrize(
    ("name", "row", "status", "names"),
    [
        ("click", {"click": 1}, 404, "click"),
        ("orders", {"order": 1}, 422, "orders"),
        ("clicks", {"click": 21, "shopper": "a", "at": "2024-01-31T23:00:00Z"}, 422, "seconds"),
        ("clicks", {"click": 22, "shopper": "a", "at": "yesterday", "seconds": 1.0}, 422, "at"),
        ("clicks", {"click": 23, "shopper": 5, "at": "2024-01-31T23:00:00Z", "seconds": 1.0}, 422, "shopper"),
        ("clicks", {"click": 24, "shopper": "a", "at": "2024-01-31T23:00:00Z", "seconds": 1.0, "x": 1}, 422, "x"),
        ("clicks", {"click": 25, "shopper": "a", "at": None, "seconds": 1.0}, 422, "at"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_none_is_stored(client, served, name, row, status, names):
    before = database_of(served).sequence()
    good = {"click": 20, "shopper": "a", "at": "2024-01-31T23:00:00Z", "seconds": 1.0}
    response = client.post(f"/v1/sources/{name}/push", json={"rows": [good, row]})
    assert response.status_code == status, response.text
    assert repr(names) in response.json()["error"]
    assert database_of(served).sequence() == before


# Outcomes


def test_outcomes_come_back_to_their_predictions(client, served):
    ids = [row["id"] for row in client.post(PREDICT, json={"rows": [ROW, ROW, ROW]}).json()["predictions"]]
    outcomes = [{"prediction_id": one, "value": value} for one, value in zip(ids, [True, False, None], strict=True)]
    assert client.post(OUTCOMES, json={"outcomes": outcomes}).json() == {"outcomes": 3, "unknown": 0, "replaced": 0}
    stored = [database_of(served).get(Outcome, prediction_id=one).value for one in ids]
    assert stored == [1, 0, None]


def test_an_outcome_of_a_prediction_that_is_not_known_is_kept(client):
    body = client.post(OUTCOMES, json={"outcomes": [{"prediction_id": "later", "value": 1.5}]}).json()
    assert body == {"outcomes": 1, "unknown": 1, "replaced": 0}


def test_an_outcome_without_a_value_is_refused(client):
    failed(
        client.post(OUTCOMES, json={"outcomes": [{"prediction_id": "later"}]}),
        422,
        "the body cannot be accepted: Object missing required field `value` - at `$.outcomes[0]`",
    )


# Models


def test_models_are_listed_with_versions_and_aliases(client, served):
    (model,) = [one for one in client.get("/v1/models").json()["models"] if one["name"] == "splurge"]
    newest = served.models.get("splurge@latest")
    assert model["aliases"] == {"champion": 1}
    assert (model["newest"]["version"], model["newest"]["run"]) == (2, newest.run)


def test_a_model_shows_what_it_takes_and_gives(client, served):
    body = client.get("/v1/models/splurge").json()
    assert (body["name"], body["version"]) == ("splurge", 1)
    assert [one["version"] for one in body["versions"]] == [1, 2]
    assert [(one["alias"], one["version"]) for one in body["aliases"]] == [("champion", 1)]
    signature = msgspec.to_builtins(served.load_model("splurge:1").signature)
    assert body["signature"] == signature
    assert [field["name"] for field in body["signature"]["features"]] == ["last_amount", "spent_7d", "left"]


def test_an_unknown_model_has_nothing_to_show(client):
    response = client.get("/v1/models/splurg")
    assert (response.status_code, response.json()["hint"]) == (404, "did you mean 'splurge'?")


# Health


def test_a_server_is_up_and_ready(client):
    assert client.get("/healthz").json() == {"status": "up"}
    ready = client.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["ages"].keys() >= {"orders", "visits"}


def test_a_damaged_model_makes_it_unready_and_is_named(client, served):
    """The file of a version that nobody has loaded yet is another one by now; the process is up all the same."""
    data = served.get_training_data("visits_to_orders")
    with served.start_run("mean", data=data) as run:
        run.log_model(DummyClassifier().fit(data.train.X, data.train.y))
    version = served.register_model("torn", run=run, alias="champion")
    file = environment_of(served).blobs.path(version.manifest_sha256)
    content = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(content.replace(b"protocol", b"protokol"))
    try:
        response = client.get("/readyz")
        assert (response.status_code, response.json()["type"]) == (503, "IntegrityError")
        assert response.json()["error"].startswith("torn@champion: ")
        assert client.get("/healthz").status_code == 200
        broken = client.post("/v1/models/torn/predict", json={"rows": [ROW]})
        assert (broken.status_code, broken.json()["type"]) == (500, "IntegrityError")
    finally:
        file.write_bytes(content)
    assert client.get("/readyz").status_code == 200


CODE = """
import polars as pl
import tinymlops as tm

project = tm.Project("p")
customer = project.entity("customer", key="customer")

@project.source(timestamp="at")
def orders() -> pl.DataFrame:
    return pl.DataFrame({{"customer": [1], "at": [__import__("datetime").datetime(2024, 1, 1)], "amount": [2.0]}}).with_columns(
        pl.col("at").dt.replace_time_zone("UTC"))

@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    return {{"amount": orders["amount"].last()}}

@project.on_demand
def more(spending: tm.Inputs) -> dict[str, pl.Expr]:
    return {{"twice": spending["amount"] * {factor}}}
"""


def test_code_that_is_not_what_was_applied_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "shop_code.py"
    module.write_text(CODE.format(factor=2))
    asked = {"features": ["spending", "more"], "keys": [{"customer": 1}]}
    import shop_code

    with tm.connect(tmp_path / "p.tm", create=True) as ws:
        ws.apply(shop_code.project)
        ws.ingest()
        with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
            assert client.get("/readyz").status_code == 200
            assert client.post(ONLINE, json=asked).json()["rows"] == [{"customer": 1, "amount": 2.0, "twice": 4.0}]
    module.write_text(CODE.format(factor=30))
    monkeypatch.delitem(__import__("sys").modules, "shop_code")
    __import__("linecache").checkcache()
    with tm.connect(tmp_path / "p.tm") as ws, TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["error"].startswith("more: the code of 'more' has changed since it was applied")
        assert "restart" in response.json()["hint"]
        refused = client.post(ONLINE, json=asked)
        assert (refused.status_code, refused.json()["type"]) == (503, "DefinitionError")
        fine = client.post(ONLINE, json={"features": ["spending"], "keys": [{"customer": 1}]})
        assert fine.json()["rows"] == [{"customer": 1, "amount": 2.0}]


# Bodies


@pytest.mark.parametrize("route", WRITES)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"rows": [{"a": NaN}]}',
        b'{"rows": [{"a": "\\ud800"}]}',
        b'{"rows": [{"a": "\xff"}]}',
        b'{"rows": [{"a": 1}]} and more',
        b"\x00",
        b" ",
    ],
)
def test_what_is_no_json_is_a_400(refusing, route, body):
    response = refusing.post(route, content=body, headers=JSON)
    if response.status_code == 422:  # a field that the route does not know comes first
        assert b'"rows"' in body
        assert "unknown field `rows`" in response.json()["error"]
        return
    assert (response.status_code, response.json()["type"]) == (400, "BadRequest")
    assert response.json()["error"].startswith("the body is not JSON: ")


@pytest.mark.parametrize("route", WRITES)
def test_a_missing_body_is_a_400(client, route):
    failed(client.post(route), 400, "the request has no body; send a JSON object", kind="BadRequest")


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (b'{"rowz": []}', "Object contains unknown field `rowz`", "did you mean 'rows'?"),
        (b"[]", "Expected `object`, got `array`", ""),
        (b'{"rows": []}', "Expected `array` of length >= 1 - at `$.rows`", ""),
        (b'{"rows": [7]}', "Expected `object`, got `int` - at `$.rows[0]`", ""),
        (b'{"rows": [{"a": {}}]}', "got `object` - at `$.rows[0][...]`", ""),
        (b'{"rows": [{"a": 9223372036854775808}]}', "Expected `int` <= 9223372036854775807", ""),
        (b'{"rows": [{"a": -9223372036854775809}]}', "Expected `int` >= -9223372036854775808", ""),
        (b'{"rows": [{"a": 1e999}]}', "Number out of range", ""),
        (b'{"rows": [{"a": ' + b"1" * 6000 + b"}]}", "out of range", ""),
        (b'{"rows": [{"a": ' + b"[" * 100_000, "got `array` - at `$.rows[0][...][0]`", ""),
        (b'{"rows": ' + b"[" * 100_000, "Expected `object`, got `array`", ""),
        (b'{"rows": [{"a": 1}], "version": "3"}', "Expected `int | null`, got `str` - at `$.version`", ""),
        (b'{"rows": [{"a": 1}], "version": 0}', "Expected `int` >= 1 - at `$.version`", ""),
        (b'{"rows": [{"a": 1}], "version": 9007199254740993}', "Expected `int` <= 2147483647 - at `$.version`", ""),
        (b'{"rows": [{"a": 1}], "version": 1, "alias": "a"}', "Expected `alias` or `version`, got both", ""),
        (b'{"rows": [{"a": 1}], "alias": "../x"}', "at `$.alias`", ""),
        (b'{"rows": [{"a": 1}], "details": 1}', "Expected `bool`, got `int` - at `$.details`", ""),
    ],
)
def test_json_of_another_shape_is_a_422_that_says_where(refusing, body, message, hint):
    response = refusing.post(PREDICT, content=body, headers=JSON)
    assert (response.status_code, response.json()["type"]) == (422, "DataError"), response.text
    assert response.json()["error"].startswith("the body cannot be accepted: ")
    assert message in response.json()["error"]
    assert response.json()["hint"] == hint


@pytest.mark.parametrize("customer", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_large_integers_are_exact(client, customer):
    body = client.post(ONLINE, json={"features": ["spending"], "keys": [{"customer": customer}]}).json()
    assert body["rows"][0]["customer"] == customer


def test_a_number_as_text_stays_text(client):
    rows = [{"click": 31, "shopper": "007", "at": "2024-01-31T23:00:00Z", "seconds": 1.0}]
    assert client.post(CLICKS, json={"rows": rows}).status_code == 200
    body = client.post(ONLINE, json={"features": ["interest"], "keys": [{"shopper": "007"}, {"shopper": "7"}]}).json()
    assert [row["last_seconds"] for row in body["rows"]] == [1.0, None]


def test_ids_of_10_kb_are_exact_or_refused(client):
    long = "x" * 10_000
    rows = [{"click": 41, "shopper": long, "at": "2024-01-31T23:00:00Z", "seconds": 1.0}]
    assert client.post(CLICKS, json={"rows": rows}).status_code == 200
    keys = [{"shopper": long}, {"shopper": long[:-1]}]
    body = client.post(ONLINE, json={"features": ["interest"], "keys": keys}).json()
    assert [row["last_seconds"] for row in body["rows"]] == [1.0, None]
    for response in (
        client.post(OUTCOMES, json={"outcomes": [{"prediction_id": long, "value": 1}]}),
        client.post(CLICKS, json={"rows": rows, "batch_id": long}),
        client.post(PREDICT, json={"rows": [ROW], "alias": long}),
        client.post(ONLINE, json={"features": [long], "keys": keys}),
    ):
        assert response.status_code == 422
    response = client.get(f"/v1/models/{long}")
    assert response.status_code == 404
    assert len(response.text) < 3_000


def test_too_many_rows_are_refused_with_the_limit(client):
    most = "Expected `array` of length <= 10000"
    for route, body in (
        (PREDICT, {"rows": [{}] * 10_001}),
        (ONLINE, {"features": ["spending"], "keys": [{}] * 10_001}),
        (ONLINE, {"features": ["spending"], "keys": {"customer": [1] * 10_001}}),
        (CLICKS, {"rows": [{}] * 10_001}),
        (OUTCOMES, {"outcomes": [{"prediction_id": "x", "value": 1}] * 10_001}),
    ):
        response = client.post(route, json=body)
        assert response.status_code == 422
        assert most in response.json()["error"]


def test_rows_that_are_narrow_alone_and_wide_together_are_refused(client):
    rows = [{f"c{number}_{row}": 1 for number in range(10)} for row in range(101)]
    for route, body in (
        (PREDICT, {"rows": rows}),
        (ONLINE, {"features": ["spending"], "keys": rows}),
        (CLICKS, {"rows": rows}),
    ):
        response = client.post(route, json=body)
        assert response.status_code == 422
        assert "Expected rows with <= 1000 columns together, got 1010" in response.json()["error"]


def test_a_body_that_is_too_large_is_a_413(client):
    response = client.post(PREDICT, content=b'{"rows": [' + b" " * 2**23 + b"]}", headers=JSON)
    failed(
        response,
        413,
        "the body has more than 8388608 bytes",
        "send fewer rows at a time",
        "RequestEntityTooLarge",
    )


# Errors


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (NotFoundError, 404),
        (ConflictError, 409),
        (AccessError, 403),
        (DataError, 422),
        (DefinitionError, 422),
        (LeakageError, 422),
        (UnavailableError, 503),
        (IntegrityError, 500),
        (UntrustedModelError, 500),
        (MissingDependencyError, 500),
        (TinyMLOpsError, 500),
    ],
)
def test_each_error_has_a_status(kind, status):
    response = answer(kind("it is so", hint="do this"))
    assert response.status_code == status
    assert msgspec.to_builtins(response.content) == {"error": "it is so", "hint": "do this", "type": kind.__name__}


def test_every_class_of_error_is_in_the_table_above():
    listed = {kind for kind, _ in test_each_error_has_a_status.pytestmark[0].args[1]}
    classes = {cls for cls in map(vars(errors).get, errors.__all__) if isinstance(cls, type)}
    assert listed == classes - {errors.IngestError}


def test_an_unknown_route_says_where_the_routes_are_listed(client):
    failed(client.get("/v2/x"), 404, "there is no route /v2/x", "GET /schema lists them", "NotFound")


def test_another_method_says_which_it_takes(client):
    response = client.delete("/v1/models")
    failed(response, 405, "/v1/models does not take DELETE", "it takes GET, OPTIONS", "MethodNotAllowed")
    assert response.headers["allow"] == "GET, OPTIONS"


def test_a_defect_is_logged_and_tells_the_client_nothing(client, served, monkeypatch, caplog):
    def break_down(*_):
        raise sqlite3.OperationalError("secret path /home/somebody")

    monkeypatch.setattr(served.models, "list", break_down)
    with caplog.at_level(logging.ERROR, "tinymlops.server"):
        response = client.get("/v1/models")
    failed(response, 500, "the server failed", "its log says why", "InternalServerError")
    assert "GET /v1/models failed" in caplog.text
    assert "secret path" in caplog.text


def test_a_closed_workspace_is_a_conflict(tmp_path):
    ws = tm.connect(tmp_path / "s.tm", create=True)
    app = tm.create_app(ws)
    with TestClient(app, base_url=LOCAL) as client:
        ws.close()
        response = client.get("/v1/models")
    assert response.status_code in (409, 500)
    assert set(response.json()) == {"error", "hint", "type"}


@pytest.mark.parametrize("path", ["/schema/x", "/schema/x.json", "/schema/x/y", "/schema/", "/schema/openapi.yaml"])
def test_an_unknown_path_below_the_document_is_an_error_like_any_other(client, path):
    response = client.get(path)
    if path == "/schema/":
        assert response.status_code == 200
        return
    failed(response, 404, f"there is no route {path}", "GET /schema lists them", "NotFound")


def test_a_group_of_errors_has_the_status_of_what_all_of_them_are():
    errors_by_source = {"a": DataError("x"), "b": DataError("y")}
    assert answer(errors.IngestError(errors_by_source)).status_code == 422
    assert answer(errors.IngestError({**errors_by_source, "c": IntegrityError("z")})).status_code == 500


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/v1/models", "/v1/models/splurge", "/schema", "/schema/openapi.json", *WRITES]
)
@pytest.mark.parametrize(
    "query", ["details=true", "version=2", "alias=champion", "name=x", "data=1", "", "=", "x", "%00=1"]
)
def test_a_query_parameter_that_a_route_does_not_take_is_refused(refusing, path, query):
    send = refusing.post if path in WRITES else refusing.get
    response = send(f"{path}?{query}", **({"json": WRITES[path]} if path in WRITES else {}))
    if query in ("", "="):  # which say nothing
        assert response.status_code in (200, 422)
        return
    name = query.partition("=")[0].replace("%00", "\x00")
    failed(response, 422, f"{path} takes no query parameter {name!r}", "it takes none")


def test_what_a_route_takes_in_its_query_is_read_from_its_signature(served):
    """A route of another application, under the same guard: what it names is let through, and is the hint."""
    from litestar import Litestar, get
    from litestar.params import FromPath, FromQuery

    from tinymlops.server.errors import HANDLERS
    from tinymlops.server.parameters import refuse_unknown_parameters

    @get("/runs/{name:str}", sync_to_thread=False)
    def runs(name: FromPath[str], limit: FromQuery[int] = 3) -> dict[str, int]:
        return {name: limit}

    app = Litestar([runs], before_request=refuse_unknown_parameters, exception_handlers=HANDLERS, openapi_config=None)
    with TestClient(app, base_url=LOCAL) as client:
        assert client.get("/runs/a?limit=7").json() == {"a": 7}
        failed(client.get("/runs/a?limt=7"), 422, "/runs/a takes no query parameter 'limt'", "did you mean 'limit'?")
        assert client.get("/runs/a?name=b").json()["hint"] == "it takes limit"


def test_a_field_name_of_megabytes_is_refused_at_once_and_told_short(client):
    long = "x" * (7 * 2**20)
    for route, body in (
        (PREDICT, {long: 1}),
        (PREDICT, {"rows": [{long: 1}]}),
        (ONLINE, {"features": ["spending"], "keys": {long: [1]}}),
        (ONLINE, {"features": ["spending"], "keys": [{long: 1}]}),
        (CLICKS, {"rows": [{long: 1}]}),
        (OUTCOMES, {"outcomes": [{long: 1}]}),
    ):
        response = client.post(route, json=body)
        assert (response.status_code, response.json()["type"]) == (422, "DataError")
        assert len(response.text) < 5_000


def test_column_names_have_a_limit(client):
    for length, expected in ((1_000, "has no column"), (1_001, "Expected `str` of length <= 1000")):
        response = client.post(CLICKS, json={"rows": [{**WRITES[CLICKS]["rows"][0], "x" * length: 1}]})
        assert response.status_code == 422
        assert expected in response.json()["error"]


def test_control_characters_of_a_client_do_not_reach_the_log(client, served, monkeypatch, caplog):
    def break_down(*_):
        raise sqlite3.OperationalError("\x1b]0;title\x07")

    monkeypatch.setattr(served.models, "get", break_down)
    with caplog.at_level(logging.ERROR, "tinymlops.server"):
        client.get("/v1/models/%1b[2Jx%9b")
    assert "failed" in caplog.text
    assert not set(caplog.text) & {"\x1b", "\x07", "\x9b"}
    assert "\\x1b]0;title\\x07" in caplog.text


def test_features_of_a_version_are_read_by_its_reference(client):
    asked = {"features": ["spending", "spending@v1:last_amount"], "keys": [{"customer": 1}], "details": True}
    answer = client.post(ONLINE, json=asked).json()
    (row,) = answer["rows"]
    assert row["v1_last_amount"] == row["last_amount"]
    assert answer["ended"] == {}
    wrong = client.post(ONLINE, json={**asked, "features": ["spending:last_amount@v1"]})
    assert (wrong.status_code, wrong.json()["hint"]) == (404, "write spending@v1:last_amount")
