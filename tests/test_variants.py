"""Versions of a view stand beside its newest: in one training set, one historical read, one online read."""

import math
import sys
import textwrap
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import context_of, database_of, online_of, set_clock

import tinymlops as tm
from tinymlops.errors import DefinitionError, NotFoundError
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.code import import_modules
from tinymlops.features.online.pinned import version_states
from tinymlops.features.online.variants import states
from tinymlops.records import Definition

START = datetime(2024, 1, 1, tzinfo=UTC)


def at(hours):
    return START + timedelta(hours=hours)


def shop(window="30d", *, features=None, both=None, minimum=None, variant=None, keep=False, enabled=True, when="at"):
    """A shop whose view, transformation and source can be made differently; `both` names a version for the training set."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp=when, id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "paid": datetime, "amount": float}

    @project.source(timestamp="at", id="visit")
    def visits() -> tm.Schema:
        return {"visit": int, "customer": str, "at": datetime}

    def large(orders: tm.Rows) -> str:
        return f"select * from orders where amount >= {minimum or 0}"

    project.transformation(row_wise=True)(large)
    said = {"keep": keep, "enabled": enabled} | ({"variant": variant} if variant else {})

    @project.feature_view(entity=customer, **said)
    def spending(large: tm.Rows) -> tm.Features:
        if features is not None:
            return features(large)
        return {"spent": large["amount"].sum(window=window), "last": large["amount"].last()}

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders.count()

    asked = [spending] if both is None else [spending, spending.variant(both)]
    project.training_set("buyers", spine=visits, label=buys, features=asked)
    return project


def order(number, customer, hours, amount):
    return {"order": number, "customer": customer, "at": at(hours), "paid": at(hours + 1), "amount": amount}


def spent(rows, customer, moment, hours):
    """The oracle: what a customer spent in the hours before a moment; the last row of each order counts."""
    newest = {row["order"]: row for row in rows}
    found = [
        row["amount"]
        for row in newest.values()
        if row["customer"] == customer and moment - timedelta(hours=hours) <= row["at"] < moment
    ]
    return math.fsum(found)


KEYS = ["a", "b", "nobody"]


def read_both(ws, features):
    """Read online and as of now from history; they must be the same."""
    online = ws.get_online_features(features, {"customer": KEYS})
    spine = pl.DataFrame({"customer": KEYS, "timestamp": [online.timestamp] * len(KEYS)})
    offline = ws.get_historical_features(spine, features, as_of=online.sequence)
    assert online.to_polars().equals(offline.select(online.to_polars().columns))
    return online


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(100))) as workspace:
        yield workspace


def test_two_versions_stand_in_one_read(ws):
    ws.apply(shop("48h"))
    rows = [order(1, "a", 10, 1.0), order(2, "a", 60, 2.0), order(3, "b", 90, 4.0)]
    ws.push("orders", rows)
    ws.materialize()
    ws.apply(shop("24h"))
    rows += [order(4, "a", 80, 8.0), order(3, "b", 90, 16.0)]  # pushed after the change, and a correction
    ws.push("orders", rows[3:])
    set_clock(ws, tm.ReplayClock(at(101)))
    found = read_both(ws, ["spending", "spending@v1", "spending@v2:last"]).to_dict()
    assert list(found) == ["customer", "spent", "last", "v1_spent", "v1_last", "v2_last"]
    assert found["spent"] == [spent(rows, key, at(101), 24) for key in KEYS]
    assert found["v1_spent"] == [spent(rows, key, at(101), 48) for key in KEYS]
    ws.materialize("spending", "spending@v1")
    again = read_both(ws, ["spending", "spending@v1", "spending@v2:last"]).to_dict()
    assert again == found


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from("ab"), st.integers(1, 99), st.integers(1, 64), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 8),
    st.booleans(),
)
def test_a_version_answers_by_its_own_rule_whatever_comes(tmp_path_factory, pushes, change, online):
    path = tmp_path_factory.mktemp("variants") / "shop.tm"
    rows = []
    with tm.connect(path, create=True, clock=tm.ReplayClock(at(100))) as ws:
        ws.apply(shop("40h", minimum=0))
        if online:
            ws.materialize()
        for place, (number, customer, hours, amount, _) in enumerate(pushes):
            if place == change:
                ws.apply(shop("10h", minimum=2))
                if online:
                    ws.materialize("spending", "spending@v1")
            ws.push("orders", [order(number, customer, hours, float(amount))])
            rows.append(order(number, customer, hours, float(amount)))
        set_clock(ws, tm.ReplayClock(at(100) + timedelta(seconds=1)))
        found = read_both(ws, ["spending@v1"]).to_dict()
        assert found["v1_spent"] == [spent(rows, key, at(100) + timedelta(seconds=1), 40) for key in KEYS]


def test_a_version_is_read_by_all_that_it_stands_on(ws):
    ws.apply(shop("48h", minimum=3))
    rows = [order(1, "a", 90, 1.0), order(2, "a", 91, 5.0)]
    ws.push("orders", rows)
    ws.apply(shop("48h", minimum=0))  # the view itself is the same
    set_clock(ws, tm.ReplayClock(at(101)))
    found = read_both(ws, ["spending", "spending@v1"]).to_dict()
    assert (found["spent"][0], found["v1_spent"][0]) == (6.0, 5.0)


def test_prefixes_and_names(ws):
    ws.apply(shop("48h", variant="ana"))
    newest = shop("24h")
    ws.apply(newest)
    ws.push("orders", [order(1, "a", 90, 1.0)])
    spending = newest.definitions["spending"]
    read = ws.get_online_features(
        [
            spending,
            spending.variant("v1"),
            spending.variant("ana"),
            spending.variant("v1", prefix="old_")["last"],
            spending["last"].variant("v2"),
        ],
        {"customer": ["a"]},
    )
    assert read.features == ("spent", "last", "v1_spent", "v1_last", "ana_spent", "ana_last", "old_last", "v2_last")
    assert ws.get_online_features(["spending@ana:last"], {"customer": ["a"]}).features == ("ana_last",)
    assert repr(spending.variant("v1")) == "<features spending@v1>"
    with pytest.raises(tm.DataError, match="has the name of another column"):
        ws.get_online_features([spending, spending.variant("v1", prefix="")], {"customer": ["a"]})
    for odd in ("3", "", "v0", "Ana", "v1@v2"):
        with pytest.raises(NotFoundError, match="is not a reference"):
            spending.variant(odd)


def test_what_is_not_there_is_named(ws):
    ws.apply(shop(variant="ana"))
    for name, said in [
        ("spending@v2", "feature view 'spending' has no version 2\nHint: it has v1 to v1"),
        ("spending@anna", "feature view 'spending' has no variant 'anna'\nHint: did you mean 'ana'"),
        ("spending@v1:lst", "feature view 'spending@v1' has no feature 'lst'\nHint: did you mean 'last'"),
        ("spendin@v1", "there is no feature view 'spendin'"),
        ("spending:last@v1", "is not a reference\nHint: write spending@v1:last"),
    ]:
        with pytest.raises(NotFoundError, match=said):
            ws.get_online_features([name], {"customer": ["a"]})


def fill(ws, hours=range(1, 90)):
    rows = [order(hour, "ab"[hour % 2], hour, float(hour % 7)) for hour in hours]
    ws.push("orders", rows)
    return rows


def test_two_versions_stand_in_one_training_set_that_is_reproduced(ws):
    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(shop("48h", variant="ana"))
    rows = []
    for hour in range(1, 100, 3):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [order(hour, "ab"[hour % 2], hour, float(hour % 7))])
        rows.append(order(hour, "ab"[hour % 2], hour, float(hour % 7)))
        ws.push("visits", [{"visit": hour, "customer": "a", "at": at(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))
    both = shop("24h", both="ana")
    assert "training set buyers" in str(ws.plan(both))
    ws.apply(both)
    assert ws.catalog.get("training_set", "buyers").below["feature_view:spending@v1"] == 1
    data = ws.get_training_data(both.definitions["buyers"])
    assert data.train.X.columns == ["spent", "last", "ana_spent", "ana_last"]
    for row, moment in zip(data.train.X.iter_rows(named=True), data.train.spine["timestamp"], strict=True):
        assert (row["spent"], row["ana_spent"]) == (spent(rows, "a", moment, 24), spent(rows, "a", moment, 48))
    assert data.definitions["feature_view:spending@v1"] != data.definitions["feature_view:spending"]
    assert {"source:orders@v1", "source:large@v1", "entity:customer@v1"} <= data.definitions.keys()
    assert [field.source for field in data.signature.features][2] == "spending@v1:spent"
    ws.apply(shop("24h", variant="bob"))  # another name, and the training set names no variant any more
    ws.apply(shop("12h"))
    assert ws.verify(data.build_id).same
    assert ws.reproduce(data.build_id).fingerprint == data.fingerprint


def names_online(ws):
    """What the online store holds: feature view and windows of each."""
    with online_of(ws).read() as snapshot:
        return sorted(
            str(state.variant.view.features["spent"].window // 3_600_000_000) + "h" for state in states(snapshot)
        )


def test_gc_keeps_what_something_pins_and_drops_the_others(ws):
    ws.apply(shop("48h"))
    fill(ws)
    ws.materialize()
    ws.apply(shop("24h", both="v1"))
    ws.materialize()
    assert names_online(ws) == ["24h", "48h"]
    ws.gc()
    assert names_online(ws) == ["24h", "48h"]
    (state,) = version_states(context_of(ws), ws.models)
    assert (state.version, state.pinned_by, state.ended) == ("spending@v1", ("training set buyers",), None)
    assert state.covered == database_of(ws).sequence()
    fill(ws, [95])  # and it follows
    (state,) = version_states(context_of(ws), ws.models)
    assert state.covered == database_of(ws).sequence()
    ws.apply(shop("24h"))
    assert version_states(context_of(ws), ws.models) == []
    ws.gc()
    assert names_online(ws) == ["24h"]
    assert read_both(ws, ["spending@v1"]).to_dict()["v1_spent"]  # from history


def test_a_training_set_may_name_the_version_that_it_comes_with(ws):
    ws.apply(shop("48h", both="v1"))
    assert not ws.plan(shop("48h", both="v1"))
    ws.apply(shop("24h", both="v1"))
    below = ws.catalog.get("training_set", "buyers").below
    assert (below["feature_view:spending"], below["feature_view:spending@v1"]) == (2, 1)
    named = shop("12h", variant="ana", both="ana")
    ws.apply(named)
    assert ws.catalog.get("training_set", "buyers").below["feature_view:spending@v3"] == 3


def test_a_project_may_name_a_version_of_another_projects_view(ws):
    ws.apply(shop("48h"))
    ws.apply(shop("24h"))
    ws.push("orders", [order(1, "a", 60, 3.0)])
    set_clock(ws, tm.ReplayClock(at(101)))
    other = tm.Project("other")
    other.service("theirs", features=["spending@v1:spent"])
    assert "+ service theirs" in str(ws.plan(other))
    ws.apply(other)
    assert ws.get_online_features(["theirs"], {"customer": ["a"]}).to_dict()["v1_spent"] == [3.0]
    assert {state.version: state.pinned_by for state in version_states(context_of(ws), ws.models)} == {
        "spending@v1": ("service theirs",)
    }
    ws.apply(shop("12h"))
    assert ws.get_online_features(["theirs"], {"customer": ["a"]}).to_dict()["v1_spent"] == [3.0]
    wrong = tm.Project("other")
    wrong.service("theirs", features=["spending@v9"])
    with pytest.raises(NotFoundError, match="feature view 'spending' has no version 9"):
        ws.plan(wrong)


def test_a_version_that_says_keep_stays(ws):
    ws.apply(shop("48h", keep=True))
    fill(ws)
    ws.apply(shop("24h"))
    assert [one.view for one in ws.materialize()] == ["spending", "spending@v1"]
    assert names_online(ws) == ["24h", "48h"]
    ws.gc()
    assert names_online(ws) == ["24h", "48h"]
    (state,) = version_states(context_of(ws), ws.models)
    assert state.pinned_by == ("keep=True",)


def test_keep_can_be_taken_from_a_version_that_is_not_in_force_and_given_to_one(ws):
    ws.apply(shop("48h", keep=True, variant="ana"))
    fill(ws)
    with pytest.raises(DefinitionError, match="spending@v1 is in force, and its definition says") as info:
        ws.catalog.keep("spending@v1", False)
    assert info.value.hint == "write keep=False there, and apply the project"
    ws.apply(shop("24h"))
    ws.materialize()
    assert ws.catalog.keep("spending@ana", False).spec["about"] == {"variant": "ana"}
    assert version_states(context_of(ws), ws.models) == []
    assert ws.get_online_features(["spending@ana"], {"customer": ["a"]}).features == ("ana_spent", "ana_last")
    ws.gc()
    assert names_online(ws) == ["24h"]
    ws.catalog.keep("spending@v1", True)
    assert [one.view for one in ws.materialize()] == ["spending", "spending@v1"]
    told = ws.sql("select action, detail from tinymlops.audit where action = 'definition.keep' order by n")
    assert [('"keep":true' in text.replace(" ", "")) for text in told["detail"]] == [False, True]
    with pytest.raises(NotFoundError, match="'spending' has no version 7"):
        ws.catalog.keep("spending@v7", False)
    assert not ws.plan(shop("24h"))


def test_a_lost_version_is_materialized_again(tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True, clock=tm.ReplayClock(at(100))) as ws:
        ws.apply(shop("48h", keep=True))
        fill(ws)
        ws.apply(shop("24h"))
        ws.materialize()
        online = online_of(ws).path
    for file in online.glob("*.mdb"):
        file.unlink()
    with tm.connect(path, clock=tm.ReplayClock(at(100))) as ws:
        assert names_online(ws) == ["24h", "48h"]


def test_a_model_serves_the_versions_that_it_was_trained_on(ws):
    sklearn = pytest.importorskip("sklearn.ensemble")
    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(shop("48h"))
    for hour in range(1, 100):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [order(hour, "ab"[hour % 2], hour, float(hour % 7))])
        ws.push("visits", [{"visit": hour, "customer": "ab"[hour % 3 == 0], "at": at(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))
    ws.apply(shop("24h", both="v1"))
    ws.materialize()
    data = ws.get_training_data("buyers")
    with ws.start_run("linear", data=data) as run:
        run.log_model(sklearn.HistGradientBoostingRegressor().fit(data.train.X, data.train.y))
    ws.register_model("buyer", run=run)
    model = ws.load_model("buyer")
    assert {f"{row.kind}:{row.name}@v{row.version}" for row in model.manifest.variants} == {
        "feature_view:spending@v1",
        "source:large@v1",
        "source:orders@v1",
        "entity:customer@v1",
    }
    fill(ws, [190, 195])
    answer = ws.get_online_features(["spending", "spending@v1"], {"customer": ["a", "b"]}).to_polars()
    frame = answer.drop("customer")
    predicted = ws.predict("buyer", [{"customer": "a"}, {"customer": "b"}]).to_rows()
    assert [row["prediction"] for row in predicted] == pytest.approx(model.estimator.predict(frame))
    ws.apply(shop("12h"))
    ws.gc()
    assert names_online(ws) == ["24h", "48h"]  # the model's two; the newest was never materialized
    assert {state.version: state.pinned_by for state in version_states(context_of(ws), ws.models)} == {
        "spending@v1": ("model buyer@v1",),
        "spending@v2": ("model buyer@v1",),  # the newest when it was trained
    }
    again = ws.predict("buyer", [{"customer": "a"}, {"customer": "b"}]).to_rows()
    assert [row["prediction"] for row in again] == [row["prediction"] for row in predicted]
    assert ws.verify_online().same


# A source that is read anew


ORDERS = 'select "order", customer, "at", amount::double as amount from read_csv(\'orders.csv\')'


def read_by(text, *, both=None, days=90):
    """A shop that reads a file by SQL."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    def orders() -> str:
        return text

    project.source(timestamp="at", id="order", tz="UTC")(orders)

    @project.source(timestamp="at", id="visit")
    def visits() -> tm.Schema:
        return {"visit": int, "customer": str, "at": datetime}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last(), "n": orders.count(window=f"{days}d")}

    @project.label(entity=customer, horizon="1d")
    def buys(visits: tm.Rows) -> tm.Label:
        return visits.count()

    project.training_set("buyers", spine=visits, label=buys, features=[spending.variant(both)] if both else [spending])
    return project


