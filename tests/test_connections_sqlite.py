"""Sources in a SQLite file of others: read only, in one snapshot; and how connections are declared."""

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest
from connected_shop import applied, define, rows_of
from inside import database_of

import tinymlops as tm
from tinymlops.config import Config, ConnectionConfig, read_config
from tinymlops.connectors.addresses import address_of
from tinymlops.connectors.queries import relation
from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError, TinyMLOpsError

ORDERS = """create table orders(
    order_id integer primary key, customer integer, amount real, paid boolean, day date, at datetime, updated_at text
)"""
NOW = datetime.now(UTC).replace(microsecond=0)


def text(moment):
    return moment.strftime("%Y-%m-%d %H:%M:%S")


@pytest.fixture
def file(tmp_path):
    with closing(sqlite3.connect(tmp_path / "orders.db", isolation_level=None)) as connection:
        connection.execute(ORDERS)
        yield connection


@pytest.fixture
def shop(tmp_path, file):
    with applied(tmp_path, "sqlite:orders.db", tz="UTC") as make:
        yield make


def put(file, *ids, at=NOW, updated=NOW):
    rows = [
        (one, one % 7, float(one), 1, "2024-01-02", text(at), None if updated is None else text(updated)) for one in ids
    ]
    file.executemany("insert into orders values (?, ?, ?, ?, ?, ?, ?)", rows)


def test_a_table_is_copied_with_the_types_that_it_declares(shop, file):
    put(file, 1)
    ws = shop()
    ws.ingest()
    assert rows_of(ws).row(0, named=True) == {
        "order_id": 1,
        "customer": 1,
        "amount": 1.0,
        "paid": True,
        "day": date(2024, 1, 2),
        "at": NOW.replace(tzinfo=None),
        "updated_at": text(NOW),
    }


def test_an_empty_table_has_its_types_too(shop, file):
    ws = shop(cursor="updated_at")
    assert ws.ingest()[0].rows_new == 0
    put(file, 1)
    assert ws.ingest()[0].rows_new == 1


def test_a_read_takes_what_is_new(shop, file):
    put(file, *range(1, 101), updated=NOW - timedelta(days=9))
    ws = shop(cursor="updated_at", overlap="1h", snapshot_deletes=True)
    ws.ingest()
    put(file, 101, 102)
    put(file, 103, updated=None)
    ws.ingest()
    put(file, 104)
    file.execute("update orders set amount = -1, updated_at = ? where order_id = 4", [text(NOW)])
    file.execute("delete from orders where order_id = 50")
    (report,) = ws.ingest()
    assert (report.rows_read, report.rows_new, report.rows_corrected, report.rows_deleted) == (5, 1, 1, 1)
    assert [row for row in rows_of(ws, "order_id, amount").rows() if row[0] in (4, 50)] == [(4, -1.0)]


def test_with_snapshot_deletes_a_row_with_an_old_cursor_comes_too(shop, file):
    put(file, *range(1, 101), updated=NOW - timedelta(days=9))
    ws = shop(cursor="updated_at", overlap="1h", snapshot_deletes=True)
    ws.ingest()
    put(file, 101)
    ws.ingest()
    put(file, 102, updated=NOW - timedelta(days=9))
    (report,) = ws.ingest()
    assert (report.rows_new, report.rows_read) == (1, 2)


