"""Sources that are read where their rows are: the same bits as stored ones, nothing kept but hashes, changed files named."""

import io
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import object_server
import polars as pl
import postgres_server
import pytest
from command_line import ask, refused, run, succeed, train, write_shop
from litestar.testing import TestClient
from polars.testing import assert_frame_equal
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError, NotFoundError, TinyMLOpsError
from tinymlops.features.history import in_place
from tinymlops.server import create_app

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = START + 60 * DAY


def a_month(rows=300):
    """Rows with ties in time, repeated ids, nulls, NaN and tiny numbers."""
    return pl.DataFrame(
        {
            "order_id": [place % (rows * 9 // 10) for place in range(rows)],
            "customer": [None if place % 41 == 0 else place % 7 for place in range(rows)],
            "amount": [
                (float("nan"), 1e-300 * place, None, float(place), -0.0)[place % 5 if place % 3 else 3]
                for place in range(rows)
            ],
            "item": [("Čaj", "茶", "tea", None)[place % 4] for place in range(rows)],
            "at": [START + (place * 37 % 600) * timedelta(hours=1) for place in range(rows)],
            "known_at": [START + (place * 37 % 600 + place % 90) * timedelta(hours=1) for place in range(rows)],
        }
    )


def project_of(*, store, text, declared=None, more_of=lambda project, orders: None):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(**{"timestamp": "at", "id": "order_id", "created": "known_at", **(declared or {})}, store=store)
    def orders() -> str:
        return text

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {
            "total": orders["amount"].sum(window="10d"),
            "mean": orders["amount"].mean(window="3d"),
            "last": orders["amount"].last(),
            "last_item": orders["item"].last(),
            "count": orders["amount"].count(window="20d"),
        }

    @project.label(entity=customer, horizon="2d")
    def more(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    project.training_set("training", spine=orders, label=more, features=[spending])
    more_of(project, orders)
    return project


def spine():
    times = [START + place * timedelta(hours=7) for place in range(100)]
    return pl.DataFrame({"customer": [place % 8 for place in range(100)], "timestamp": times})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tinymlops.toml").write_text("")
    return tmp_path


@pytest.fixture
def opened(folder):
    found = []

    def make(project, name="shop.tm", **options):
        ws = tm.connect(folder / name, create=not (folder / name).exists(), **options)
        found.append(ws)
        ws.apply(project)
        return ws

    yield make
    for ws in found:
        ws.close()


@pytest.fixture
def shop(folder, opened):
    """A workspace with one Parquet file that is read in place."""
    a_month().write_parquet(folder / "orders.parquet")
    return opened(project_of(store=False, text="select * from 'orders*.parquet'"))


def answers(ws):
    """Everything that history answers."""
    data = ws.get_training_data("training", test_from="2024-01-15T00:00:00Z")
    return [
        ws.get_historical_features(spine(), ["spending"], details=True),
        ws.get_historical_features(features=["spending"], start="2024-01-03", end="2024-01-06", tz="UTC"),
        data.train.X,
        data.test.X,
        data.train.y.to_frame(),
        pl.DataFrame([[data.fingerprint]]),
        ws.sql("select * from orders order by all"),
        ws.sql("select * from spending order by customer"),
        ws.sql("select * exclude (__sequence) from orders_history order by all"),
    ]


def same_answers(folder, opened, text, **declared):
    """Compare a stored and an in-place source of the same rows, bit for bit."""
    stored = opened(project_of(store=True, text=text, declared=declared), "stored.tm")
    stored.ingest()
    there = opened(project_of(store=False, text=text, declared=declared), "there.tm")
    for before, now in zip(answers(stored), answers(there), strict=True):
        assert before.height or before.width
        assert_frame_equal(before, now, check_exact=True)
    assert not [one for one in (folder / "there.tm" / "segments").rglob("*") if one.is_file()]  # no copy
    assert there.verify("training").same
    return there


@pytest.fixture(scope="module")
def lake():
    with object_server.running() as one:
        yield one


@pytest.fixture(scope="module")
def server():
    if postgres_server.binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_server.running() as one:
        yield one


CREATED = [{"created": "known_at"}, {"created": None, "delay": "5h"}, {"created": None, "id": None}]


@pytest.mark.filterwarnings("ignore:source 'orders'")
@pytest.mark.parametrize(
    ("kind", "declared"),
    [("pattern", CREATED[0]), ("csv", CREATED[1]), ("sql", CREATED[2])],
    ids=["pattern", "csv", "sql"],
)
def test_files_give_the_same_bits_as_a_stored_copy(folder, opened, kind, declared):
    rows = a_month()
    rows.write_parquet(folder / "orders.parquet")
    rows.write_csv(folder / "orders.csv")
    for place in range(3):
        (folder / "days").mkdir(exist_ok=True)
        rows[place::3].write_parquet(folder / "days" / f"{place}.parquet")
    text = {
        "csv": "select * from read_csv('orders.csv', nullstr = '')",
        "pattern": "select * from read_parquet('days/*.parquet')",
        "sql": "select * replace (amount * 2 as amount) from 'orders.parquet' semi join 'days/*.parquet' using (order_id)",
    }[kind]
    same_answers(folder, opened, text, **({"tz": "UTC"} if kind == "csv" else {}), **declared)


@pytest.mark.filterwarnings("ignore:source 'orders'")
def test_a_sqlite_table_gives_the_same_bits(folder, opened):
    (folder / "tinymlops.toml").write_text('[connections.shop]\nurl = "sqlite:orders.db"\n')
    with closing(sqlite3.connect(folder / "orders.db")) as connection, connection:
        connection.execute(
            "create table orders(order_id integer, customer integer, amount real, item text, at datetime, known_at datetime)"
        )
        put = [[*row[:4], str(row[4])[:19], str(row[5])[:19]] for row in a_month().fill_nan(None).iter_rows()]
        connection.executemany("insert into orders values (?, ?, ?, ?, ?, ?)", put)
    ws = same_answers(folder, opened, "orders", connection="shop", tz="UTC")
    with closing(sqlite3.connect(folder / "orders.db")) as connection, connection:
        connection.execute("update orders set amount = amount + 1 where order_id = 3")
    assert ws.verify("training").changed == ["'orders' of connection shop gives other rows: 300 then, 300 now"]
    (folder / "orders.db").unlink()
    assert "orders.db, which is not there" in ws.verify("training").changed[0]


@pytest.mark.filterwarnings("ignore:source 'orders'")
def test_objects_give_the_same_bits(folder, opened, lake, monkeypatch):
    monkeypatch.setenv("LAKE_URL", lake.url(prefix="raw"))
    (folder / "tinymlops.toml").write_text('[connections.lake]\nurl = "env:LAKE_URL"\n')
    lake.objects = {}
    for place in range(2):
        content = io.BytesIO()
        a_month()[place::2].write_parquet(content)
        lake.put(f"raw/orders/{place}.parquet", content.getvalue())
    ws = same_answers(folder, opened, "orders/*.parquet", connection="lake")
    lake.put("raw/orders/0.parquet", lake.objects["raw/orders/0.parquet"][0])  # the same bytes at another time
    assert ws.verify("training").same
    lake.put("raw/orders/2.parquet", lake.objects["raw/orders/0.parquet"][0])
    del lake.objects["raw/orders/1.parquet"]
    assert ws.verify("training").changed == [
        "orders/1.parquet of connection lake is gone",
        "orders/2.parquet of connection lake is new",
    ]


@pytest.mark.filterwarnings("ignore:source 'orders'")
def test_a_postgresql_table_gives_the_same_bits(folder, opened, server, monkeypatch):
    monkeypatch.setenv("SHOP_URL", server.url())
    (folder / "tinymlops.toml").write_text('[connections.shop]\nurl = "env:SHOP_URL"\n')
    values = ", ".join(
        "({}, {}, {}, {}, '{}', '{}')".format(*("null" if v is None else f"'{v}'" for v in row[:4]), row[4], row[5])
        for row in a_month().iter_rows()
    )
    server.sql(
        "create table orders(order_id bigint, customer bigint, amount float8, item text, at timestamptz, known_at timestamptz)",
        f"insert into orders values {values}",
        "grant select on orders to reader",
    )
    ws = same_answers(folder, opened, "orders", connection="shop")
    server.sql("delete from orders where order_id = 1")
    assert "gives other rows: 300 then, 298 now" in ws.verify("training").changed[0]


def test_odd_types_give_the_same_rows(folder, opened):
    rows = pl.DataFrame(
        {
            "customer": [1, 2, 1],
            "at": [START, START + DAY, START],
            "order_id": pl.Series([1, 2**63 + 1, 3], dtype=pl.UInt64),
            "amount": [1.0, 2.0, None],
            "item": pl.Series(["a", "b", None], dtype=pl.Categorical),
            "exact": [Decimal("1.10"), None, Decimal("-3.05")],
            "day": [date(2024, 1, 1), None, date(9999, 12, 31)],
            "nanos": pl.Series([1, None, 3]).cast(pl.Datetime("ns", "UTC")),
            "bytes": [b"\0\xff", b"", None],
            "many": [[1.0, None], [], None],
            "flag": [True, None, False],
        }
    )
    rows.write_parquet(folder / "odd.parquet")
    parts = []
    for name, store in (("stored.tm", True), ("there.tm", False)):
        ws = opened(project_of(store=store, text="select * from 'odd.parquet'", declared={"created": None}), name)
        if store:
            ws.ingest()
        parts.append(ws.sql("select * from orders"))
    assert_frame_equal(*parts, check_exact=True)


def test_no_row_and_one_row(folder, opened):
    a_month().clear().write_parquet(folder / "orders.parquet")
    ws = opened(project_of(store=False, text="select * from 'orders.parquet'"))
    found = ws.get_historical_features(spine(), ["spending"])
    assert found["last"].null_count() == found.height
    with pytest.raises(TinyMLOpsError):
        ws.get_training_data("training")
    a_month()[1:2].write_parquet(folder / "orders.parquet")
    assert ws.sql("from orders").height == 1


@pytest.mark.filterwarnings("ignore:source 'orders'")
def test_a_row_wise_transformation_and_checks_work_on_it(folder, opened):
    a_month().write_parquet(folder / "orders.parquet")

    def more_of(project, orders):
        @project.transformation(row_wise=True)
        def large(orders: tm.Rows) -> str:
            return "select * from orders where amount > 100"

        @project.feature_view(entity=project.entity("buyer", key="customer"))
        def large_spending(large: tm.Rows) -> tm.Features:
            return {"large_total": large["amount"].sum(window="10d")}

        project.check(orders, tm.not_null("item"), tm.volume(1), tm.fresh("1d"))
        project.check(large_spending, tm.not_null("large_total"))

    text = "select * from 'orders.parquet'"
    there = opened(project_of(store=False, text=text, more_of=more_of), "there.tm")
    stored = opened(project_of(store=True, text=text, more_of=more_of), "stored.tm")
    stored.ingest()
    ours, theirs = (
        (
            ws.sql("from large order by all"),
            ws.get_historical_features(spine(), ["large_spending"]),
            pl.DataFrame([(one.rule, one.rows, one.failed, one.passed) for one in ws.checks.run()], orient="row"),
        )
        for ws in (there, stored)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert one.height
        assert_frame_equal(one, other, check_exact=True)


def test_rows_in_place_cannot_be_kept_aside(folder, opened):
    a_month().write_parquet(folder / "orders.parquet")

    def more_of(project, orders):
        project.check(orders, tm.not_null("item"), action="quarantine")

    with pytest.raises(DefinitionError, match="nothing can keep some of them aside"):
        opened(project_of(store=False, text="select * from 'orders.parquet'", more_of=more_of))


def test_what_needs_a_copy_is_refused(shop):
    for call, error, words in (
        (lambda: shop.get_online_features(["spending"], {"customer": [1]}), DataError, "history only"),
        (lambda: shop.materialize(), DataError, "history only"),
        (lambda: shop.materialize("spending"), DataError, "history only"),
        (lambda: shop.push("orders", [{"order_id": 1}]), DataError, "read in place"),
        (lambda: shop.ingest("orders"), DataError, "nothing to ingest"),
        (lambda: shop.ingest("orders", rebuild=True), DataError, "nothing to ingest"),
        (lambda: shop.get_training_data("training", as_of=0), DataError, "read in place"),
        (lambda: shop.get_historical_features(spine(), ["spending"], as_of=0), DataError, "read in place"),
        (lambda: shop.save_dataset("some", spine(), ["spending"], as_of=0), DataError, "read in place"),
        (lambda: shop.diff_features(spine(), ["spending"], before=0, after=0), DataError, "read in place"),
    ):
        with pytest.raises(error, match=words) as caught:
            call()
        assert caught.value.hint
    assert shop.ingest() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"known": "observed", "created": None}, "nothing is kept that a change"),
        ({"connection": "shop", "cursor": "known_at"}, "cursor, which is about rows that are stored"),
        ({"connection": "shop", "snapshot_deletes": True}, "snapshot_deletes, which"),
    ],
)
def test_options_of_stored_rows_are_refused(options, words):
    with pytest.raises(DefinitionError, match=words):
        project_of(store=False, text="orders", declared=options)