def write_orders(tmp_path, *rows):
    lines = [f"{number},a,{when:%Y-%m-%d %H:%M:%S},{amount}" for number, when, amount in rows]
    (tmp_path / "orders.csv").write_text("\n".join(["order,customer,at,amount", *lines, ""]))


def test_a_version_reads_the_rows_that_its_definitions_name_and_says_since_when_they_ended(ws, tmp_path):
    write_orders(tmp_path, (1, at(2), 10.0))
    ws.apply(read_by(ORDERS))
    ws.ingest("orders")
    ws.materialize()
    first = database_of(ws).sequence()
    ws.apply(read_by(ORDERS.replace("amount::double", "10 * amount::double")))
    assert ws.catalog.get("feature_view", "spending").version == 2
    assert ws.get_online_features(["spending@v1"], {"customer": ["a"]}, details=True).ended == {}
    set_clock(ws, tm.ReplayClock(at(110)))
    with pytest.warns(UserWarning, match="1 rows count as they are read now"):
        ws.ingest("orders", rebuild=True)
    ws.materialize("spending", "spending@v1")
    write_orders(tmp_path, (1, at(2), 10.0), (2, at(105), 20.0))
    set_clock(ws, tm.ReplayClock(at(120)))
    ws.ingest("orders")
    read = read_both(ws, ["spending", "spending@v1"]).to_dict()
    assert (read["last"][0], read["n"][0]) == (200.0, 2)
    assert (read["v1_last"][0], read["v1_n"][0]) == (10.0, 1)
    online = ws.get_online_features(["spending", "spending@v1"], {"customer": ["a"]}, details=True)
    (ended,) = online.ended.items()
    assert ended[0] == "spending@v1"
    assert (ended[1].source, ended[1].at) == ("orders", at(110))
    assert ended[1].sequence > first
    pinned = read_by(ORDERS.replace("amount::double", "10 * amount::double"), both="v1")
    said = (
        f"training set buyers reads spending@v1, which gets no new rows: source orders ended at Q={ended[1].sequence}"
    )
    assert any(note.startswith(said) for note in ws.plan(pinned).notes)
    ws.apply(pinned)
    assert version_states(context_of(ws), ws.models)[0].ended == ended[1]
    status = ws.status()
    assert [(one.version, one.pinned_by, one.ended) for one in status.versions] == [
        ("spending@v1", ("training set buyers",), ended[1])
    ]
    assert str(status).splitlines()[-1].split("  ")[0] == "spending@v1"
    assert f"source orders ended at Q={ended[1].sequence}, 2024-01-05 14:00 UTC" in str(status)
    assert "source orders ended at" in status._repr_html_()
    for hour in (119, 130):
        ws.push("visits", [{"visit": hour, "customer": "a", "at": at(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))
    ws.push("visits", [{"visit": 200, "customer": "a", "at": at(199)}])
    assert ws.get_training_data("buyers").report.ended == {"spending@v1": ended[1]}


def test_a_version_as_of_a_sequence_is_what_it_was(ws, tmp_path):
    write_orders(tmp_path, (1, at(2), 10.0))
    ws.apply(read_by(ORDERS))
    ws.ingest("orders")
    first = database_of(ws).sequence()
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(100)]})
    before = ws.get_historical_features(spine, ["spending@v1"])
    ws.apply(read_by(ORDERS, days=1))
    write_orders(tmp_path, (1, at(2), 10.0), (2, at(50), 20.0))
    ws.ingest("orders")
    assert ws.get_historical_features(spine, ["spending@v1"], as_of=first).equals(before)
    assert ws.get_historical_features(spine, ["spending@v1"])["v1_last"].to_list() == [20.0]


