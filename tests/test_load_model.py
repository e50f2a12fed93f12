"""Loading and registering: references, hashes, pinned definitions, and code that no server could find."""

import importlib
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from conftest import at
from inside import clock_of, context_of, database_of, environment_of, log_of, online_of
from sklearn.dummy import DummyClassifier
from trained import orders_frame, project_of_orders, replay, train, visits_frame

import tinymlops as tm
from tinymlops.config import Config
from tinymlops.errors import (
    ConflictError,
    DataError,
    DefinitionError,
    IntegrityError,
    NotFoundError,
    UntrustedModelError,
)
from tinymlops.registry.models import Models
from tinymlops.serving import model as module
from tinymlops.stores import generation
from tinymlops.training.flavors import save

ON_DEMAND = """
import polars as pl
import tinymlops as tm

def extra(spending: tm.Inputs, customer: pl.Expr, timestamp: pl.Expr) -> dict[str, pl.Expr]:
    return {"is_large": spending["last_amount"] > LIMIT, "hour": timestamp.dt.hour(), "is_a": customer == "a"}
"""


@pytest.fixture
def ws(tmp_path):
    with replay(tmp_path) as ws:
        yield ws


@pytest.fixture
def module_of(tmp_path, monkeypatch):
    """Write a module in the project's directory and import it."""
    names = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()
        names.append(name)
        return importlib.import_module(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def with_on_demand(function):
    project = project_of_orders()
    extra = project.on_demand(function)
    old = project.definitions.pop("visits_to_orders").spec
    definitions = project.definitions
    project.training_set(
        old.name, spine=definitions["visits"], label=definitions["buys"], features=[definitions["spending"], extra]
    )
    return project


def test_a_model_says_what_it_is(ws):
    train(ws, project_of_orders())
    model = ws.load_model("buyer@champion")
    assert repr(model).startswith("<model buyer:1 DecisionTreeClassifier: binary of 2 features; test accuracy 0.")
    assert (model.name, model.version, str(model)) == ("buyer", 1, "buyer:1")
    assert model.manifest.run.name == "baseline"
    assert type(model.estimator).__name__ == "DecisionTreeClassifier"
    shown = model._repr_html_()
    assert "model buyer:1" in shown
    assert "last_amount, spent_1d" in shown


def test_a_model_answers_full_rows_of_features(ws):
    data = train(ws, project_of_orders())
    model = ws.load_model("buyer")
    answers = model.predict(data.test.X)
    assert answers.columns == ["prediction", "probability"]
    assert answers["probability"].to_list() == model.estimator.predict_proba(data.test.X)[:, 1].tolist()
    assert model.predict(data.test.X.to_pandas()).equals(answers)
    with pytest.raises(DataError, match="no column 'last_amount', which the model takes"):
        model.predict(data.test.X.rename({"last_amount": "lost_amount"}))


def test_references_that_fit_nothing_get_the_near_match(ws):
    train(ws, project_of_orders())
    for reference, hint in [
        ("buyer@champoin", "did you mean 'champion'"),
        ("byer", "did you mean 'buyer'"),
        ("buyer:2", "it has 1 to 1"),
    ]:
        for verb in (ws.load_model, ws.monitor, lambda name: ws.predict(name, [{"customer": "a"}])):
            with pytest.raises(NotFoundError, match=hint):
                verb(reference)


def test_an_alias_is_resolved_at_every_call_and_a_loaded_model_is_kept(ws):
    data = train(ws, project_of_orders())
    first = ws.load_model("buyer@champion")
    assert ws.load_model("buyer:1").estimator is first.estimator
    with ws.start_run("other", data=data) as run:
        run.log_model(DummyClassifier().fit(data.train.X, data.train.y))
    ws.register_model("buyer", run=run)
    assert ws.load_model("buyer@champion").version == 1
    ws.promote("buyer", 2)
    assert type(ws.load_model("buyer@champion").estimator).__name__ == "DummyClassifier"
    ws.models.rollback("buyer")
    assert ws.load_model("buyer@champion").estimator is first.estimator


def test_a_reference_is_resolved_from_memory_until_something_changes(ws, monkeypatch):
    train(ws, project_of_orders())
    assert ws.load_model("buyer").version == 1
    asked = []
    get = Models.get
    monkeypatch.setattr(Models, "get", lambda self, reference: (asked.append(reference), get(self, reference))[1])
    for _ in range(3):
        ws.predict("buyer", [{"customer": "a"}])
        ws.ingest()
    assert asked == []
    train(ws, project_of_orders(), alias=None)
    assert ws.load_model("buyer@latest").version == 2
    ws.promote("buyer", 2)
    assert [ws.predict("buyer", [{"customer": "a"}]).version for _ in range(3)] == [2, 2, 2]
    ws.models.rollback("buyer")
    assert [ws.predict("buyer", [{"customer": "a"}]).version for _ in range(3)] == [1, 1, 1]
    assert asked.count("buyer") == 2


def test_a_promotion_that_was_refused_changes_nothing_and_ends_nothing(ws):
    train(ws, project_of_orders())
    with pytest.raises(ConflictError):
        ws.promote("buyer", 1, expected=7)
    assert context_of(ws) is context_of(ws)  # kept, as the token is there


def test_a_promotion_that_nobody_ended_is_asked_for_every_time(ws, monkeypatch):
    data = train(ws, project_of_orders())
    assert ws.load_model("buyer").version == 1
    monkeypatch.setattr(generation, "end_change", lambda _: None)  # as a process that dies before it reports
    with ws.start_run("other", data=data) as run:
        run.log_model(DummyClassifier().fit(data.train.X, data.train.y))
    ws.models.register("buyer", run, alias="champion")
    assert [ws.load_model("buyer").version for _ in range(2)] == [2, 2]


def test_a_promotion_by_another_process_counts_for_the_next_request(ws, tmp_path):
    train(ws, project_of_orders())
    train(ws, project_of_orders(), alias=None)
    with other_process(tmp_path / "shop.tm") as promote:
        for version in (2, 1, 2, 2, 1):
            promote(version)
            assert ws.predict("buyer", [{"customer": "a"}]).version == version
            assert ws.load_model("buyer@champion").version == version


OTHER = """
import sys
import tinymlops as tm
with tm.connect(sys.argv[1]) as ws:
    for line in sys.stdin:
        ws.promote("buyer", int(line))
        print("done", flush=True)
"""


@contextmanager
def other_process(path):
    """A process that has the workspace open, and a function that lets it promote a version."""
    command = [sys.executable, "-c", OTHER, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(tm.__file__).parents[1])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:

        def promote(version):
            process.stdin.write(f"{version}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        yield promote
        process.stdin.close()


def test_no_two_stores_have_a_version_in_common(ws, tmp_path):
    """Plans made for one store are never used for another: workspaces share the definitions of a model."""
    train(ws, project_of_orders())
    with tm.connect(tmp_path / "other.tm", create=True) as other:
        seen = set()
        for store in (online_of(ws), online_of(other)):
            for number in range(60):
                store.update(lambda tx, number=number: tx.put(b"z", bytes([number])))
                seen.add(version(store))
        assert len(seen) == 120


def version(store):
    with store.read() as tx:
        return tx.version


def test_only_the_models_used_last_are_kept(ws, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    data = train(ws, project_of_orders())
    for depth in range(2):
        with ws.start_run("other", data=data) as run:
            run.log_model(DummyClassifier(strategy="constant", constant=bool(depth)).fit(data.train.X, data.train.y))
        ws.register_model("buyer", run=run)
    first, second = ws.load_model("buyer:1"), ws.load_model("buyer:2")
    assert ws.load_model("buyer:1").estimator is first.estimator
    ws.load_model("buyer:3")
    assert ws.load_model("buyer:1").estimator is first.estimator
    assert ws.load_model("buyer:2").estimator is not second.estimator


@pytest.mark.parametrize("file", ["model", "manifest"])
def test_a_damaged_file_is_found_when_it_is_loaded(ws, file):
    train(ws, project_of_orders())
    version = ws.models.get("buyer")
    sha256 = version.manifest_sha256 if file == "manifest" else ws.models.manifest(version).model.sha256
    path = environment_of(ws).blobs.path(sha256)
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="is damaged"):
        ws.load_model("buyer")


def test_a_model_keeps_to_the_definitions_it_was_trained_with(ws):
    train(ws, project_of_orders())
    asked = {"customer": list("abc")}
    before = ws.predict("buyer", asked).to_polars()["probability"]
    ws.apply(project_of_orders(features=lambda orders: {"last_amount": (orders["amount"] * 0 - 7).last()}))
    ws.materialize()
    assert ws.get_online_features(["spending"], asked).to_dict()["last_amount"] == [-7.0] * 3
    assert ws.predict("buyer", asked).to_polars()["probability"].equals(before)


def test_a_model_whose_view_was_changed_still_sees_new_rows(ws):
    """The variant of a view that only a model uses must stay up to date in the online store."""
    project = project_of_orders()
    train(ws, project)
    ws.materialize()
    changed = project_of_orders(features=lambda orders: {"last_amount": (orders["amount"] * 0 - 7).last()})
    ws.apply(changed)
    clock_of(ws).advance("2d")
    ws.ingest()
    ws.materialize()
    answers = ws.predict("buyer", {"customer": list("abc")})
    known = orders_frame(range(1, 400)).filter(pl.col("at") <= clock_of(ws)())
    newest = dict(known.group_by("customer").agg(pl.col("amount").sort_by("at").last()).iter_rows())
    logged = logged_features(ws, answers)
    assert [row["last_amount"] for row in logged] == [newest[customer] for customer in "abc"]


def logged_features(ws, answers):
    from tinymlops.records import Prediction

    log_of(ws).flush()
    database = database_of(ws)
    return [database.get(Prediction, id=answer["id"]).features for answer in answers]


def test_on_demand_code_in_a_module_is_found_again_in_a_new_process_of_the_workspace(ws, tmp_path, module_of):
    features = module_of("shop_features_found", ON_DEMAND.replace("LIMIT", "2"))
    data = train(ws, with_on_demand(features.extra))
    assert data.train.X.columns == ["last_amount", "spent_1d", "is_large", "hour", "is_a"]
    first = ws.predict("buyer", [{"customer": "a"}])
    with tm.connect(tmp_path / "shop.tm", clock=clock_of(ws)) as other:
        second = other.predict("buyer", [{"customer": "a"}])
        assert second[0]["probability"] == first[0]["probability"]
        assert logged_features(other, second)[0]["hour"] == clock_of(ws)().hour


def test_code_that_is_no_longer_what_was_trained_with_is_refused(ws, module_of):
    features = module_of("shop_features_before", ON_DEMAND.replace("LIMIT", "2"))
    train(ws, with_on_demand(features.extra))
    changed = module_of("shop_features_after", ON_DEMAND.replace("LIMIT", "3"))
    ws.apply(with_on_demand(changed.extra))
    with pytest.raises(DefinitionError, match="has changed since it was applied"):
        ws.predict("buyer", [{"customer": "a"}])


def test_a_model_on_code_that_no_server_could_find_is_not_registered(ws):
    def extra(spending: tm.Inputs, timestamp: pl.Expr) -> dict[str, pl.Expr]:
        return {"hour": timestamp.dt.hour()}

    with pytest.raises(
        DefinitionError, match="code of on-demand view 'extra', which lives only in a notebook"
    ) as caught:
        train(ws, with_on_demand(extra))
    assert "move extra to the top level of a module, such as features.py" in caught.value.hint
    assert ws.models.list() == []


def test_a_model_on_a_transformation_in_a_notebook_is_not_registered(ws):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return orders_frame(range(1, 400))

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return visits_frame(range(10, 400))

    @project.transformation(row_wise=True)
    def doubled(orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.with_columns(twice=pl.col("amount") * 2)

    @project.feature_view(entity=customer)
    def spending(doubled: tm.Rows) -> tm.Features:
        return {"last_twice": doubled["twice"].last()}

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).last()

    project.training_set("visits_to_orders", spine=visits, label=buys, features=[spending])
    with pytest.raises(DefinitionError, match="transformation 'doubled'"):
        train(ws, project)
    assert ws.models.list() == []


def test_a_model_that_was_not_logged_is_named(ws):
    data = train(ws, project_of_orders())
    with ws.start_run("empty", data=data) as run:
        pass
    with pytest.raises(NotFoundError, match="logged no model 'model'"):
        ws.register_model("buyer", run=run)
    assert at(0) < data.train.spine["timestamp"][0]


def test_trust_comes_from_the_projects_settings_and_not_with_the_model(workspace):
    from sklearn.preprocessing import FunctionTransformer

    named = f"{__name__}.{_same.__name__}"
    manifest = SimpleNamespace(model=SimpleNamespace(trusted_types=[named]), definitions=(), variants=())
    models = SimpleNamespace(manifest_of=lambda run, name: manifest)
    with pytest.raises(UntrustedModelError, match=named) as caught:
        module.require_servable(models, "run", "model", ())
    assert f'trusted_types = ["{named}"]' in caught.value.hint
    module.require_servable(models, "run", "model", (named,))

    content = save(FunctionTransformer(_same).fit([[1.0]]), [named])
    record = SimpleNamespace(
        sha256=environment_of(workspace).blobs.put(content), trusted_types=[named], flavor="sklearn"
    )
    models = SimpleNamespace(
        manifest=lambda version: SimpleNamespace(model=record, definitions=(), variants=(), embeddings={})
    )
    context = context_of(workspace)
    with pytest.raises(UntrustedModelError, match=r"list it in tinymlops\.toml|were not reviewed"):
        module._load(context, models, None)
    trusting = replace(context, config=Config(trusted_types=(named,)))
    assert module._load(trusting, models, None).estimator is not None


def _same(rows):
    return rows
