"""Ingest: new rows are stored in history once."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from conftest import at, shop
from inside import context_of, database_of

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError, NotFoundError
from tinymlops.features.history.stored import current_rows, stored_rows
from tinymlops.records import AuditEntry, Segment


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
    (report,) = workspace.ingest("orders")
    assert taken(report) == (0, 1, 1)
    spine = pl.DataFrame({"customer": ["b"], "timestamp": [at(3)]})
    assert workspace.get_historical_features(spine, ["spending"])["spent_1d"].to_list() == [2.0]
    (corrected,) = workspace.sql("select __created from orders_history where amount = 9").to_series()
    assert corrected == report.at


def test_sequences_have_no_gap_and_follow_event_time(workspace):
    project = shop(orders(("a", 5, 1.0), ("a", 2, 7.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 5, 1.0), ("a", 2, 7.0), ("a", 1, 3.0))
    workspace.ingest("orders")
    segments = database_of(workspace).list(Segment, order="id")
    assert [(segment.base, segment.rows) for segment in segments] == [(0, 2), (2, 1)]


def timeless(count):
    """Orders; only the first one has a time."""
    none = orders(*[("a", 2, float(i)) for i in range(count)]).with_columns(at=pl.lit(None, pl.Datetime("us", "UTC")))
    return orders(("a", 1, 1.0)).vstack(none)


def test_rows_without_event_time_are_named_and_left_out(workspace):
    workspace.apply(shop(timeless(1)))
    said = r"source 'orders': 1 of 2 rows have no time in 'at' and were left out: rows 1, counted from 0$"
    with pytest.warns(UserWarning, match=said) as caught:
        (report,) = workspace.ingest("orders")
    assert (report.rows_new, report.rows_quarantined) == (1, 1)
    assert caught[0].filename == __file__


def test_of_many_rows_without_event_time_the_first_are_named_and_kept(workspace):
    workspace.apply(shop(timeless(2_000)))
    with pytest.warns(UserWarning, match=r"2,000 of 2,001 rows .* rows 1, 2, 3, 4, 5, \.\.\., counted from 0$"):
        workspace.ingest("orders")
    entry = database_of(workspace).list(AuditEntry, order="-n", limit=1)[0]
    assert (entry.action, entry.subject) == ("ingest", "orders")
    assert entry.detail["rows_without_time"] == list(range(1, 1_001))


def test_the_audit_log_says_nothing_of_rows_that_all_have_a_time(workspace):
    workspace.apply(shop(orders(("a", 1, 1.0))))
    workspace.ingest("orders")
    entry = database_of(workspace).list(AuditEntry, order="-n", limit=1)[0]
    assert set(entry.detail) == {"rows", "sha256"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("the disk is gone"), "the disk is gone"),
        (DataError("a column is gone", hint="look for it"), "a column is gone"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_online_store_that_cannot_follow_is_no_failed_ingest(workspace, monkeypatch, error, reason):
    from tinymlops.features.intake import ingestion

    def broken(*_):
        raise error

    project = shop(orders(("a", 1, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    workspace.materialize()
    project.frames["orders"] = orders(("a", 1, 1.0), ("a", 2, 5.0))
    said = f"the rows are stored, but the online store could not follow: {reason}; .*then run `materialize`"
    with monkeypatch.context() as patched:
        patched.setattr(ingestion, "follow", broken)
        with pytest.warns(UserWarning, match=said):
            (report,) = workspace.ingest("orders")
    assert taken(report) == (1, 0, 1)
    (covered,) = workspace.materialize()
    assert covered.sequence == database_of(workspace).sequence()
    assert workspace.get_online_features(["spending"], [{"customer": "a"}]).to_dict()["last_amount"] == [5.0]


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
        (orders(("a", 1, 1.0)).with_columns(pl.lit(1).alias("*")), "are patterns: rename them"),
        (orders(("a", 1, 1.0)).with_columns(pl.lit(1).alias("^zz$")), "are patterns: rename them"),
    ],
)
def test_rows_that_cannot_be_accepted_store_nothing(workspace, frame, message):
    workspace.apply(shop(frame))
    with pytest.raises(DataError, match=message):
        workspace.ingest("orders")
    assert database_of(workspace).list(Segment) == []


def test_a_changed_type_is_refused_and_a_new_column_is_null_before(workspace):
    project = shop(orders(("a", 1, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 2, 1.0)).with_columns(pl.col("amount").cast(pl.String))
    with pytest.raises(DataError, match="'amount' of source 'orders' was Float64 and is now String"):
        workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 2, 1.0)).with_columns(coupon=pl.lit("x"))
    with pytest.warns(UserWarning, match="new columns, 'coupon': 1 rows stored before have null there"):
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


def orders_by_id(*rows, **more):
    """Orders as (order, customer, hour, amount)."""
    return orders(*(row[1:] for row in rows)).with_columns(
        order=pl.Series([row[0] for row in rows], dtype=pl.Int64), **more
    )


def spent(ws, hour, customer="a"):
    spine = pl.DataFrame({"customer": [customer], "timestamp": [at(hour)]})
    return ws.get_historical_features(spine, ["spending"])["spent_1d"].item()


def test_read_in_full_a_row_that_vanished_is_deleted_and_may_come_back(workspace):
    both = orders_by_id((1, "a", 1, 1.0), (2, "a", 2, 4.0))
    project = shop(both, order_options={"id": "order", "known": "latest"})
    workspace.apply(project)
    workspace.ingest("orders", full=True)
    project.frames["orders"] = both[1:]
    (report,) = workspace.ingest("orders")  # not in full: it stays
    assert (*taken(report), report.rows_deleted) == (0, 0, 1, 0)
    (report,) = workspace.ingest("orders", full=True)
    assert (*taken(report), report.rows_deleted) == (0, 0, 1, 1)
    assert spent(workspace, 5) == 4.0
    (report,) = workspace.ingest("orders", full=True)
    assert (*taken(report), report.rows_deleted) == (0, 0, 1, 0)
    project.frames["orders"] = both
    (report,) = workspace.ingest("orders")
    assert (*taken(report), report.rows_deleted) == (0, 1, 1, 0)
    assert spent(workspace, 5) == 5.0


def test_where_rows_have_a_created_time_a_delete_counts_from_when_it_was_found(tmp_path):
    clock = tm.ReplayClock(at(10))
    made = pl.Series([at(1.5), at(2.5)])
    both = orders_by_id((1, "a", 1, 1.0), (2, "a", 2, 4.0), made=made)
    project = shop(both, order_options={"id": "order", "created": "made"})
    with tm.connect(tmp_path / "t.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        ws.ingest("orders")
        project.frames["orders"] = both[:1]
        clock.move_to(at(12))
        ws.ingest("orders", full=True)
        clock.move_to(at(14))
        project.frames["orders"] = both
        assert [taken(report) for report in ws.ingest("orders", full=True)] == [(0, 1, 1)]
        assert [taken(report) for report in ws.ingest("orders", full=True)] == [(0, 0, 2)]
        assert [spent(ws, hour) for hour in (11, 13, 15)] == [5.0, 1.0, 5.0]


def test_a_correction_of_a_row_that_came_back_counts_where_the_clock_was_ahead_and_is_set_right(tmp_path):
    def made(amount, hour):
        return orders_by_id((1, "a", 1, amount), (2, "a", 2, 4.0), made=pl.Series([at(hour), at(2.5)]))

    hours, project = [10], shop(made(1.0, 1.5), order_options={"id": "order", "created": "made"})
    with tm.connect(tmp_path / "t.tm", create=True, clock=lambda: at(hours[-1])) as ws:
        ws.apply(project)
        for hour, rows in ((10, made(1.0, 1.5)), (40, made(1.0, 1.5)[1:]), (40, made(1.0, 1.5)), (20, made(3.0, 15))):
            hours.append(hour)
            project.frames["orders"] = rows
            (report,) = ws.ingest("orders", full=True)
        assert taken(report) == (0, 1, 1)
        assert sorted(current_rows(context_of(ws), "orders")["amount"]) == [3.0, 4.0]


def test_rows_held_back_have_not_vanished(tmp_path):
    clock = tm.ReplayClock(at(3))
    project = shop(orders_by_id((1, "a", 1, 1.0), (2, "a", 5, 2.0)), order_options={"id": "order"})
    with tm.connect(tmp_path / "replay.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        for hour, expected in ((4, (1, 0)), (6, (0, 0)), (7, (1, 0))):
            (report,) = ws.ingest("orders", full=True)
            assert (report.rows_new, report.rows_deleted) == expected
            clock.move_to(at(hour))


def test_without_an_id_nobody_knows_what_vanished(workspace):
    workspace.apply(shop(orders(("a", 1, 1.0))))
    with pytest.raises(DataError, match="source 'orders' has no id, so its vanished rows cannot be found"):
        workspace.ingest(full=True)
    assert database_of(workspace).list(Segment) == []


def test_rows_without_an_id_value_are_known_by_what_they_hold(workspace):
    frame = orders(("a", 1, 1.0), ("a", 2, 2.0)).with_columns(order=pl.Series([None, 7], dtype=pl.Int64))
    workspace.apply(shop(frame, order_options={"id": "order"}))
    assert [taken(workspace.ingest("orders")[0]) for _ in range(2)] == [(2, 0, 0), (0, 0, 2)]
    assert workspace.ingest("orders", full=True)[0].rows_deleted == 0


def incremental_project(read, **options):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order", **options)
    def orders(since: datetime | None) -> pl.DataFrame:
        return read(since)

    return project


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, at(100) - timedelta(days=1)),
        ({"lookback": "2h"}, at(98)),
        ({"created": "made", "lookback": "2h"}, at(108)),
        ({"cursor": "seen", "created": "made", "lookback": "2h"}, at(118)),
    ],
)
def test_an_incremental_source_is_read_from_its_cursor_on(workspace, options, expected):
    asked = []
    frame = orders_by_id(
        (1, "a", 1, 1.0), (2, "a", 100, 2.0), made=pl.Series([at(110), at(101)]), seen=pl.Series([at(2), at(120)])
    )

    def read(since):
        asked.append(since)
        return frame if since is None else frame[1:]

    workspace.apply(incremental_project(read, **options))
    reports = [taken(workspace.ingest("orders", full=full)[0]) for full in (False, False, True)]
    assert asked[-3:] == [None, expected, None]
    assert reports == [(2, 0, 0), (0, 0, 1), (0, 0, 2)]


def test_an_overlap_brings_corrections_and_late_rows_and_changes_nothing_else(workspace):
    frame = orders_by_id((1, "a", 1, 1.0), (2, "a", 3, 2.0))
    reads = [frame]
    workspace.apply(incremental_project(lambda since: reads[-1]))
    workspace.ingest("orders")
    reads.append(orders_by_id((2, "a", 3, 9.0), (3, "a", 2, 5.0)))
    (report,) = workspace.ingest("orders")
    assert (*taken(report), report.rows_deleted) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": None}, "source 'orders' takes `since` and has no id.*\nHint: name the column .* id="),
        ({"lookback": "soon"}, "lookback='soon' is not a duration"),
    ],
)
def test_an_incremental_source_that_cannot_work_is_refused_at_the_decorator(options, message):
    project = tm.Project("shop")
    with pytest.raises(DefinitionError, match=message):

        @project.source(**{"timestamp": "at", "id": "order", **options})
        def orders(since: datetime | None) -> pl.DataFrame:
            return pl.DataFrame()


@pytest.mark.parametrize(("options", "named"), [({"cursor": "at"}, "cursor"), ({"lookback": "1h"}, "lookback")])
def test_a_cursor_without_since_is_refused_at_the_decorator(options, named):
    project = tm.Project("shop")
    with pytest.raises(DefinitionError, match=f"source 'orders' has {named}, and its function does not take `since`"):

        @project.source(timestamp="at", id="order", **options)
        def orders() -> pl.DataFrame:
            return pl.DataFrame()


def test_a_cursor_that_is_no_time_is_refused_when_it_is_read(workspace):
    workspace.apply(incremental_project(lambda since: orders_by_id((1, "a", 1, 1.0)), cursor="amount"))
    with pytest.raises(DataError, match="'amount' of source .orders. is a column of Float64, not of times"):
        workspace.ingest("orders")


def test_sums_of_integers_come_back_as_integers(workspace):
    project = tm.Project("shop")

    @project.source(timestamp="at")
    def totals() -> str:
        return (
            "select timestamptz '2024-01-01' as at, sum(x)::hugeint as s, sum(x * 1e18::hugeint) as big, "
            "1.5::decimal(10, 2) as price from (values (7), (8), (9)) t(x)"
        )

    workspace.apply(project)
    workspace.ingest("totals")
    rows = stored_rows(context_of(workspace), "totals")
    assert (rows.schema["s"], rows["s"].to_list()) == (pl.Int64, [24])
    assert rows.schema["big"] == pl.Decimal(38, 0)  # does not fit
    assert rows.schema["price"] == pl.Decimal(10, 2)


def test_a_column_of_nulls_keeps_the_type_it_had(workspace):
    project = shop(orders(("a", 1, 1.0)))
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = orders(("a", 2, None)).with_columns(amount=pl.lit(None))
    assert [taken(report) for report in workspace.ingest("orders")] == [(1, 0, 0)]
    assert spent(workspace, 3) == 1.0
