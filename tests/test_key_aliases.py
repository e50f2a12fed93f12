"""Other names for key columns in HTTP bodies: accepted, answered by the name that was sent, and outside of the fingerprint."""

import msgspec
import polars as pl
import pytest
import served_shop
from conftest import at
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.errors import DefinitionError
from tinymlops.features.definitions import specs
from tinymlops.server.key_names import KeyNames

ONLINE = "/v1/features/online"
ROWS = pl.DataFrame({"customer": [1, 2], "shop": ["a", "b"], "at": [at(1), at(1)], "amount": [1.5, 2.5]})


def project_of(aliases=("customerId", "cust"), more=lambda project, spending: None):
    project = tm.Project("shop")
    pair = project.entity("pair", key=["customer", "shop"], aliases={"shop": ["shopId"]})
    customer = project.entity("customer", key="customer", aliases=aliases)

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return ROWS

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"newest": orders["amount"].last()}

    @project.feature_view(entity=pair)
    def together(orders: tm.Rows) -> tm.Features:
        return {"both": orders["amount"].last()}

    more(project, spending)
    return project


@pytest.fixture
def client(workspace):
    workspace.apply(project_of())
    workspace.ingest()
    with TestClient(tm.create_app(workspace), base_url="http://127.0.0.1:8000") as client:
        yield client


def rows(client, features, keys, **options):
    response = client.post(ONLINE, json={"features": features, "keys": keys, **options})
    assert response.status_code == 200, response.text
    return response.json()["rows"]


def test_the_answer_has_the_name_that_was_sent(client):
    assert rows(client, ["spending"], [{"customerId": 1}, {"customer": 2}, {"cust": 3}]) == [
        {"customerId": 1, "newest": 1.5},
        {"customer": 2, "newest": 2.5},
        {"cust": 3, "newest": None},
    ]
    assert rows(client, ["spending"], {"cust": [2, 1]}) == [{"cust": 2, "newest": 2.5}, {"cust": 1, "newest": 1.5}]
    assert rows(client, ["together", "spending"], [{"shopId": "a", "customerId": 1}]) == [
        {"shopId": "a", "customerId": 1, "both": 1.5, "newest": 1.5}
    ]
    (row,) = rows(client, ["spending"], [{"customerId": 1}], details=True)
    assert [*row] == ["customerId", "newest", "newest_status", "newest_event_time"]


def test_a_key_that_comes_twice_is_refused(client):
    response = client.post(
        ONLINE, json={"features": ["spending"], "keys": [{"customer": 1}, {"customer": 1, "cust": 1}]}
    )
    assert response.status_code == 422
    assert response.json()["error"] == "row 1 has the key column 'customer' as 'customer', 'cust'"
    twice = client.post(ONLINE, json={"features": ["spending"], "keys": {"customerId": [1], "cust": [1]}})
    assert "as 'customerId', 'cust'" in twice.json()["error"]


def test_an_alias_is_no_name_in_python(client, workspace):
    with pytest.raises(tm.DataError, match="no column 'customer'"):
        workspace.get_online_features(["spending"], [{"customerId": 1}])


def test_a_prediction_takes_aliases_and_logs_the_entitys_own_names(tmp_path):
    served_shop.build(tmp_path / "shop.tm")
    with tm.connect(tmp_path / "shop.tm", clock=tm.ReplayClock(served_shop.NOW)) as ws:
        entity = served_shop.project.definitions["customer"]
        plain = entity.spec
        entity.spec = msgspec.structs.replace(plain, aliases={"customerId": "customer"})
        try:
            assert str(ws.apply(served_shop.project)).startswith("1 to apply")
        finally:
            entity.spec = plain
        with TestClient(tm.create_app(ws), base_url="http://127.0.0.1:8000") as client:
            path = "/v1/models/splurge/predict"
            sent = [
                client.post(path, json={"rows": [{name: 1, "budget": 30.0}]}) for name in ("customer", "customerId")
            ]
            many = client.post(
                path, json={"rows": [{"customerId": 1, "budget": 30.0}, {"customer": 1, "budget": 30.0}]}
            )
        answers = [response.json()["predictions"] for response in (*sent, many)]
        values = [row["probability"] for rows in answers for row in rows]
        assert len(set(values)) == 1
        ws.flush()
        logged = ws.sql("select request from predictions")["request"].to_list()
        assert {msgspec.json.decode(one)["customer"] for one in logged} == {1}
        assert len(logged) == 4


