"""Models in MLflow's protocol: names word for word, versions of opaque files, and models of this workspace beside them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inside import environment_of
from mlflow_calls import asked

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError
from tinymlops.records import ModelVersion
from tinymlops.registry.opaque.registered import slug_of


@pytest.fixture
def calls(workspace):
    with asked(workspace) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One workspace for tests that leave nothing behind."""
    with tm.connect(tmp_path_factory.mktemp("shared") / "shop.tm", create=True) as ws, asked(ws) as found:
        yield found


def logged(calls, name="model", **fields):
    """Log a model with one file; return its id."""
    model = calls.post("logged-models", experiment_id="0", name=name, **fields)["model"]["info"]["model_id"]
    assert calls.put(f"models/{model}/data/model.pkl", b"never opened").status_code == 200
    return model


def registered(calls, name, source):
    return calls.post("model-versions/create", name=name, source=source)["model_version"]


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Churn Model (EU)", "churn-model-eu"),
        ("churn", "churn"),
        ("CHURN_2", "churn_2"),
        ("2 Towers", "model-2-towers"),
        ("x" * 200, "x" * 63),
        ("--a--", "a"),
    ],
)
def test_a_slug_is_the_name_in_lower_case(title, slug):
    assert slug_of(title) == slug


@given(st.text(min_size=1, max_size=260))
def test_every_title_has_a_slug_that_is_a_name_or_is_refused(title):
    try:
        slug = slug_of(title)
    except DataError:
        return
    assert 0 < len(slug) <= 63
    assert slug[0].isascii()
    assert slug[0].islower()
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


def test_a_name_is_kept_word_for_word_and_its_slug_is_taken(workspace, calls):
    calls.post("registered-models/create", name="Churn Modell ü", description="d", tags=[{"key": "a", "value": "b"}])
    found = calls.get("registered-models/get", name="Churn Modell ü")["registered_model"]
    assert (found["name"], found["description"]) == ("Churn Modell ü", "d")
    (kept,) = workspace.models.registered.list()
    assert (kept.name, kept.title, kept.tags) == ("churn-modell", "Churn Modell ü", {"a": "b"})
    again = {"name": "Churn Modell ü"}
    calls.refused(400, "RESOURCE_ALREADY_EXISTS", "POST", "registered-models/create", again)
    message = calls.refused(
        400, "INVALID_PARAMETER_VALUE", "POST", "registered-models/create", {"name": "churn modell"}
    )
    assert "would be called 'churn-modell' here, as 'Churn Modell ü' is" in message
    for name in ("", "  ", "a/b", "a:b", "a\x00b", "x" * 300):
        calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "registered-models/create", {"name": name})
    near = calls.refused(404, "RESOURCE_DOES_NOT_EXIST", "GET", "registered-models/get", name="Churn Model ü")
    assert "did you mean 'Churn Modell ü'?" in near


def test_an_opaque_model_is_never_loaded_here(workspace, calls):
    calls.post("registered-models/create", name="Churn Model")
    registered(calls, "Churn Model", f"models:/{logged(calls)}")
    for reference in ("churn-model", "churn-model@champion", "churn-model:1"):
        with pytest.raises(DataError, match="opaque") as raised:
            workspace.load_model(reference)
        assert "mlflow.pyfunc.load_model('models:/Churn Model/1')" in raised.value.hint
    with pytest.raises(DataError, match="opaque"):
        workspace.predict("churn-model", [{"a": 1}])
    assert workspace.models.list() == []
    assert "churn-model" in repr(workspace.models.registered)
    assert [one.name for one in workspace.models.opaque.list()] == ["model"]


