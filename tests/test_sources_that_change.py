"""Sources that change: corrections, changed definitions, columns that come and go, wrong clocks."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError, NotFoundError

START = datetime(2024, 4, 1, tzinfo=UTC)


def day(number, **more):
    return START + timedelta(days=number, **more)


class Shop:
    """A workspace with one source, whose rows and options a test changes as it goes."""

    def __init__(self, path, **options):
        self.clock = tm.ReplayClock(day(10))
        self.rows = None
        self.ws = tm.connect(path / "shop.tm", create=True, clock=lambda: self.clock())
        self.define(**options)

    def define(self, function=None, features=None, *, name="orders", **options):
        project = tm.Project("shop", tz="Europe/Vienna")
        customer = project.entity("customer", key="customer")
        read = function or (lambda: self.rows)

        def source() -> pl.DataFrame:
            return read()

        source.__name__ = name
        orders = project.source(**{"timestamp": "at", "id": "order", **options})(source)

        exec(
            f"def spending({name}: tm.Rows) -> tm.Features: return chosen({name})",
            {"tm": tm, "chosen": features or _usual},
            found := {},
        )
        project.feature_view(entity=customer)(found["spending"])
        self.project, self.source = project, orders
        return self.ws.apply(project)

    def ingest(self, rows=None, **options):
        if rows is not None:
            self.rows = rows
        (report,) = self.ws.ingest("orders", **options)
        return report

    def at(self, *days, customer="a", as_of=None, features=("spending",)):
        spine = pl.DataFrame({"customer": [customer] * len(days), "timestamp": [day(one) for one in days]})
        found = self.ws.get_historical_features(spine, list(features), as_of=as_of)
        return found.drop("customer", "timestamp").rows()

    def online(self, customer="a"):
        return self.ws.get_online_features(["spending"], [{"customer": customer}]).to_polars().drop("customer").row(0)


def _usual(rows):
    return {"last": rows["amount"].last(), "n": rows.count(window="90d")}


def orders(*rows, **columns):
    """Rows of (order, customer, day, amount)."""
    return pl.DataFrame(
        {
            "order": [row[0] for row in rows],
            "customer": [row[1] for row in rows],
            "at": pl.Series([day(row[2]) for row in rows], dtype=pl.Datetime("us", "UTC")),
            "amount": pl.Series([row[3] for row in rows], dtype=pl.Float64),
            **columns,
        }
    )


@pytest.fixture
def shop(tmp_path):
    made = Shop(tmp_path)
    yield made
    made.ws.close()


# Corrections


def test_a_correction_never_rewrites_what_a_past_row_saw(shop):
    shop.ingest(orders((1, "a", 1, 10.0)))
    shop.ws.materialize()
    shop.clock.advance("30d")
    assert shop.ingest(orders((1, "a", 1, -10.0))).rows_corrected == 1
    assert shop.at(5, 39, 40) == [(10.0, 1), (10.0, 1), (-10.0, 1)]
    shop.clock.advance("1h")
    assert shop.at(41) == [(-10.0, 1)]
    assert shop.online() == (-10.0, 1)


def test_a_vanished_row_is_gone_from_then_on(shop):
    shop.ingest(orders((1, "a", 1, 10.0), (2, "a", 2, 5.0)))
    shop.clock.advance("30d")
    assert shop.ingest(orders((1, "a", 1, 10.0)), full=True).rows_deleted == 1
    shop.clock.advance("1h")
    assert shop.at(5, 39, 41) == [(5.0, 2), (5.0, 2), (10.0, 1)]
    shop.clock.advance("10d")
    assert shop.ingest(orders((1, "a", 1, 10.0), (2, "a", 2, 5.0)), full=True).rows_corrected == 1
    assert shop.at(41, 51) == [(10.0, 1), (5.0, 2)]


def test_a_backfilled_change_log_keeps_its_history(shop):
    with pytest.warns(UserWarning, match=r"id='order' is not unique in what was read: 1 \(3 rows\)"):
        shop.ingest(orders((1, "a", 1, 1.0), (1, "a", 3, 2.0), (1, "a", 5, 3.0)))
    assert shop.at(2, 4, 6) == [(1.0, 1), (2.0, 1), (3.0, 1)]


def test_the_same_rows_come_in_turn_and_the_last_one_stays(shop):
    a, b = orders((1, "a", 1, 1.0), (None, "b", 1, 7.0)), orders((1, "a", 1, 2.0), (None, "b", 1, 7.0))
    for rows, corrected in ((a, 0), (b, 1), (a, 1), (a, 0)):
        shop.clock.advance("1d")
        assert shop.ingest(rows).rows_corrected == corrected
    shop.clock.advance("1d")
    assert shop.at(20) == [(1.0, 1)]
    assert shop.at(20, customer="b") == [(7.0, 1)]


def test_each_id_is_judged_alone_also_where_another_comes_twice(shop):
    twice = orders((1, "a", 1, 1.0), (2, "b", 1, 5.0), (2, "b", 2, 6.0))
    with pytest.warns(UserWarning, match="not unique"):
        shop.ingest(twice)
    shop.clock.advance("1d")
    changed = twice.with_columns(amount=pl.Series([2.0, 5.0, 6.0]))
    assert (shop.ingest(changed).rows_corrected, shop.ingest(changed).rows_known) == (1, 3)
    shop.clock.advance("1d")
    assert shop.ingest(twice).rows_corrected == 1
    shop.clock.advance("1h")
    assert shop.at(13) == [(1.0, 1)]


def test_a_row_that_moves_to_another_key_leaves_the_first(shop):
    shop.ingest(orders((1, "a", 1, 10.0), (2, "a", 2, 1.0)))
    shop.ws.materialize()
    shop.clock.advance("10d")
    assert shop.ingest(orders((1, "b", 1, 10.0), (2, "a", 2, 1.0))).rows_corrected == 1
    shop.clock.advance("1h")
    assert shop.at(15, 21) == [(1.0, 2), (1.0, 1)]
    assert shop.at(15, 21, customer="b") == [(None, 0), (10.0, 1)]
    assert (shop.online("a"), shop.online("b")) == ((1.0, 1), (10.0, 1))
    assert shop.ws.sql("select count(*) from orders").item() == 2
    shop.clock.advance("1d")
    assert shop.ingest(orders((1, "a", 1, 10.0), (2, "a", 2, 1.0))).rows_corrected == 1
    shop.clock.advance("1h")
    assert (shop.online("a"), shop.online("b")) == ((1.0, 2), (None, 0))


def test_a_pushed_row_that_moves_to_another_key_leaves_the_first(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return _usual(orders)

    clock = tm.ReplayClock(day(1))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        ws.materialize()
        for compacted, customer in ((False, "b"), (True, "c"), (True, "a")):
            row = {"order": 1, "customer": "a" if not compacted else "b", "at": day(0), "amount": 2.0}
            ws.push("orders", [row])
            clock.advance("1h")
            if compacted:
                ws.compact()
            pushed = ws.push("orders", [{**row, "customer": customer}])
            assert (pushed.rows_new, pushed.rows_corrected) == (0, 1)
            clock.advance("1h")
            keys = [{"customer": one} for one in "abc"]
            expected = [1 if one == customer else 0 for one in "abc"]
            assert ws.get_online_features(["spending"], keys).to_dict()["n"] == expected
            spine = pl.DataFrame({"customer": ["a", "b", "c"], "timestamp": [clock()] * 3})
            assert ws.get_historical_features(spine, ["spending"])["n"].to_list() == expected


def test_a_row_that_a_row_wise_transformation_leaves_out_is_gone(tmp_path):
    frames = {}
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders_() -> pl.DataFrame:
        return frames["orders"]

    @project.transformation(row_wise=True)
    def paid(orders_: tm.Rows) -> str:
        return "select * from orders_ where amount > 0"

    @project.feature_view(entity=customer)
    def spending(paid: tm.Rows) -> tm.Features:
        return _usual(paid)

    clock = tm.ReplayClock(day(5))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        frames["orders"] = orders((1, "a", 1, 10.0))
        ws.ingest()
        ws.materialize()
        clock.advance("1d")
        frames["orders"] = orders((1, "a", 1, -10.0))
        ws.ingest()
        clock.advance("1h")
        spine = pl.DataFrame({"customer": ["a"] * 2, "timestamp": [day(5), clock()]})
        assert ws.get_historical_features(spine, ["spending"])["n"].to_list() == [1, 0]
        assert ws.get_online_features(["spending"], [{"customer": "a"}]).to_dict()["n"] == [0]


def test_a_corrected_event_still_to_come_ends_the_version_before_at_once(workspace):
    now = datetime.now(UTC)
    rows = {"orders": orders((1, "a", 1, 10.0)).with_columns(at=pl.lit(now - timedelta(days=1)))}
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    source = project.source(timestamp="at", id="order")(_named("orders", lambda: rows["orders"]))

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return _usual(orders)

    workspace.apply(project)
    workspace.ingest(source)
    rows["orders"] = orders((1, "a", 1, 20.0)).with_columns(at=pl.lit(now + timedelta(days=10)))
    with pytest.warns(UserWarning, match="1 of 1 rows are dated later than now"):
        (report,) = workspace.ingest(source)
    assert (report.rows_corrected, report.rows_ahead) == (1, 1)
    times = [now, now + timedelta(days=1), now + timedelta(days=11)]
    spine = pl.DataFrame({"customer": ["a"] * 3, "timestamp": times})
    found = workspace.get_historical_features(spine, ["spending"])
    assert found["last"].to_list() == [10.0, None, 20.0]
    assert found["n"].to_list() == [1, 0, 1]


def test_latest_reads_final_versions_as_said(tmp_path):
    made = Shop(tmp_path, known="latest")
    made.ingest(orders((1, "a", 1, 10.0)))
    made.clock.advance("30d")
    made.ingest(orders((1, "a", 1, -10.0)))
    assert made.at(5) == [(-10.0, 1)]
    note = made.define()  # and a source that says nothing observes from then on what it always stored
    assert "known latest -> observed" in str(note)
    assert made.at(5) == [(10.0, 1)]
    made.ws.close()


def test_request_fields_are_those_that_were_known(tmp_path):
    frames = {"visits": None}
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders_() -> pl.DataFrame:
        return orders(*((n, "a", n, 1.0) for n in range(20)))

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return frames["visits"]

    @project.feature_view(entity=customer)
    def spending(orders_: tm.Rows) -> tm.Features:
        return {"last": orders_["amount"].last()}

    @project.on_demand
    def left(spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
        return {"left": budget - spending["last"]}

    @project.label(entity=customer, horizon="1d")
    def bought(orders_: tm.Rows) -> tm.Label:
        return orders_.count()

    project.training_set("t", spine=visits, label=bought, features=[spending, left])
    first = pl.DataFrame({"visit": [1, 2], "customer": ["a", "a"], "at": [day(3), day(4)], "budget": [10.0, 20.0]})
    clock = tm.ReplayClock(day(8))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        frames["visits"] = first
        ws.ingest()
        before = ws.get_training_data("t").train.X["left"].to_list()
        clock.advance("2d")
        frames["visits"] = first.with_columns(budget=pl.Series([99.0, 99.0]))
        ws.ingest()
        assert ws.get_training_data("t").train.X["left"].to_list() == before == [9.0, 19.0]
        assert ws.sql("select budget from visits").to_series().to_list() == [99.0, 99.0]


def test_a_rebuilt_transformation_with_an_id_keeps_the_versions_before(tmp_path):
    frames = {}
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders_() -> pl.DataFrame:
        return frames["orders"]

    @project.transformation(timestamp="at", id="customer")
    def totals(orders_: tm.Rows) -> str:
        return 'select customer, min("at") as "at", sum(amount) as amount from orders_ group by customer'

    @project.feature_view(entity=customer)
    def spending(totals: tm.Rows) -> tm.Features:
        return {"total": totals["amount"].last()}

    clock = tm.ReplayClock(day(5))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        for rows in (
            orders((1, "a", 1, 1.0), (2, "b", 1, 5.0)),
            orders((1, "a", 1, 1.0), (2, "b", 1, 5.0), (3, "a", 6, 2.0)),
            orders((1, "a", 1, 1.0), (3, "a", 6, 2.0), (4, "a", 7, 4.0)),
        ):
            frames["orders"] = rows
            ws.ingest("orders_", full=True)
            ws.materialize()
            clock.advance("5d")

        def totals_of(customer):
            spine = pl.DataFrame({"customer": [customer] * 4, "timestamp": [day(n) for n in (2, 9, 14, 19)]})
            return ws.get_historical_features(spine, ["spending"])["total"].to_list()

        assert totals_of("a") == [1.0, 1.0, 3.0, 7.0]
        assert totals_of("b") == [5.0, 5.0, 5.0, None]
        online = ws.get_online_features(["spending"], [{"customer": "a"}, {"customer": "b"}])
        assert online.to_dict()["total"] == [7.0, None]


# A definition that changes under stored rows


def test_another_timestamp_is_refused_until_the_rows_are_dated_anew(tmp_path):
    rows = orders((1, "a", 1, 10.0), paid=pl.Series([day(8)]))
    made = Shop(tmp_path)
    first = made.ingest(rows)
    plan = made.define(timestamp="paid")
    assert "the timestamp of source orders changed under 1 stored rows" in str(plan)
    for refused in (made.ingest, lambda: made.ingest(full=True), lambda: made.at(9)):
        with pytest.raises(DataError, match="timestamp") as caught:
            refused()
        assert "tinymlops ingest orders --rebuild" in caught.value.hint
    report = made.ingest(rebuild=True)
    assert (report.generation, report.rows_carried, report.rows_new) == (1, 1, 0)
    assert made.at(5, 9) == [(None, 0), (10.0, 1)]
    assert made.at(5, as_of=first.sequence) == [(10.0, 1)]
    made.ws.materialize()
    assert made.online() == (10.0, 1)
    assert made.ingest().rows_known == 1
    made.ws.close()


def test_corrections_keep_their_time_when_rows_are_dated_anew(tmp_path):
    made = Shop(tmp_path)
    made.ingest(orders((1, "a", 1, 10.0), paid=pl.Series([day(2)])))
    made.clock.advance("10d")
    made.ingest(orders((1, "a", 1, 11.0), paid=pl.Series([day(2)])))
    made.define(timestamp="paid")
    assert made.ingest(rebuild=True).rows_carried == 2
    assert made.at(1.5, 19, 21) == [(None, 0), (10.0, 1), (11.0, 1)]
    made.ws.close()


@pytest.mark.parametrize(
    ("column", "before", "after", "moment"),
    [
        (pl.Series([datetime(2024, 4, 2)]), {"tz": "UTC"}, {"tz": "Europe/Vienna"}, 0.95),
        (pl.Series([date(2024, 4, 2)]), {"tz": "UTC"}, {"tz": "UTC", "date_means": "start"}, 1.5),
    ],
)
def test_another_reading_of_local_times_needs_a_rebuild(tmp_path, column, before, after, moment):
    made = Shop(tmp_path, **before)
    rows = orders((1, "a", 1, 10.0)).with_columns(at=column)
    made.ingest(rows)
    assert made.at(moment) == [(None, 0)]
    made.define(**after)
    with pytest.raises(DataError, match="changed under its stored rows"):
        made.ingest()
    made.ingest(rebuild=True)
    assert made.at(moment) == [(10.0, 1)]
    made.ws.close()


def test_a_zone_says_nothing_about_times_that_carry_one(shop):
    shop.ingest(orders((1, "a", 1, 10.0)))
    shop.define(tz="Europe/Vienna")
    assert shop.ingest().rows_known == 1


def test_another_id_carries_nothing_over_and_says_so(shop):
    shop.ingest(orders((1, "a", 1, 10.0), (2, "a", 2, 5.0), line=pl.Series([7, 8])))
    shop.define(id="line")
    with pytest.warns(UserWarning, match="its id changed, so no earlier version is carried over"):
        report = shop.ingest(rebuild=True)
    assert (report.rows_carried, report.rows_new, report.rows_dropped) == (0, 2, 2)
    assert shop.at(9) == [(5.0, 2)]


def sql_shop(path):
    made = Shop.__new__(Shop)
    made.clock = tm.ReplayClock(day(10))
    made.ws = tm.connect(path / "shop.tm", create=True, clock=lambda: made.clock())

    def define(text, **options):
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")

        def orders() -> str:
            return text

        project.source(**{"timestamp": "at", "id": "order", "tz": "UTC", **options})(orders)

        @project.feature_view(entity=customer)
        def spending(orders: tm.Rows) -> tm.Features:
            return _usual(orders)

        return made.ws.apply(project)

    made.define, made.rows = define, None
    return made


def test_another_query_that_gives_the_same_rows_is_taken(tmp_path):
    made = sql_shop(tmp_path)
    text = "select 1 as \"order\", 'a' as customer, timestamp '2024-04-02' as \"at\", 10::double as amount"
    made.define(text)
    made.ingest()
    plan = made.define(f"select * from ({text})")
    assert "the query or function of source orders changed: if known rows differ, ingest refuses them" in str(plan)
    assert made.ingest().rows_known == 1
    assert "function of source orders changed" not in str(made.define(f"select * from ({text})"))
    made.ws.close()


def test_rows_that_differ_because_of_another_query_are_no_corrections(tmp_path):
    made = sql_shop(tmp_path)
    text = "select 1 as \"order\", 'a' as customer, timestamp '2024-04-02' as \"at\", {}::double as amount"
    made.define(text.format("10.0"))
    made.ingest()
    made.clock.advance("10d")
    made.define(text.format("12.0"))
    with pytest.raises(DataError, match="read by another query now, and 1 of the rows") as caught:
        made.ingest()
    assert "--rebuild" in caught.value.hint
    assert made.at(5) == [(10.0, 1)]
    with pytest.warns(UserWarning, match="1 rows count as they are read now"):
        report = made.ingest(rebuild=True)
    assert (report.rows_restarted, report.rows_carried) == (1, 0)
    assert made.at(5) == [(12.0, 1)]
    made.ws.close()


def test_without_an_id_another_query_does_not_count_rows_twice(tmp_path):
    made = sql_shop(tmp_path)
    text = "select 'a' as customer, timestamp '2024-04-02' as \"at\", {}::double as amount"
    made.define(text.format("10.0"), id=None)
    made.ingest()
    made.define(text.format("12.0"), id=None)
    with pytest.raises(DataError, match="1 are new and 1 stored ones of their time are gone"):
        made.ingest()
    with pytest.warns(UserWarning, match="1 stored events are not in it"):
        made.ingest(rebuild=True)
    assert made.at(5) == [(12.0, 1)]
    made.ws.close()


def test_a_restarted_row_never_counts_from_earlier_than_its_last_correction(tmp_path):
    made = sql_shop(tmp_path)
    text = "select 1 as \"order\", 'a' as customer, timestamp '2024-04-02' as \"at\", {}::double as amount"
    path = tmp_path / "orders.csv"
    path.write_text("order,customer,at,amount\n1,a,2024-04-02 00:00:00,10.0\n")
    made.define("select * from read_csv('orders.csv')")
    made.ingest()
    made.clock.advance("10d")
    path.write_text("order,customer,at,amount\n1,a,2024-04-02 00:00:00,11.0\n")
    made.ingest()
    made.define(text.format("100.0"))
    with pytest.warns(UserWarning, match="from the last correction of their id on"):
        made.ingest(rebuild=True)
    assert made.at(15, 21) == [(None, 0), (100.0, 1)]
    made.ws.close()


def test_rows_no_longer_at_the_source_stay_unless_they_are_dropped(tmp_path):
    made = Shop(tmp_path)
    both = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0), paid=pl.Series([day(3), day(4)]))
    made.ingest(both)
    made.rows = both[:1]
    made.define(timestamp="paid")
    assert made.ingest(rebuild=True).rows_carried == 2
    assert made.at(9) == [(5.0, 2)]
    with pytest.warns(UserWarning, match="1 stored events are not in it"):
        assert made.ingest(rebuild=True, drop_missing=True).generation == 2
    assert made.at(9) == [(10.0, 1)]
    made.ws.close()


def test_a_source_of_pushes_is_dated_anew_from_its_stored_rows(tmp_path):
    def project(timestamp):
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")

        def orders() -> tm.Schema:
            return {"order": int, "customer": str, "at": datetime, "paid": datetime, "amount": float}

        project.source(timestamp=timestamp, id="order")(orders)

        @project.feature_view(entity=customer)
        def spending(orders: tm.Rows) -> tm.Features:
            return _usual(orders)

        return project

    clock = tm.ReplayClock(day(5))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project("at"))
        row = {"order": 1, "customer": "a", "at": day(1), "paid": day(8), "amount": 10.0}
        ws.push("orders", [row])
        ws.apply(project("paid"))
        with pytest.raises(DataError, match="timestamp"):
            ws.push("orders", [{**row, "order": 2}])
        ws.ingest("orders", rebuild=True)
        assert ws.push("orders", [row]).rows_known == 1
        ws.push("orders", [{**row, "order": 2}])
        spine = pl.DataFrame({"customer": ["a"] * 2, "timestamp": [day(7), day(9)]})
        assert ws.get_historical_features(spine, ["spending"])["n"].to_list() == [0, 2]
        assert ws.get_historical_features(spine, ["spending"], as_of=1)["n"].to_list() == [1, 1]


def test_a_changed_transformation_begins_a_generation_by_itself(tmp_path):
    def project(factor):
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")

        @project.source(timestamp="at", id="order")
        def orders_() -> pl.DataFrame:
            return orders((1, "a", 1, 1.0))

        def totals(orders_: tm.Rows) -> str:
            return f'select customer, "at", {factor} * amount as amount from orders_'

        project.transformation(timestamp="at", id="customer")(totals)

        @project.feature_view(entity=customer)
        def spending(totals: tm.Rows) -> tm.Features:
            return {"total": totals["amount"].last()}

        return project

    clock = tm.ReplayClock(day(5))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        spine = pl.DataFrame({"customer": ["a"], "timestamp": [day(2)]})
        for factor in (1, 3):
            plan = ws.apply(project(factor))
            reports = {report.source: report for report in ws.ingest()}
            assert ws.get_historical_features(spine, ["spending"])["total"].to_list() == [float(factor)]
            clock.advance("1d")
        assert "transformation totals starts over" in str(plan)
        assert (reports["totals"].generation, reports["totals"].rows_corrected) == (1, 0)


def test_a_renamed_source_takes_its_rows_along(shop):
    shop.ingest(orders((1, "a", 1, 10.0)))
    plan = shop.define(name="purchases", was="orders")
    assert "source purchases takes over the rows of orders" in str(plan)
    shop.rows = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0))
    (report,) = shop.ws.ingest()
    assert (report.source, report.rows_known, report.rows_new) == ("purchases", 1, 1)
    assert shop.at(9) == [(5.0, 2)]
    shop.define(name="purchases")  # said once is enough
    assert shop.at(9) == [(5.0, 2)]
    with pytest.raises(ConflictError, match="would share the rows"):
        shop.define(name="orders")
        both = shop.project
        both.source(timestamp="at", id="order")(_named("purchases", lambda: shop.rows))
        shop.ws.apply(both)
    with pytest.raises(DefinitionError, match="which has no rows here"):
        shop.define(name="sales", was="nothing")


def _named(name, read):
    def source() -> pl.DataFrame:
        return read()

    source.__name__ = name
    return source


# Columns


def test_a_new_column_makes_no_row_another(shop):
    rows = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0))
    shop.ingest(rows)
    with pytest.warns(UserWarning, match="new columns, 'channel': 2 rows stored before have null there"):
        report = shop.ingest(rows.with_columns(channel=pl.lit("web")))
    assert (report.rows_known, report.rows_corrected, report.rows_incomplete) == (2, 0, 2)
    later = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0), (3, "a", 3, 1.0)).with_columns(channel=pl.lit("web"))
    assert shop.ingest(later).rows_new == 1
    shop.clock.advance("1d")
    assert shop.ingest(later.with_columns(channel=pl.Series(["web", "web", "app"]))).rows_corrected == 1
    shop.ws.compact()
    assert shop.ws.sql('select channel from orders order by "order"').to_series().to_list() == [None, None, "app"]
    assert shop.ingest().rows_known == 3


def test_a_rebuild_fills_a_new_column_in_the_rows_stored_before_it(shop):
    rows = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0))
    shop.ingest(rows)
    shop.clock.advance("1d")
    changed = orders((1, "a", 1, 11.0), (2, "a", 2, 5.0)).with_columns(channel=pl.lit("web"))
    with pytest.warns(UserWarning, match="new columns"):
        shop.ingest(changed)
    shop.clock.advance("1d")
    report = shop.ingest(rebuild=True)
    assert (report.rows_carried, report.rows_corrected, report.rows_known) == (3, 0, 2)
    history = shop.ws.sql('select "order", amount, channel, __created from orders_history order by __sequence')
    assert history["channel"].to_list() == [None, "web", "web"]
    assert history["__created"].is_null().to_list() == [True, True, False]
    assert shop.at(10, 12) == [(5.0, 2), (5.0, 2)]
    assert shop.ingest().rows_known == 2


def test_rows_that_are_held_back_are_not_missing(shop):
    shop.ingest(orders((1, "a", 1, 10.0), (2, "a", 2, 5.0)))
    shop.rows = orders((1, "a", 1, 10.0), (2, "a", 50, 5.0))
    report = shop.ingest(rebuild=True, drop_missing=True)
    assert (report.rows_held_back, report.rows_carried, report.rows_dropped) == (1, 2, 0)


def test_a_new_column_does_not_count_rows_without_an_id_twice(tmp_path):
    made = Shop(tmp_path, id=None)
    rows = orders((1, "a", 1, 10.0), (1, "a", 1, 10.0))
    made.ingest(rows)
    with pytest.warns(UserWarning, match="new columns"):
        assert made.ingest(rows.with_columns(channel=pl.lit("web"))).rows_known == 2
    three = pl.concat([rows, rows[:1]]).with_columns(channel=pl.lit("web"))
    assert made.ingest(three).rows_new == 1
    assert made.at(9) == [(10.0, 3)]
    made.ws.close()


def test_a_column_that_is_gone_is_told_with_what_reads_it(shop):
    shop.ingest(orders((1, "a", 1, 10.0)))
    renamed = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0)).rename({"amount": "amont"})
    with (
        pytest.warns(UserWarning, match=r"no column 'amount' any more.*feature spending:last reads it.*'amont'"),
        pytest.warns(UserWarning, match="new columns, 'amont'"),
    ):
        report = shop.ingest(renamed)
    assert (report.rows_known, report.rows_new) == (1, 1)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (pl.Series([10]), pl.Series([10.0, 20.5]), 20.5),
        (pl.Series([1.0]), pl.Series([1, 2]), 2.0),
        (pl.Series([1], dtype=pl.Int8), pl.Series([1, 300]), 300),
        (pl.Series([None], dtype=pl.Null), pl.Series([None, 4.0]), 4.0),
        (pl.Series([1], dtype=pl.UInt8), pl.Series([1, -2], dtype=pl.Int32), -2),
        (pl.Series(["a"], dtype=pl.Categorical), pl.Series(["a", "b"]), "b"),
    ],
)
def test_a_type_grows_where_every_value_stays_what_it_is(shop, before, after, expected):
    first = shop.ingest(orders((1, "a", 1, 0.0)).with_columns(amount=before))
    shop.ws.materialize()
    report = shop.ingest(orders((1, "a", 1, 0.0), (2, "a", 2, 0.0)).with_columns(amount=after))
    assert (report.rows_known, report.rows_new) == (1, 1)
    assert (shop.at(9), shop.online()) == ([(expected, 2)], (expected, 2))
    old = shop.ws.get_historical_features(
        pl.DataFrame({"customer": ["a"], "timestamp": [day(9)]}), ["spending"], as_of=first.sequence
    )["last"]
    assert old.to_list() == before.to_list()
    assert old.dtype == (pl.String if before.dtype == pl.Categorical else before.dtype)
    shop.ws.compact()
    assert shop.at(9) == [(expected, 2)]


def test_a_value_that_the_wider_type_does_not_hold_is_refused_with_its_row(shop):
    shop.ingest(orders((1, "a", 1, 0.5)))
    with pytest.raises(DataError, match=r"holds 9007199254740993, which Float64 does not hold exactly, in rows \[1\]"):
        shop.ingest(orders((1, "a", 1, 0.0), (2, "a", 2, 0.0)).with_columns(amount=pl.Series([0, 2**53 + 1])))
    shop.define(name="others", features=lambda rows: {"n": rows.count(window="1d")})
    shop.rows = orders((1, "a", 1, 0.0)).with_columns(amount=pl.Series([2**53 + 1]))
    shop.ws.ingest("others")
    shop.rows = orders((1, "a", 1, 0.5))
    with pytest.raises(DataError, match="history has 9007199254740993"):
        shop.ws.ingest("others")


def test_a_view_on_a_column_that_is_not_there_is_refused_at_ingest(tmp_path):
    made = Shop.__new__(Shop)
    made.clock, made.rows = tm.ReplayClock(day(10)), orders((1, "a", 1, 1.0))
    made.ws = tm.connect(tmp_path / "shop.tm", create=True, clock=made.clock)
    made.define(features=lambda rows: {"last": rows["amuont"].last()})
    with pytest.raises(DefinitionError, match="no column 'amuont'") as caught:
        made.ingest()
    assert "'amount'" in caught.value.hint
    made.ws.close()


# Time


def test_a_row_dated_later_than_now_is_no_progress(tmp_path):
    def project(rows):
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")

        @project.source(timestamp="at")
        def orders_() -> pl.DataFrame:
            return rows[0]

        @project.source(timestamp="at")
        def visits() -> pl.DataFrame:
            return pl.DataFrame({"customer": ["a"] * 3, "at": [day(1), day(3), day(8)]})

        @project.feature_view(entity=customer)
        def spending(orders_: tm.Rows) -> tm.Features:
            return _usual(orders_)

        @project.label(entity=customer, horizon="2d")
        def bought(orders_: tm.Rows) -> tm.Label:
            return orders_.count()

        project.training_set("t", spine=visits, label=bought, features=[spending])
        return project

    rows = [orders(*((n, "a", n, 1.0) for n in range(6)), (99, "b", 40_000, 1.0))]
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(project(rows))
        with pytest.warns(UserWarning, match="source 'orders_': 1 of 7 rows are dated later than now, such as row 6"):
            reports = {report.source: report for report in ws.ingest()}
        assert reports["orders_"].rows_ahead == 1
        assert ws.get_training_data("t").report.immature == 1
        ws.compact()
        assert ws.get_training_data("t").report.immature == 1


def test_a_clock_far_ahead_is_refused_found_and_mended(tmp_path):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return _usual(orders)

    now = [datetime.now(UTC)]
    row = {"order": 1, "customer": "a", "at": now[0] - timedelta(days=1), "amount": 1.0}
    with tm.connect(tmp_path / "shop.tm", create=True, clock=lambda: now[0]) as ws:
        ws.apply(project)
        ws.materialize()
        now[0] += timedelta(days=365)
        ws.push("orders", [row])
        now[0] -= timedelta(days=365)
        ws.push("orders", [{**row, "order": 2, "customer": "b"}])
        now[0] += timedelta(hours=1)
        keys = [{"customer": "a"}, {"customer": "b"}]
        assert ws.get_online_features(["spending"], keys).to_dict()["n"] == [0, 1]
        with pytest.raises(ConflictError, match="event '1' of source 'orders' was last stored at") as caught:
            ws.push("orders", [{**row, "amount": 2.0}])
        assert "doctor --repair" in caught.value.hint
        ws.repair()
        now[0] += timedelta(hours=1)
        assert ws.get_online_features(["spending"], keys).to_dict()["n"] == [1, 1]
        ws.push("orders", [{**row, "amount": 2.0}])
        now[0] += timedelta(hours=1)
        assert ws.get_online_features(["spending"], keys).to_dict()["last"] == [2.0, 1.0]


# Models


def test_a_champion_of_a_rebuilt_or_removed_source_is_named_and_reads_what_it_was_trained_on(tmp_path):
    import corrected_shop

    corrected_shop.FRAMES["orders"] = corrected_shop.changed().with_columns(paid=pl.col("at") + timedelta(hours=1))
    clock = tm.ReplayClock(day(15))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(corrected_shop.project())
        ws.ingest(complete_until=clock())
        data = ws.get_training_data("spending_of_visits")
        with ws.start_run("first", data=data) as run:
            from sklearn.linear_model import LinearRegression

            run.log_model(LinearRegression().fit(data.train.X, data.train.y))
        ws.register_model("spender", run=run, alias="champion")
        ws.materialize()
        before = ws.predict("spender", [{"customer": "a"}])[0]["prediction"]
        corrected_shop.FRAMES["orders"] = corrected_shop.FRAMES["orders"].with_columns(amount=pl.col("amount") * 0 + 1)
        project = corrected_shop.project(known="latest")
        project.definitions["orders"].spec = _dated_by(project.definitions["orders"].spec, "paid")
        plan = ws.apply(project)
        assert "model spender@champion is starved: it reads source 'orders' as it was" in str(plan)
        ws.ingest("orders", rebuild=True)
        with TestClient(tm.create_app(ws), base_url="http://127.0.0.1:8000") as client:
            answer = client.get("/readyz").json()
        assert answer["status"] == "ready"
        assert "as it was before Q=" in answer["starved"]["spender@champion"]
        clock.advance("1d")
        assert ws.predict("spender", [{"customer": "a"}])[0]["prediction"] == before
        assert ws.verify(data.build_id).same
        ws.gc(grace="1us")
        assert ws.verify(data.build_id).same


def _dated_by(spec, column):
    import msgspec

    return msgspec.structs.replace(spec, timestamp=column)


def test_rebuild_and_drop_missing_are_for_named_sources(shop):
    shop.ingest(orders((1, "a", 1, 10.0)))
    with pytest.raises(DataError, match="a rebuild is for named sources"):
        shop.ws.ingest(rebuild=True)
    with pytest.raises(DataError, match="drop_missing goes with rebuild"):
        shop.ws.ingest("orders", drop_missing=True)
    with pytest.raises(NotFoundError, match="did you mean 'orders'"):
        shop.ws.ingest("order", rebuild=True)