def test_what_tells_no_file_is_refused():
    project = tm.Project("shop")
    with pytest.raises(DefinitionError, match="nothing tells which files"):

        @project.source(timestamp="at", store=False)
        def by_function() -> pl.DataFrame:
            return pl.DataFrame()

    with pytest.raises(DefinitionError, match="takes pushes"):

        @project.source(timestamp="at", store=False)
        def pushed() -> tm.Schema:
            return {"at": datetime}


def test_its_ingest_cannot_be_scheduled():
    def more_of(project, orders):
        project.schedule(every="1h")(orders)

    with pytest.raises(DefinitionError, match="nothing to ingest"):
        project_of(store=False, text="select 1", more_of=more_of)


def test_what_would_store_its_rows_is_refused(folder, opened):
    a_month().write_parquet(folder / "orders.parquet")

    def more_of(project, orders):
        @project.transformation(timestamp="at")
        def days(orders: tm.Rows) -> str:
            return "select customer, max(at) as at from orders group by customer"

    with pytest.raises(DefinitionError, match="would store rows made of source 'orders'"):
        opened(project_of(store=False, text="select * from 'orders.parquet'", more_of=more_of))


def test_hashes_name_what_changed(shop, folder):
    built = shop.get_training_data("training")
    file = folder / "orders.parquet"
    before = file.read_bytes()
    assert shop.verify("training").same
    os.utime(file, (1, 1))  # another time, the same bytes
    assert shop.verify("training").same
    a_month(301).write_parquet(file)
    verified = shop.verify("training")
    assert not verified.same
    assert verified.changed == ["orders.parquet changed"]
    assert "orders.parquet changed" in repr(verified)
    with pytest.raises(DataError, match=rf"{built.build_id[:8]} cannot be made again: orders.parquet changed"):
        shop.reproduce("training")
    file.rename(folder / "orders2.parquet")
    assert shop.verify("training").changed == ["orders.parquet is gone", "orders2.parquet is new"]
    (folder / "orders2.parquet").unlink()
    file.write_bytes(before)
    assert shop.verify("training").same
    assert shop.reproduce("training").fingerprint == built.fingerprint