def test_a_version_of_a_source_with_another_name_by_now_sees_no_row_of_its_own_spine(ws):
    """A row must not see itself, whatever its source was called."""

    def named(name, was=None, both=None):
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")

        def orders() -> tm.Schema:
            return {"order": int, "customer": str, "at": datetime, "amount": float}

        orders.__name__ = name
        source = project.source(timestamp="at", id="order", was=was)(orders)
        names = {"orders": "def spending(orders: tm.Rows) -> tm.Features:"}
        text = names["orders"].replace("orders", name) + f"\n    return {{'last': {name}['amount'].last()}}\n"
        text += f"def buys({name}: tm.Rows) -> tm.Label:\n    return {name}.count()\n"
        scope = {"tm": tm}
        exec(text, scope)
        view = project.feature_view(entity=customer)(scope["spending"])
        label = project.label(entity=customer, horizon="1h")(scope["buys"])
        project.training_set("own", spine=source, label=label, features=[view.variant(both)] if both else [view])
        return project

    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(named("orders"))
    for hour in (10, 20, 30):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [{"order": hour, "customer": "a", "at": at(hour), "amount": float(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))
    ws.apply(named("purchases", was="orders", both="v1"))
    ws.push("purchases", [{"order": 200, "customer": "a", "at": at(200), "amount": 200.0}])
    data = ws.get_training_data("own")
    assert data.train.X["v1_last"].to_list() == [None, 10.0, 20.0]
    assert ws.verify(data.build_id).same


# Python code


SHOP = """
    from datetime import datetime

    import polars as pl

    import tinymlops as tm

    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")


    @project.source(timestamp="at")
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "amount": float}


    @project.transformation(row_wise=True)
    def doubled(orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.with_columns(amount=pl.col("amount") * 2)


    @project.feature_view(entity=customer)
    def spending(doubled: tm.Rows) -> tm.Features:
        return {"last": doubled["amount"].last()}


    @project.on_demand
    def rest(spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
        return {"rest": budget - spending["last"]}
"""


@pytest.fixture
def module(ws, monkeypatch):
    """Write a module beside the workspace, and import it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    names, root = [], context_of(ws).root

    def write(name, text):
        names.append(name)
        (root / f"{name}.py").write_text(textwrap.dedent(text))
        sys.modules.pop(name, None)
        return import_modules([name], root)[0].project

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_python_code_stands_beside_its_successor_where_its_module_is_kept(ws, module):
    ws.apply(module("first_shop", SHOP))
    ws.push("orders", [{"customer": "a", "at": at(90), "amount": 3.0}])
    ws.materialize()
    changed = SHOP.replace("* 2", "* 3").replace("budget - spending", "2 * budget - spending")
    ws.apply(module("second_shop", changed))
    features = ["spending", "spending@v1", "rest", "rest@v1"]
    set_clock(ws, tm.ReplayClock(at(101)))
    row = [{"customer": "a", "budget": 10.0}]
    read = ws.get_online_features(features, row)
    assert read.to_dict() == {
        "customer": ["a"],
        "budget": [10.0],
        "last": [9.0],
        "v1_last": [6.0],
        "rest": [11.0],
        "v1_rest": [4.0],  # of v1_spending, which stands beside it
    }
    spine = pl.DataFrame({**row[0], "timestamp": [at(101)]})
    assert ws.get_historical_features(spine, features).drop("timestamp").equals(read.to_polars())


RESTS = """

    @project.source(timestamp="at", id="visit")
    def visits() -> tm.Schema:
        return {"visit": int, "customer": str, "at": datetime, "budget": float}


    @project.label(entity=customer, horizon="1d")
    def buys(visits: tm.Rows) -> tm.Label:
        return visits.count()
"""


def rests(more=""):
    """The module of a shop with a training set, and with what is put at its end."""
    return SHOP + RESTS + more


def test_a_version_of_an_on_demand_view_stands_in_a_training_set_a_service_and_a_model(ws, module):
    sklearn = pytest.importorskip("sklearn.ensemble")
    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(module("first_rests", rests()))
    rows = []
    for hour in range(1, 100):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [{"customer": "a", "at": at(hour), "amount": float(hour % 5)}])
        ws.push("visits", [{"visit": hour, "customer": "a", "at": at(hour), "budget": float(hour)}])
        rows.append({"customer": "a", "budget": float(hour), "timestamp": at(hour)})
    set_clock(ws, tm.ReplayClock(at(200)))
    changed = rests().replace("* 2", "* 3").replace("budget - spending", "2 * budget - spending")
    for place, asked in enumerate(
        [
            '[spending, spending.variant("v1"), rest, rest.variant("v1")]',
            '["spending", "spending@v1", "rest", "rest@v1"]',
        ]
    ):
        project = module(
            f"second_rests_{place}",
            changed
            + textwrap.indent(
                f'\n\nasked = {asked}\nproject.training_set("buyers", spine=visits, label=buys, features=asked)\n'
                'project.service("inputs", features=asked)\n',
                "    ",
            ),
        )
        ws.plan(project)
    ws.apply(project)
    data = ws.get_training_data("buyers")
    assert data.train.X.columns == ["last", "v1_last", "rest", "v1_rest"]
    spine = pl.DataFrame(rows)
    features = [project.definitions["rest"].variant("v1"), "spending@v1", "rest", "spending"]
    offline = ws.get_historical_features(spine, features)
    assert offline["v1_rest"].to_list() == [
        row["budget"] - last for row, last in zip(rows, offline["v1_last"], strict=True)
    ]
    assert offline["rest"].to_list() == [
        2 * row["budget"] - last for row, last in zip(rows, offline["last"], strict=True)
    ]
    assert data.train.X["v1_rest"].to_list() == [
        None if last is None else budget - last
        for budget, last in zip(data.train.spine["budget"], data.train.X["v1_last"], strict=True)
    ]
    assert ws.verify(data.build_id).same
    with ws.start_run("trees", data=data) as run:
        run.log_model(sklearn.HistGradientBoostingRegressor().fit(data.train.X, data.train.y))
    ws.register_model("buyer", run=run)
    key = [{"customer": "a", "budget": 7.0}]
    online = ws.get_online_features(["inputs"], key).to_polars()
    ws.materialize("spending", "spending@v1")
    assert ws.get_online_features(["inputs"], key).to_polars().equals(online)
    (predicted,) = ws.predict("buyer", key).to_rows()
    asked = online.select("last", "v1_last", "rest", "v1_rest")
    assert predicted["prediction"] == pytest.approx(ws.load_model("buyer").estimator.predict(asked)[0])
    told = str(ws.lineage("rest@v1", upstream=True))
    assert "spending@v1:last" in told
    assert "spending:last" not in told
    assert repr(project.definitions["rest"].variant("ana")) == "<on-demand view rest@ana>"


def test_a_version_of_an_on_demand_view_is_checked_by_what_it_reads(ws, module):
    ws.apply(module("one_rests", rests()))
    other = rests().replace('return {"last": doubled["amount"].last()}', 'return {"newest": doubled["amount"].last()}')
    other = other.replace('spending["last"]', 'spending["newest"]')
    asked = textwrap.indent('\n\nproject.service("inputs", features=["spending@v1", "rest@v1"])\n', "    ")
    ws.apply(module("two_rests", other + asked))
    ws.push("orders", [{"customer": "a", "at": at(90), "amount": 3.0}])
    set_clock(ws, tm.ReplayClock(at(101)))
    assert ws.get_online_features(["inputs"], [{"customer": "a", "budget": 10.0}]).to_dict()["v1_rest"] == [4.0]
    wrong = textwrap.indent('\n\nproject.service("inputs", features=["spending", "rest@v1"])\n', "    ")
    with pytest.raises(NotFoundError, match="view 'spending' has no feature 'last'"):
        ws.plan(module("three_rests", other + wrong))
    twice = textwrap.indent(
        '\n\nproject.service("inputs", features=["spending@v1", "rest@v1", rest.variant("v1")])\n', "    "
    )
    with pytest.raises(DefinitionError, match="two features named 'v1_rest'"):
        ws.plan(module("four_rests", other + twice))


def test_a_part_of_an_on_demand_view_is_not_taken_for_the_whole(ws, module):
    ws.apply(module("part_shop", SHOP))
    for text, right in (("rest:rest", "'rest'"), ("rest:rst", "'rest'"), ("rest@v1:rest", "'rest@v1'")):
        with pytest.raises(NotFoundError, match="on-demand view 'rest' is asked for as a whole") as info:
            ws.get_online_features(["spending", text], [{"customer": "a", "budget": 10.0}])
        assert info.value.hint == f"ask for {right}"


def test_python_code_cannot_stand_beside_its_successor_in_one_module(ws, module):
    ws.apply(module("only_shop", SHOP))
    ws.push("orders", [{"customer": "a", "at": at(90), "amount": 3.0}])
    ws.apply(module("only_shop", SHOP.replace("* 2", "* 3").replace("budget - spending", "2 * budget - spending")))
    for features, name in ((["spending", "spending@v1"], "doubled"), (["spending", "rest@v1"], "rest")):
        with pytest.raises(DefinitionError, match=f"beside its successor: the code of '{name}' has changed") as info:
            ws.get_online_features(features, [{"customer": "a", "budget": 10.0}])
        assert f"keep its module as it is and write the new {name} in another one" in info.value.hint
    assert ws.get_online_features(["spending"], [{"customer": "a"}]).to_dict()["last"] == [9.0]


def test_a_kept_version_refuses_a_successor_in_its_module(ws, module):
    kept = SHOP.replace("@project.feature_view(entity=customer)", "@project.feature_view(entity=customer, keep=True)")
    ws.apply(module("kept_shop", kept))
    with pytest.raises(DefinitionError, match="spending@v1 cannot be read beside its successor"):
        ws.plan(module("kept_shop", kept.replace("* 2", "* 3")))


# What is not enabled


def test_what_is_not_enabled_takes_no_new_readers_and_tells_the_others(ws):
    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(shop("48h"))
    for hour in range(1, 100, 3):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [order(hour, "a", hour, 1.0)])
        ws.push("visits", [{"visit": hour, "customer": "a", "at": at(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))
    ws.push("orders", [order(200, "a", 199, 1.0)])
    closed = shop("48h", enabled=False)
    assert "training set buyers reads feature view spending, which is not enabled: move on from it" in (
        ws.plan(closed).notes
    )
    ws.apply(closed)
    for asked in (["spending"], ["spending:last"], ["spending@v1"], [closed.definitions["spending"]]):
        with pytest.raises(DefinitionError, match="is not enabled: it takes no new readers"):
            ws.get_online_features(asked, {"customer": ["a"]})
    with pytest.warns(UserWarning, match="training set buyers reads feature view spending, which is not enabled"):
        ws.get_training_data("buyers")
    closed.training_set(
        "others",
        spine=closed.definitions["visits"],
        label=closed.definitions["buys"],
        features=[closed.definitions["spending"]],
    )
    with pytest.raises(DefinitionError, match="training set others would read feature view spending") as info:
        ws.apply(closed)
    assert "read another version of it" in info.value.hint
    ws.apply(shop("24h"))  # the next version is open
    assert ws.get_online_features(["spending"], {"customer": ["a"]}).features == ("spent", "last")


def test_what_stands_on_a_closed_source_takes_no_new_readers_and_a_service_that_has_it_is_told(ws):
    def closed(*, orders=True, view=True, service=True, more=False):
        project = shop("48h", enabled=view)
        source = project.definitions["orders"]
        about = msgspec.UNSET if orders else specs.About(enabled=False, owner="ana")
        source.spec = msgspec.structs.replace(source.spec, about=about)
        project.service("inputs", features=["spending:last"], enabled=service)
        if more:
            project.service("others", features=["spending:last"])
        return project

    ws.apply(closed())
    ws.push("orders", [order(1, "a", 90, 1.0)])
    set_clock(ws, tm.ReplayClock(at(101)))
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(101)]})

    def reads(asked, project):
        yield lambda: ws.get_online_features(asked, {"customer": ["a"]})
        yield lambda: ws.get_historical_features(spine, asked)
        yield lambda: ws.save_dataset("kept", spine, asked)
        if asked == ["inputs"]:
            yield lambda: ws.get_historical_features(spine, [project.definitions["inputs"]])

    for shut, said in (
        ({"orders": False}, "feature view 'spending' reads source orders, which is not enabled"),
        ({"view": False}, "feature view 'spending' is not enabled"),
    ):
        project = closed(**shut)
        told = said.partition(" reads ")[2].partition(",")[0] or "feature view"
        assert any(note.startswith(f"service inputs reads {told}") for note in ws.plan(project).notes)
        ws.apply(project)
        for read in reads(["spending"], project):
            with pytest.raises(DefinitionError, match=said) as info:
                read()
            assert ("ask ana" in info.value.hint) == ("orders" in shut)
        for read in reads(["inputs"], project):
            with pytest.warns(UserWarning, match="service inputs reads .* not enabled: move on from it"):
                read()
        with pytest.raises(DefinitionError, match="service others would read"):
            ws.plan(closed(**shut, more=True))
    project = closed(service=False)
    ws.apply(project)
    for read in reads(["inputs"], project):
        with pytest.raises(DefinitionError, match="service 'inputs' is not enabled"):
            read()
    assert ws.get_online_features(["spending:last"], {"customer": ["a"]}).to_dict()["last"] == [1.0]


def test_a_model_of_what_is_not_enabled_still_serves(ws):
    sklearn = pytest.importorskip("sklearn.ensemble")
    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(shop("48h"))
    for hour in range(1, 100):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [order(hour, "a", hour, float(hour % 5))])
        ws.push("visits", [{"visit": hour, "customer": "a", "at": at(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))
    data = ws.get_training_data("buyers")
    with ws.start_run("trees", data=data) as run:
        run.log_model(sklearn.HistGradientBoostingRegressor().fit(data.train.X, data.train.y))
    ws.register_model("buyer", run=run)
    before = ws.predict("buyer", [{"customer": "a"}]).to_rows()[0]["prediction"]
    ws.apply(shop("48h", enabled=False))
    assert ws.predict("buyer", [{"customer": "a"}]).to_rows()[0]["prediction"] == before


# Transformations that are rebuilt, and rows of before


def totals(factor, *, days=30):
    """A shop whose view stands on a rebuilt transformation."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float}

    def grown(orders: tm.Rows) -> str:
        return f'select "order", customer, "at", {factor} * amount as amount from orders'

    project.transformation(timestamp="at", id="order")(grown)

    @project.feature_view(entity=customer)
    def spending(grown: tm.Rows) -> tm.Features:
        return {"last": grown["amount"].last(), "n": grown.count(window=f"{days}d")}

    return project


@pytest.mark.parametrize("materialized", [True, False])
def test_a_version_of_a_rebuilt_transformation_keeps_the_rows_that_it_had(ws, materialized):
    ws.apply(totals(2))
    ws.push("orders", [{"order": 1, "customer": "a", "at": at(90), "amount": 1.0}])
    ws.materialize()
    ws.apply(totals(3))
    set_clock(ws, tm.ReplayClock(at(110)))
    ws.push("orders", [{"order": 2, "customer": "a", "at": at(105), "amount": 10.0}])
    ws.materialize(*(["spending", "spending@v1"] if materialized else ["spending"]))
    set_clock(ws, tm.ReplayClock(at(120)))
    read = ws.get_online_features(["spending", "spending@v1"], {"customer": ["a"]}, details=True)
    assert read.to_dict()["last"] == [30.0]
    assert read.to_dict()["v1_last"] == [2.0]
    assert read.ended["spending@v1"].source == "grown"
    assert set(read.rebuilt) == {"spending", "spending@v1"}


def test_a_version_shares_the_transformation_that_is_still_in_force(ws):
    ws.apply(totals(2))
    ws.push("orders", [{"order": 1, "customer": "a", "at": at(90), "amount": 1.0}])
    ws.apply(totals(2, days=1))
    set_clock(ws, tm.ReplayClock(at(110)))
    ws.materialize("spending@v1")
    ws.push("orders", [{"order": 2, "customer": "a", "at": at(109), "amount": 10.0}])
    ws.materialize("spending@v1")
    set_clock(ws, tm.ReplayClock(at(120)))
    read = ws.get_online_features(["spending", "spending@v1"], {"customer": ["a"]}, details=True)
    assert read.to_dict()["v1_n"] == [2]
    assert read.ended == {}


def test_a_version_of_before_closures_were_recorded_is_refused(ws):
    ws.apply(shop("48h"))
    ws.apply(shop("24h"))
    with database_of(ws).write(actor="test") as tx:
        for row in tx.list(Definition):
            tx.update(msgspec.structs.replace(row, below={}, logic=""))
    assert ws.get_online_features(["spending@v2"], {"customer": ["a"]}).features == ("v2_spent", "v2_last")
    with pytest.raises(NotFoundError, match="feature view spending v1 is from before versions recorded") as info:
        ws.get_online_features(["spending@v1"], {"customer": ["a"]})
    assert info.value.hint == "apply that definition again: it becomes the newest version"


def test_lineage_and_lint_know_a_version_that_a_training_set_names(ws):
    ws.apply(shop())
    ws.apply(shop("1d", both="v1"))
    ws.push("orders", [order(1, "a", 1, 10.0), order(2, "a", 50, 5.0)])
    ws.push("visits", [{"visit": 1, "customer": "a", "at": at(60)}, {"visit": 2, "customer": "a", "at": at(200)}])
    upstream = str(ws.lineage("buyers", upstream=True))
    assert "spending:spent" in upstream
    assert "spending@v1:spent" in upstream
    assert "spending@v1:last" in str(ws.lineage("orders.amount", downstream=True))
    assert "buyers" in str(ws.lineage("spending@v1:spent", downstream=True))
    ws.get_historical_features(
        pl.DataFrame({"customer": ["a"], "timestamp": [at(70)]}), ["spending@v1:last"], consumer="billing"
    )
    assert "billing" in str(ws.lineage("spending@v1:last", downstream=True))
    report = ws.lint(replay=2, pure=True)
    assert [finding for finding in report.findings if finding.level == "leak"] == []
    reach = ws.plan(shop("2d", both="v1")).reach
    assert [(one.name, one.training_sets) for one in reach] == [
        ("spending", {"buyers": 0}),
    ]


def test_a_service_a_range_and_a_saved_dataset_read_versions(ws):
    ws.apply(shop("1d"))
    changed = shop("30d")
    changed.service("both", features=["spending:spent", "spending@v1:spent"])
    ws.apply(changed)
    ws.push("orders", [order(1, "a", 0, 2.0), order(2, "a", 90, 3.0)])
    (state,) = version_states(context_of(ws), ws.models)
    assert (state.version, state.pinned_by) == ("spending@v1", ("service both",))
    online = ws.get_online_features(["both"], [{"customer": "a"}]).to_polars()
    assert {"spent", "v1_spent"} <= {*online.columns}
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(101)]})
    assert ws.get_historical_features(spine, ["both"]).select("spent", "v1_spent").rows() == [(5.0, 3.0)]
    over = ws.get_historical_features(features=["both"], start=at(101), end=at(102), every="1d")
    assert over.select("customer", "spent", "v1_spent").rows() == [("a", 5.0, 3.0)]
    ws.save_dataset("kept", spine, ["both"])
    assert ws.datasets.verify("kept").same


