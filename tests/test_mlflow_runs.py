"""Runs in MLflow's protocol: what is logged is what is read, here and there, and what is sent twice counts once."""

import math
import threading
from datetime import timedelta

import msgspec
import pytest
from inside import database_of, set_clock
from mlflow_calls import API, JSON, asked

import tinymlops as tm
from tinymlops.errors import ConflictError
from tinymlops.records import RunInput, TrainingSetBuild
from tinymlops.times import system_clock

NAN = ["NaN", "Infinity", "-Infinity"]


@pytest.fixture
def calls(workspace):
    with asked(workspace) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One workspace for tests that leave nothing behind."""
    with tm.connect(tmp_path_factory.mktemp("shared") / "shop.tm", create=True) as ws, asked(ws) as found:
        yield found


def point(key, value, step=0, timestamp=1_700_000_000_000):
    return {"key": key, "value": value, "step": step, "timestamp": timestamp}


def test_a_run_of_a_client_is_a_run_here(workspace, calls):
    tags = [{"key": "mlflow.note.content", "value": "why"}, {"key": "k", "value": "v"}]
    run = calls.run(run_name="base", start_time=1_700_000_000_000, user_id="ana", tags=tags)
    calls.post("runs/log-parameter", run_id=run, run_uuid=run, key="depth", value="3")
    calls.post("runs/log-metric", run_id=run, **point("auc", 0.5))
    calls.post("runs/update", run_id=run, status="FINISHED", end_time=1_700_000_001_000)
    found = workspace.runs.get(run)
    assert (found.name, found.notes, found.origin, found.status) == ("base", "why", "http", "finished")
    assert found.params == {"depth": "3"}
    assert found.metrics == {"auc": 0.5}
    assert found.tags == {"k": "v", "mlflow.user": "ana"}
    assert (found.ended_at - found.started_at) == timedelta(seconds=1)
    info = calls.get("runs/get", run_id=run)["run"]["info"]
    assert (info["status"], info["start_time"], info["end_time"]) == ("FINISHED", 1_700_000_000_000, 1_700_000_001_000)
    assert (info["user_id"], info["run_id"], info["run_uuid"], info["lifecycle_stage"]) == ("ana", run, run, "active")


def test_a_run_of_ours_is_one_of_a_client_with_its_params_as_text(workspace, calls):
    run = workspace.runs.start("ours", params={"lr": 0.1, "n": 3, "on": True, "none": None, "text": "3"})
    workspace.runs.log_metrics(run.id, {"loss": 1.0}, step=0.5)
    workspace.runs.finish(run.id, status="killed")
    found = calls.get("runs/get", run_id=run.id)["run"]
    params = {one["key"]: one["value"] for one in found["data"]["params"]}
    assert params == {"lr": "0.1", "n": "3", "on": "True", "none": "None", "text": "3"}
    assert found["info"]["status"] == "KILLED"
    for text in (
        "params.lr = '0.1'",
        "params.n = '3'",
        "params.on = 'True'",
        "params.none = 'None'",
        "params.lr LIKE '0%'",
    ):
        assert calls.names(text) == ["ours"], text
    calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "runs/update", {"run_id": run.id, "status": "RUNNING"})
    assert workspace.runs.get(run.id).status == "killed"


def test_a_batch_that_is_sent_twice_counts_once(workspace, calls):
    run = calls.run()
    batch = {
        "metrics": [point("a", float(n), n, 1_000 + n) for n in range(100)],
        "params": [{"key": "p", "value": "1"}],
    }
    for _ in range(3):
        calls.post("runs/log-batch", run_id=run, tags=[{"key": "t", "value": "u"}], **batch)
    points = workspace.runs.points(run, "a")
    assert (points.size, points.values.tolist()) == (100, [float(n) for n in range(100)])
    (summary,) = workspace.runs.summaries(run)[run]
    assert (summary.count, summary.last, summary.max) == (100, 99.0, 99.0)
    assert len(calls.get("metrics/get-history", run_id=run, metric_key="a")["metrics"]) == 100


def test_a_batch_that_is_wrong_in_one_place_leaves_nothing(workspace, calls):
    run = calls.run()
    calls.post("runs/log-parameter", run_id=run, key="p", value="1")
    wrong = {
        "run_id": run,
        "metrics": [point("a", 1.0)],
        "params": [{"key": "p", "value": "2"}, {"key": "q", "value": "1"}],
    }
    calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-batch", wrong)
    both = {"run_id": run, "params": [{"key": "x", "value": "1"}, {"key": "x", "value": "2"}]}
    assert "two values" in calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-batch", both)
    assert workspace.runs.get(run).params == {"p": "1"}
    assert workspace.runs.summaries(run).get(run, []) == []


def test_what_is_not_finite_goes_there_and_back(calls):
    run = calls.run(run_name="odd")
    values = dict(zip(("nan", "inf", "ninf"), NAN, strict=True))
    calls.post("runs/log-batch", run_id=run, metrics=[point(key, one) for key, one in values.items()])
    data = calls.get("runs/get", run_id=run)["run"]["data"]
    assert {one["key"]: one["value"] for one in data["metrics"]} == values
    assert calls.names("metrics.inf > 1e300") == calls.names("metrics.ninf < 0 and metrics.nan != 1") == ["odd"]
    assert calls.names("metrics.nan > 0") == calls.names("metrics.nan < 0") == calls.names("metrics.ninf > 0") == []
    assert calls.names(order_by=["metrics.nan DESC", "metrics.inf DESC"]) == ["odd"]


def test_the_last_value_is_of_the_greatest_step_and_time(calls):
    run = calls.run()
    for value, step, timestamp in ((1.0, 5, 10), (2.0, 3, 20), (3.0, 5, 9), (4.0, 5, 11)):
        calls.post("runs/log-metric", run_id=run, **point("m", value, step, timestamp))
    (last,) = calls.get("runs/get", run_id=run)["run"]["data"]["metrics"]
    assert (last["value"], last["step"], last["timestamp"]) == (4.0, 5, 11)


def test_numbers_may_be_text_as_protobuf_writes_them(calls):
    run = calls.run(start_time="1700000000000")
    calls.post("runs/log-metric", run_id=run, key="m", value=1, step="7", timestamp="1700000000001")
    (found,) = calls.get("metrics/get-history", run_id=run, metric_key="m", max_results=10)["metrics"]
    assert (found["step"], found["timestamp"]) == (7, 1_700_000_000_001)


def test_a_resumed_run_keeps_all_its_points(workspace, calls):
    run = calls.run()
    for value in (1.0, 2.0, 3.0):
        calls.post("runs/log-metric", run_id=run, **point("m", value, timestamp=int(value)))
        calls.post("runs/update", run_id=run, status="FINISHED", end_time=int(value))
        calls.post("runs/update", run_id=run, status="RUNNING")
    history = calls.get("metrics/get-history", run_id=run, metric_key="m")["metrics"]
    assert [one["value"] for one in history] == [1.0, 2.0, 3.0]
    assert workspace.runs.get(run).status == "running"


def test_a_run_resumed_here_shows_what_it_superseded(workspace, calls):
    run = workspace.runs.start("ours").id
    workspace.runs.log_metrics(run, {"m": 1.0}, step=0)
    workspace.runs.finish(run)
    workspace.runs.resume(run)
    workspace.runs.log_metrics(run, {"m": 2.0}, step=0)
    workspace.runs.finish(run)
    history = calls.get("metrics/get-history", run_id=run, metric_key="m")["metrics"]
    assert [one["value"] for one in history] == [1.0, 2.0]


def test_a_silent_run_is_lost_and_goes_on_when_its_client_does(tmp_path):
    now = [system_clock()]
    with tm.connect(tmp_path / "shop.tm", create=True, clock=lambda: now[0]) as ws, asked(ws) as calls:
        run = calls.run(run_name="silent")
        now[0] += timedelta(hours=20)
        calls.post("runs/log-metric", run_id=run, **point("m", 1.0))
        now[0] += timedelta(hours=20)
        assert ws.runs.get(run).status == "running"
        now[0] += timedelta(hours=20)
        assert ws.runs.get(run).status == "lost"
        assert calls.get("runs/get", run_id=run)["run"]["info"]["status"] == "KILLED"
        assert calls.names("status = 'KILLED'") == ["silent"]
        assert calls.names("status = 'RUNNING'") == []
        calls.post("runs/update", run_id=run, status="RUNNING")
        assert calls.names("status = 'RUNNING'") == ["silent"]


def test_tags_that_are_fields_here_are_fields(workspace, calls):
    parent, child = calls.run(run_name="p"), calls.run(run_name="c")
    for key, value in (("mlflow.parentRunId", parent), ("mlflow.note.content", "n"), ("mlflow.runName", "d")):
        calls.post("runs/set-tag", run_id=child, key=key, value=value)
    found = workspace.runs.get(child)
    assert (found.parent, found.notes, found.name, found.tags) == (parent, "n", "d", {})
    assert calls.names(f"tags.\"mlflow.parentRunId\" = '{parent}'") == ["d"]
    calls.post("runs/delete-tag", run_id=child, key="mlflow.parentRunId")
    assert workspace.runs.get(child).parent is None
    calls.refused(404, "RESOURCE_DOES_NOT_EXIST", "POST", "runs/delete-tag", {"run_id": child, "key": "none"})
    itself = {"run_id": child, "key": "mlflow.parentRunId", "value": child}
    calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "runs/set-tag", itself)


def test_the_trash_takes_no_points_and_gives_runs_back(workspace, calls):
    run = calls.run(run_name="gone")
    calls.post("runs/delete", run_id=run)
    calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "runs/log-metric", {"run_id": run, **point("m", 1.0)})
    assert calls.names() == []
    assert calls.names(run_view_type="DELETED_ONLY") == calls.names(run_view_type="ALL") == ["gone"]
    calls.post("runs/restore", run_id=run)
    assert calls.names() == ["gone"]
    number = calls.post("experiments/create", name="e")["experiment_id"]
    calls.post("experiments/delete", experiment_id=number)
    calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "runs/create", {"experiment_id": number})
    calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "experiments/delete", {"experiment_id": "0"})
    assert workspace.runs.experiment(int(number)).deleted_at is not None

    def found(**body):
        return [one["name"] for one in calls.post("experiments/search", **body)["experiments"]]

    assert found() == ["Default"]
    assert found(view_type="DELETED_ONLY") == ["e"]
    assert found(view_type="ALL", order_by=["name"]) == ["Default", "e"]
    assert found(view_type="ALL", filter="name = 'e' and experiment_id = '1'", max_results=1) == ["e"]


def test_a_dataset_whose_digest_is_a_build_joins_its_lineage(served):
    build = database_of(served).list(TrainingSetBuild)[0].id
    with asked(served) as calls:
        run = calls.run(run_name="trained elsewhere")
        dataset = {"name": "visits_to_orders", "digest": build, "source_type": "local", "source": "{}", "schema": "{}"}
        context = [{"key": "mlflow.data.context", "value": "training"}, {"key": "a", "value": "b"}]
        calls.post("runs/log-inputs", run_id=run, datasets=[{"dataset": dataset, "tags": context}])
        other = {**dataset, "name": "other", "digest": "abc"}
        calls.post("runs/log-inputs", run_id=run, datasets=[{"dataset": other}], models=[{"model_id": "m-1"}])
        found = calls.get("runs/get", run_id=run)["run"]["inputs"]
        model = calls.post("logged-models", experiment_id="0", name="m", source_run_id=run)["model"]["info"]["model_id"]
        calls.post("registered-models/create", name="Elsewhere")
        calls.post("model-versions/create", name="Elsewhere", source=f"models:/{model}")
    below = str(served.lineage("training_set:visits_to_orders", downstream=True))
    assert f"run trained elsewhere {run[:8]}" in below
    assert "model elsewhere:1 of MLflow" in below
    assert "trained elsewhere" in str(served.lineage("elsewhere:1", upstream=True))
    assert served.runs.get(run).training_set == build
    by_name = {one.name: one for one in database_of(served).list(RunInput, where={"run": run})}
    assert (by_name["visits_to_orders"].training_set, by_name["other"].training_set) == (build, None)
    assert by_name["visits_to_orders"].context == "training"
    assert [one["dataset"]["name"] for one in found["dataset_inputs"]] == ["other", "visits_to_orders"]
    assert found["model_inputs"] == [{"model_id": "m-1"}]


def test_deleting_a_run_for_good_takes_the_models_that_it_logged(workspace, calls):
    run = calls.run()
    model = calls.post("logged-models", experiment_id="0", name="m", source_run_id=run)["model"]["info"]["model_id"]
    assert calls.put(f"models/{model}/a.bin", b"only there").status_code == 200
    calls.post("runs/outputs", run_id=run, models=[{"model_id": model, "step": 1}])
    calls.post("runs/update", run_id=run, status="FINISHED")
    calls.post("registered-models/create", name="pins")
    calls.post("model-versions/create", name="pins", source=f"models:/{model}")
    with pytest.raises(ConflictError, match="pins:1 was registered from it"):
        workspace.runs.delete(run)
    assert calls.send("DELETE", "model-versions/delete", {"name": "pins", "version": "1"}).status_code == 200
    workspace.runs.delete(run)
    calls.refused(404, "RESOURCE_DOES_NOT_EXIST", "GET", f"logged-models/{model}")
    assert calls.fetch(f"models/{model}/a.bin").status_code == 404
    assert "was deleted at" not in calls.refused(404, "RESOURCE_DOES_NOT_EXIST", "GET", "runs/get", run_id=run)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("runs/create", {"experiment_id": "0", "run_nam": "x"}, "did you mean 'run_name'?"),
        ("runs/create", {"experiment_id": "x"}, "there is no experiment"),
        ("runs/create", {"experiment_id": "9" * 30}, "there is no experiment"),
        ("runs/create", {"start_time": 10**18}, "no time in milliseconds"),
        ("runs/log-metric", {"run_id": "RUN", "key": "m", "value": "text", "timestamp": 0}, "value"),
        ("runs/log-metric", {"run_id": "RUN", "key": "m", "value": 1, "timestamp": 0, "step": 2**63}, "64 bits"),
        ("runs/log-metric", {"run_id": "RUN", "key": "m", "value": 1, "timestamp": 0, "step": 2**60}, "too large"),
        ("runs/log-metric", {"run_id": "RUN", "key": "", "value": 1, "timestamp": 0}, "a metric's name"),
        ("runs/log-metric", {"run_id": "RUN", "key": 'a"b', "value": 1, "timestamp": 0}, "quotes"),
        ("runs/log-parameter", {"run_id": "RUN", "key": "p", "value": "x" * 20_000}, "more than 16,384"),
        ("runs/log-parameter", {"run_id": "RUN", "key": "p", "value": "x" * 1_000_000}, "65536 bytes"),
        ("runs/update", {"run_id": "RUN", "status": "DONE"}, "there is no status"),
        ("runs/search", {"run_view_type": "SOME"}, "there is no view"),
        ("runs/search", {"max_results": 10**9}, "max_results"),
        ("runs/search", {"page_token": "me"}, "page_token"),
        ("runs/log-model", {"run_id": "RUN", "model_json": "{"}, "not JSON"),
    ],
)
def test_what_cannot_be_is_named(shared, path, body, said):
    run = shared.run()
    answer = shared.send("POST", path, {key: run if one == "RUN" else one for key, one in body.items()})
    assert answer.status_code in (400, 404), answer.text
    assert said in answer.json()["message"], answer.text


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "INVALID_PARAMETER_VALUE"),
        (b"\xff", "application/json", 400, "INVALID_PARAMETER_VALUE"),
        (b"[]", "application/json", 400, "INVALID_PARAMETER_VALUE"),
        (b"{}", "text/plain", 415, "MALFORMED_REQUEST"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "MALFORMED_REQUEST"),
        (b"[" * 200_000, "application/json", 400, "INVALID_PARAMETER_VALUE"),
        (b'{"filter": "' + b"x" * 10_000_000 + b'"}', "application/json", 413, "MAX_BLOCK_SIZE_EXCEEDED"),
    ],
)
def test_bodies_that_are_no_message_are_refused_in_the_words_of_the_client(shared, content, kind, status, code):
    answer = shared.client.post(API + "runs/search", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text


def test_unknown_paths_and_what_is_refused_are_told_apart(calls):
    calls.refused(404, "ENDPOINT_NOT_FOUND", "GET", "runs/gett")
    calls.refused(404, "ENDPOINT_NOT_FOUND", "DELETE", "runs/get")
    for path in ("/api/3.0/mlflow/traces/search", "/api/2.0/mlflow/webhooks", "/api/3.0/mlflow/gateway/secrets/list"):
        answer = calls.client.get(path)
        assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    answer = calls.client.post("/api/2.0/mlflow-artifacts/mpu/create/x", content=b"{}", headers=JSON)
    assert answer.status_code == 501
    assert calls.client.get("/api/3.0/mlflow/server-info").status_code == 404
    assert "no query parameter 'run'" in calls.refused(400, "INVALID_PARAMETER_VALUE", "GET", "runs/get", run="x")


def test_a_reader_reads_and_an_editor_logs(workspace):
    tokens = {role: workspace.tokens.create(role, role).token for role in ("reader", "editor", "admin", "auditor")}
    headers = {role: {"authorization": f"Bearer {token}"} for role, token in tokens.items()}
    with asked(workspace, **headers["editor"]) as calls:
        run = calls.run()
        assert calls.put(f"runs/{run}/a.txt", b"x").status_code == 200
        calls.headers = headers["reader"]
        assert calls.get("runs/get", run_id=run)["run"]["info"]["run_id"] == run
        assert calls.fetch(f"runs/{run}/a.txt").content == b"x"
        logged = {"run_id": run, "key": "k", "value": "v"}
        message = calls.refused(403, "PERMISSION_DENIED", "POST", "runs/log-parameter", logged)
        assert "editor or admin" in message
        assert calls.put(f"runs/{run}/b.txt", b"x").status_code == 403
        calls.headers = headers["auditor"]
        calls.refused(403, "PERMISSION_DENIED", "GET", "runs/get", run_id=run)
        calls.headers = headers["editor"]
        calls.refused(403, "PERMISSION_DENIED", "DELETE", "registered-models/delete", {"name": "x"})
        calls.headers = {}
        calls.refused(401, "UNAUTHENTICATED", "GET", "runs/get", run_id=run)
    started = [one for one in workspace.audit.list() if one.action == "run.start"]
    assert [one.actor for one in started] == ["editor"]
    assert workspace.runs.get(run).user == "editor"


def test_sixteen_clients_log_to_one_run_and_nothing_is_missing(workspace, calls):
    run, wrong = calls.run(), []

    def log(name):
        for number in range(10):
            answer = calls.send("POST", "runs/log-metric", {"run_id": run, **point(name, float(number), number)})
            wrong.extend([answer.text] if answer.status_code != 200 else [])

    threads = [threading.Thread(target=log, args=(f"m{number}",)) for number in range(16)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []
    sums = workspace.runs.summaries(run)[run]
    assert {one.name: one.count for one in sums} == {f"m{number}": 10 for number in range(16)}
    assert all(math.isclose(one.last, 9.0) for one in sums)


def test_answers_are_json_that_every_reader_takes(calls):
    run = calls.run()
    calls.post("runs/log-metric", run_id=run, **point("m", "NaN"))
    text = calls.send("GET", "runs/get", run_id=run).content
    assert msgspec.json.decode(text)["run"]["data"]["metrics"][0]["value"] == "NaN"


def test_the_clock_of_a_workspace_does_not_disturb_the_times_of_clients(workspace, calls):
    set_clock(workspace, tm.ReplayClock(system_clock() - timedelta(days=400)))
    run = calls.run(start_time=5)
    assert calls.get("runs/get", run_id=run)["run"]["info"]["start_time"] == 5
