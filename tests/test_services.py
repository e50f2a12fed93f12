"""Services: one name for a set of features, wherever features are asked for."""

import json
from datetime import datetime

import polars as pl
import pytest
from command_line import succeed, write_shop
from conftest import at, shop
from inside import context_of
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.errors import ConflictError, DefinitionError, NotFoundError
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.nouns import TrainingSet
from tinymlops.features.law.lineage import affected_by

ORDERS = pl.DataFrame(
    {"customer": ["a", "b", "a"], "at": [at(1), at(2), at(3)], "amount": [1.0, 2.0, 4.0], "order": [1, 2, 3]}
)
VISITS = pl.DataFrame({"visit": [1, 2], "customer": ["a", "b"], "friend": ["b", "a"], "at": [at(2), at(4)]})


def project_of(make=None, *, amounts="1d"):
    """A shop with a service; `make` says what is in it."""
    project = shop(
        ORDERS,
        VISITS,
        features=lambda rows: {"newest": rows["amount"].last(), "spent": rows["amount"].sum(window=amounts)},
    )
    view = project.definitions["spending"]
    project.service("inputs", features=make(view) if make else [view["newest"], view.on("friend", prefix="friend_")])
    return project


SPINE = pl.DataFrame({"customer": ["a", "b"], "friend": ["b", "x"], "timestamp": [at(5), at(2.5)]})
ANSWER = {"newest": [4.0, 2.0], "friend_newest": [2.0, None], "friend_spent": [2.0, 0.0]}


def test_a_service_is_what_it_lists_in_every_read(workspace):
    project = project_of()
    service = project.definitions["inputs"]
    workspace.apply(project)
    workspace.ingest()
    for asked in ("inputs", service):
        offline = workspace.get_historical_features(SPINE, [asked])
        assert offline.select(*ANSWER).to_dict(as_series=False) == ANSWER
    keys = SPINE.drop("timestamp").to_dicts()
    before = workspace.get_online_features(["inputs"], keys).to_dict()
    workspace.materialize()
    assert workspace.get_online_features([service], keys).to_dict() == before
    assert list(before) == ["customer", "friend", *ANSWER]
    assert workspace.key_types(["inputs"]) == {"customer": "String", "friend": "String"}


def test_a_service_is_what_it_lists_over_http(workspace):
    workspace.apply(project_of())
    workspace.ingest()
    with TestClient(tm.create_app(workspace), base_url="http://127.0.0.1:8000") as client:
        response = client.post(
            "/v1/features/online", json={"features": ["inputs"], "keys": [{"customer": "a", "friend": "b"}]}
        )
    (row,) = response.json()["rows"]
    assert row == workspace.get_online_features(["inputs"], [{"customer": "a", "friend": "b"}]).to_polars().row(
        0, named=True
    )


def test_a_service_is_what_it_lists_on_the_command_line(tmp_path):
    folder = write_shop(tmp_path / "shop")
    (folder / "features.py").write_text(
        (folder / "features.py").read_text() + '\nproject.service("inputs", features=["spending:last_amount"])\n'
    )
    tm.connect(folder / "shop.tm", create=True).close()
    workspace = ["--project", folder]
    assert "+ service inputs" in succeed("plan", *workspace)
    succeed("apply", *workspace)
    succeed("ingest", *workspace)
    told = json.loads(succeed("features", "online", "inputs", "customer_id=3", *workspace, "--json"))
    assert told["rows"] == [{"customer_id": 3, "last_amount": 7.5}]


@pytest.mark.parametrize("asked", ["inputs", None])
def test_a_training_set_of_a_service_is_that_of_its_features(asked):
    project = project_of()
    visits, buys = project.definitions["visits"], project.definitions["buys"]
    service, view = project.definitions["inputs"], project.definitions["spending"]
    named = project.training_set("named", spine=visits, label=buys, features=[asked or service])
    spelled = [view["newest"], view.on("friend", prefix="friend_")]
    assert (
        named.spec.features == project.training_set("spelled", spine=visits, label=buys, features=spelled).spec.features
    )


def test_names_of_views_and_features_stand_for_them(workspace):
    project = project_of(lambda view: ["spending:newest", "spending"][1:])
    assert project.definitions["inputs"].spec.features == (specs.FeatureRequest(view="spending"),)


def test_a_service_of_services_is_all_that_they_list():
    project = project_of()
    both = project.service("both", features=["inputs", project.definitions["spending"].on("visitor", prefix="v_")])
    assert both.spec.features[:2] == project.definitions["inputs"].spec.features
    assert [one.prefix for one in both.spec.features] == ["", "friend_", "v_"]


def test_plan_says_what_becomes_of_a_service(workspace):
    workspace.apply(project_of())
    reached = "~ service inputs  (+spending, -spending as friend_, -spending:newest)"
    assert reached in str(workspace.plan(project_of(lambda view: [view])))
    assert not workspace.plan(project_of())
    without = shop(ORDERS, VISITS)
    assert "- service inputs" in str(workspace.plan(without))
    assert workspace.catalog.get("service", "inputs").spec["features"][0]["features"] == ["newest"]
    assert repr(project_of().definitions["inputs"]) == "<service inputs: spending, friend_spending>"


