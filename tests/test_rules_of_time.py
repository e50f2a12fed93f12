"""The rules of time, one by one, in a workspace: each test fails if its rule is broken."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from conftest import START, at, shop

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError, NotFoundError
from tinymlops.features.history.knowledge_report import Knowledge

NEW_YORK = "America/New_York"


def ask(ws, moments, features=("spending",), *, customer="a", **options):
    spine = pl.DataFrame({"customer": [customer] * len(moments), "timestamp": moments})
    return ws.get_historical_features(spine, list(features), **options)


def newest(rows):
    return {"newest": rows["amount"].last()}


def without_label(project):
    for name in ("visits_to_orders", "buys"):
        del project.definitions[name]
    return project


def kept(ws, orders, *, features=newest, ttl=None, **options):
    """Put orders into a workspace whose one feature is their newest amount; return what the ingest said."""
    ws.apply(without_label(shop(orders, order_options=options, features=features, ttl=ttl)))
    (report,) = ws.ingest("orders")
    return report


def orders_at(*moments, **columns):
    times = pl.Series(moments)
    amounts = [float(i) for i in range(len(moments))]
    return pl.DataFrame({"customer": ["a"] * len(moments), "at": times, "amount": amounts, **columns})


# 10: zones, clock changes and dates


SKIPPED, REPEATED = datetime(2013, 3, 10, 2, 30), datetime(2013, 11, 3, 1, 30)


@pytest.mark.parametrize("moment", [SKIPPED, REPEATED])
def test_a_time_that_a_clock_change_skipped_or_repeated_is_refused_with_what_the_source_may_say(workspace, moment):
    with pytest.raises(
        DataError, match=r"'at' of source 'orders' holds 1 times that a clock change .*rows \[1\]"
    ) as refused:
        kept(workspace, orders_at(datetime(2013, 1, 1), moment), tz=NEW_YORK)
    assert 'ambiguous="earliest"' in refused.value.hint


@pytest.mark.parametrize(
    ("ambiguous", "moment", "known"),
    [
        ("earliest", SKIPPED, datetime(2013, 3, 10, 6, 30, tzinfo=UTC)),
        ("latest", SKIPPED, datetime(2013, 3, 10, 7, 30, tzinfo=UTC)),
        ("earliest", REPEATED, datetime(2013, 11, 3, 5, 30, tzinfo=UTC)),
        ("latest", REPEATED, datetime(2013, 11, 3, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_source_says_how_such_a_time_is_read(workspace, ambiguous, moment, known):
    kept(workspace, orders_at(moment), tz=NEW_YORK, ambiguous=ambiguous)
    got = ask(workspace, [known - timedelta(microseconds=1), known], details=True)
    assert got["newest"].to_list() == [None, 0.0]
    assert got["newest_event_time"].to_list() == [None, known]


def test_a_pushed_time_is_read_as_its_source_says(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", tz=NEW_YORK, ambiguous="latest")
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "amount": float}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return newest(orders)

    known = datetime(2013, 11, 3, 6, 30, tzinfo=UTC)
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(known)) as ws:
        ws.apply(project)
        ws.push("orders", [{"customer": "a", "at": REPEATED.isoformat(), "amount": 1.0}])
        assert ask(ws, [known - timedelta(microseconds=1), known])["newest"].to_list() == [None, 1.0]


@pytest.mark.parametrize(
    ("date_means", "known"),
    [
        (None, datetime(2013, 3, 11, 4, tzinfo=UTC) - timedelta(microseconds=1)),
        ("end", datetime(2013, 3, 11, 4, tzinfo=UTC) - timedelta(microseconds=1)),
        ("start", datetime(2013, 3, 10, 5, tzinfo=UTC)),
    ],
)
def test_a_date_is_the_end_of_its_day_unless_the_source_says_the_start(workspace, date_means, known):
    kept(workspace, orders_at(date(2013, 3, 10)), tz=NEW_YORK, date_means=date_means)
    assert ask(workspace, [known - timedelta(microseconds=1), known])["newest"].to_list() == [None, 0.0]


@pytest.mark.parametrize("options", [{"ambiguous": "first"}, {"date_means": "noon"}])
def test_another_word_for_local_times_is_refused_at_the_decorator(options):
    (name,) = options
    with pytest.raises(DefinitionError, match=f"{name}=.* is not possible"):
        shop(None, order_options=options)


def test_dates_and_naive_times_need_a_zone(workspace):
    for moment, what in [(date(2024, 1, 1), "dates"), (datetime(2024, 1, 1), "times")]:
        with pytest.raises(DataError, match=f"'at' of source 'orders' holds {what} without a time zone"):
            kept(workspace, orders_at(moment))


def days(*numbers):
    return pl.Series([date(2024, 1, number) for number in numbers])


def test_a_spine_of_dates_asks_at_the_start_of_its_days_and_is_never_its_own_outcome(workspace):
    """A day's order is not a feature of the visit that day, and the visit's own day is not an outcome of it."""
    table = pl.DataFrame({"customer": ["a"] * 4, "at": days(1, 2, 3, 9), "amount": [1.0, -2.0, 3.0, 4.0]})
    visits = pl.DataFrame({"visit": [0], "customer": ["a"], "at": days(2)})
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", tz="UTC")
    def orders() -> pl.DataFrame:
        return table

    @project.source(timestamp="at", id="visit", tz="UTC")
    def visits_() -> pl.DataFrame:
        return visits

    @project.transformation(row_wise=True)
    def shown(visits_: pl.LazyFrame) -> pl.LazyFrame:
        return visits_.drop("at")  # its times are those of its input all the same

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return newest(orders)

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    for name, spine in [("plain", visits_), ("row_wise", shown), ("own", orders)]:
        project.training_set(name, spine=spine, label=buys, features=[spending])
    workspace.apply(project)
    workspace.ingest()
    for name in ("plain", "row_wise"):
        data = workspace.get_training_data(name)
        assert data.train.spine["timestamp"].to_list() == [datetime(2024, 1, 2, tzinfo=UTC)]
        assert data.train.X["newest"].to_list() == [1.0]
        assert data.train.y.to_list() == [3.0]
    own = workspace.get_training_data("own")
    assert own.train.y.to_list()[:3] == [-2.0, 3.0, 0.0]


def test_nanoseconds_of_a_fact_round_up_and_those_of_a_spine_and_an_outcome_down(workspace):
    moments = (pl.Series([0, 1, 1_001, 10**9]) + 1_704_067_200_000_000_000).cast(pl.Datetime("ns", "UTC"))
    table = pl.DataFrame({"customer": ["a"] * 4, "at": moments, "amount": [1.0, 2.0, 4.0, 8.0]})
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return table

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return newest(orders)

    @project.label(entity=customer, horizon="1us")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    project.training_set("own", spine=orders, label=buys, features=[spending])
    workspace.apply(project)
    workspace.ingest()
    micro = timedelta(microseconds=1)
    got = ask(workspace, [START, START + micro, START + 2 * micro])
    assert got["newest"].to_list() == [1.0, 2.0, 4.0]
    data = workspace.get_training_data("own")
    # Read as their floor, the first two are at 0 and the third at 1 us: the outcome of both, and none is its own.
    assert data.train.y.to_list() == [4.0, 4.0, 0.0]
    assert data.train.X["newest"].to_list() == [None, None, 1.0]


# 3: delays


def test_a_delay_holds_a_row_back_by_duration_or_by_column_also_in_nanoseconds(workspace):
    wait = pl.Series([3_600_000_000_001, 0], dtype=pl.Duration("ns"))
    kept(workspace, orders_at(at(0), at(9), wait=wait), delay="wait")
    hour = at(1)
    got = ask(workspace, [hour, hour + timedelta(microseconds=1), at(9)], details=True)
    assert got["newest"].to_list() == [None, 0.0, 1.0]
    assert got["newest_status"].to_list() == ["NOT_YET_AVAILABLE", "PRESENT", "PRESENT"]


@pytest.mark.parametrize("wait", [[-1], [None], [0.5], ["1h"], [timedelta(hours=-1)], [2**62]])
def test_a_delay_that_cannot_be_is_refused_at_ingest(workspace, wait):
    with pytest.raises(DataError, match="delay column 'wait' of source 'orders' is"):
        kept(workspace, orders_at(at(0), wait=wait), delay="wait")


def test_under_a_replay_clock_a_row_is_held_back_by_its_own_delay(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(2))) as ws:
        wait = [timedelta(hours=1), timedelta(hours=3)]
        report = kept(ws, orders_at(at(0), at(1), wait=wait), delay="wait")
    assert (report.rows_new, report.rows_held_back) == (1, 1)


# 5: knowledge


def test_rows_of_unknown_creation_are_never_visible_and_are_counted(workspace, tmp_path):
    made = pl.Series([at(0), None], dtype=pl.Datetime("us", "UTC"))
    report = kept(workspace, orders_at(at(0), at(1), made=made), created="made")
    assert (report.rows_new, report.rows_never_known) == (2, 1)
    got = ask(workspace, [at(99)], details=True)
    assert got["newest"].to_list() == [0.0]
    with tm.connect(tmp_path / "other.tm", create=True) as other:
        assert kept(other, orders_at(at(0), at(1), made=made)).rows_never_known == 0


def test_a_backfill_without_created_times_does_not_vanish(workspace):
    assert kept(workspace, orders_at(at(0))).rows_new == 1
    assert ask(workspace, [at(0)])["newest"].to_list() == [0.0]


def test_labels_are_read_in_their_final_version_whenever_it_came(workspace):
    table = pl.DataFrame(
        {
            "customer": ["a"] * 4, "at": [at(1), at(5), at(5), at(90)], "made": [at(1), at(5), at(80), at(90)],
            "order": [0, 1, 1, 2], "amount": [1.0, 2.0, -2.0, 3.0],
        }
    )  # fmt: skip
    visits = pl.DataFrame({"visit": [0], "customer": ["a"], "at": [at(2)]})
    workspace.apply(shop(table, visits, order_options={"id": "order", "created": "made"}, features=newest))
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders")
    assert data.train.X["newest"].to_list() == [1.0]
    assert data.train.y.to_list() == [False]
    assert ask(workspace, [at(79), at(80)])["newest"].to_list() == [2.0, -2.0]


# 8: corrections and deletes


def deleting(*rows):
    """Rows as (order, hour, amount, deleted)."""
    return pl.DataFrame(
        {
            "customer": ["a"] * len(rows),
            "order": pl.Series([row[0] for row in rows], dtype=pl.Int64),
            "at": [at(row[1]) for row in rows],
            "amount": [row[2] for row in rows],
            "deleted": [row[3] for row in rows],
        }
    )


def test_a_delete_with_an_id_retracts_its_event(workspace):
    def features(rows):
        return {"newest": rows["amount"].last(), "sum": rows["amount"].sum(window="1d")}

    orders = deleting((0, 1, 1.0, False), (1, 2, 2.0, False), (1, 3, None, True))
    kept(workspace, orders, id="order", features=features)
    got = ask(workspace, [at(2), at(3), at(4)], details=True)
    assert got["newest"].to_list() == [2.0, 1.0, 1.0]
    assert got["sum"].to_list() == [1.0, 3.0, 1.0]


def test_where_every_event_was_retracted_the_status_says_so(workspace):
    kept(workspace, deleting((1, 2, 2.0, False), (1, 2, 2.0, True)), id="order")
    got = ask(workspace, [at(1), at(4)], details=True)
    assert got["newest"].to_list() == [None, None]
    assert got["newest_status"].to_list() == ["NOT_FOUND", "DELETED"]


def test_a_delete_without_an_id_makes_the_state_null_from_its_time_on(workspace):
    kept(workspace, deleting((0, 1, 1.0, False), (0, 3, None, True), (0, 5, 5.0, False)))
    got = ask(workspace, [at(2), at(3), at(4), at(5)], details=True)
    assert got["newest"].to_list() == [1.0, None, None, 5.0]
    assert got["newest_status"].to_list() == ["PRESENT", "DELETED", "DELETED", "PRESENT"]
    assert got["newest_event_time"].to_list() == [at(1), at(3), at(3), at(5)]


def summed(rows):
    return {"sum": rows["amount"].sum(window="1d")}


@pytest.mark.parametrize(("options", "order"), [({}, 0), ({"id": "order"}, None)])
def test_a_delete_without_an_id_is_refused_where_a_window_reads_the_source(workspace, options, order):
    with pytest.raises(DataError, match=r"source 'orders' has deletes without an id in rows \[1\].* a window"):
        kept(workspace, deleting((0, 1, 1.0, False), (order, 2, None, True)), features=summed, **options)
    with pytest.raises(NotFoundError, match="never ingested"):
        ask(workspace, [at(9)])


def test_a_window_added_over_deletes_without_an_id_is_refused_when_it_is_read(workspace):
    project = without_label(shop(deleting((0, 1, 1.0, False), (0, 2, None, True)), features=newest))
    workspace.apply(project)
    workspace.ingest("orders")
    assert ask(workspace, [at(1)])["newest"].to_list() == [1.0]
    workspace.apply(without_label(shop(project.frames["orders"], features=summed)))
    with pytest.raises(DataError, match="deletes without an id at 2024-01-01T02.* feature 'sum' is a window"):
        ask(workspace, [at(9)])


def test_a_pushed_delete_without_an_id_is_refused_where_a_window_reads_the_source(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "amount": float}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return summed(orders)

    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(2))) as ws:
        ws.apply(project)
        with pytest.raises(DataError, match="deletes without an id"):
            ws.push("orders", [{"customer": "a", "at": at(1), "deleted": True}])
        assert ws.push("orders", [{"customer": "a", "at": at(1), "amount": 1.0}]).rows_new == 1


def test_without_an_id_two_rows_of_one_instant_are_two_events(workspace):
    kept(workspace, orders_at(at(1), at(1), at(1)), features=lambda rows: {"n": rows.count(window="1d")})
    assert ask(workspace, [at(2)])["n"].to_list() == [3]


# 6, 7, 9, 11: ttl, winner, nulls and statuses


def test_statuses_come_in_their_order_with_the_matched_event_time(workspace):
    kept(
        workspace,
        orders_at(at(0), at(10), at(20)).with_columns(amount=pl.Series([1.0, None, 3.0])),
        ttl="4h",
        delay="2h",
    )
    moments = [at(-1), at(1), at(2), at(4), at(5), at(12), at(14), at(21), at(22)]
    got = ask(workspace, moments, details=True)
    assert got["newest_status"].to_list() == [
        "NOT_FOUND", "NOT_YET_AVAILABLE", "PRESENT", "PRESENT", "EXPIRED", "NULL_VALUE", "NULL_VALUE", "EXPIRED", "PRESENT",
    ]  # fmt: skip
    assert got["newest_event_time"].to_list() == [None, None, at(0), at(0), None, at(10), at(10), None, at(20)]
    assert got["newest"].to_list() == [None, None, 1.0, 1.0, None, None, None, None, 3.0]
    assert ask(workspace, [at(1)], customer="z", details=True)["newest_status"].to_list() == ["NOT_FOUND"]


def test_windows_are_present_for_every_key_but_a_null_one(workspace):
    def features(rows):
        amount = rows["amount"]
        return {
            name: getattr(amount, name)(window="1h")
            for name in ("count", "sum", "n_unique", "mean", "min", "max", "std", "last", "time_since_last")
        } | {"any": (amount > 0).any(window="1h"), "all": (amount > 0).all(window="1h")}

    kept(workspace, orders_at(at(0)), features=features)
    spine = pl.DataFrame({"customer": ["a", "z", None], "timestamp": [at(9)] * 3})
    got = workspace.get_historical_features(spine, ["spending"], details=True)
    for name in features(tm.Rows()):
        assert got[f"{name}_status"].to_list() == ["PRESENT", "PRESENT", "NULL_KEY"]
        empty = {"count": 0, "sum": 0.0, "n_unique": 0, "any": False, "all": True}.get(name)
        assert got[name].to_list() == [empty] * 3, name


def test_the_newest_row_wins_even_if_null_and_skip_nulls_takes_the_last_value_within_ttl(workspace):
    def features(rows):
        return {"newest": rows["amount"].last(), "known": rows["amount"].last(skip_nulls=True)}

    orders = orders_at(at(0), at(1), at(2)).with_columns(amount=pl.Series([5.0, float("nan"), None]))
    kept(workspace, orders, features=features, ttl="3h")
    got = ask(workspace, [at(2), at(3), at(4)])
    assert got["newest"].to_list() == [None] * 3
    assert got["known"].to_list() == [5.0, 5.0, None]


def test_of_equal_times_the_same_row_wins_in_whatever_order_they_came(tmp_path):
    found = []
    for seed in range(4):
        with tm.connect(tmp_path / f"{seed}.tm", create=True) as ws:
            kept(ws, orders_at(*[at(1)] * 20).sample(fraction=1, shuffle=True, seed=seed))
            found += ask(ws, [at(2)])["newest"].to_list()
    assert len(set(found)) == 1


# 1, 13


def test_rows_come_back_in_the_spines_order_with_duplicates_and_all_its_columns(workspace):
    kept(workspace, orders_at(at(0), at(4)))
    moments = [at(5), at(1), at(5), at(5)]
    spine = pl.DataFrame({"note": ["d", "c", "b", "a"], "customer": ["a"] * 4, "timestamp": moments})
    got = workspace.get_historical_features(spine, ["spending"])
    assert got.drop("newest").equals(spine)
    assert got["newest"].to_list() == [1.0, 0.0, 1.0, 1.0]


def test_a_static_source_is_visible_always_and_the_plan_warns(workspace):
    planes = pl.DataFrame({"customer": ["a"], "amount": [7.0]})
    project = without_label(shop(planes, order_options={"timestamp": None, "static": True}, features=newest))
    assert "source orders is static: edits to it are not versioned in time" in workspace.plan(project).notes
    workspace.apply(project)
    workspace.ingest("orders")
    got = ask(workspace, [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)], details=True)
    assert got["newest"].to_list() == [7.0, 7.0]
    assert got["newest_event_time"].to_list() == [None, None]


# Transformations


def ranked(orders: tm.Rows) -> str:
    return "select *, row_number() over (order by amount) as place from orders"


def share(orders: tm.Rows) -> str:
    return "select *, amount / sum(amount) over (partition by customer) as share from orders"


def newest_only(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.unique("customer", keep="last", maintain_order=True)


def running(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.with_columns(total=pl.col("amount").cum_sum())


def centred(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.with_columns(amount=pl.col("amount") - pl.col("amount").mean().over("customer"))


def large(orders: tm.Rows) -> str:
    return "select *, amount * 2 as twice from orders where amount > 1"


def scaled(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.with_columns(pl.col("amount").clip(0, 2), note=pl.lit("x"), none=pl.lit(None)).filter(
        pl.col("amount") >= 1
    )


def derived(*functions):
    project = without_label(shop(orders_at(*[at(hour) for hour in range(7)])))
    for function in functions:
        project.transformation(row_wise=True)(function)
    return project


@pytest.mark.parametrize("function", [ranked, share, newest_only, running, centred])
def test_a_transformation_that_only_says_it_is_row_wise_is_refused_at_ingest(workspace, function):
    workspace.apply(derived(function))
    with pytest.raises(
        DefinitionError, match=f"'{function.__name__}' says row_wise=True, .* depends on which other rows"
    ):
        workspace.ingest("orders")
    with pytest.raises(NotFoundError, match="never ingested"):
        ask(workspace, [at(9)])


def test_one_that_reads_a_row_wise_one_is_checked_too(workspace):
    def ranks(large: tm.Rows) -> str:
        return "select *, row_number() over (order by amount) as place from large"

    workspace.apply(derived(large, ranks))
    with pytest.raises(DefinitionError, match="'ranks' says row_wise=True"):
        workspace.ingest("orders")


def test_row_wise_transformations_are_taken(workspace):
    workspace.apply(derived(large, scaled))
    (report,) = workspace.ingest("orders")
    assert report.rows_new == 7


# What a build report says


def test_a_build_report_says_what_rows_were_known_by_and_what_the_other_mode_would_change(workspace, tmp_path):
    orders = pl.DataFrame(
        {
            "customer": ["a"] * 4, "at": [at(1), at(4), at(4), at(90)], "made": [at(1), at(9), at(30), at(90)],
            "order": [0, 1, 1, 2], "amount": [1.0, 2.0, -2.0, 3.0],
        }
    )  # fmt: skip
    visits = pl.DataFrame({"visit": [0, 1, 2], "customer": ["a"] * 3, "at": [at(2), at(5), at(10)]})
    options = {"id": "order", "created": "made"}
    project = shop(orders, visits, order_options=options, features=newest)
    workspace.apply(project)
    workspace.ingest()
    data = workspace.get_training_data("visits_to_orders")
    assert ask(workspace, [at(2), at(5), at(10)])["newest"].to_list() == [1.0, 1.0, 2.0]
    # By `latest` they would be 1.0, -2.0 and -2.0: the order of hour 4, in its last version, as soon as it happened.
    # Everything was ingested after the fact, so every value that is not null depends on later commits.
    assert data.report.knowledge == {"spending": Knowledge("event", 2, committed_after=3)}
    other = shop(orders, visits, features=newest)
    with tm.connect(tmp_path / "other.tm", create=True) as ws:
        ws.apply(other)
        ws.ingest()
        assert ws.get_training_data("visits_to_orders").report.knowledge == {
            "spending": Knowledge("observed", 0, committed_after=3)
        }


# Labels


def outcomes(ws, expression, orders, *, visits=(START,), horizon="2h", gap=None, delay=None, **options):
    """Build a training set whose label is that expression over orders of (hour, amount)."""
    project = tm.Project("shop", tz=NEW_YORK)
    customer = project.entity("customer", key="customer")
    table = pl.DataFrame(
        {"customer": ["a"] * len(orders), "at": [o[0] for o in orders], "amount": [o[1] for o in orders]}
    )

    @project.source(timestamp="at", delay=delay)
    def orders() -> pl.DataFrame:
        return table

    @project.source(timestamp="at", id="visit")
    def visits_() -> pl.DataFrame:
        return pl.DataFrame({"visit": range(len(visits)), "customer": ["a"] * len(visits), "at": visits})

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return newest(orders)

    @project.label(entity=customer, horizon=horizon, gap=gap)
    def buys(orders: tm.Rows) -> tm.Label:
        return expression(orders["amount"])

    project.training_set("ts", spine=visits_, label=buys, features=[spending])
    ws.apply(project)
    ws.ingest()
    return ws.get_training_data("ts", **options)


def test_an_outcome_lies_after_the_gap_and_not_after_the_horizon(workspace):
    micro = timedelta(microseconds=1)
    orders = [(at(0), 1.0), (at(1), 2.0), (at(1) + micro, 4.0), (at(3), 8.0), (at(3) + micro, 16.0), (at(99), 32.0)]
    data = outcomes(workspace, lambda amount: amount.sum(), orders, gap="1h")
    assert data.train.y.to_list() == [12.0]


def test_an_outcome_is_mature_once_its_window_and_the_delay_are_complete(workspace):
    """The newest order is at hour 10: windows of two hours after a gap of one, with one of delay, end by then up to hour 6."""
    micro = timedelta(microseconds=1)
    data = outcomes(
        workspace, lambda amount: amount.count(), [(at(10), 1.0)], visits=[at(6), at(6) + micro], gap="1h", delay="1h"
    )
    assert data.train.spine["timestamp"].to_list() == [at(6)]
    assert data.report.immature == 1


@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        (lambda amount: amount.count(), 0), (lambda amount: amount.sum(), 0.0), (lambda amount: (amount > 0).any(), False),
        (lambda amount: amount.last(), None), (lambda amount: amount.mean(), None),
    ],
)  # fmt: skip
def test_a_mature_window_without_rows_is_zero_or_no_outcome(workspace, expression, outcome):
    data = outcomes(workspace, expression, [(at(51), 1.0), (at(99), 1.0)], visits=[at(0), at(50)])
    assert data.report.no_outcome == (outcome is None)
    assert data.train.y.to_list()[: -1 or None] == ([] if outcome is None else [outcome])


def test_immature_rows_are_kept_with_a_null_on_request(workspace):
    visits = [at(0), at(9), at(50)]
    orders = [(at(1), 1.0), (at(10), 1.0), (at(51), 5.0)]
    data = outcomes(workspace, lambda amount: amount.sum(), orders, visits=visits, immature="null")
    assert data.train.y.to_list() == [1.0, 1.0, None]
    assert (data.report.immature, data.report.train_rows) == (1, 3)
    assert workspace.verify(data.build_id).same
    assert workspace.get_training_data("ts").train.y.to_list() == [1.0, 1.0]
    with pytest.raises(DefinitionError, match="immature='keep' is not possible"):
        workspace.get_training_data("ts", immature="keep")


def test_a_split_by_a_date_is_at_midnight_of_the_project(workspace):
    visits = [at(24 + hour) for hour in (0, 4, 5, 6)]
    data = outcomes(
        workspace, lambda amount: amount.count(), [(at(99), 1.0)], visits=visits, horizon="1h", test_from="2024-01-02"
    )
    assert data.test.spine["timestamp"].to_list() == [at(29), at(30)]  # midnight in New York is 5 in UTC
    assert (data.report.train_rows, data.report.purged) == (1, 1)


def test_a_row_of_a_source_that_the_spine_comes_from_sees_only_what_was_known_before_it(workspace):
    orders = pl.DataFrame({"customer": ["a"] * 4, "at": [at(0), at(1), at(2), at(99)], "amount": [1.0, 2.0, 3.0, 4.0]})
    project = shop(orders, features=newest)
    project.training_set(
        "own", spine=project.definitions["orders"], label=project.definitions["buys"],
        features=[project.definitions["spending"]],
    )  # fmt: skip
    workspace.apply(project)
    workspace.ingest("orders")
    assert workspace.get_training_data("own").train.X["newest"].to_list() == [None, 1.0]
    assert ask(workspace, [at(0), at(1)])["newest"].to_list() == [1.0, 2.0]


def test_a_spine_of_dates_is_asked_at_the_start_of_its_days(workspace):
    kept(workspace, orders_at(at(0), at(5), at(29)))
    spine = {"customer": ["a", "a"], "timestamp": [date(2024, 1, 1), date(2024, 1, 2)]}
    got = workspace.get_historical_features(spine, ["spending"], tz=NEW_YORK)
    assert got["newest"].to_list() == [1.0, 2.0]
    with pytest.raises(DataError, match="'timestamp' holds dates without a time zone"):
        workspace.get_historical_features(spine, ["spending"])