def test_a_byte_changed_under_the_same_size_and_time_is_found(shop, folder):
    shop.get_training_data("training")
    file = folder / "orders.parquet"
    told, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
    assert shop.verify("training").changed == ["orders.parquet changed"]


@pytest.mark.parametrize(
    "text", ["select * from read_parquet('h')", "select * from 'h/**/*.parquet'", "select * from 'h.parquet'"]
)
def test_files_are_named_however_they_are_found(folder, opened, text):
    """By a directory, by a pattern that takes hidden files, and by a link."""
    (folder / "h" / "day").mkdir(parents=True)
    a_month()[::2].write_parquet(folder / "h" / "day" / ".a.parquet")
    a_month()[1::2].write_parquet(folder / "h" / "b.parquet")
    (folder / "h" / "README").write_text("no table")
    (folder / "h.parquet").symlink_to("h/b.parquet")
    ws = opened(project_of(store=False, text=text, declared={"created": None}))
    assert ws.sql("from orders").height > 100
    ws.get_training_data("training")
    (folder / "h" / "README").write_text("still no table")
    assert ws.verify("training").same
    a_month()[::3].write_parquet(folder / "h" / "b.parquet")
    a_month()[::3].write_parquet(folder / "h" / "day" / ".c.parquet")
    expected = ["h.parquet changed"] if "h.parquet" in text else ["h/b.parquet changed", "h/day/.c.parquet is new"]
    assert ws.verify("training").changed == expected


