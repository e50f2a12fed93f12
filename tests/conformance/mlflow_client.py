"""What an unmodified client of MLflow does, step by step; run by a Python that has mlflow: URL [STEP ...].

It prints a line of JSON for each step. Steps that need more than mlflow-skinny import it themselves.
"""

import json
import math
import os
import pathlib
import sys
import tempfile
import time
import traceback

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException

STEPS = {}
SUFFIX = str(time.time_ns())


def step(function):
    """Register a step."""
    STEPS[function.__name__] = function
    return function


def refused(code, call, *arguments, **options):
    """Check that a call is refused with an error code."""
    try:
        call(*arguments, **options)
    except MlflowException as error:
        assert error.error_code == code, (error.error_code, str(error))
        return str(error)
    raise AssertionError(f"{call} was not refused")


def experiment():
    """Make the experiment of this process the active one; return its id."""
    return mlflow.set_experiment(f"exp {SUFFIX}").experiment_id


@step
def experiments(c):
    number = experiment()
    assert mlflow.get_experiment_by_name("none") is None
    assert mlflow.get_experiment(number).name == f"exp {SUFFIX}"
    assert mlflow.get_experiment("0").name == "Default"
    other = c.create_experiment(f"other {SUFFIX}", tags={"a": "b"})
    refused("RESOURCE_ALREADY_EXISTS", c.create_experiment, f"other {SUFFIX}")
    refused("RESOURCE_DOES_NOT_EXIST", c.get_experiment, "987654")
    c.set_experiment_tag(other, "mlflow.note.content", "two\nlines")
    c.set_experiment_tag(other, "team", "a")
    assert c.get_experiment(other).tags == {"a": "b", "mlflow.note.content": "two\nlines", "team": "a"}
    c.delete_experiment_tag(other, "team")
    assert "team" not in c.get_experiment(other).tags
    c.rename_experiment(other, f"renamed {SUFFIX}")
    for text in (f"name = 'renamed {SUFFIX}'", f"name ILIKE '%NAMED {SUFFIX}' and creation_time > 5", "tags.a = 'b'"):
        assert f"renamed {SUFFIX}" in [one.name for one in c.search_experiments(filter_string=text)]
    c.delete_experiment(other)
    assert c.get_experiment(other).lifecycle_stage == "deleted"
    assert other in [one.experiment_id for one in c.search_experiments(view_type=ViewType.DELETED_ONLY)]
    c.restore_experiment(other)
    assert c.get_experiment(other).lifecycle_stage == "active"


@step
def runs(c):
    experiment()
    with mlflow.start_run(run_name="base", description="what it is", tags={"k": "v"}) as active:
        mlflow.log_param("depth", 3)
        mlflow.log_params({"lr": 0.1, "text": "3", "none": None, "flag": True})
        mlflow.log_metric("loss", 0.5, step=0)
        mlflow.log_metric("loss", 0.4, step=1)
        mlflow.log_metrics({"nan": math.nan, "inf": math.inf, "ninf": -math.inf}, step=2)
        mlflow.set_tags({"p": "q", "lines": "a\nb"})
        mlflow.set_tag("gone", "1")
        mlflow.delete_tag("gone")
    run = mlflow.get_run(active.info.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "base")
    assert run.info.end_time >= run.info.start_time > 1_600_000_000_000
    assert run.data.params == {"depth": "3", "lr": "0.1", "text": "3", "none": "None", "flag": "True"}
    assert run.data.metrics["loss"] == 0.4
    assert math.isnan(run.data.metrics["nan"])
    assert (run.data.metrics["inf"], run.data.metrics["ninf"]) == (math.inf, -math.inf)
    assert run.data.tags["mlflow.note.content"] == "what it is"
    assert (run.data.tags["k"], run.data.tags["lines"], "gone" in run.data.tags) == ("v", "a\nb", False)
    history = c.get_metric_history(run.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(0, 0.5), (1, 0.4)]
    assert c.get_metric_history(run.info.run_id, "nothing") == []
    refused("INVALID_PARAMETER_VALUE", c.log_param, run.info.run_id, "depth", "4")
    c.log_param(run.info.run_id, "depth", "3")
    refused("RESOURCE_DOES_NOT_EXIST", c.get_run, "0" * 32)