@pytest.mark.parametrize("written", ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S.5+00:00"])
def test_times_with_an_offset_need_no_zone(shop, file, written):
    put(file, 1)
    file.execute("update orders set updated_at = ?", [NOW.strftime(written)])
    ws = shop("select order_id, customer, updated_at as at, updated_at from orders", cursor="updated_at", tz=None)
    ws.ingest()
    assert rows_of(ws)["at"][0].replace(microsecond=0) == NOW
    assert ws.ingest()[0].rows_read == 1


def test_a_local_cursor_is_read_in_the_zone_of_the_source(shop, file):
    put(file, *range(1, 10), at=NOW, updated=NOW - timedelta(days=9))
    ws = shop(cursor="updated_at", overlap="1h", tz="Asia/Tokyo")
    ws.ingest()
    put(file, 10, updated=NOW - timedelta(days=9) + timedelta(minutes=1))
    assert ws.ingest()[0].rows_new == 1


def test_what_is_no_time_is_named(shop, file):
    put(file, 1)
    file.execute("update orders set updated_at = 1700000000")
    with pytest.raises(DataError, match="column 'updated_at' holds '1700000000', which is no time") as raised:
        shop(cursor="updated_at").ingest()
    assert "unixepoch" in raised.value.hint


def test_a_source_cannot_write(shop, file, tmp_path):
    put(file, 1)
    before = (tmp_path / "orders.db").read_bytes()
    for what in ("delete from orders", "select 1 as order_id; delete from orders"):
        with pytest.raises(DefinitionError):
            shop(what).ingest()
    assert (tmp_path / "orders.db").read_bytes() == before
    assert file.execute("select count(*) from orders").fetchone() == (1,)


@pytest.mark.parametrize(
    ("what", "options", "said", "hint"),
    [
        ("ordres", {}, "has no table 'ordres'", "did you mean 'orders'?"),
        ("orders", {"cursor": "update_at"}, "no column 'update_at'", "did you mean 'updated_at'?"),
        ("select order_id, amont from orders", {}, "no such column: amont", "correct the table or the SELECT"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_the_near_one(shop, what, options, said, hint):
    with pytest.raises((DefinitionError, DataError), match=said) as raised:
        shop(what, **options).ingest()
    assert hint in raised.value.hint


def test_a_file_that_is_no_database_or_not_there_is_named(shop, tmp_path, monkeypatch):
    ws = shop()
    (tmp_path / "orders.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DataError, match="no SQLite database, or is damaged"):
        ws.ingest()
    (tmp_path / "orders.db").unlink()
    with pytest.raises(NotFoundError, match="orders.db, which is not there"):
        ws.ingest()
    assert not (tmp_path / "orders.db").exists()


def test_a_copy_under_writes_equals_the_table(shop, file, tmp_path):
    file.execute("pragma journal_mode = wal")
    put(file, *range(1, 200))
    ws = shop(cursor="updated_at", overlap="2s", snapshot_deletes=True)
    stop = threading.Event()

    def write():
        with closing(sqlite3.connect(tmp_path / "orders.db", isolation_level=None, timeout=30)) as mine:
            number = 1000
            while not stop.is_set():
                number += 1
                mine.execute("begin immediate")
                mine.execute(
                    "insert into orders(order_id, customer, amount, at, updated_at) values (?, 1, 1, ?, datetime('now'))",
                    [number, text(NOW)],
                )
                changed = "update orders set amount = amount + 1, updated_at = datetime('now') where order_id = ?"
                mine.execute(changed, [1 + number % 199])
                mine.execute("delete from orders where order_id = ? and ? % 3 = 0", [number - 5, number])
                mine.execute("commit")
                stop.wait(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(6):
        ws.ingest()
    stop.set()
    writer.join()
    ws.ingest()
    there = file.execute("select order_id, customer, amount from orders order by order_id").fetchall()
    assert rows_of(ws, "order_id, customer, amount").rows() == there
    assert there[-1][0] > 1010


def test_under_a_replay_clock_every_read_is_whole(tmp_path, file):
    put(file, 1, at=NOW - timedelta(days=5), updated=NOW - timedelta(days=5))
    put(file, 2, at=NOW - timedelta(days=1), updated=NOW - timedelta(days=6))
    clock = tm.ReplayClock(NOW - timedelta(days=3))
    project = define(tmp_path, "sqlite:orders.db", cursor="updated_at", overlap="1s", tz="UTC")
    with tm.connect(tmp_path / "shop.tm", create=True, clock=lambda: clock()) as ws:
        ws.apply(project)
        assert (ws.ingest()[0].rows_held_back, rows_of(ws).height) == (1, 1)
        clock = tm.ReplayClock(NOW)
        assert ws.ingest()[0].rows_new == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cursor": "updated_at", "id": None}, "has cursor and no id"),
        ({"snapshot_deletes": True, "id": None}, "has snapshot_deletes and no id"),
        ({"overlap": "1d"}, "has overlap and no cursor"),
        ({"cursor": "updated_at", "lookback": "1d"}, "has a connection and lookback"),
        ({"connection": None, "overlap": "1d"}, "has overlap and no connection"),
        ({"connection": None, "snapshot_deletes": True}, "has snapshot_deletes and no connection"),
    ],
)
def test_options_that_do_not_go_together_are_refused_where_they_are_written(tmp_path, options, said):
    with pytest.raises(DefinitionError, match=said):
        define(tmp_path, "sqlite:orders.db", **options)


def test_a_function_of_a_connection_returns_text_and_takes_nothing(tmp_path):
    project = tm.Project("shop")
    with pytest.raises(DefinitionError, match="takes `since`, which the connection sets"):

        @project.source(connection="shop", timestamp="at", id="order_id")
        def orders(since: datetime | None) -> str:
            return "orders"

    with pytest.raises(DefinitionError, match="does not return text"):

        @project.source(connection="shop", timestamp="at", id="order_id")
        def visits() -> tm.Schema:
            return {"a": int}

    with pytest.raises(DefinitionError, match="neither the name of a table nor a SELECT"):

        @project.source(connection="shop", timestamp="at", id="order_id")
        def clicks() -> str:
            return "drop table clicks"


@pytest.mark.parametrize(
    ("written", "stands"),
    [
        ("orders", '"orders"'),
        ('shop."Order Items"', '"shop"."Order Items"'),
        ("select 1", '(select 1\n) as "source"'),
        (
            "  -- all\nWITH a as (select 1) select * from a ; ",
            '(-- all\nWITH a as (select 1) select * from a\n) as "source"',
        ),
    ],
)
def test_a_text_is_a_table_or_a_select(written, stands):
    assert relation(written) == stands


def test_a_connection_is_read_from_toml_and_its_password_refused_there(tmp_path):
    toml = tmp_path / "tinymlops.toml"
    toml.write_text('[connections.shop]\nurl = "env:SHOP_URL"\n')
    assert read_config(tmp_path) == Config(connections={"shop": ConnectionConfig(url="env:SHOP_URL")})
    for url in ("postgresql://ana:hunter2@db/shop", "postgresql://db/shop?user=ana&password=hunter2"):
        toml.write_text(f'[connections.shop]\nurl = "{url}"\n')
        with pytest.raises(DefinitionError, match="holds the password of connection 'shop'") as raised:
            read_config(tmp_path)
        assert "hunter2" not in str(raised.value)
    toml.write_text('[connections.shop]\nulr = "env:SHOP_URL"\n')
    with pytest.raises(DefinitionError) as raised:
        read_config(tmp_path)
    assert raised.value.hint == "did you mean 'url'?"
    toml.write_text('[connections."Shop 1"]\nurl = "env:SHOP_URL"\n')
    with pytest.raises(DefinitionError, match="has a connection 'Shop 1'"):
        read_config(tmp_path)


def test_a_url_comes_from_the_environment_or_a_private_file(tmp_path):
    url = "postgresql://ana:hunter2-hunter2@db.example.com/shop"
    file = tmp_path / "url"
    file.write_text(f"{url}\n")
    connections = {"a": ConnectionConfig(url="env:SHOP_URL"), "b": ConnectionConfig(url="file:url")}
    file.chmod(0o600)
    for name, environment in (("a", {"SHOP_URL": url}), ("a", {"SHOP_URL_FILE": str(file)}), ("b", {})):
        found = address_of(name, connections, tmp_path, environment)
        assert found.url.reveal() == url
        assert found.place == "db.example.com:5432/shop"
        assert "hunter2" not in repr(found)
    file.chmod(0o644)
    with pytest.raises(AccessError, match="its mode is 0644"):
        address_of("b", connections, tmp_path, {})
    with pytest.raises(NotFoundError, match="takes its URL from SHOP_URL, which is not set"):
        address_of("a", connections, tmp_path, {})
    with pytest.raises(NotFoundError, match="there is no connection 'c'"):
        address_of("c", connections, tmp_path, {})


@pytest.mark.parametrize("url", ["mysql://db/shop", "postgresql", "sqlite:", "hunter2", "env:", "env:1=2"])
def test_a_url_of_no_known_kind_is_refused_unquoted(tmp_path, url):
    with pytest.raises(TinyMLOpsError) as raised:
        address_of("a", {"a": ConnectionConfig(url=url)}, tmp_path, {})
    assert "hunter2" not in str(raised.value)


def test_what_was_read_is_remembered_with_the_rows_or_not_at_all(shop, file):
    put(file, 1)
    ws = shop(cursor="updated_at")
    assert database_of(ws).rows("select count(*) from source_cursors") == [(0,)]
    ws.ingest()
    (before,) = database_of(ws).rows("select greatest, floor from source_cursors")
    file.execute(
        "insert into orders(order_id, customer, amount, at, updated_at) values (2, 1, 1, 'never', ?)", [text(NOW)]
    )
    with pytest.raises(DataError, match="'never', which is no time"):
        ws.ingest()
    assert database_of(ws).rows("select greatest, floor from source_cursors") == [before]


def test_whatever_looks_at_definitions_takes_a_source_with_a_connection(shop, file, tmp_path):
    put(file, 1, 2, 3)
    ws = shop(cursor="updated_at", snapshot_deletes=True)
    ws.ingest()
    assert ws.lint().findings == []
    assert "orders" in str(ws.status())
    assert ws.build_docs(tmp_path / "pages")
    assert ws.catalog.get("source", "orders").spec["connection"] == "shop"
    again = ws.plan(define(tmp_path, "sqlite:orders.db", cursor="updated_at", snapshot_deletes=True, tz="UTC"))
    assert not again
    changed = ws.plan(define(tmp_path, "sqlite:orders.db", cursor="updated_at", overlap="2d", tz="UTC"))
    assert changed