def test_a_saved_dataset_keeps_hashes_too(shop, folder):
    saved = shop.save_dataset("some", spine(), ["spending"])
    assert shop.datasets.verify("some").same
    a_month(10).write_parquet(folder / "orders.parquet")
    verified = shop.datasets.verify("some")
    assert verified.changed == ["orders.parquet changed"]
    assert not verified.same
    assert shop.datasets.get(saved.id).parts().__next__().height == 100


def test_a_pattern_that_matches_nothing(folder, opened):
    text = "select * from 'none/*.parquet'"
    ws = opened(project_of(store=False, text=text))
    assert "the columns of source orders are checked when it is read" in str(
        ws.apply(project_of(store=False, text=text))
    )
    with pytest.raises(DataError, match=r"source 'orders'.*none/\*\.parquet"):
        ws.get_historical_features(spine(), ["spending"])


def test_a_file_of_another_schema_in_a_pattern_is_named(shop, folder):
    pl.DataFrame({"order_id": ["x"], "other": [1]}).write_parquet(folder / "orders9.parquet")
    with pytest.raises(TinyMLOpsError, match=r"source 'orders'.*orders9\.parquet"):
        shop.get_historical_features(spine(), ["spending"])


def test_a_column_that_goes_between_plan_and_build_is_named(shop, folder):
    a_month().drop("amount").write_parquet(folder / "orders.parquet")
    with pytest.raises(DataError, match="source 'orders' has no column 'amount'"):
        shop.get_training_data("training")
    a_month().with_columns(pl.col("amount").cast(pl.String)).write_parquet(folder / "orders.parquet")
    with pytest.raises(TinyMLOpsError, match="amount"):
        shop.get_training_data("training")
    a_month().drop("at").write_parquet(folder / "orders.parquet")
    with pytest.raises(DataError, match="source 'orders' has no column 'at'"):
        shop.sql("from orders")