@step
def statuses(c):
    number = experiment()
    try:
        with mlflow.start_run() as failed:
            int("no number")
    except ValueError:
        pass
    assert c.get_run(failed.info.run_id).info.status == "FAILED"
    killed = c.create_run(number).info.run_id
    c.set_terminated(killed, "KILLED")
    assert c.get_run(killed).info.status == "KILLED"
    planned = c.create_run(number, run_name="planned").info.run_id
    c.update_run(planned, status="SCHEDULED", name="renamed")
    assert c.get_run(planned).info.run_name == "renamed"
    c.delete_run(planned)
    assert c.get_run(planned).info.lifecycle_stage == "deleted"
    refused("INVALID_PARAMETER_VALUE", c.log_metric, planned, "m", 1.0)
    assert planned in [one.info.run_id for one in c.search_runs([number], run_view_type=ViewType.DELETED_ONLY)]
    assert planned not in [one.info.run_id for one in c.search_runs([number])]
    c.restore_run(planned)
    assert planned in [one.info.run_id for one in c.search_runs([number])]


@step
def nested_and_resumed(c):
    number = experiment()
    with mlflow.start_run(run_name="parent") as parent, mlflow.start_run(run_name="child", nested=True) as child:
        mlflow.log_metric("m", 1)
    text = f"tags.\"mlflow.parentRunId\" = '{parent.info.run_id}'"
    assert [one.info.run_id for one in c.search_runs([number], text)] == [child.info.run_id]
    assert mlflow.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id
    with mlflow.start_run(run_id=child.info.run_id):
        assert c.get_run(child.info.run_id).info.status == "RUNNING"
        mlflow.log_metric("m", 2)
        mlflow.log_metric("m", 5, step=-3)
    assert [one.value for one in c.get_metric_history(child.info.run_id, "m")] == [5, 1, 2]
    assert c.get_run(child.info.run_id).data.metrics["m"] == 2


@step
def batches_and_async(c):
    experiment()
    with mlflow.start_run() as active:
        run = active.info.run_id
        for number in range(300):
            mlflow.log_metric("a", number, step=number, synchronous=False)
        mlflow.log_params({f"p{number}": number for number in range(5)}, synchronous=False).wait()
        mlflow.set_tags({"t": 1}, synchronous=False).wait()
        mlflow.flush_async_logging()
        points = [Metric("b", float(number), 1_000 + number, number) for number in range(1_000)]
        for _ in range(2):  # as after an answer that was lost
            c.log_batch(run, metrics=points, params=[Param("x", "1")], tags=[RunTag("u", "w")])
    assert len(c.get_metric_history(run, "a")) == 300
    assert [one.value for one in c.get_metric_history(run, "b")] == [float(number) for number in range(1_000)]
    assert c.get_run(run).data.params["p4"] == "4"


@step
def files(c):
    experiment()
    place = pathlib.Path(tempfile.mkdtemp())
    (place / "a").mkdir()
    (place / "a" / "b.txt").write_text("hi")
    (place / "big.bin").write_bytes(os.urandom(3_000_000))
    (place / "empty").write_bytes(b"")
    (place / "ü x.txt").write_text("u")
    with mlflow.start_run() as active:
        mlflow.log_text("hello", "notes/t.txt")
        mlflow.log_dict({"a": 1}, "d.json")
        mlflow.log_artifacts(str(place), "dir")
        mlflow.log_artifact(str(place / "big.bin"))
    run = active.info.run_id
    assert sorted(one.path for one in c.list_artifacts(run)) == ["big.bin", "d.json", "dir", "notes"]
    assert [one.path for one in c.list_artifacts(run, "dir")] == ["dir/a", "dir/big.bin", "dir/empty", "dir/ü x.txt"]
    assert c.list_artifacts(run, "d.json") == []
    found = pathlib.Path(c.download_artifacts(run, "dir"))
    for name in ("a/b.txt", "big.bin", "empty", "ü x.txt"):
        assert (found / name).read_bytes() == (place / name).read_bytes()
    assert mlflow.artifacts.load_text(f"{active.info.artifact_uri}/notes/t.txt") == "hello"
    assert mlflow.artifacts.load_dict(f"{active.info.artifact_uri}/d.json") == {"a": 1}


