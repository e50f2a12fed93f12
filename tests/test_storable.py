"""Rows of a source are checked before they are stored: no later read meets a value or a type that it cannot return."""

import json
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pandas as pd
import polars as pl
import pytest
from conftest import at, shop
from inside import database_of
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError
from tinymlops.records import Segment


def orders(**columns):
    return pl.DataFrame({"customer": ["a", "a"], "at": [at(1), at(2)], "amount": [1.0, 2.0], **columns})


def extra(values, dtype=None):
    return orders(extra=pl.Series(values, dtype=dtype))


BEYOND = "is beyond the years 1 to 9999 in UTC in rows"
FAR = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
REFUSED = [
    (
        extra([{"zip": 2**70}, None], pl.Struct({"zip": pl.Int128})),
        r"is Struct\(.*\), which cannot be stored\nHint: cast it",
    ),
    (extra([[{}], None], pl.List(pl.Struct([]))), r"is List\(Struct\(.*, which cannot be stored"),
    (
        extra([uuid4(), None], pl.Object),
        r"is Object, which cannot be stored\nHint: it holds Python objects of type UUID",
    ),
    (extra([1, 2**100], pl.Int128), r"is Int128, which cannot be stored\nHint: .*beyond 64 bits"),
    (extra([None, 2**62]).cast({"extra": pl.Datetime("us", "UTC")}), rf"{BEYOND} \[1\]"),
    (extra([None, 2**62]).cast({"extra": pl.Datetime("ms")}), rf"{BEYOND} \[1\]"),
    (extra([None, 2**63 - 1]).cast({"extra": pl.Datetime("ns", "UTC")}), rf"{BEYOND} \[1\]"),
    (extra([[FAR], [FAR, None]]).cast({"extra": pl.List(pl.Datetime("us", "Europe/Vienna"))}), rf"{BEYOND} \[0, 1\]"),
    (extra([0, 2**31 - 1], pl.Int32).cast({"extra": pl.Date}), rf"{BEYOND} \[1\]"),
    (extra([0, 2**62]).cast({"extra": pl.Duration("ms")}), r"is longer than 999,999,999 days in rows \[1\]"),
    (extra([[0.5], [1.0, float("inf")]]), r"is infinite in rows \[1\]"),
]


@pytest.mark.parametrize(("frame", "message"), REFUSED)
def test_a_column_that_no_read_could_answer_is_refused_by_name_and_stores_nothing(workspace, frame, message):
    workspace.apply(shop(frame))
    with pytest.raises(DataError, match=f"column 'extra' of source 'orders' {message}"):
        workspace.ingest("orders")
    assert database_of(workspace).list(Segment) == []


def test_not_a_number_within_lists_is_null(workspace):
    project = shop(extra([[float("nan"), 1.0], []]), features=lambda rows: {"newest": rows["extra"].first()})
    workspace.apply(project)
    workspace.ingest("orders")
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(9)]})
    assert workspace.get_historical_features(spine, ["spending"])["newest"].to_list() == [[None, 1.0]]


def test_the_zone_of_a_source_may_not_carry_its_times_out_of_the_calendar(workspace):
    late = orders().with_columns(at=pl.Series([at(1), FAR]).dt.replace_time_zone(None))
    workspace.apply(shop(late, order_options={"tz": "America/New_York"}))
    with pytest.raises(DataError, match=rf"column 'at' of source 'orders' {BEYOND} \[1\]"):
        workspace.ingest("orders")


@pytest.mark.parametrize("first", ["category", "str"])
def test_categories_and_text_are_one_type_whichever_comes_first(workspace, first):
    def read(day, dtype):
        color = pd.Series([f"red {day}"], dtype=dtype)
        return pd.DataFrame({"customer": ["a"], "at": [at(day)], "amount": [1.0 * day], "order": [day], "color": color})

    dtypes = [first, *({"category", "str"} - {first}), first]
    project = shop(read(1, first), order_options={"id": "order"}, features=lambda rows: {"color": rows["color"].last()})
    workspace.apply(project)
    for day, dtype in enumerate(dtypes, start=1):
        project.frames["orders"] = read(day, dtype)
        assert workspace.ingest("orders")[0].rows_new == 1
    workspace.materialize("spending")
    workspace.compact()
    spine = pl.DataFrame({"customer": ["a"] * 3, "timestamp": [at(day + 0.5) for day in (1, 2, 3)]})
    got = workspace.get_historical_features(spine, ["spending"])["color"]
    assert got.to_list() == ["red 1", "red 2", "red 3"]
    assert workspace.get_online_features(["spending"], [{"customer": "a"}]).to_dict()["color"] == ["red 3"]