def test_a_build_reads_each_file_once(shop, folder, monkeypatch):
    """A file that is replaced between two reads of one build would give rows of two files."""
    read, plain = [], in_place.read_source
    monkeypatch.setattr(in_place, "read_source", lambda *given: read.append(1) or plain(*given))
    shop.get_training_data("training")
    shop.sql("select * from orders, orders_history, spending limit 1")
    shop.verify("training")
    assert len(read) == 3


@pytest.mark.parametrize("how", ["replaced", "grown", "gone", "new"])
def test_a_file_that_changes_while_it_is_read_is_named(folder, opened, monkeypatch, how):
    a_month().write_csv(folder / "orders.csv")
    ws = opened(project_of(store=False, text="select * from read_csv('*.csv', nullstr = '')", declared={"tz": "UTC"}))
    plain = in_place.read_source

    def meanwhile(*given):
        if how != "gone":
            found = plain(*given)
        if how == "replaced":
            a_month(20).write_csv(folder / "part")
            (folder / "part").rename(folder / "orders.csv")
        elif how == "grown":
            with (folder / "orders.csv").open("a") as file:
                file.write("1,1,1.0,tea,2024-01-01T00:00:00Z,2024-01-01T00:00:00Z\n")
        elif how == "new":
            a_month(20).write_csv(folder / "other.csv")
        else:
            found = plain(*given)
            (folder / "orders.csv").unlink()
        return found

    monkeypatch.setattr(in_place, "read_source", meanwhile)
    with pytest.raises(DataError, match=r"other\.csv appeared" if how == "new" else r"orders\.csv changed while"):
        ws.get_training_data("training")
    assert ws.sql("from training_sets").height == 0


def test_a_second_write_within_a_tick_of_the_clock_is_found(shop, folder, monkeypatch):
    file, plain = folder / "orders.parquet", in_place.read_source

    def meanwhile(*given):
        found, told, content = plain(*given), file.stat(), bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        with file.open("r+b") as opened_file:
            opened_file.write(content)
        os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
        return found

    monkeypatch.setattr(in_place, "read_source", meanwhile)
    with pytest.raises(DataError, match=r"orders\.parquet changed while it was read"):
        shop.get_training_data("training")


