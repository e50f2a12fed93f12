"""`ws.sql`: one SELECT over everything, with the right types."""

from datetime import UTC, datetime

import polars as pl
import pytest
from conftest import at
from inside import context_of
from trained import TRAINED_AT, project_of_orders, replay, train

import tinymlops as tm
from tinymlops import querying
from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError
from tinymlops.registry import record_frames

TIME = pl.Datetime("us", "UTC")


@pytest.fixture
def ws(tmp_path):
    with replay(tmp_path) as ws:
        yield ws


def corrected(ws):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    rows = {"orders": pl.DataFrame({"id": [1, 2], "customer": ["a", "b"], "at": [at(1), at(2)], "amount": [1.0, 2.0]})}

    @project.source(timestamp="at", id="id")
    def orders() -> pl.DataFrame:
        return rows["orders"]

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last(), "n": orders.count(window="30d")}

    ws.apply(project)
    ws.ingest()
    rows["orders"] = pl.DataFrame({"id": [1], "customer": ["a"], "at": [at(1)], "amount": [5.0]})
    ws.ingest("orders", full=True)


def test_a_source_is_its_rows_as_they_are_now_and_its_history_every_version(ws):
    corrected(ws)
    now = ws.sql("select * from orders")
    assert now.schema["at"] == TIME
    assert now.rows() == [(1, "a", at(1), 5.0)]
    history = ws.sql("select id, amount, __event, __sequence, __deleted from orders_history order by __sequence")
    assert history.schema["__event"] == TIME
    assert history.drop("__event").rows() == [
        (1, 1.0, 1, False), (2, 2.0, 2, False), (1, 5.0, 3, False), (2, 2.0, 4, True),
    ]  # fmt: skip


def test_a_feature_view_is_the_features_of_every_key_now(ws):
    corrected(ws)
    # The delete counts from exactly this time, and a window sees what was known strictly before it.
    assert ws.sql("select * from spending order by customer").rows() == [("a", 5.0, 1), ("b", None, 1)]


READS = [
    ("select count(*) as n from orders", 1),
    ("select count(*) as n from orders where AMOUNT > 2", 2),
    ("select o.customer as amount from orders o where o.amount > 2", 3),
    ('select "at" as "ID" from orders', 2),
    ("select count(*) as n from orders_history", 4),
    ("select __sequence, amount from orders_history order by all", 8),
    ("select customer, __event from orders_history", 5),
    ("from orders", 4),
    ("select o from orders o", 4),
    ("select to_json(orders)::text as a from orders", 4),
    ("select main.orders from orders", 4),
    ("select orders.to_json()::text as a from orders", 4),
    ("select count(*) as n from orders o where o.to_json() like '%2.0%'", 4),
    ("select count(distinct O.hash()) as n from orders o", 4),
    ("select o.struct_extract_at(3) as a from orders o", 4),
    ("select amount.abs() as a, orders.customer.upper() as b from orders", 3),
    ("select #2 as a from orders", 4),
    ("select c from orders as o(a, b, c, d)", 4),
    ("select columns('a.*') from orders", 4),
    ("select a.amount from orders a natural join orders_history h", 4),
    ("select orders.customer from orders join orders_history using (id)", 2),
    ("select x from (select customer from orders) x", 2),
    ("with x as (from orders) select count(*) as n from x", 4),
    ("select (select max(amount) from orders_history h where h.id = orders.id) as m from orders", 2),
    ("select id from orders order by 1 limit 1", 1),
    ("select list(amount order by customer) as a from orders group by all", 3),
    ("select unnest({'amount': 1, 'b': 2}) from orders", 2),
    ("pivot orders on customer in ('a') using sum(amount)", 4),
    ("describe orders", 4),
    ("summarize orders", 4),
    ("select author from saved_queries order by author", 1),
    ("select count(*) as n from tinymlops.definitions", 1),
    ("select runs from runs", None),
]