def test_files_of_a_registered_model_stay_as_they_are(calls):
    model = logged(calls)
    path = f"models/{model}/data/model.pkl"
    assert calls.put(path, b"changed before").status_code == 200
    calls.post("registered-models/create", name="m")
    registered(calls, "m", f"models:/{model}")
    assert calls.put(path, b"changed before").status_code == 200
    for other, content in ((path, b"changed after"), (f"models/{model}/new", b"x")):
        answer = calls.put(other, content)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert calls.client.delete(f"/api/2.0/mlflow-artifacts/artifacts/{path}").status_code == 400
    calls.send("DELETE", f"logged-models/{model}", {"model_id": model})
    assert calls.fetch(path).content == b"changed before"
    assert calls.get("model-versions/get-download-uri", name="m", version=1) == {
        "artifact_uri": f"mlflow-artifacts:/models/{model}"
    }


def test_the_number_of_a_deleted_version_is_not_used_again(calls):
    model = logged(calls)
    calls.post("registered-models/create", name="m")
    assert [registered(calls, "m", f"models:/{model}")["version"] for _ in range(3)] == ["1", "2", "3"]
    calls.post("registered-models/alias", name="m", alias="prod", version="3")
    assert calls.send("DELETE", "model-versions/delete", {"name": "m", "version": "3"}).status_code == 200
    calls.refused(404, "RESOURCE_DOES_NOT_EXIST", "GET", "registered-models/alias", name="m", alias="prod")
    calls.refused(404, "RESOURCE_DOES_NOT_EXIST", "GET", "model-versions/get", name="m", version=3)
    assert registered(calls, "m", f"models:/{model}")["version"] == "4"


@pytest.mark.parametrize(
    "source", ["s3://bucket/x", "/etc/passwd", "file:///etc", "../x", "", "models:/m-1", "runs:/x/y"]
)
def test_sources_that_are_not_kept_here_are_refused(shared, source):
    name = f"m{source.encode().hex()}"
    shared.post("registered-models/create", name=name)
    answer = shared.send("POST", "model-versions/create", {"name": name, "source": source})
    assert answer.status_code in (400, 404), answer.text
    assert shared.get("model-versions/search") == {"model_versions": []}


def test_files_of_a_run_become_a_model_without_being_copied(workspace, calls):
    run = calls.run()
    for name in ("model/MLmodel", "model/data/m.bin", "modelling.txt"):
        calls.put(f"runs/{run}/{name}", name.encode())
    calls.post("registered-models/create", name="m")
    version = registered(calls, "m", f"runs:/{run}/model")
    assert (version["run_id"], version["status"]) == (run, "READY")
    files = {one.name: one.sha256 for one in workspace.models.opaque.files(version["model_id"])}
    artifacts = {one.name: one.sha256 for one in workspace.runs.artifacts(run)}
    assert files == {"MLmodel": artifacts["model/MLmodel"], "data/m.bin": artifacts["model/data/m.bin"]}
    message = {"name": "m", "source": f"runs:/{run}/none"}
    calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "model-versions/create", message)


def test_metrics_of_a_logged_model_are_the_last_of_each(calls):
    model, run = logged(calls), calls.run()
    for value, step in ((1.0, 0), (3.0, 2), (2.0, 1), ("NaN", 3)):
        calls.post("runs/log-metric", run_id=run, key="acc", value=value, timestamp=1, step=step, model_id=model)
    calls.post("runs/log-metric", run_id=run, key="acc", value=9, timestamp=1, model_id=model, dataset_name="d")
    metrics = calls.get(f"logged-models/{model}")["model"]["data"]["metrics"]
    assert {one.get("dataset_name"): one["value"] for one in metrics} == {None: "NaN", "d": 9.0}
    found = calls.post(
        "logged-models/search", experiment_ids=["0"], datasets=[{"dataset_name": "d"}], filter="metrics.acc > 5"
    )
    assert [one["info"]["model_id"] for one in found["models"]] == [model]
    calls.refused(400, "INVALID_PARAMETER_VALUE", "PATCH", f"logged-models/{model}", {"status": "LOGGED_MODEL_DONE"})
    calls.post(f"logged-models/{model}/params", params=[{"key": "a", "value": "1"}])
    other = {"params": [{"key": "a", "value": "2"}]}
    calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", f"logged-models/{model}/params", other)