def test_from_stored_to_in_place_and_back(folder, opened):
    a_month().write_parquet(folder / "orders.parquet")
    text = "select * from 'orders.parquet'"
    ws = opened(project_of(store=True, text=text))
    ws.ingest()
    built = ws.get_training_data("training")
    a_month(200).write_parquet(folder / "orders.parquet")
    there = project_of(store=False, text=text)
    assert "source orders is read in place: the 330 rows that are stored of it stay" in str(ws.plan(there))
    ws.apply(there)
    assert ws.sql("select count(*) from orders_history where not __deleted").item() == 200
    assert ws.reproduce(built.build_id).fingerprint == built.fingerprint  # by the rows that are stored
    ws.gc(grace="1us")
    stored = project_of(store=True, text=text)
    assert "until then it has the 330 rows again that were stored of it before" in str(ws.plan(stored))
    ws.apply(stored)
    assert ws.sql("from orders_history").height == 330  # with what events with another key took back
    fresh = opened(project_of(store=False, text=text), "other.tm")
    assert "until then it has no rows" in str(fresh.plan(stored))
    fresh.apply(stored)
    with pytest.raises(NotFoundError, match="never ingested"):
        fresh.sql("from orders")


@pytest.mark.filterwarnings("ignore:source 'orders'")
def test_rows_kept_aside_before_are_not_stored_then(folder, opened):
    a_month().write_parquet(folder / "orders.parquet")
    text = "select * from 'orders.parquet'"

    def more_of(project, orders):
        project.check(orders, tm.not_null("item"), action="quarantine")

    ws = opened(project_of(store=True, text=text, more_of=more_of))
    ws.ingest()
    (kept,) = ws.checks.quarantined()
    ws.apply(project_of(store=False, text=text))
    with pytest.raises(DataError, match="read in place by now"):
        ws.checks.release(kept.id)
    ws.checks.drop(kept.id)


def test_it_says_that_it_is_in_place(shop, folder):
    status = shop.status()
    assert status.sources[0].in_place
    assert "orders  in place" in str(status)
    assert "in place, so that nobody knows how old they are: orders" in str(shop.health())
    page = str(shop.docs("orders"))
    assert "in place: read where they are, never stored" in page
    assert "statistics of what is there now" in page
    (folder / "orders.parquet").unlink()
    assert "in place" in str(shop.docs("orders"))
    assert str(shop.status())


def test_the_command_says_it_too(tmp_path, monkeypatch):
    write_shop(tmp_path)
    monkeypatch.chdir(tmp_path)
    module = next(path for path in tmp_path.rglob("*.py") if 'id="order_id")' in path.read_text())
    module.write_text(module.read_text().replace('id="order_id")', 'id="order_id", store=False)'))
    succeed("init", tmp_path)
    assert "source orders is read in place: history only" in succeed("apply")
    succeed("ingest")
    train(tmp_path)
    assert "orders  in place" in succeed("status")
    assert "in place: read where they are" in succeed("show", "orders")
    assert "nobody knows how old they are: orders" in succeed("health")
    assert [one["in_place"] for one in ask("status")["sources"]].count(True) == 1
    assert "the same" in succeed("verify", "buyers")
    with (tmp_path / "data" / "orders.csv").open("a") as file:
        file.write("\n")
    verified = run("verify", "buyers", "--json")
    assert json.loads(verified.stdout)["changed"] == ["data/orders.csv changed"]
    assert verified.exit_code == run("verify", "buyers").exit_code == 8
    assert "data/orders.csv changed" in run("verify", "buyers").output
    assert "history only" in refused(6, "materialize", "spending")
    assert "nothing to ingest" in refused(6, "ingest", "orders")


def test_the_probe_of_a_server_names_it(shop):
    with TestClient(create_app(shop), base_url="http://127.0.0.1:8000") as client:
        answer = client.get("/readyz").json()
        assert (answer["in_place"], answer["status"]) == (["orders"], "ready")
        assert "ages" not in answer
        refused = client.post("/v1/features/online", json={"features": ["spending"], "keys": {"customer": [1]}})
    assert refused.status_code == 422
    assert "history only" in refused.text


