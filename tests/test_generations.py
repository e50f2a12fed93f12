"""Generations of a source's rows: what a rebuild carries over, and which rows each definition reads, online and in history."""

from datetime import datetime, timedelta

import polars as pl
import pytest
from inside import context_of
from test_sources_that_change import Shop, day, orders

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.intake import clock_repair


@pytest.fixture
def made(tmp_path):
    shops = []

    def make(**options):
        shops.append(Shop(tmp_path, **options))
        return shops[-1]

    yield make
    for shop in shops:
        shop.ws.close()


def read_by(ws, text, **options):
    """Apply a source of SQL and a view on it."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    def orders() -> str:
        return text

    project.source(**{"timestamp": "at", "id": "order", "tz": "UTC", **options})(orders)

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last(), "n": orders.count(window="90d")}

    ws.apply(project)


@pytest.fixture
def shop_of_files(made, tmp_path):
    """A shop that reads a file of one order, and what writes its amount."""
    shop = made()

    def write(amount):
        (tmp_path / "orders.csv").write_text(f"order,customer,at,amount\n1,a,2024-04-02 00:00:00,{amount}\n")

    return shop, write


PLAIN = 'select "order", customer, "at", amount::double as amount from read_csv(\'orders.csv\')'


def test_a_query_that_comes_back_reads_the_rows_that_stand_now_online_too(shop_of_files):
    shop, write = shop_of_files
    write(10.0)
    read_by(shop.ws, PLAIN)
    shop.ingest()
    shop.ws.materialize()
    read_by(shop.ws, PLAIN.replace("amount::double", "10 * amount::double"))
    with pytest.warns(UserWarning, match="1 rows count as they are read now"):
        shop.ingest(rebuild=True)
    shop.ws.materialize()
    write(100.0)
    read_by(shop.ws, PLAIN)
    assert shop.ingest().rows_known == 1
    assert shop.at(9) == [(100.0, 1)]
    assert shop.online() == (100.0, 1)


def test_a_definition_reads_as_of_a_sequence_what_it_read_then(made):
    shop = made()
    shop.ingest(orders((1, "a", 1, 10.0), paid=pl.Series([day(3)]), due=pl.Series([day(5)])))
    first = context_of(shop.ws)
    shop.define(timestamp="paid")
    sequence = shop.ingest(rebuild=True).sequence
    before = stored_rows(first, "orders", as_of=sequence)
    shop.define(timestamp="due")
    shop.ingest(rebuild=True)
    assert stored_rows(first, "orders", as_of=sequence).equals(before)
    assert shop.at(2, 4, as_of=sequence) == [(None, 0), (10.0, 1)]  # no definition reads `due`: the rows in force then


def test_a_rebuild_that_comes_while_another_reads_is_not_mixed_with_its_rows(made):
    reader, other = made(), made()
    rows = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0)).with_columns(paid=pl.Series([day(3), day(4)]))
    reader.ingest(rows[:1])

    def read_while_the_other_rebuilds():
        other.define(timestamp="paid")
        other.ingest(rows[:1], rebuild=True)
        return rows

    reader.define(read_while_the_other_rebuilds)
    with pytest.raises(DataError, match="the timestamp of source 'orders' changed under its stored rows"):
        reader.ingest()
    assert other.at(2.5, 9) == [(None, 0), (10.0, 1)]


@pytest.mark.parametrize("options", [{}, {"full": True}, {"rebuild": True}, {"rebuild": True, "drop_missing": True}])
def test_what_another_stores_while_one_reads_is_not_taken_back_by_older_rows(made, options):
    reader, other = made(), made()
    newer = orders((1, "a", 1, 30.0), (2, "a", 2, 5.0), (3, "a", 3, 7.0))
    slow, reads = [], []

    def read():
        if not slow:
            return reader.rows
        reads.append(reader.rows)
        found = reads[-1]
        if len(reads) == 1:
            reader.rows = newer  # what the source holds from now on
            other.ws.ingest("orders")  # reads it too, by the same code
        return found

    for shop in (other, reader):
        shop.define(read)
    reader.ingest(orders((1, "a", 1, 10.0), (2, "a", 2, 5.0)))
    slow.append(True)
    reader.ws.ingest("orders", **options)
    assert len(reads) == 3
    assert reader.at(1.5, 9) == [(10.0, 1), (7.0, 3)]
    assert reader.ws.sql('select amount from orders order by "order"')["amount"].to_list() == [30.0, 5.0, 7.0]


def test_types_grow_in_a_rebuild_too(made):
    shop = made()
    shop.ingest(orders((1, "a", 1, 0.0)).with_columns(amount=pl.Series([10])))
    report = shop.ingest(orders((1, "a", 1, 10.0), (2, "a", 2, 2.5)), rebuild=True)
    assert (report.rows_carried, report.rows_new, report.rows_known) == (1, 1, 1)
    assert shop.at(1.5, 9) == [(10.0, 1), (2.5, 2)]


@pytest.mark.parametrize("known_before", [True, False])
def test_rows_without_an_id_are_not_counted_twice_in_a_rebuild_after_a_column_came(made, known_before):
    shop = made(id=None)
    rows = orders((1, "a", 1, 10.0), (1, "a", 1, 10.0), (2, "a", 2, 5.0))
    shop.ingest(rows)
    wide = rows.with_columns(channel=pl.lit("web"))
    if known_before:
        with pytest.warns(UserWarning, match="--rebuild reads them again"):
            shop.ingest(wide)
    for _ in range(2):
        report = shop.ingest(wide[1:], rebuild=True)  # the row that is gone stays
        assert (report.rows_new, report.rows_known, report.rows_carried) == (0, 2, 3)
        assert shop.at(9) == [(5.0, 3)]
        assert shop.ingest().rows_known == 2
    assert shop.ws.sql("select channel from orders").to_series().to_list() == [None, "web", "web"]
    with pytest.warns(UserWarning, match="1 stored events are not in it"):
        assert shop.ingest(rebuild=True, drop_missing=True).rows_dropped == 1
    assert shop.at(9) == [(5.0, 2)]


def test_what_vanished_from_a_source_that_sends_created_times_stays_in_the_past_of_a_rebuild(made):
    shop = made(created="made")
    times = pl.Series([day(1), day(2)])
    rows = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0), made=times, paid=times)
    shop.ingest(rows)
    shop.clock.advance("10d")
    shop.ingest(rows[:1], full=True)
    shop.clock.advance("1d")
    before = shop.at(5, 21)
    shop.define(created="made", timestamp="paid")
    shop.ingest(rebuild=True)
    assert shop.at(5, 21) == before == [(5.0, 2), (10.0, 1)]


def test_corrections_keep_their_time_when_a_source_begins_to_send_created_times(made):
    shop = made()
    rows = orders((1, "a", 1, 10.0), (2, "a", 2, 5.0), made=pl.Series([day(1), day(4)]))
    shop.ingest(rows)
    shop.clock.advance("10d")
    changed = rows.with_columns(amount=pl.col("amount") + 1)
    shop.ingest(changed)
    shop.clock.advance("1d")
    shop.ingest(changed[:1], full=True)
    shop.clock.advance("1d")
    assert shop.at(3, 5, 20.5, 21.5) == [(5.0, 2), (5.0, 2), (6.0, 2), (11.0, 1)]
    shop.define(created="made")
    shop.ingest(rebuild=True)
    assert shop.at(3, 5, 20.5, 21.5) == [(10.0, 1), (5.0, 2), (6.0, 2), (11.0, 1)]


def test_another_query_may_give_another_kind_of_id(shop_of_files):
    shop, write = shop_of_files
    write(10.0)
    read_by(shop.ws, PLAIN)
    shop.ingest()
    read_by(shop.ws, PLAIN.replace('"order"', '\'x\' || "order" as "order"'))
    with pytest.warns(UserWarning, match="1 stored events are not in it"):
        assert shop.ingest(rebuild=True).rows_new == 1
    assert shop.at(9) == [(10.0, 1)]


def test_another_query_may_give_values_of_another_kind(shop_of_files):
    shop, write = shop_of_files
    write(10.0)
    read_by(shop.ws, PLAIN)
    shop.ingest()
    shop.clock.advance("10d")
    write(11.0)
    shop.ingest()
    shop.clock.advance("1d")
    read_by(shop.ws, PLAIN.replace("amount::double", "amount::varchar"))
    with pytest.warns(UserWarning, match="1 rows count as they are read now"):
        assert shop.ingest(rebuild=True).rows_restarted == 1
    assert shop.at(15, 21) == [(None, 0), ("11.0", 1)]


def test_a_rebuild_that_leaves_deletes_without_an_id_under_a_window_is_refused_before_it_begins(tmp_path):
    def project(identifier):
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")

        def orders() -> tm.Schema:
            return {"order": int, "customer": str, "at": datetime, "amount": float}

        project.source(timestamp="at", id=identifier)(orders)

        @project.feature_view(entity=customer)
        def spending(orders: tm.Rows) -> tm.Features:
            return {"n": orders.count(window="90d")}

        return project

    clock = tm.ReplayClock(day(5))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project("order"))
        row = {"order": 1, "customer": "a", "at": day(1), "amount": 1.0}
        ws.push("orders", [row, {**row, "order": 2}])
        ws.push("orders", [{**row, "deleted": True}])
        ws.apply(project(None))
        with pytest.raises(DataError, match="deletes without an id"):
            ws.ingest("orders", rebuild=True)
        ws.apply(project("order"))
        clock.advance("1d")
        spine = pl.DataFrame({"customer": ["a"], "timestamp": [clock()]})
        assert ws.get_historical_features(spine, ["spending"])["n"].to_list() == [1]


def test_a_rebuilt_transformation_begins_anew_with_the_row_wise_ones_and_the_source_it_stands_on(tmp_path):
    frames = {"orders": orders((1, "a", 1, 1.0), paid=pl.Series([day(3)]))}

    def project(timestamp, factor):
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")

        def orders_() -> pl.DataFrame:
            return frames["orders"]

        project.source(timestamp=timestamp, id="order")(orders_)

        def times(orders_: tm.Rows) -> str:
            return f"select * replace ({factor} * amount as amount) from orders_"

        project.transformation(row_wise=True)(times)

        @project.transformation(timestamp="at", id="customer")
        def totals(times: tm.Rows) -> str:
            return 'select customer, min("at") as "at", sum(amount) as amount from times group by customer'

        @project.feature_view(entity=customer)
        def spending(totals: tm.Rows) -> tm.Features:
            return {"total": totals["amount"].last()}

        return project

    clock = tm.ReplayClock(day(5))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:

        def totals():
            spine = pl.DataFrame({"customer": ["a"] * 2, "timestamp": [day(4), clock()]})
            return ws.get_historical_features(spine, ["spending"])["total"].to_list()

        ws.apply(project("at", 2))
        ws.ingest()
        assert totals() == [2.0, 2.0]
        clock.advance("1d")
        assert "transformation totals starts over" in str(ws.apply(project("at", 3)))
        assert [report.generation for report in ws.ingest()] == [0, 1]
        assert totals() == [3.0, 3.0]
        assert [report.source for report in ws.ingest()] == ["orders_"]
        clock.advance("1d")
        ws.apply(project("paid", 3))
        frames["orders"] = frames["orders"].with_columns(amount=pl.lit(7.0))
        ws.ingest("orders_", rebuild=True)
        assert totals() == [21.0, 21.0]


def test_a_repair_of_the_clock_keeps_the_order_of_versions(made):
    """Found by a long run with a clock set back: a version dated hours ahead was before one that came later."""
    shop = made()
    for at, amount in ((day(10), 1.0), (day(10, hours=2), 2.0), (day(50), 3.0)):
        shop.clock = tm.ReplayClock(at)
        shop.ingest(orders((1, "a", 1, amount)))
    shop.clock = tm.ReplayClock(day(10, hours=1))
    shop.ws.repair()
    assert shop.at(10.5) == [(3.0, 1)]
    assert shop.ws.sql("select amount from orders")["amount"].to_list() == [3.0]


@pytest.mark.parametrize("ends_in_between", [False, True])
def test_a_repair_of_the_clock_keeps_the_order_of_pushed_and_compacted_rows(tmp_path, monkeypatch, ends_in_between):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="click")
    def clicks() -> tm.Schema:
        return {"click": int, "at": "Datetime[us, UTC]", "seconds": float}

    moment = [day(50)]

    def clock():
        moment[0] += timedelta(seconds=1)  # as a clock that runs
        return moment[0]

    with tm.connect(tmp_path / "clicks.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        ws.push("clicks", [{"click": 1, "at": day(1), "seconds": 1.0}])
        ws.compact()
        ws.push("clicks", [{"click": 1, "at": day(1), "seconds": 2.0}])
        moment[0] = day(10)
        if ends_in_between:
            with monkeypatch.context() as broken, pytest.raises(TypeError):
                broken.setattr(clock_repair, "_pushed", None)
                ws.repair()
        ws.repair()
        assert ws.sql("select seconds from clicks")["seconds"].to_list() == [2.0]