def test_models_of_this_workspace_are_read_and_promoted_and_not_changed(served):
    with asked(served) as calls:
        found = calls.get("registered-models/get", name="splurge")["registered_model"]
        assert [(one["alias"], one["version"]) for one in found["aliases"]] == [("champion", "1")]
        versions = calls.get("model-versions/search", filter="name = 'splurge'")["model_versions"]
        assert [(one["version"], one["source"]) for one in versions] == [
            ("2", "tinymlops:/splurge/2"),
            ("1", "tinymlops:/splurge/1"),
        ]
        calls.post("registered-models/alias", name="splurge", alias="challenger", version="2")
        assert served.models.get("splurge@challenger").version == 2
        alias = calls.get("registered-models/alias", name="splurge", alias="challenger")
        assert alias["model_version"]["version"] == "2"
        message = calls.refused(
            400, "INVALID_PARAMETER_VALUE", "GET", "model-versions/get-download-uri", name="splurge", version=1
        )
        assert "/v1/models/splurge/invocations" in message
        for method, path, body in (
            ("DELETE", "registered-models/delete", {"name": "splurge"}),
            ("DELETE", "model-versions/delete", {"name": "splurge", "version": "1"}),
            ("POST", "registered-models/set-tag", {"name": "splurge", "key": "a", "value": "b"}),
            ("POST", "model-versions/create", {"name": "splurge", "source": f"models:/{logged(calls)}"}),
        ):
            assert "is a model of this workspace" in calls.refused(400, "INVALID_PARAMETER_VALUE", method, path, body)
        calls.refused(400, "RESOURCE_ALREADY_EXISTS", "POST", "registered-models/create", {"name": "splurge"})
        calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "registered-models/create", {"name": "SPLURGE"})
        calls.post("registered-models/create", name="Opaque One")
        with pytest.raises(DataError, match="was registered by a client of MLflow"):
            served.register_model("opaque-one", run=served.runs.search()[-1].id)
        assert served.models.get("splurge") == served.models.versions("splurge")[0]
        assert isinstance(served.models.get("splurge"), ModelVersion)


def test_registered_models_are_found_page_by_page(calls):
    for number in range(7):
        calls.post("registered-models/create", name=f"m{number}", tags=[{"key": "odd", "value": str(number % 2)}])
    found, token = [], ""
    while True:
        page = calls.get("registered-models/search", filter="tags.odd = '1'", max_results=2, page_token=token)
        found += [one["name"] for one in page["registered_models"]]
        token = page.get("next_page_token")
        if not token:
            break
    assert found == ["m1", "m3", "m5"]
    ordered = calls.get("registered-models/search", filter="name LIKE 'm%'", order_by=["name DESC"])
    assert [one["name"] for one in ordered["registered_models"]] == [f"m{number}" for number in range(6, -1, -1)]


def test_what_was_registered_is_found_by_search_and_sql(workspace, calls):
    calls.post("registered-models/create", name="Churn Model", description="who leaves")
    registered(calls, "Churn Model", f"models:/{logged(calls, name='booster')}")
    assert "churn-model" in [one.name for one in workspace.search("leaves")]
    assert "booster" in [one.name for one in workspace.search("booster")]
    assert workspace.sql("select name, version from opaque_models").to_dicts() == [
        {"name": "churn-model", "version": 1}
    ]


def test_gc_keeps_the_files_of_models_until_they_are_purged(workspace, calls):
    model = logged(calls)
    calls.post("registered-models/create", name="m")
    registered(calls, "m", f"models:/{model}")
    calls.send("DELETE", f"logged-models/{model}", {"model_id": model})
    workspace.gc(grace="1us")
    assert calls.fetch(f"models/{model}/data/model.pkl").content == b"never opened"
    with pytest.raises(ConflictError, match="a version was registered"):
        workspace.models.opaque.purge(model)
    calls.send("DELETE", "registered-models/delete", {"name": "m"})
    (file,) = workspace.models.opaque.files(model)
    workspace.models.opaque.purge(model)
    assert calls.fetch(f"models/{model}/data/model.pkl").status_code == 404
    workspace.gc(grace="1us")
    assert not environment_of(workspace).blobs.exists(file.sha256)