def test_a_model_over_it_answers_for_the_past_alone(folder, opened, monkeypatch):
    a_month().write_parquet(folder / "orders.parquet")
    text = "select * from 'orders.parquet'"
    ws = opened(project_of(store=True, text=text))
    ws.ingest()
    columns = make_column_transformer((SimpleImputer(), ["total", "count"]))
    versions = []
    for store in (True, False):
        ws.apply(project_of(store=store, text=text))
        data = ws.get_training_data("training")
        model = make_pipeline(columns, LinearRegression()).fit(data.train.X, data.train.y)
        with ws.start_run("run", data=data) as run:
            run.log_model(model)
        versions.append(ws.register_model("buyer", run=run, alias="stored" if store else "there"))
    key = {"customer": 1}
    assert len(ws.predict("buyer@stored", key)) == 1
    assert "as it was stored" in ws.status().starved["buyer@stored"]
    with pytest.raises(DataError, match="history only"):
        ws.predict("buyer@there", key)
    monkeypatch.setattr("tinymlops.serving.batch._CHUNK", 10)
    read, plain = [], in_place.read_source
    monkeypatch.setattr(in_place, "read_source", lambda *given: read.append(1) or plain(*given))
    for name in ("stored", "there"):
        ws.predict_batch(f"buyer@{name}", spine(), folder / f"{name}.parquet", timestamp="timestamp")
    assert len(read) == 1
    assert pl.read_parquet(folder / "there.parquet").equals(pl.read_parquet(folder / "stored.parquet"))


def test_old_ingests_trouble_nobody_once_it_is_in_place(folder, opened):
    clock = [NOW]
    a_month().write_parquet(folder / "orders.parquet")
    text = "select * from 'orders.parquet'"
    ws = opened(project_of(store=True, text=text), clock=lambda: clock[0])
    for _ in range(5):
        ws.ingest()
        clock[0] += DAY
    clock[0] += 20 * DAY
    assert any("last ingest" in one for health in ws.health().unwell for one in health.problems)
    ws.apply(project_of(store=False, text=text))
    assert not any("last ingest" in one for health in ws.health().unwell for one in health.problems)


def test_a_replay_clock_holds_rows_back(folder, opened):
    a_month().write_parquet(folder / "orders.parquet")
    then = START + 5 * DAY
    ws = opened(project_of(store=False, text="select * from 'orders.parquet'"), clock=lambda: then)
    assert ws.sql("select max(known_at) <= '2024-01-06'::timestamptz from orders").item()


def test_lint_and_lineage_work_on_it(shop):
    report = shop.lint()
    assert report.replayed
    assert not [one for one in report.findings if one.level == "leak"]
    assert "orders" in str(shop.lineage("spending"))


def test_another_process_changes_a_file_during_builds(shop, folder):
    """Each build is of one file, whole, or refused by its name; what it keeps is what it read."""
    program = textwrap.dedent(
        """
        import os, sys, time
        content, folder = open(sys.argv[1] + "/orders.parquet", "rb").read(), sys.argv[1]
        other = open(folder + "/other", "rb").read()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for one in (other, content):
                with open(folder + "/part", "wb") as file:
                    file.write(one)
                os.replace(folder + "/part", folder + "/orders.parquet")
                time.sleep(0.05)
        """
    )
    fingerprints = {shop.get_training_data("training").fingerprint}
    first = (folder / "orders.parquet").read_bytes()
    a_month(150).write_parquet(folder / "orders.parquet")
    fingerprints.add(shop.get_training_data("training").fingerprint)
    (folder / "orders.parquet").rename(folder / "other")
    (folder / "orders.parquet").write_bytes(first)
    with subprocess.Popen([sys.executable, "-c", program, str(folder)]) as process:
        built = 0
        while process.poll() is None:
            try:
                assert shop.get_training_data("training").fingerprint in fingerprints
                built += 1
            except DataError as error:
                assert "orders.parquet changed while it was read" in error.message
    assert process.returncode == 0
    assert built
