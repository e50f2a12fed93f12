"""Lineage by column over everything in a workspace: what each thing is made of, what is made of it, and who reads it."""

import json
import re
import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from command_line import refused, registered_shop, succeed
from conftest import at, shop
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from inside import context_of, database_of
from litestar.testing import TestClient
from sklearn.dummy import DummyClassifier

import tinymlops as tm
from tinymlops.errors import DataError, NotFoundError, TinyMLOpsError
from tinymlops.features.definitions.lineage import Graph, Node
from tinymlops.features.law.lineage import AffectedModel, affected_by
from tinymlops.features.law.lineage_answer import Lineage
from tinymlops.records import Reader
from tinymlops.registry import readers

NOW = datetime(2024, 2, 1, tzinfo=UTC)


def room(spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
    """What is left, and whether there was anything."""
    return {"left": budget - spending["last_amount"], "rich": budget > 100}


def make_project(*, small=False):
    """Orders by push, cleaned and summed up in SQL, scored in Python; prices from a file."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float, "paid": bool, "note": str}

    @project.source(timestamp="seen")
    def visits() -> tm.Schema:
        return {"customer": str, "seen": datetime, "budget": float}

    @project.source(static=True)
    def prices() -> str:
        return "select item, price * 2 as price from read_csv('prices.csv') where valid"

    @project.transformation(row_wise=True)
    def taxed(orders: tm.Rows) -> str:
        return "select *, amount * 1.2 as gross from orders where paid"

    @project.transformation(timestamp="day")
    def daily(orders: tm.Rows) -> str:
        return "select customer, date_trunc('day', orders.at) as day, sum(amount) as total from orders where paid group by all"

    @project.transformation(timestamp="at")
    def scored(orders: pl.LazyFrame) -> pl.LazyFrame:
        return orders.select("customer", "at", score=pl.col("amount") * 2)

    @project.transformation(timestamp="at")
    def picked(orders: tm.Rows) -> str:
        return "select columns(lambda c: c in ('customer', 'at', 'amount')) from orders"

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        paid = orders["amount"].sum(window="7d", where=orders["paid"])
        features = {"last_amount": orders["amount"].last(), "paid_7d": paid, "n_7d": orders.count(window="7d")}
        return features if not small else {"last_amount": features["last_amount"]}

    @project.feature_view(entity=customer)
    def gross(taxed: tm.Rows) -> tm.Features:
        return {"gross_7d": taxed["gross"].mean(window="7d")}

    @project.feature_view(entity=customer)
    def days(daily: tm.Rows) -> tm.Features:
        return {"total": daily["total"].last()}

    @project.feature_view(entity=customer)
    def scores(scored: tm.Rows) -> tm.Features:
        return {"score": scored["score"].last()}

    @project.feature_view(entity=customer)
    def picks(picked: tm.Rows) -> tm.Features:
        return {"picked": picked["amount"].last()}

    project.on_demand(room)

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 1).last()

    views = [spending, room_of(project)] if not small else [spending]
    project.training_set("buyers", spine=visits, label=buys, features=views)
    return project


def room_of(project):
    return project.definitions["room"]


def fill(ws):
    orders = [
        {"order": n, "customer": "ab"[n % 2], "at": at(n * 5), "amount": float(n % 4), "paid": n % 3 == 0, "note": ""}
        for n in range(40)
    ]
    ws.push("orders", orders)
    ws.push("visits", [{"customer": "ab"[n % 2], "seen": at(n * 9 + 30), "budget": 9.0} for n in range(12)])


@pytest.fixture
def ws(tmp_path):
    (tmp_path / "prices.csv").write_text("item,price,valid\na,1.5,true\n")
    clock = tm.ReplayClock(NOW - timedelta(days=20))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(make_project())
        yield ws


def train(ws, name="buyer", alias=None):
    data = ws.get_training_data("buyers")
    with ws.start_run("dummy", data=data) as run:
        run.log_model(DummyClassifier().fit(data.train.X, data.train.y))
    ws.register_model(name, run=run, alias=alias)
    return data, run


def names(ws, reference, **side):
    """What an answer holds, besides wholes that only contain what else it holds."""
    return {str(node) for node in ws.lineage(reference, **side).nodes}


def edges_to(ws, name):
    """How one thing depends on others."""
    found = ws.lineage(name, upstream=True).edges
    return {(str(edge.source), edge.kind, edge.subtype) for edge in found if str(edge.target) == name}


# Definitions


def test_a_feature_depends_on_its_columns_and_its_view_on_what_decides_about_rows(ws):
    assert edges_to(ws, "spending:last_amount") == {
        ("orders.amount", "DIRECT", "identity"), ("spending", "DIRECT", "part"),
    }  # fmt: skip
    assert edges_to(ws, "spending:paid_7d") == {
        ("orders.amount", "DIRECT", "aggregation"), ("orders.paid", "INDIRECT", "filter"), ("spending", "DIRECT", "part"),
    }  # fmt: skip
    assert edges_to(ws, "spending") == {
        ("customer", "INDIRECT", "join"), ("orders", "INDIRECT", "rows"), ("orders.customer", "INDIRECT", "group"),
        ("orders.at", "INDIRECT", "window"), ("orders.at", "INDIRECT", "sort"), ("orders.order", "INDIRECT", "filter"),
    }  # fmt: skip


def test_sql_is_read_by_column(ws):
    assert edges_to(ws, "daily.total") == {("orders.amount", "DIRECT", "aggregation"), ("daily", "DIRECT", "part")}
    assert edges_to(ws, "daily") == {
        ("orders", "INDIRECT", "rows"), ("orders.paid", "INDIRECT", "filter"),
        ("orders.customer", "INDIRECT", "group"), ("orders.at", "INDIRECT", "group"),
    }  # fmt: skip
    assert "orders.note" not in names(ws, "days:total", upstream=True)


def test_a_row_wise_transformation_has_the_columns_and_times_of_its_input(ws):
    assert edges_to(ws, "gross:gross_7d") == {("taxed.gross", "DIRECT", "aggregation"), ("gross", "DIRECT", "part")}
    assert ("orders.at", "INDIRECT", "window") in edges_to(ws, "gross")
    assert edges_to(ws, "taxed.note") == {("orders.note", "DIRECT", "identity"), ("taxed", "DIRECT", "part")}


def test_a_file_is_an_input_and_so_are_its_columns(ws):
    assert edges_to(ws, "prices.price") == {
        ("prices.csv.price", "DIRECT", "transformation"), ("prices", "DIRECT", "part"),
    }  # fmt: skip
    assert "prices.item" in names(ws, "prices.csv.item", downstream=True)
    assert ("prices.csv.valid", "INDIRECT", "filter") in edges_to(ws, "prices")


def test_a_column_of_a_file_is_one_however_its_name_is_written(workspace, tmp_path):
    project = tm.Project("case")
    pl.DataFrame({"k": ["a"], "seen": [at(1)], "Price": [1.0]}).write_parquet(tmp_path / "o.parquet")

    @project.source(timestamp="seen")
    def first() -> str:
        return "select k, seen, PRICE * 2 as double from 'o.parquet'"

    @project.source(timestamp="seen")
    def second() -> str:
        return "select k, seen, price + 1 as more from 'o.parquet' where Price > 0"

    workspace.apply(project)
    assert names(workspace, "o.parquet.PRICE", downstream=True) >= {"first.double", "second.more"}
    assert len([one for one in names(workspace, "second.more") if one.lower() == "o.parquet.price"]) == 1


def test_fields_of_structs_and_names_of_any_letters_are_followed_from_a_file(workspace, tmp_path):
    project = tm.Project("odd")
    customer = project.entity("customer", key="k")
    columns = {"k": ["a"], "seen": [at(1)], "betrag.süß": [1.0], "info": [{"city": "x", "zip": 1}], "Upper": [1]}
    pl.DataFrame(columns).write_parquet(tmp_path / "o.parquet")

    @project.source(timestamp="seen")
    def orders() -> str:
        return "select * exclude (info), info.city, info.zip + 1 as z from read_parquet('./o.parquet')"

    @project.feature_view(entity=customer)
    def sums(orders: tm.Rows) -> tm.Features:
        ratio = orders["betrag.süß"].sum(window="1d") / orders["z"].sum(window="2d")
        return {"ratio": ratio, "upper": orders["Upper"].last()}

    workspace.apply(project)
    for _ in range(2):  # before its columns are known, and after
        assert names(workspace, "o.parquet.info", downstream=True) >= {"o.parquet.info.zip", "orders.z", "sums:ratio"}
        assert "sums:upper" not in names(workspace, "o.parquet.info", downstream=True)
        assert names(workspace, "orders.betrag.süß") >= {"o.parquet.betrag.süß", "sums:ratio"}
        assert "orders.city" in names(workspace, "o.parquet.info.city", downstream=True)
        workspace.ingest()


@pytest.mark.parametrize(("name", "feature"), [("scored", "scores:score"), ("picked", "picks:picked")])
def test_what_is_not_read_depends_on_every_column_and_says_so(ws, name, feature):
    assert {source for source, _, subtype in edges_to(ws, name) if subtype == "opaque"} == {
        f"orders.{column}" for column in ("order", "customer", "at", "amount", "paid", "note")
    }
    assert feature in names(ws, "orders.note", downstream=True)
    (note,) = [note for of, note in ws.lineage(feature, upstream=True).notes.items() if of == f"transformation {name}"]
    assert note.endswith("depends on every column of its inputs")
    assert f"note: transformation {name}: {note}" in str(ws.lineage(feature))


def test_an_on_demand_view_is_read_by_its_expressions(ws):
    assert edges_to(ws, "room:left") == {
        ("spending:last_amount", "DIRECT", "transformation"),
        ("room", "DIRECT", "part"),
    }
    assert edges_to(ws, "room:rich") == {("room", "DIRECT", "part")}
    assert "room:left" not in names(ws, "orders.paid", downstream=True)


def test_an_on_demand_view_whose_code_is_not_at_hand_depends_on_every_feature_of_its_views(ws, tmp_path, monkeypatch):
    monkeypatch.setattr("tinymlops.features.context.Context.function", _gone)
    assert {source for source, _, subtype in edges_to(ws, "room") if subtype == "opaque"} == {
        "spending:last_amount", "spending:paid_7d", "spending:n_7d",
    }  # fmt: skip
    assert "buyers" in names(ws, "room", downstream=True)


def _gone(*_):
    raise NotFoundError("no code")


def test_a_training_set_depends_on_features_label_and_the_columns_of_its_spine(ws):
    assert edges_to(ws, "buyers") == {
        *((f"spending:{name}", "DIRECT", "identity") for name in ("last_amount", "paid_7d", "n_7d")),
        *((f"room:{name}", "DIRECT", "identity") for name in ("left", "rich")),
        ("buys", "DIRECT", "identity"), ("visits.budget", "DIRECT", "identity"), ("visits", "INDIRECT", "rows"),
        ("visits.customer", "INDIRECT", "join"), ("visits.seen", "INDIRECT", "join"),
    }  # fmt: skip
    assert "buyers" not in names(ws, "days", downstream=True)


def test_a_whole_reaches_what_is_made_of_any_of_its_columns(ws):
    assert names(ws, "orders", downstream=True) >= {
        "orders.note", "spending:n_7d", "daily.total", "scores:score", "picks:picked", "gross:gross_7d", "buys", "buyers",
    }  # fmt: skip
    assert names(ws, "customer", downstream=True) >= {"spending", "spending:n_7d", "gross", "days", "buys", "buyers"}


def test_columns_that_are_known_only_from_rows_are_there_once_they_were_ingested(ws):
    with pytest.raises(NotFoundError, match="'scored' has no column 'scor' that is known"):
        ws.lineage("scored.scor")
    fill(ws)
    ws.ingest()
    assert {"scored.customer", "scored.score"} <= names(ws, "scored", downstream=True)
    assert names(ws, "orders.amount", downstream=True) >= {"scored.score", "picked.amount", "daily.total"}


# Builds, runs, models, readers


def test_a_column_reaches_the_model_that_was_trained_on_it_and_who_asks_it(ws):
    fill(ws)
    ws.materialize()
    data, run = train(ws, alias="champion")
    ws.predict("buyer", [{"customer": "a", "budget": 3.0}], consumer="shopfront")
    ws.get_online_features(["spending:paid_7d"], [{"customer": "a"}], consumer="billing")
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(50)]})
    ws.get_historical_features(spine, ["spending"], consumer="report")
    assert names(ws, "orders.paid", downstream=True) >= {
        data.build_id,
        run.id,
        "buyer:1",
        "shopfront",
        "billing",
        "report",
    }
    assert "billing" not in names(ws, "spending:last_amount", downstream=True)
    assert names(ws, "reader:billing", upstream=True) >= {"spending:paid_7d", "orders.paid", "orders.amount"}
    for reference in ("buyer", "buyer:1", "buyer@champion", "buyer@latest", "model:buyer"):
        assert "orders.amount" in names(ws, reference, upstream=True)
    for reference in ("dummy", run.id[:8], data.build_id[:8], f"build:{data.build_id}"):
        assert "buyer:1" in names(ws, reference, downstream=True)
    assert "model buyer:1 @champion" in str(ws.lineage("orders.amount", downstream=True))


def test_a_model_keeps_the_features_that_its_training_set_no_longer_has(ws):
    fill(ws)
    train(ws, alias="champion")
    ws.apply(make_project(small=True))
    assert "buyer:1" in names(ws, "spending:paid_7d", downstream=True)
    assert "buyer:1" in names(ws, "room:left", downstream=True)
    found = ws.lineage("buyer", upstream=True)
    assert found.notes["spending:paid_7d"] == "not among the definitions any more"
    assert found.notes["model buyer:1 @champion"].startswith("stands on an earlier ")
    assert "feature_view:spending" in found.notes["model buyer:1 @champion"]


def test_what_a_change_touches_is_told_by_kind(ws):
    fill(ws)
    train(ws, alias="champion")
    train(ws)
    ws.materialize()
    ws.get_online_features(["gross"], [{"customer": "a"}], consumer="billing")
    ws.lineage()
    found = affected_by(context_of(ws), [("source", "taxed", "gross")])
    assert (found.transformations, found.views, found.training_sets, found.models) == ([], ["gross"], [], [])
    assert found.readers == ["billing"]
    found = affected_by(context_of(ws), [("feature_view", "spending", "last_amount")])
    assert (found.views, found.on_demand, found.training_sets, len(found.builds)) == ([], ["room"], ["buyers"], 2)
    assert found.models == [AffectedModel("buyer", 1, ["champion"], []), AffectedModel("buyer", 2, [], [])]
    everything = affected_by(context_of(ws), [("source", "orders", "")])
    assert everything.transformations == ["daily", "picked", "scored", "taxed"]
    assert everything.labels == ["buys"]
    assert not affected_by(context_of(ws), [("source", "prices", ""), ("source", "new", ""), ("label", "other", "x")])


# Answers


def test_the_tree_shows_each_thing_once_and_how_it_depends(ws):
    assert str(ws.lineage("daily.total", downstream=True)) == "daily.total\n└─ days:total  (identity)"
    lines = str(ws.lineage("orders.paid", downstream=True)).splitlines()
    assert lines[0] == "orders.paid"
    assert any(line.endswith("─ spending:paid_7d  (filter)") for line in lines)
    assert any(line.endswith("(above)") for line in lines)
    assert sum(line.endswith("training set buyers  (identity)") for line in lines) == 1


def test_both_sides_are_shown_if_none_is_named(ws):
    lines = str(ws.lineage("daily.total")).splitlines()
    assert lines[0] == "made of"
    assert lines[-3:] == ["made of it", "daily.total", "└─ days:total  (identity)"]


def test_the_answer_can_be_carried_by_json_and_drawn(ws):
    found = ws.lineage("spending", downstream=True)
    data = json.loads(json.dumps(found.to_dict()))
    assert data["start"] == ["spending"]
    assert {(one["kind"], one["name"], one["part"]) for one in data["nodes"]} >= {("feature_view", "spending", "n_7d")}
    assert all(0 <= edge[end] < len(data["nodes"]) for edge in data["edges"] for end in ("from", "to"))
    dot = found.to_dot()
    assert dot.startswith("digraph lineage {")
    assert '[label="spending:n_7d"]' in dot
    html = found._repr_html_()
    assert "</style><svg" in html
    assert html.count("<rect") == 2 * len({node.whole for node in found.nodes})
    assert "stroke-dasharray" in ws.lineage("spending", upstream=True)._repr_html_()


def test_names_are_written_into_a_picture_as_text():
    graph, evil = Graph(), Node("file", "<script>.csv", 'a"<b>')
    graph.connect(evil, Node("source", "orders", "a"), "DIRECT", "identity")
    found = Lineage(graph, None, graph.nodes, graph.nodes)
    assert "<script>" not in found._repr_html_()
    assert r"\"<b>" in found.to_dot()


@pytest.mark.parametrize("name", ["顧客の注文履歴", "x" * 80, "注文" * 40, "Ωριαία", "e\u0301" * 12, "الطلبات"])
def test_a_name_of_any_script_fits_into_its_box(name):
    graph = Graph()
    graph.connect(Node("file", "f.csv", name), Node("source", "orders", "a"), "DIRECT", "identity")
    html = Lineage(graph, None, graph.nodes, graph.nodes)._repr_html_()
    (x, width, text, shown) = re.search(
        r"<rect x='(\d+)' y='\d+' width='(\d+)'[^>]*/><rect[^>]*/><text[^>]*>file f.csv</text><text x='(\d+)'[^>]*>([^<]+)<",
        html,
    ).groups()
    pixels = sum(13 if ord(one) > 0x2E80 else 0 if one == "\u0301" else 7.3 for one in shown)
    assert int(text) + pixels <= int(x) + int(width) + 1
    assert pixels < 250


def test_what_reads_nothing_is_drawn_before_its_first_reader():
    graph = Graph()
    for before, after in [("a", "b"), ("b", "c"), ("c", "d"), ("late", "d")]:
        graph.connect(Node("source", before), Node("source", after), "DIRECT", "identity")
    html = Lineage(graph, None, graph.nodes, graph.nodes)._repr_html_()
    places = {name: int(x) for x, name in re.findall(r"<text x='(\d+)'[^>]*>source (\w+)<", html)}
    assert places["a"] < places["b"] < places["c"] == places["late"] < places["d"]


def test_an_empty_workspace_has_an_empty_answer(workspace):
    assert str(workspace.lineage()) == ""
    assert "</style><svg" in workspace.lineage()._repr_html_()
    assert workspace.lineage().to_openlineage() == ""
    assert workspace.sql("select * from lineage").height == 0
    with pytest.raises(NotFoundError, match="there is no 'orders'") as info:
        workspace.lineage("orders")
    assert "apply a project first" in info.value.hint


def test_openlineage_events_name_the_fields_of_each_column(ws):
    events = [json.loads(line) for line in ws.lineage("daily").to_openlineage().splitlines()]
    (event,) = [one for one in events if one["job"]["name"] == "source.daily"]
    assert event["inputs"] == [{"namespace": "tinymlops", "name": "source.orders"}]
    (output,) = event["outputs"]
    facet = output["facets"]["columnLineage"]
    assert facet["_schemaURL"].endswith("/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet")
    fields = {
        (one["field"], how["type"], how["subtype"])
        for one in facet["fields"]["total"]["inputFields"]
        for how in one["transformations"]
    }
    assert fields == {
        ("amount", "DIRECT", "AGGREGATION"), ("paid", "INDIRECT", "FILTER"), ("customer", "INDIRECT", "GROUP_BY"),
        ("at", "INDIRECT", "GROUP_BY"),
    }  # fmt: skip
    assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
    assert event["eventType"] == "COMPLETE"
    names = {one["job"]["name"] for one in map(json.loads, ws.lineage().to_openlineage().splitlines())}
    assert names >= {"feature_view.spending", "on_demand.room", "label.buys", "training_set.buyers", "source.prices"}


def test_sql_has_the_edges_and_the_readers(ws):
    fill(ws)
    ws.materialize()
    ws.get_online_features(["spending"], [{"customer": "a"}], consumer="billing")
    found = ws.sql(
        """select distinct "from" from lineage where "to" = 'daily.total' and type = 'DIRECT' and subtype <> 'part'"""
    )
    assert found["from"].to_list() == ["orders.amount"]
    assert ws.sql("select consumer, kind, name, calls from readers").rows() == [("billing", "online", "spending", 1)]
    assert {"lineage", "readers"} <= set(ws.sql("show tables")["name"])


@pytest.mark.parametrize(
    ("reference", "said", "hint"),
    [
        ("orders.amuont", "source 'orders' has no column 'amuont' that is known", "did you mean 'amount'?"),
        ("spending:last", "feature view 'spending' has no feature 'last' that is known", "last_amount"),
        ("oders", "there is no 'oders' in this workspace", "did you mean 'orders'?"),
        ("label:bys", "there is no 'label:bys' in this workspace", "did you mean 'label:buys'?"),
        ("model:buyer", "there is no 'model:buyer' in this workspace", "known names"),
        ("buyer@champion", "there is no 'buyer@champion' in this workspace", ""),
        ("", "there is no '' in this workspace", ""),
        (".", "there is no '.' in this workspace", ""),
    ],
)
def test_what_is_not_there_is_answered_with_the_near_match(ws, reference, said, hint):
    with pytest.raises(NotFoundError, match=re.escape(said)) as info:
        ws.lineage(reference)
    assert hint in info.value.hint


def test_a_name_that_two_kinds_share_is_told_apart_by_the_kind(ws):
    fill(ws)
    train(ws, "buyers")
    assert "buyers:1" in names(ws, "buyers", downstream=True)
    assert "training set buyers" not in str(ws.lineage("model:buyers", downstream=True))
    assert "buyers" in names(ws, "training_set:buyers", downstream=True)


def test_the_command_line_draws_a_tree_in_plain_text_and_speaks_three_languages(tmp_path, monkeypatch):
    monkeypatch.chdir(registered_shop(tmp_path / "shop"))
    printed = succeed("lineage", "orders.amount", "--downstream")
    assert printed.splitlines()[:2] == ["orders.amount", "+- spending:last_amount  (identity)"]
    assert "model buy:1 @champion" in printed
    assert succeed("lineage", "buy@champion", "--upstream", "--dot").startswith("digraph")
    assert all(json.loads(line)["job"] for line in succeed("lineage", "--openlineage").splitlines())
    assert json.loads(succeed("lineage", "spending", "--json"))["start"] == ["spending"]
    assert "did you mean 'amount'?" in refused(4, "lineage", "orders.amont")


# Walks


@examples(60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25), st.sets(st.integers(0, 9), max_size=3))
def test_what_is_reached_is_what_is_connected(pairs, starts):
    graph = Graph()
    nodes = [graph.add(Node("source", str(number))) for number in range(10)]
    for one, other in pairs:
        graph.connect(nodes[one], nodes[other], "DIRECT", "identity")
        graph.connect(nodes[one], nodes[other], "DIRECT", "identity")
    assert len(graph.edges) == len(set(pairs))
    for downstream in (True, False):
        expected = set(starts)
        for _ in range(10):
            ends = pairs if downstream else [(other, one) for one, other in pairs]
            expected |= {other for one, other in ends if one in expected}
        found = graph.reached([nodes[number] for number in starts], downstream=downstream)
        assert {int(node.name) for node in found} == expected
        assert len(found) == len(expected)


def test_what_is_added_to_a_copy_is_not_in_the_graph():
    graph = Graph()
    graph.connect(Node("source", "a"), Node("source", "b"), "DIRECT", "identity")
    other = graph.copy()
    other.connect(Node("source", "b"), Node("source", "c", "x"), "DIRECT", "identity")
    assert (len(graph), len(other)) == (2, 4)
    assert graph.reached([Node("source", "a")], downstream=True) == [Node("source", "a"), Node("source", "b")]


# Readers


def stored(ws):
    return {(one.consumer, one.kind, one.name): one.calls for one in database_of(ws).list(Reader)}


def read(ws, consumer, features=("spending",)):
    return ws.get_online_features(list(features), [{"customer": "a"}], consumer=consumer)


def test_reads_are_counted_in_memory_and_stored_together(ws, tmp_path):
    fill(ws)
    ws.materialize()
    for _ in range(20):
        read(ws, "billing", ["spending:paid_7d", "gross"])
    read(ws, "billing", [make_project().definitions["gross"]])
    assert sum(stored(ws).values()) <= 4  # the first is on its way; the others wait for the interval
    ws.lineage()
    assert stored(ws) == {("billing", "online", "spending:paid_7d"): 20, ("billing", "online", "gross"): 21}
    read(ws, "billing", ["gross"])
    ws.close()
    with tm.connect(tmp_path / "shop.tm", clock=tm.ReplayClock(NOW)) as again:
        read(again, "billing", ["gross"])
        again.lineage()
        assert stored(again)["billing", "online", "gross"] == 23
        (reader,) = [one for one in database_of(again).list(Reader) if one.name == "gross"]
        assert (reader.first_at, reader.last_at) == (NOW - timedelta(days=20), NOW)


def test_a_read_without_a_name_is_not_counted(ws):
    fill(ws)
    ws.materialize()
    ws.get_online_features(["spending"], [{"customer": "a"}])
    with pytest.raises(NotFoundError):
        read(ws, "billing", ["nothing"])
    ws.lineage()
    assert stored(ws) == {}


@pytest.mark.parametrize("name", ["", "Billing", "a b", "x" * 64, 7, "../x"])
def test_a_consumer_has_a_name_like_other_things(ws, name):
    with pytest.raises(DataError, match="cannot be the name of a consumer"):
        read(ws, name)


def test_a_read_neither_fails_nor_waits_where_readers_cannot_be_stored(tmp_path, monkeypatch):
    held = threading.Event()

    def fails(*_):
        held.wait(20)
        raise TinyMLOpsError("the disk is full")

    monkeypatch.setattr(readers, "INTERVAL", 0.0)
    monkeypatch.setattr(readers, "_store", fails)
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(NOW)) as ws:
        ws.apply(make_project())
        fill(ws)
        ws.materialize()
        for _ in range(50):
            read(ws, "billing")
        held.set()
        with pytest.raises(TinyMLOpsError, match="could not be logged: the disk is full"):
            ws.lineage()
        assert read(ws, "billing").to_dict()["n_7d"] == [0]
        with pytest.raises(TinyMLOpsError, match="could not be logged: the disk is full"):
            ws.close()


def test_more_readers_than_can_be_held_are_only_counted_and_no_read_fails(ws, monkeypatch):
    fill(ws)
    ws.materialize()
    monkeypatch.setattr(readers, "_MOST", 6)  # two records a read: its reader, and its row in the access log
    for number in range(5):
        read(ws, f"r{number}")
    ws.lineage()
    assert len(stored(ws)) == 3
    assert {one.kind: one.calls for one in ws.access.list()} == {"online": 1, "not recorded": 2}


def test_threads_that_read_are_all_counted(ws):
    fill(ws)
    ws.materialize()
    threads = [threading.Thread(target=lambda: [read(ws, "billing") for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ws.lineage()
    assert stored(ws) == {("billing", "online", "spending"): 100}


def test_a_consumer_names_itself_over_http(served):
    with TestClient(tm.create_app(served), base_url="http://127.0.0.1:8000") as client:
        body = {"features": ["spending"], "keys": [{"customer": 1}], "consumer": "mobile-app"}
        assert client.post("/v1/features/online", json=body).status_code == 200
        rows = {"rows": [{"customer": 1, "budget": 30.0}], "consumer": "mobile-app"}
        assert client.post("/v1/models/splurge/predict", json=rows).status_code == 200
        refused_ = client.post("/v1/models/splurge/predict", json=rows | {"consumer": "Mobile App"})
        assert refused_.status_code == 422
    found = {str(node) for node in served.lineage("reader:mobile-app", upstream=True).nodes}
    assert found >= {"splurge:1", "spending:spent_7d", "orders.amount"}


def test_a_check_is_made_of_the_columns_that_it_asks(workspace):
    project = shop(
        pl.DataFrame({"customer": ["a"], "at": [at(1)], "amount": [1.0], "paid": [1.0], "note": ["x"]}),
        pl.DataFrame({"visit": [1], "customer": ["a"], "at": [at(2)]}),
    )
    orders, spending = project.definitions["orders"], project.definitions["spending"]
    rows = tm.Rows()
    project.check(orders, tm.between("amount", 0), rows["paid"] >= 0, action="quarantine", owner="ana", tags=["money"])
    project.check(orders, tm.fresh("9999d"), tm.volume(1), pl.col("paid") <= pl.col("amount"), name="batch")
    project.check(spending, tm.not_null("last_amount"), tm.not_null("customer"))
    workspace.apply(project)
    workspace.ingest()
    quarantine = "check orders_quarantine_checks"
    for column, checks in (
        ("amount", {quarantine, "check batch", "check spending_warn_checks"}),
        ("paid", {quarantine, "check batch"}),
        ("at", {"check batch", "check spending_warn_checks"}),
        ("note", set()),
    ):
        lines = str(workspace.lineage(f"orders.{column}", downstream=True)).splitlines()
        assert {line.lstrip("│├└─ ").partition("  (")[0] for line in lines if "check" in line} - {"check"} == checks, (
            column
        )
    assert "spending:last_amount" in str(workspace.lineage("check:spending_warn_checks", upstream=True))
    assert "orders.paid" in str(workspace.lineage("batch", upstream=True))
    touched = affected_by(context_of(workspace), [("source", "orders", "paid")]).checks
    assert set(touched) == {"orders_quarantine_checks", "batch"}
    assert '"check.' not in workspace.lineage().to_openlineage()  # a check makes no table
    assert workspace.catalog.get("check", "orders_quarantine_checks").spec["about"]["owner"] == "ana"
    changed = workspace.plan(project)
    assert not changed


def test_a_check_takes_an_owner_and_tags_and_nothing_that_readers_are_told():
    project = shop(pl.DataFrame())
    orders = project.definitions["orders"]
    for option in ({"enabled": False}, {"keep": True}, {"variant": "ana"}):
        with pytest.raises(tm.DefinitionError, match="means nothing here: nothing reads a check"):
            project.check(orders, tm.not_null("amount"), **option)
    with pytest.raises(tm.DefinitionError, match="has no values of its own"):
        project.check(orders, tm.not_null("amount"), unit="EUR")
    with pytest.raises(tm.DefinitionError, match="option 'ownr', which does not exist"):
        project.check(orders, tm.not_null("amount"), ownr="ana")