def test_lineage_leads_from_features_to_the_services_that_name_them(workspace):
    workspace.apply(project_of())
    assert "inputs" in str(workspace.lineage("spending:newest", downstream=True))
    assert "spending:newest" in str(workspace.lineage("service:inputs", upstream=True))


def test_a_version_that_only_a_service_names_has_its_lineage(workspace):
    workspace.apply(project_of())
    workspace.apply(project_of(lambda view: ["spending@v1:newest"], amounts="2d"))
    upstream = str(workspace.lineage("service:inputs", upstream=True))
    assert "spending@v1:newest" in upstream
    assert "orders" in upstream
    found = affected_by(context_of(workspace), [("source", "orders", "amount")])
    assert found.services == ["inputs"]


def test_lint_looks_at_what_services_read(workspace):
    naive = ORDERS.with_columns(due=pl.Series([datetime(2024, 1, 2)] * 3))
    project = shop(
        naive, VISITS, features=lambda rows: {"due": rows["due"].last(), "spent": rows["amount"].sum(window="1d")}
    )
    del project.definitions["visits_to_orders"]
    assert not [noun for noun in project.definitions.values() if isinstance(noun, TrainingSet)]
    project.service("inputs", features=["spending:due", project.definitions["spending"].on("friend", prefix="friend_")])
    workspace.apply(project)
    workspace.ingest()
    for report in (workspace.lint(), workspace.lint("inputs"), workspace.lint(project.definitions["inputs"])):
        assert "naive-column:orders.due" in [finding.name for finding in report.findings]
        assert report.services == ["inputs"]
        assert "1 service" in str(report)
    pure = workspace.lint(pure=True)
    assert pure.run_twice == 3  # two sources and the view
    assert [one for one in pure.findings if one.level == "impurity"] == []
    with pytest.raises(NotFoundError, match="there is no training set or service 'input'"):
        workspace.lint("input")


def test_a_service_read_by_a_consumer_is_its_features(workspace):
    project = project_of()
    workspace.apply(project)
    workspace.ingest()
    for asked in ("inputs", project.definitions["inputs"]):
        workspace.get_online_features([asked], {"customer": ["a"], "friend": ["b"]}, consumer="billing")
    assert set(workspace.sql("select name from readers")["name"]) == {"spending:newest", "spending"}


def test_a_service_survives_json_and_its_description_is_not_hashed():
    spec = project_of().definitions["inputs"].spec
    again = specs.decode(specs.encode(spec))
    assert again == spec
    described = specs.ServiceSpec(name=spec.name, features=spec.features, description="for the model")
    assert specs.fingerprint(described) == specs.fingerprint(spec)


def test_what_cannot_be_a_service_is_refused(workspace):
    project = project_of()
    view = project.definitions["spending"]
    with pytest.raises(DefinitionError, match="service 'none' has no features"):
        project.service("none", features=[])
    with pytest.raises(DefinitionError, match="'inputs' is not a list") as info:
        project.service("text", features="inputs")
    assert info.value.hint == "write features=['inputs']"
    with pytest.raises(NotFoundError, match="there is no feature view 'spendin'") as info:
        project.service("typo", features=["spendin"])
    assert "spending" in info.value.hint
    with pytest.raises(NotFoundError, match="asked for as a whole"):
        project.service("part", features=["inputs:newest"])
    with pytest.raises(DefinitionError, match="is not a feature view"):
        project.service("source", features=[project.definitions["orders"]])
    with pytest.raises(ConflictError, match="already has"):
        project.service("spending", features=[view])
    project.service("twice", features=[view, view["newest"]])
    with pytest.raises(DefinitionError, match="service 'twice' has two features named 'newest'"):
        workspace.plan(project)


def test_a_role_of_too_many_columns_is_refused_at_plan(workspace):
    with pytest.raises(DefinitionError, match="names 2 columns"):
        workspace.plan(project_of(lambda view: [view.on("one", "two", prefix="p_")]))


def test_a_service_object_that_is_not_the_one_in_force_is_refused(workspace):
    old = project_of().definitions["inputs"]
    with pytest.raises(NotFoundError, match="service 'inputs' is not in this workspace"):
        workspace.get_online_features([old], [{"customer": "a"}])
    workspace.apply(project_of(amounts="2d"))
    with pytest.raises(DefinitionError, match="changed since it was applied, in feature_view:spending"):
        workspace.get_online_features([old], [{"customer": "a", "friend": "b"}])


def test_a_misspelt_service_gets_its_near_match(workspace):
    workspace.apply(project_of())
    with pytest.raises(NotFoundError) as info:
        workspace.get_online_features(["input"], [{"customer": "a"}])
    assert "inputs" in info.value.hint