def test_a_select_reads_only_its_columns_and_answers_what_it_would_with_all(ws, monkeypatch):
    corrected(ws)
    monkeypatch.setattr(record_frames, "_BATCH", 1)
    for name in "ab":
        ws.queries.save(name, "from orders")
    for text, count in READS:
        context = context_of(ws)
        read = next(iter(querying.tables_of(context, text).values()))
        found = ws.sql(text)
        with monkeypatch.context() as patch:
            patch.setattr(querying, "words_of", lambda _: None)
            whole = next(iter(querying.tables_of(context, text).values()))
            assert found.equals(ws.sql(text)), text
        assert read.columns == whole.columns
        assert [one.dtype for one in read if one.dtype != pl.Null] == [
            whole[one.name].dtype for one in read if one.dtype != pl.Null
        ]
        assert sum(one.dtype != pl.Null for one in read) == (count or read.width), text
    with pytest.raises(DefinitionError, match='Candidate bindings: "amount"'):
        ws.sql("select amounts from orders")


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("select max(at) from orders", True),
        ("select AT\nfrom orders", True),
        ("select 'look at me' fro orders", False),
        ("select timestamp '2024-01-01' at time zone 'UTC' fro orders", False),
        ('select max("at") from orders)', False),
        ("select max(o.at) from orders)", False),
        ("select (1", False),
    ],
)
def test_a_column_that_is_a_word_of_sql_is_told_to_be_quoted(ws, text, is_told):
    with pytest.raises(DefinitionError, match="syntax error") as caught:
        ws.sql(text)
    assert ('write the column as "at"' in caught.value.hint) == is_told


def test_what_was_tried_and_answered_can_be_joined(ws):
    train(ws, project_of_orders())
    with ws.start_run("other", params={"depth": 3}) as run:
        run.log_metrics(auc=0.5, loss=float("nan"))
    (first, second) = ws.predict("buyer", {"customer": ["a", "b"]})
    ws.log_outcomes([{"prediction_id": first["id"], "value": True}, {"prediction_id": second["id"], "value": "late"}])
    joined = ws.sql(
        """select p.id, p.at, m.name || ':' || m.version as model, a.alias, json_extract(p.features, '$.spent_1d')::double
           as spent, o.value, o.value_text from predictions p join outcomes o on o.prediction_id = p.id
           join models m on m.name = p.model and m.version = p.version join model_aliases a on a.name = m.name
           order by p.id"""
    )
    assert joined.schema["at"] == TIME
    assert joined["model"].to_list() == ["buyer:1"] * 2
    assert joined.select("value", "value_text").rows() == [(1.0, None), (None, "late")]
    assert joined["at"][0] == TRAINED_AT
    metrics = ws.sql("select r.name as run, m.name, m.value from metrics m join runs r on m.run = r.id order by m.name")
    assert metrics.rows()[0] == ("other", "auc", 0.5)
    assert metrics["value"].is_nan().to_list() == [False, True]
    assert ws.sql("select git_dirty, params, started_at, ended_at from runs").schema == {
        "git_dirty": pl.Boolean, "params": pl.String, "started_at": TIME, "ended_at": TIME,
    }  # fmt: skip
    assert ws.sql("select count(*) as n from audit where action = 'model.register'")["n"].to_list() == [1]


@pytest.mark.parametrize("name", [*querying._RECORDS])
def test_every_table_can_be_read_empty_too(workspace, name):
    frame = workspace.sql(f"select * from {name}")
    assert frame.width > 2


def test_only_what_is_named_is_read(ws, monkeypatch):
    corrected(ws)
    asked = []
    table = querying._table
    monkeypatch.setattr(
        querying, "_table", lambda context, name, words: asked.append(name) or table(context, name, words)
    )
    ws.sql("with spending as (select 1 as one) select * from spending, (select max(amount) from orders)")
    assert asked == ["orders"]
    asked.clear()
    assert ws.sql("select timestamptz '2024-01-01T00:00:00Z' as t")["t"].to_list() == [datetime(2024, 1, 1, tzinfo=UTC)]
    assert asked == []


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("select * from order", DefinitionError, "the SQL is wrong"),
        ("select * from orderz", NotFoundError, "did you mean 'orders'"),
        ("select * from orders_histori", NotFoundError, "did you mean 'orders_history'"),
        ("select amont from orders", DefinitionError, "amont"),
        ("drop table orders", DefinitionError, "not a SELECT but DROP"),
        ("select 1; select 2", DefinitionError, "2 statements"),
        ("select * from read_csv('/etc/passwd')", AccessError, "may not"),
        ("selec", DefinitionError, "syntax error"),
        ("", DefinitionError, "0 statements"),
    ],
)
def test_what_cannot_be_asked_is_said(ws, text, error, message):
    corrected(ws)
    with pytest.raises(error, match=message) as caught:
        ws.sql(text)
    assert caught.value.hint