@step
def search(c):
    number = experiment()
    with mlflow.start_run(run_name="found", tags={"k": "v"}):
        mlflow.log_params({"depth": 3, "lr": 0.1})
        mlflow.log_metrics({"auc": 0.9, "inf": math.inf, "nan": math.nan})

    def names(text, **options):
        return [one.info.run_name for one in c.search_runs([number], text, **options)]

    for text in (
        "metrics.auc > 0.7 and params.depth = '3' and attributes.status = 'FINISHED'",
        "params.lr = '0.1' AND run_name LIKE 'foun%'",
        "attributes.run_name ILIKE 'FOU%' and tags.k = \"v\" and params.lr IS NOT NULL",
        "metrics.`auc` >= 0.9 and metrics.inf > 5 and run_name IN ('found', 'x')",
        "tags.mlflow.runName = 'found' and metrics.auc != 1",
    ):
        assert names(text) == ["found"], text
    for text in (
        "run_name LIKE 'FOUN%'",
        "metrics.nan > 0 and run_name = 'found'",
        "params.lr IS NULL and tags.k = 'v'",
    ):
        assert names(text) == [], text
    ordered = names("", order_by=["metrics.auc DESC", "attributes.start_time ASC"])
    assert ordered[0] == "found"
    page = c.search_runs([number], max_results=2)
    count = len(page)
    while page.token:
        page = c.search_runs([number], max_results=2, page_token=page.token)
        count += len(page)
    assert count == len(ordered)
    for text in ("metrics.a >", "foo.x = 1", "metrics.a = 'x'", "status > 'a'", "a = 1 or b = 2", "nope = '3'"):
        refused("INVALID_PARAMETER_VALUE", names, text)


@step
def registry(c):
    name = f"Churn Model {SUFFIX}"
    number = experiment()
    model = c.create_logged_model(number, name="model", params={"a": "1"}, tags={"t": "u"})
    c.log_model_artifact(model.model_id, __file__)
    c.finalize_logged_model(model.model_id, "READY")
    c.log_model_params(model.model_id, {"b": "2"})
    c.set_logged_model_tags(model.model_id, {"x": "y"})
    c.delete_logged_model_tag(model.model_id, "x")
    found = c.get_logged_model(model.model_id)
    assert (str(found.status), found.params, found.tags["t"]) == ("READY", {"a": "1", "b": "2"}, "u")
    assert [one.path for one in c.list_logged_model_artifacts(model.model_id)] == ["mlflow_client.py"]
    c.create_registered_model(name, tags={"t": "u"}, description="about")
    refused("RESOURCE_ALREADY_EXISTS", c.create_registered_model, name)
    refused("INVALID_PARAMETER_VALUE", c.create_registered_model, f"churn-model  {SUFFIX}")
    for _ in range(2):
        version = c.create_model_version(name, f"models:/{model.model_id}", model_id=model.model_id, tags={"k": "v"})
    assert (str(version.version), version.status) == ("2", "READY")
    c.set_registered_model_alias(name, "champion", 1)
    assert str(c.get_model_version_by_alias(name, "champion").version) == "1"
    shown = c.get_registered_model(name)
    assert (shown.description, shown.tags) == ("about", {"t": "u"})
    assert {key: str(one) for key, one in shown.aliases.items()} == {"champion": "1"}
    c.update_registered_model(name, "more")
    c.set_registered_model_tag(name, "s", "1")
    c.delete_registered_model_tag(name, "s")
    c.update_model_version(name, "2", "text")
    c.set_model_version_tag(name, "2", "s", "1")
    c.delete_model_version_tag(name, "2", "s")
    assert (c.get_model_version(name, "2").description, c.get_model_version(name, "2").tags) == ("text", {"k": "v"})
    assert [str(one.version) for one in c.search_model_versions(f"name = '{name}'")] == ["2", "1"]
    assert [one.name for one in c.search_registered_models(f"name ILIKE '%{SUFFIX}'")] == [name]
    assert str(c.get_latest_versions(name)[0].version) == "2"
    assert c.transition_model_version_stage(name, "2", "Production").current_stage == "Production"
    c.copy_model_version(f"models:/{name}/1", f"Copy {SUFFIX}")
    found = pathlib.Path(mlflow.artifacts.download_artifacts(f"models:/Copy {SUFFIX}/1"))
    assert (found / "mlflow_client.py").read_bytes() == pathlib.Path(__file__).read_bytes()
    c.delete_model_version(name, "2")
    assert str(c.create_model_version(name, f"models:/{model.model_id}").version) == "3"
    c.delete_registered_model_alias(name, "champion")
    refused("RESOURCE_DOES_NOT_EXIST", c.get_model_version_by_alias, name, "champion")
    c.rename_registered_model(name, f"Other {SUFFIX}")
    c.delete_registered_model(f"Other {SUFFIX}")
    refused("RESOURCE_DOES_NOT_EXIST", c.get_registered_model, f"Other {SUFFIX}")
    with mlflow.start_run() as active:
        mlflow.log_text("flavors: {}", "old/MLmodel")
    c.create_registered_model(f"Old {SUFFIX}")
    c.create_model_version(f"Old {SUFFIX}", f"{active.info.artifact_uri}/old", active.info.run_id)
    found = pathlib.Path(mlflow.artifacts.download_artifacts(f"models:/Old {SUFFIX}/1"))
    assert (found / "MLmodel").read_text() == "flavors: {}"
    c.delete_logged_model(model.model_id)
    refused("RESOURCE_DOES_NOT_EXIST", c.get_logged_model, model.model_id)