def trained(ws, name="buyers", alias=None):
    """Register a model of a training set."""
    sklearn = pytest.importorskip("sklearn.ensemble")
    data = ws.get_training_data(name)
    with ws.start_run("trees", data=data) as run:
        run.log_model(sklearn.HistGradientBoostingRegressor().fit(data.train.X, data.train.y))
    ws.register_model("buyer", run=run, alias=alias)


def came(ws):
    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(shop("48h"))
    for hour in range(1, 100):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [order(hour, "ab"[hour % 2], hour, float(hour % 7))])
        ws.push("visits", [{"visit": hour, "customer": "ab"[hour % 3 == 0], "at": at(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))


def test_the_reach_of_a_change_is_by_the_versions_that_a_model_pins_and_names_services_and_readers(ws):
    came(ws)
    only = shop("24h", both="v1")
    only.training_set("old", spine=only.definitions["visits"], label=only.definitions["buys"], features=["spending@v1"])
    only.service("inputs", features=["spending:last"])
    ws.apply(only)
    trained(ws, "old", alias="champion")
    ws.get_online_features(["inputs"], {"customer": ["a"]}, consumer="billing")
    ws.get_online_features(["spending@v1:spent"], {"customer": ["a"]}, consumer="archive")
    changed = shop("12h", both="v1")
    changed.service("inputs", features=["spending:last"])
    reach = {one.name: one for one in ws.plan(changed).reach}["spending"]
    assert "service inputs" in reach.definitions
    assert reach.models == {"buyer@champion": "keeps v1, which it was trained with"}
    assert reach.readers == ["billing reads spending:last"]
    assert "readers: billing reads spending:last" in str(reach)


def test_a_model_is_within_the_reach_of_its_source_by_its_new_name(ws):
    def named(name, delay=None, was=None):
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")

        def orders() -> tm.Schema:
            return {"order": int, "customer": str, "at": datetime, "amount": float}

        orders.__name__ = name
        source = project.source(timestamp="at", id="order", was=was, delay=delay)(orders)
        scope = {"tm": tm}
        exec(
            f"def spending({name}: tm.Rows) -> tm.Features:\n    return {{'last': {name}['amount'].last()}}\n"
            f"def buys({name}: tm.Rows) -> tm.Label:\n    return {name}.count()\n",
            scope,
        )
        view = project.feature_view(entity=customer)(scope["spending"])
        label = project.label(entity=customer, horizon="1h")(scope["buys"])
        project.training_set("buyers", spine=source, label=label, features=[view])
        return project

    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(named("orders"))
    for hour in range(1, 60):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [{"order": hour, "customer": "a", "at": at(hour), "amount": float(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))
    trained(ws, alias="champion")
    ws.apply(named("purchases", was="orders"))
    reach = {one.name: one for one in ws.plan(named("purchases", "1h", was="orders")).reach}["purchases"]
    assert list(reach.models) == ["buyer@champion"]


def test_a_model_of_a_version_whose_content_came_twice_pins_the_one_that_it_was_trained_on(ws):
    """Where only what is below has changed, two versions of a view have one fingerprint."""
    set_clock(ws, tm.ReplayClock(at(0)))
    ws.apply(shop("48h", minimum=0))
    for hour in range(1, 100):
        set_clock(ws, tm.ReplayClock(at(hour)))
        ws.push("orders", [order(hour, "a", hour, float(hour % 5))])
        ws.push("visits", [{"visit": hour, "customer": "a", "at": at(hour)}])
    set_clock(ws, tm.ReplayClock(at(200)))
    data = ws.get_training_data("buyers")
    sklearn = pytest.importorskip("sklearn.ensemble")
    with ws.start_run("trees", data=data) as run:
        run.log_model(sklearn.HistGradientBoostingRegressor().fit(data.train.X, data.train.y))
    ws.apply(shop("48h", minimum=3))  # the view itself is as it was
    ws.register_model("buyer", run=run)  # only now
    rows = {row.name: row.version for row in ws.load_model("buyer").manifest.definitions if row.kind != "training_set"}
    assert rows["spending"] == 1
    (state,) = version_states(context_of(ws), ws.models)
    assert (state.version, state.pinned_by) == ("spending@v1", ("model buyer@v1",))