def test_files_of_the_project_can_be_joined(ws, tmp_path):
    corrected(ws)
    pl.DataFrame({"customer": ["a"], "city": ["Graz"]}).write_csv(tmp_path / "cities.csv")
    assert ws.sql("select city, amount from orders join 'cities.csv' using (customer)").rows() == [("Graz", 5.0)]


def test_the_tables_are_listed_and_described(ws):
    corrected(ws)
    listed = ws.sql("show tables")
    assert listed.rows()[:3] == [("orders", "source"), ("orders_history", "history"), ("spending", "feature view")]
    assert set(listed.filter(kind="system")["name"]) == {*querying._RECORDS, "tables", "lineage", "metrics"}
    assert ws.sql(" SHOW  TABLES; ").equals(listed)
    assert ws.sql("select name from tinymlops.tables where kind = 'source'")["name"].to_list() == ["orders"]
    for name in listed["name"]:
        assert ws.sql(f"select count(*) as n from {name}").height == 1
    assert ws.sql("describe orders")["column_name"].to_list() == ["id", "customer", "at", "amount"]
    with pytest.raises(DefinitionError, match="SHOW") as caught:
        ws.sql("select * from (show tables)")
    assert "show tables" in caught.value.hint


def test_no_definition_hides_a_table_of_the_workspace(ws):
    project = tm.Project("shop")

    @project.source(timestamp="at")
    def runs() -> pl.DataFrame:
        return pl.DataFrame({"a": [1], "at": [at(1)]})

    @project.source(timestamp="at")
    def runs_history() -> pl.DataFrame:
        return pl.DataFrame({"b": [1], "at": [at(1)]})

    ws.apply(project)
    ws.ingest()
    ws.start_run("first").finish()
    assert ws.sql("select * from runs").columns == ["a", "at"]
    assert ws.sql("select name from tinymlops.runs")["name"].to_list() == ["first"]
    assert ws.sql("select tinymlops.runs.name, r.a from TinyMLOps.runs, runs r").rows() == [("first", 1)]
    assert ws.sql("select * from runs_history").columns == ["b", "at"]
    assert ws.sql("select * from tinymlops.runs_history").columns[:2] == ["a", "at"]
    listed = dict(ws.sql("show tables").rows())
    assert (listed["runs"], listed["tinymlops.runs"]) == ("source", "system")
    assert (listed["runs_history"], listed["tinymlops.runs_history"]) == ("source", "history")
    with pytest.raises(NotFoundError, match=r"tinymlops\.run'\nHint: did you mean 'tinymlops\.runs'"):
        ws.sql("from tinymlops.run")


def test_names_are_found_without_their_case_and_columns_that_differ_by_it_are_refused(ws):
    corrected(ws)
    assert ws.sql("select count(*) as n from ORDERS, Orders_History, orders")["n"].to_list() == [4]
    project = tm.Project("shop")

    @project.source(timestamp="at")
    def others() -> pl.DataFrame:
        return pl.DataFrame({"A": [1], "a": [2], "at": [at(1)]})

    ws.apply(project)
    ws.ingest()
    with pytest.raises(DefinitionError, match="'A' and 'a' of others differ only by case") as caught:
        ws.sql('select "a" from others')
    assert caught.value.hint


def test_the_sql_of_a_definition_is_named_where_it_is_wrong(ws):
    project = tm.Project("shop")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return pl.DataFrame({"V": [1], "v": [2], "at": [at(1)]})

    @project.transformation(timestamp="at")
    def totals(orders: tm.Rows) -> str:
        return 'select "v", "at" from orders'

    ws.apply(project)
    with pytest.raises(DefinitionError, match="'totals': the columns 'V' and 'v' of orders differ only by case"):
        ws.ingest()


def test_a_question_ends_at_its_limits(ws):
    with pytest.raises(DataError, match="more than 10 rows"):
        ws.sql("from range(1000000000000)", max_rows=10)
    with pytest.raises(DataError, match="stopped after 200ms") as caught:
        ws.sql("select count(*) from range(1000000000000)", timeout="200ms")
    assert "timeout under [sql]" in caught.value.hint
    with pytest.raises(DefinitionError, match="max_rows=0"):
        ws.sql("select 1", max_rows=0)
    with pytest.raises(DefinitionError, match="timeout='soon'"):
        ws.sql("select 1", timeout="soon")
