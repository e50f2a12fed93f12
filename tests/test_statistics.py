"""Statistics of the columns that an ingest stores: against a plain count, of every type, and without anybody's own values."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from inside import database_of

import tinymlops as tm
from tinymlops.features.intake import statistics
from tinymlops.features.intake.statistics import describe
from tinymlops.records import ColumnStatistics

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def of(values, *, identifying=(), dtype=None):
    rows = pl.DataFrame({"x": pl.Series(values, dtype=dtype, strict=False)})
    (found,) = describe(rows, source="orders", identifying=identifying, at=NOW)
    return found


@given(st.lists(st.none() | st.integers(-(2**50), 2**50) | st.integers(0, 3), min_size=1, max_size=60))
def test_integers_are_counted_as_a_plain_loop_counts_them(values):
    found, known = of(values, dtype=pl.Int64), sorted(value for value in values if value is not None)
    assert (found.rows, found.nulls, found.distinct) == (len(values), len(values) - len(known), len(set(known)))
    if known:
        assert (found.minimum, found.maximum) == (known[0], known[-1])
        assert found.mean == pytest.approx(sum(known) / len(known))
        assert known[0] <= found.quantiles["0.5"] <= known[-1]
        assert sum(one <= found.quantiles["0.5"] for one in known) >= len(known) / 2
    assert sum(found.histogram) == len(known)


@example([0.0, 1e-310])
@given(st.lists(st.none() | st.floats(), min_size=1, max_size=60))
def test_floats_of_any_size_are_described_by_the_finite_ones(values):
    found = of(values, dtype=pl.Float64)
    finite = [one for one in values if one is not None and abs(one) < float("inf")]
    assert found.nulls == values.count(None)
    assert sum(found.histogram) == len(finite)
    assert (found.minimum, found.maximum) == ((min(finite), max(finite)) if finite else (None, None))


EVERY_TYPE = {
    "small": ([1, 2, None], pl.Int8),
    "unsigned": ([2**64 - 1, 0, None], pl.UInt64),
    "decimal": ([Decimal("1.50"), Decimal("-2.25"), None], pl.Decimal(38, 2)),
    "half": ([1.5, float("nan"), float("inf")], pl.Float32),
    "flag": ([True, False, None], pl.Boolean),
    "text": (["a", "", None], pl.String),
    "category": (["a", "b", None], pl.Categorical),
    "enum": (["a", "b", None], pl.Enum(["a", "b"])),
    "bytes": ([b"a", b"\x00", None], pl.Binary),
    "list": ([[1], [], None], pl.List(pl.Int64)),
    "day": ([date(2024, 1, 1), date(1, 1, 1), None], pl.Date),
    "moment": ([NOW, NOW, None], pl.Datetime("us", "UTC")),
    "fine": ([NOW.replace(tzinfo=None), NOW.replace(tzinfo=None), None], pl.Datetime("ns")),
    "coarse": ([NOW, NOW, None], pl.Datetime("ms", "Europe/Vienna")),
    "hour": ([time(1, 2, 3), time(0), None], pl.Time),
    "span": ([timedelta(days=1), timedelta(0), None], pl.Duration("us")),
    "nothing": ([None, None, None], pl.Null),
    "größe": ([None, None, None], pl.Float64),
}


@pytest.mark.parametrize("size", [3, 60])
def test_columns_of_every_type_are_described(monkeypatch, size):
    monkeypatch.setattr(statistics, "_SAMPLED", 10)
    frame = pl.DataFrame(
        [pl.Series(name, values * (size // 3), dtype=dtype) for name, (values, dtype) in EVERY_TYPE.items()]
    )
    found = {one.name: one for one in describe(frame, source="orders", identifying=(), at=NOW)}
    assert found.keys() == EVERY_TYPE.keys()
    assert {one.rows for one in found.values()} == {size}
    assert found["text"].minimum is None
    assert (found["day"].minimum, found["day"].maximum) == ("0001-01-01", "2024-01-01")
    assert found["moment"].maximum.startswith("2024-01-01T00:00:00")
    assert found["flag"].mean == 0.5
    assert found["decimal"].mean == pytest.approx(-0.375)
    assert (found["half"].minimum, found["half"].maximum, found["half"].mean) == (1.5, 1.5, 1.5)
    assert [name for name, one in found.items() if one.distinct is None] == ["bytes", "list", "nothing"]


def test_times_beyond_python_are_described():
    values = pl.Series([2**62, 2**62 + 1]).cast(pl.Datetime("us"))
    (found,) = describe(pl.DataFrame({"x": values}), source="orders", identifying=(), at=NOW)
    assert found.minimum.startswith("+148108") or found.minimum.startswith("148108")


def test_only_values_that_many_rows_share_are_kept():
    names = [f"person {number}" for number in range(1_000)]
    many = of(names + ["paid"] * 500 + ["open"] * 100 + ["rare"] * 15)
    assert list(many.top) == ["paid", "open"]
    assert many.top["paid"] == pytest.approx(500 / 1615)
    assert of(["a"] * 4 + ["b"] * 5 + ["c"]).top == {"b": 0.5}  # four rows may be those of one person
    assert len(of([f"{value}" for value in range(30) for _ in range(10)]).top) == 20


def test_of_a_column_that_identifies_only_counts_are_kept():
    found = of([1, 2, 2, None] * 10, identifying={"x"})
    assert (found.rows, found.nulls, found.distinct) == (40, 10, 2)
    assert (found.minimum, found.maximum, found.mean, found.quantiles, found.top) == (None, None, None, {}, {})


def test_many_rows_are_sampled(monkeypatch):
    monkeypatch.setattr(statistics, "_SAMPLED", 100)
    found = of(list(range(10_001)))
    assert (found.sampled, found.distinct) == (100, 100)
    assert (found.minimum, found.maximum, found.mean) == (0, 10_000, 5_000)
    assert found.quantiles["0.5"] == pytest.approx(5_000, rel=0.05)
    assert sum(found.histogram) == 100


def test_one_value_has_one_bin_and_no_rows_have_no_statistics():
    assert of([3.0] * 7).histogram == [7]
    assert of([-1.7e308, 1.7e308]).histogram == [2]
    assert describe(pl.DataFrame({"x": []}), source="orders", identifying=(), at=NOW) == []


def shop(rows):
    project = tm.Project("shop")
    project.entity("customer", key="customer")

    @project.source(timestamp="at", id="n")
    def orders() -> pl.DataFrame:
        return rows[0]

    @project.transformation(timestamp="at")
    def large(orders: tm.Rows) -> str:
        return "select * from orders where amount > 1"

    return project


def table(count, *, first=0):
    numbers = range(first, first + count)
    return pl.DataFrame(
        {
            "n": numbers,
            "customer": [f"customer {n}" for n in numbers],
            "at": [NOW - timedelta(hours=count - place) for place in range(count)],
            "amount": [float(n % 4) for n in numbers],
        }
    )


def test_an_ingest_stores_the_statistics_of_the_rows_that_it_stored(workspace):
    rows = [table(10)]
    workspace.apply(shop(rows))
    workspace.ingest()
    first = workspace.sql("select * from column_statistics order by source, name")
    assert first.filter(pl.col("source") == "orders")["name"].to_list() == ["amount", "at", "customer", "n"]
    assert first.filter(pl.col("source") == "large")["rows"].unique().to_list() == [4]
    amount = first.filter((pl.col("source") == "orders") & (pl.col("name") == "amount")).row(0, named=True)
    assert (amount["rows"], amount["minimum"], amount["maximum"], amount["sequence"]) == (10, 0.0, 3.0, 10)
    assert "customer 3" not in str(first.rows())
    workspace.ingest()  # nothing new: they stay
    assert workspace.sql("select * from column_statistics order by source, name").equals(first)
    rows[0] = pl.concat([rows[0], table(2, first=10)])
    workspace.ingest()
    found = database_of(workspace).get(ColumnStatistics, source="orders", name="amount")
    assert (found.rows, found.minimum, found.maximum) == (2, 2.0, 3.0)


def test_a_column_that_comes_is_described_with_the_rows_that_brought_it(workspace):
    rows = [table(10)]
    workspace.apply(shop(rows))
    workspace.ingest("orders")
    rows[0] = table(2, first=10).with_columns(extra=pl.lit(1))
    with pytest.warns(UserWarning, match="extra"):
        workspace.ingest("orders")
    stored = database_of(workspace).list(ColumnStatistics, where={"source": "orders"})
    assert "extra" in [one.name for one in stored]
    assert {one.rows for one in stored} == {2}


def test_a_rebuild_describes_all_rows_of_its_generation(workspace):
    workspace.apply(shop([table(10)]))
    workspace.ingest("orders")
    workspace.ingest("orders", rebuild=True)
    assert database_of(workspace).get(ColumnStatistics, source="orders", name="amount").rows == 10
    assert database_of(workspace).damaged_rows() == []


@pytest.mark.parametrize("name", ["count", "value", "len", "literal", "index", "name"])
def test_a_column_may_have_the_name_of_a_column_of_ours(tmp_path, name):
    project = tm.Project("p")

    @project.source(timestamp="at", id="id")
    def rows() -> pl.DataFrame:
        at = [datetime(2024, 1, 1, tzinfo=UTC)] * 200
        return pl.DataFrame({"id": range(200), "at": at, name: ["a", "b"] * 100})

    project.check(rows, tm.same_distribution(name, as_of="30d"), tm.one_of(name, ["a", "b"]), tm.unique("id"))
    with tm.connect(tmp_path / "w.tm", create=True) as ws:
        ws.apply(project)
        for _ in range(2):
            ws.ingest()
        assert name in str(ws.docs("rows"))


def test_pushed_rows_are_described_when_they_move_into_a_file(workspace):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "at": datetime, "amount": float}

    workspace.apply(project)
    rows = [{"order": n, "at": datetime(2024, 1, 1, n, tzinfo=UTC), "amount": n * 1.5} for n in range(4)]
    workspace.push("orders", rows)
    sql = "select name, rows, minimum, maximum from column_statistics order by name"
    assert workspace.sql(sql).height == 0
    workspace.compact("orders")
    assert workspace.sql(sql).filter(pl.col("name") == "amount").rows() == [("amount", 4, 0.0, 4.5)]
    assert workspace.sql(sql).filter(pl.col("name") == "order").rows() == [("order", 4, None, None)]
    workspace.push("orders", [{**rows[0], "order": 9, "amount": 7.0}])
    workspace.compact("orders")
    assert workspace.sql(sql).filter(pl.col("name") == "amount").rows() == [("amount", 1, 7.0, 7.0)]