def test_aliases_are_outside_of_the_fingerprint_and_plan_shows_them(workspace):
    plain, named = (project_of(aliases).definitions["customer"].spec for aliases in ((), ("customerId",)))
    assert specs.fingerprint(plain) == specs.fingerprint(named)
    assert b"aliases" not in specs.encode(plain)
    assert specs.decode(specs.encode(named)) == named
    workspace.apply(project_of(()))
    before = {one.name: one.fingerprint for one in workspace.catalog.list()}
    assert workspace.key_aliases() == {"shopId": "shop"}
    assert "* entity customer  (+aliases.cust, +aliases.customerId)" in str(workspace.plan(project_of()))
    workspace.apply(project_of())
    assert {one.name: one.fingerprint for one in workspace.catalog.list()} == before
    assert workspace.key_aliases() == {"customerId": "customer", "cust": "customer", "shopId": "shop"}
    assert not workspace.plan(project_of())
    workspace.apply(project_of(()))
    assert workspace.key_aliases() == {"shopId": "shop"}


@pytest.mark.parametrize(
    ("key", "aliases", "message"),
    [
        ("customer", "customerId", "do not say of which key column"),
        (["a", "b"], ["c"], "do not say of which key column"),
        ("customer", {"custmer": ["c"]}, "are not lists by key column"),
        ("customer", {"customer": "c"}, "are not lists by key column"),
        ("customer", ["customer"], "cannot have the alias 'customer'"),
        ("customer", ["c", "c"], "cannot have the alias 'c'"),
        ("customer", [""], "cannot have the alias ''"),
        (["a", "b"], {"a": ["c"], "b": ["c"]}, "cannot have the alias 'c'"),
    ],
)
def test_aliases_that_say_nothing_are_refused(key, aliases, message):
    with pytest.raises(DefinitionError, match=message):
        tm.Project("shop").entity("thing", key=key, aliases=aliases)


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        (["shop"], "also a key column of 'pair'"),
        (["newest"], "also a feature of 'spending'"),
        (["shopId"], "stands for both"),
        (["budget"], "also a request field of 'room'"),
        (["payer"], "also what 'both' calls the key of 'spending'"),
        (["payer_newest"], "also what 'both' calls a feature of 'spending'"),
    ],
)
def test_an_alias_that_means_something_else_is_refused_at_plan(workspace, aliases, message):
    def more(project, spending):
        @project.on_demand
        def room(budget: pl.Expr) -> dict[str, pl.Expr]:
            return {"left": budget - 1}

        project.service("both", features=[spending, spending.on("payer", prefix="payer_")])

    with pytest.raises(DefinitionError, match=message):
        workspace.plan(project_of(aliases, more))


def test_what_has_no_alias_is_passed_on_untouched():
    sent = [{"a": 1}, {"a": 2}]
    assert KeyNames({}, sent).rows is sent
    assert KeyNames({"b": "a"}, sent).rows is sent
    assert KeyNames({"b": "a"}, sent).restored(sent) is sent


def test_other_aliases_are_a_change_that_the_plan_shows_one_by_one(workspace):
    workspace.apply(project_of())
    before = workspace.catalog.get("entity", "customer")
    planned = workspace.plan(project_of(("customerId", "id")))
    (change,) = (one for one in planned.changes if one.action != "keep")
    assert str(change) == "* entity customer  (+aliases.id, -aliases.cust)"
    workspace.apply(project_of(("customerId", "id")))
    after = workspace.catalog.get("entity", "customer")
    assert (after.version, after.fingerprint) == (before.version, before.fingerprint)
    assert "(-aliases.customerId, -aliases.id)" in str(workspace.plan(project_of(())))
    workspace.apply(project_of(()))
    assert "(+aliases.cust, +aliases.customerId)" in str(workspace.plan(project_of()))


def test_one_project_says_once_what_the_aliases_are():
    project = project_of()
    project.entity("customer", key="customer", aliases=("customerId", "cust"))
    with pytest.raises(tm.ConflictError, match="already has <entity customer"):
        project.entity("customer", key="customer", aliases=["other"])
    with pytest.raises(tm.ConflictError, match="already has <entity customer"):
        project.entity("customer", key="customer", aliases=("customerId", "cust"), owner="ana")
