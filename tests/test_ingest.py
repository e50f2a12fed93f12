"""Ingest: what is new comes into history once."""

import polars as pl
import pytest
from conftest import at, shop

import tinymlops as tm
from tinymlops.errors import DataError, NotFoundError
from tinymlops.records import Segment


def orders(*rows):
    return pl.DataFrame(
        [{"customer": c, "at": at(h), "amount": a} for c, h, a in rows],
        schema={"customer": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Float64},
    )


def taken(report):
    return report.rows_new, report.rows_corrected, report.rows_known


def test_the_same_rows_twice_change_nothing(workspace):
    project = shop(orders(("a", 1, 1.0), ("a", 1, 1.0), ("b", 2, None)))
    workspace.apply(project)
    assert [taken(report) for report in workspace.ingest("orders")] == [(3, 0, 0)]
    assert [taken(report) for report in workspace.ingest("orders")] == [(0, 0, 3)]


def test_equal_rows_are_counted_not_merged(workspace):
    project = shop(orders(("a", 1, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 1, 1.0), ("a", 1, 1.0))
    assert [taken(report) for report in workspace.ingest("orders")] == [(1, 0, 1)]


def test_a_row_that_comes_late_is_taken(workspace):
    project = shop(orders(("a", 5, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 5, 1.0), ("a", 2, 7.0))
    assert [taken(report) for report in workspace.ingest("orders")] == [(1, 0, 1)]


def test_with_an_id_a_changed_row_is_a_correction(workspace):
    first = orders(("a", 1, 1.0), ("b", 1, 2.0)).with_columns(order=pl.Series([1, 2]))
    project = shop(first, order_options={"id": "order"})
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = first.with_columns(amount=pl.Series([1.0, 9.0]))
    assert [taken(report) for report in workspace.ingest("orders")] == [(0, 1, 1)]
    spine = pl.DataFrame({"customer": ["b"], "timestamp": [at(3)]})
    assert workspace.get_historical_features(spine, ["spending"])["spent_1d"].to_list() == [9.0]


def test_sequences_have_no_gap_and_follow_event_time(workspace):
    project = shop(orders(("a", 5, 1.0), ("a", 2, 7.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 5, 1.0), ("a", 2, 7.0), ("a", 1, 3.0))
    workspace.ingest("orders")
    segments = workspace._environment.database.list(Segment, order="id")
    assert [(segment.base, segment.rows) for segment in segments] == [(0, 2), (2, 1)]


def test_rows_without_event_time_are_counted_and_left_out(workspace):
    rows = orders(("a", 1, 1.0)).vstack(orders(("a", 2, 2.0)).with_columns(at=pl.lit(None, pl.Datetime("us", "UTC"))))
    workspace.apply(shop(rows))
    (report,) = workspace.ingest("orders")
    assert (report.rows_new, report.rows_quarantined) == (1, 1)


def test_under_a_replay_clock_the_future_is_held_back(tmp_path):
    clock = tm.ReplayClock(at(3))
    with tm.connect(tmp_path / "replay.tm", create=True, clock=clock) as ws:
        ws.apply(shop(orders(("a", 1, 1.0), ("a", 3, 2.0), ("a", 4, 4.0))))
        (report,) = ws.ingest("orders")
        assert (report.rows_new, report.rows_held_back) == (2, 1)
        clock.advance("1h")
        (report,) = ws.ingest("orders")
        assert (report.rows_new, report.rows_known, report.rows_held_back) == (1, 2, 0)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"customer": ["a"], "when": [at(1)], "amount": [1.0]}), "has no column 'at'"),
        (orders(("a", 1, float("inf"))), "infinite in rows \\[0\\]"),
        (orders(("a", 1, 1.0)).with_columns(pl.col("at").dt.replace_time_zone(None)), "without a time zone"),
        (orders(("a", 1, 1.0)).with_columns(__event=pl.lit(1)), "names that begin with __"),
    ],
)
def test_rows_that_cannot_be_accepted_store_nothing(workspace, frame, message):
    workspace.apply(shop(frame))
    with pytest.raises(DataError, match=message):
        workspace.ingest("orders")
    assert workspace._environment.database.list(Segment) == []


def test_a_changed_type_is_refused_and_a_new_column_is_null_before(workspace):
    project = shop(orders(("a", 1, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 2, 1.0)).with_columns(pl.col("amount").cast(pl.String))
    with pytest.raises(DataError, match="'amount' of source 'orders' was Float64 and is now String"):
        workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 2, 1.0)).with_columns(coupon=pl.lit("x"))
    assert [taken(report) for report in workspace.ingest("orders")] == [(1, 0, 0)]


def test_a_mistyped_source_gets_its_near_match(workspace):
    workspace.apply(shop(orders(("a", 1, 1.0))))
    with pytest.raises(NotFoundError, match="did you mean 'orders'"):
        workspace.ingest("order")


def test_a_view_over_a_source_that_was_never_ingested_says_so(workspace):
    workspace.apply(shop(orders(("a", 1, 1.0))))
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(3)]})
    with pytest.raises(NotFoundError, match="never ingested"):
        workspace.get_historical_features(spine, ["spending"])


def test_transformations_are_rebuilt_when_their_inputs_change(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    frames = {"orders": orders(("a", 1, 2.0), ("a", 2, 3.0))}

    @project.source(timestamp="at")
    def sales() -> pl.DataFrame:
        return frames["orders"]

    @project.transformation(row_wise=True)
    def cents(sales: pl.LazyFrame) -> pl.LazyFrame:
        return sales.with_columns(cents=(pl.col("amount") * 100).cast(pl.Int64)).filter(pl.col("amount") > 2)

    @project.transformation(timestamp="at")
    def hourly(sales: tm.Rows) -> str:
        return 'select customer, "at", count(*) as n from sales group by all'

    @project.feature_view(entity=customer)
    def money(cents: tm.Rows) -> tm.Features:
        return {"cents": cents["cents"].sum(window="1d")}

    @project.feature_view(entity=customer)
    def counts(hourly: tm.Rows) -> tm.Features:
        return {"n": hourly["n"].sum(window="1d")}

    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(9)]})
    with tm.connect(tmp_path / "t.tm", create=True) as ws:
        ws.apply(project)
        assert [report.source for report in ws.ingest()] == ["sales", "hourly"]
        assert [report.source for report in ws.ingest()] == ["sales"]
        assert ws.get_historical_features(spine, [money, counts]).row(0)[2:] == (300, 2)
        frames["orders"] = orders(("a", 1, 2.0), ("a", 2, 3.0), ("a", 3, 5.0))
        assert [report.source for report in ws.ingest()] == ["sales", "hourly"]
        assert ws.get_historical_features(spine, [money, counts]).row(0)[2:] == (800, 3)