def failing(function):
    project = tm.Project("shop")
    project.source(timestamp="at")(function)
    return project


def test_whatever_a_function_raises_names_its_source_and_is_the_cause(workspace):
    def api() -> pl.DataFrame:
        raise RuntimeError("the vendor says no")

    workspace.apply(failing(api))
    with pytest.raises(DataError, match="source 'api' failed: RuntimeError: the vendor says no\nHint: ") as raised:
        workspace.ingest()
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_a_lazy_frame_that_cannot_be_collected_names_its_source(workspace):
    def lazy() -> pl.LazyFrame:
        return orders().lazy().with_columns(pl.col("customer").cast(pl.Int64))

    workspace.apply(failing(lazy))
    with pytest.raises(DataError, match="source 'lazy'"):
        workspace.ingest()


def test_a_panic_of_a_library_is_an_error_like_any_other(workspace):
    def panics() -> pl.DataFrame:
        raise pl.exceptions.PanicException("called `Result::unwrap()` on an `Err` value")

    workspace.apply(failing(panics))
    with pytest.raises(DataError, match="source 'panics' failed: PanicException: called"):
        workspace.ingest()


def test_an_error_of_ours_keeps_its_kind_and_hint_and_names_the_source(workspace):
    def ours() -> pl.DataFrame:
        raise DefinitionError("no such thing", hint="make one")

    workspace.apply(failing(ours))
    with pytest.raises(DefinitionError, match="source 'ours': no such thing\nHint: make one"):
        workspace.ingest()


def test_an_interrupt_stays_an_interrupt(workspace):
    def slow() -> pl.DataFrame:
        raise KeyboardInterrupt

    workspace.apply(failing(slow))
    with pytest.raises(KeyboardInterrupt):
        workspace.ingest()


def test_a_duration_goes_through_sql_and_row_wise_transformations(workspace):
    project = shop(extra([timedelta(minutes=3), None]))

    @project.transformation(row_wise=True)
    def again(orders: tm.Rows) -> str:
        return "select * from orders"

    workspace.apply(project)
    workspace.ingest("orders")
    for table in ("orders", "again"):
        got = workspace.sql(f"select extra from {table} order by extra nulls last")
        assert got["extra"].to_list() == [timedelta(minutes=3), None]


PUSHED = {"customer": str, "at": datetime, "until": datetime, "price": pl.Decimal(10, 2), "day": date}
GOOD = {"customer": "a", "at": "2024-01-01T01:00:00Z", "until": None, "price": "1.50", "day": "2024-01-01"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("until", "9999-12-31T23:59:59-14:00"),
        ("at", "0001-01-01T00:00:00+14:00"),
        ("price", "NaN"),
        ("price", "-Infinity"),
        ("price", "1e-400"),
        ("price", "1e40"),
        ("price", "1.505"),
    ],
)
def test_a_bad_value_over_http_is_422_and_the_next_row_is_taken(workspace, column, value):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def stays() -> tm.Schema:
        return PUSHED

    @project.feature_view(entity=customer)
    def newest(stays: tm.Rows) -> tm.Features:
        return {name: stays[name].last() for name in ("until", "price", "day")}

    workspace.apply(project)
    workspace.materialize("newest")

    def push(client, batch, row):
        body = json.dumps({"batch_id": batch, "rows": [row]})
        answer = client.post("/v1/sources/stays/push", content=body, headers={"content-type": "application/json"})
        return answer.status_code, answer.json()

    with TestClient(tm.create_app(workspace), base_url="http://127.0.0.1:8000") as client:
        status, said = push(client, "bad", {**GOOD, column: value})
        assert (status, said["type"]) == (422, "DataError")
        assert f"column '{column}' of source 'stays'" in said["error"]
        assert push(client, "good", GOOD)[0] == 200
        asked = {"features": ["newest"], "keys": [{"customer": "a"}], "details": True}
        assert client.post("/v1/features/online", json=asked).json()["rows"][0]["price"] == "1.50"