@step
def not_spoken(c):
    said = refused("NOT_IMPLEMENTED", c.create_webhook, "a", "https://x.example", ["registered_model.created"])
    assert "webhooks" in said
    refused("NOT_IMPLEMENTED", c.search_traces, ["0"])


@step
def prompts_are_refused(c):
    refused("INVALID_PARAMETER_VALUE", mlflow.genai.register_prompt, "p", "x {{a}}")


@step
def pictures_and_tables(c):
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    experiment()
    with mlflow.start_run() as active:
        mlflow.log_table({"a": [1, 2]}, "tab.json")
        mlflow.log_table({"a": [3]}, "tab.json")
        mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "img.png")
        mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), key="k/ey", step=3)
        mlflow.log_figure(plt.figure(), "fig.png")
    run = active.info.run_id
    assert sorted(one.path for one in c.list_artifacts(run)) == ["fig.png", "images", "img.png", "tab.json"]
    assert len(mlflow.load_table("tab.json", run_ids=[run])) == 3


@step
def datasets(c):
    import pandas as pd

    number = experiment()
    data = mlflow.data.from_pandas(pd.DataFrame({"a": [1.0, 2.0]}), name="ds")
    with mlflow.start_run() as active:
        mlflow.log_input(data, context="training", tags={"a": "b"})
    (found,) = mlflow.get_run(active.info.run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("ds", data.digest)
    assert {one.key: one.value for one in found.tags} == {"a": "b", "mlflow.data.context": "training"}
    assert len(c.search_runs([number], "dataset.name = 'ds' and datasets.context = 'training'")) == 1


@step
def sklearn_model(c):
    import mlflow.sklearn
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    number, name = experiment(), f"Sklearn {SUFFIX}"
    X = np.random.default_rng(1).random((40, 3))
    model = LogisticRegression().fit(X, X[:, 0] > 0.5)
    with mlflow.start_run() as active:
        info = mlflow.sklearn.log_model(model, name="model", input_example=X[:2], registered_model_name=name)
        mlflow.log_metric("acc", 0.5, model_id=info.model_id)
    c.set_registered_model_alias(name, "champion", 1)
    uris = [info.model_uri, f"models:/{name}/1", f"models:/{name}/latest", f"models:/{name}@champion"]
    for uri in [*uris, f"runs:/{active.info.run_id}/model"]:
        assert (mlflow.sklearn.load_model(uri).predict(X) == model.predict(X)).all(), uri
    assert (mlflow.pyfunc.load_model(info.model_uri).predict(X) == model.predict(X)).all()
    assert [(one.key, one.value) for one in mlflow.get_logged_model(info.model_id).metrics] == [("acc", 0.5)]
    assert c.get_run(active.info.run_id).outputs.model_outputs[0].model_id == info.model_id
    order = [{"field_name": "metrics.acc", "ascending": False}]
    found = c.search_logged_models([number], "metrics.acc > 0.1", order_by=order)
    assert [one.model_id for one in found] == [info.model_id]
    assert str(mlflow.register_model(f"models:/{info.model_id}", name).version) == "2"


@step
def autolog_sklearn(c):
    import mlflow.sklearn
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV

    number = experiment()
    X = np.random.default_rng(1).random((40, 3))
    mlflow.sklearn.autolog()
    with mlflow.start_run() as active:
        RandomForestClassifier(n_estimators=3).fit(X, X[:, 0] > 0.5)
    run = c.get_run(active.info.run_id)
    assert run.data.params["n_estimators"] == "3"
    assert "training_score" in run.data.metrics
    assert run.inputs.dataset_inputs
    with mlflow.start_run() as active:
        GridSearchCV(RandomForestClassifier(n_estimators=2), {"max_depth": [1, 2]}, cv=2).fit(X, X[:, 0] > 0.5)
    assert len(c.search_runs([number], f"tags.mlflow.parentRunId = '{active.info.run_id}'")) == 2
    mlflow.sklearn.autolog(disable=True)


@step
def autolog_lightgbm(c):
    import lightgbm as lgb
    import mlflow.lightgbm
    import numpy as np

    experiment()
    X = np.random.default_rng(1).random((40, 3))
    mlflow.lightgbm.autolog()
    with mlflow.start_run() as active:
        data = lgb.Dataset(X, (X[:, 0] > 0.5).astype(int))
        options = {"objective": "binary", "verbose": -1, "min_data_in_leaf": 2}
        booster = lgb.train(options, data, 5, valid_sets=[data])
    run = c.get_run(active.info.run_id)
    assert len(c.get_metric_history(run.info.run_id, "training-binary_logloss")) == 5
    loaded = mlflow.lightgbm.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    assert abs(loaded.predict(X) - booster.predict(X)).max() < 1e-9
    mlflow.lightgbm.autolog(disable=True)


@step
def autolog_xgboost(c):
    import mlflow.xgboost
    import numpy as np
    import xgboost as xgb

    experiment()
    X = np.random.default_rng(1).random((40, 3))
    mlflow.xgboost.autolog()
    with mlflow.start_run() as active:
        data = xgb.DMatrix(X, (X[:, 0] > 0.5).astype(int))
        booster = xgb.train({"objective": "binary:logistic"}, data, 5, evals=[(data, "train")], verbose_eval=False)
    run = c.get_run(active.info.run_id)
    assert len(c.get_metric_history(run.info.run_id, "train-logloss")) == 5
    loaded = mlflow.xgboost.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    assert abs(loaded.predict(data) - booster.predict(data)).max() < 1e-6
    mlflow.xgboost.autolog(disable=True)


@step
def system_metrics(c):
    experiment()
    mlflow.set_system_metrics_sampling_interval(0.2)
    mlflow.set_system_metrics_samples_before_logging(1)
    with mlflow.start_run(log_system_metrics=True) as active:
        time.sleep(1)
    assert any(key.startswith("system/") for key in c.get_run(active.info.run_id).data.metrics)


@step
def calls(_):
    """Return every public call of the client, for the list in docs/mlflow.md."""
    return sorted(name for name in dir(MlflowClient) if not name.startswith("_"))


def main(url, *names):
    mlflow.set_tracking_uri(url)
    print(json.dumps({"version": mlflow.__version__}), flush=True)
    for name in names or STEPS:
        begun = time.perf_counter()
        try:
            answer = STEPS[name](MlflowClient())
            said = {"step": name, "error": None, "answer": answer}
        except Exception:
            said = {"step": name, "error": traceback.format_exc(limit=-4), "answer": None}
        print(json.dumps({**said, "seconds": round(time.perf_counter() - begun, 2)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
