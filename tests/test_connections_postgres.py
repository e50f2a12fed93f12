"""Sources in PostgreSQL: one snapshot a read, no row lost that commits late, and errors that tell no secret."""

import json
import os
import signal
import threading
import time
import traceback
import warnings
from datetime import UTC, date, datetime

import polars as pl
import pytest
from command_line import run
from connected_shop import applied, define, rows_of
from inside import database_of

import tinymlops as tm
from tinymlops.connectors import open_transactions
from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError, UnavailableError

pytest.importorskip("adbc_driver_postgresql")
import postgres_server

ORDERS = """create table orders(
    order_id bigint primary key, customer int, amount float8, at timestamptz default now(), updated_at timestamptz default now()
)"""
READ = "grant select on all tables in schema public to reader, stranger"


@pytest.fixture
def server(postgres):
    return postgres


@pytest.fixture
def sql(server, monkeypatch):
    """SQL as the superuser, on an empty table of orders; the URL of the source is in SHOP_URL."""
    monkeypatch.setenv("SHOP_URL", server.url())
    with server.connected() as run_sql:
        run_sql("drop table if exists orders cascade", ORDERS, READ)
        yield run_sql


@pytest.fixture
def shop(tmp_path, sql):
    with applied(tmp_path, "env:SHOP_URL") as make:
        yield make


def put(sql, *ids, updated="now()"):
    for one in ids:
        sql(f"insert into orders values ({one}, {one % 7}, {one}, now(), {updated})")


def ids_of(ws):
    return rows_of(ws, "order_id")["order_id"].to_list()


def stored(ws):
    return database_of(ws).rows("select count(*) from segments")[0][0]


def test_a_table_is_copied_with_its_types(shop, sql):
    sql("drop table orders", "create type mood as enum ('glad', 'sad')")
    sql(
        """create table orders(order_id int, at timestamptz, price numeric(12,2), ok boolean, day date, local timestamp,
        code uuid, tags text[], more jsonb, raw bytea, feel mood, small smallint, real4 real, "Odd name" text)""",
        """insert into orders values (1, '2024-01-01 12:00+02', 12.30, true, '2024-01-02', '2024-01-03 04:05',
        '00010203-0405-0607-0809-0a0b0c0d0e0f', '{a,b}', '{"a": 1}', '\\x00ff', 'sad', 2, 1.5, 'é''')""",
        "insert into orders(order_id, at, price) values (2, 'infinity', 'NaN')",
        READ,
    )
    ws = shop()
    with pytest.warns(UserWarning, match="have no time in 'at'"):
        assert ws.ingest()[0].rows_new == 1
    row = rows_of(ws).drop("order_id").row(0, named=True)
    assert row == {
        "at": datetime(2024, 1, 1, 10, tzinfo=UTC),
        "price": 12.3,
        "ok": True,
        "day": date(2024, 1, 2),
        "local": datetime(2024, 1, 3, 4, 5),
        "code": "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "tags": ["a", "b"],
        "more": '{"a": 1}',
        "raw": b"\x00\xff",
        "feel": "sad",
        "small": 2,
        "real4": 1.5,
        "Odd name": "é'",
    }
    sql("drop table orders", "drop type mood")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("interval '1 day' as x", "'x' is of type an array or an interval"),
        ("inet '10.0.0.1' as x", "'x' is of type inet"),
        ("array[1.5]::numeric[] as x", "'x' is of type an array"),
        ("12345678901234567890::numeric as x", "holds 12345678901234567890, which is beyond"),
        ("2 as order_id", "two columns are named 'order_id'"),
    ],
)
def test_a_type_that_cannot_be_read_is_refused_with_a_cure(shop, expression, said):
    with pytest.raises(DataError, match=said) as raised:
        shop(f"select 1 as order_id, now() as at, {expression}").ingest()
    assert "cast it" in raised.value.hint or "another name" in raised.value.hint


def test_a_read_takes_what_is_new_and_what_has_no_cursor(shop, sql):
    sql("insert into orders select n, n % 7, n, now(), now() - interval '9 days' from generate_series(1, 500) n")
    ws = shop(cursor="updated_at", overlap="1h")
    assert ws.ingest()[0].rows_new == 500
    put(sql, 501, updated="null")
    (second,) = ws.ingest()
    assert (second.rows_read, second.rows_new) == (501, 1)  # the greatest cursor is that of all rows
    put(sql, 502)
    sql("update orders set amount = -1, updated_at = now() where order_id = 3")
    ws.ingest()
    put(sql, 503)
    sql("update orders set amount = -2 where order_id = 501")
    (last,) = ws.ingest()
    assert (last.rows_read, last.rows_new, last.rows_corrected) == (4, 1, 1)
    assert rows_of(ws, "order_id, amount").filter(pl.col("order_id").is_in([3, 501]))["amount"].to_list() == [-1, -2]


def test_a_row_whose_transaction_was_open_longer_than_the_overlap_comes(shop, server, sql, monkeypatch):
    monkeypatch.setattr(open_transactions, "GRACE", 0)
    ws = shop(cursor="updated_at", overlap="100ms")
    put(sql, 1)
    ws.ingest()
    with server.connected() as late:
        late("begin", "select now()")  # its time is taken, and it has not written yet
        time.sleep(0.4)
        put(sql, 2)
        ws.ingest()
        late("insert into orders values (3, 3, 3)")
        put(sql, 4)
        ws.ingest()
        late("commit")
    assert ids_of(ws) == [1, 2, 4]
    ws.ingest()
    assert ids_of(ws) == [1, 2, 3, 4]
    put(sql, 5)
    time.sleep(0.3)
    ws.ingest()
    (last,) = ws.ingest()
    assert last.rows_read <= 1  # it has gone on


def test_without_the_rule_for_open_transactions_that_row_would_be_lost(shop, server, sql, monkeypatch):
    def by_the_clock(rows):
        ((now, _),) = rows("select (extract(epoch from clock_timestamp()) * 1000000)::bigint, 1")
        return open_transactions.Floor(now)

    monkeypatch.setattr("tinymlops.connectors.postgres.floor_of", by_the_clock)
    ws = shop(cursor="updated_at", overlap="100ms")
    put(sql, 1)
    ws.ingest()
    with server.connected() as late:
        late("begin", "insert into orders values (3, 3, 3)")
        time.sleep(0.4)
        put(sql, 4)
        ws.ingest()
        late("commit")
    ws.ingest()
    assert ids_of(ws) == [1, 4]


def test_while_a_start_is_hidden_or_prepared_the_cursor_stays(shop, server, sql, monkeypatch):
    monkeypatch.setattr(open_transactions, "GRACE", 0)
    ws = shop(cursor="updated_at", overlap="1ms")
    put(sql, 1)
    ws.ingest()
    with server.connected() as late:
        late("begin", "insert into orders values (2, 2, 2)", "prepare transaction 'two'")
        put(sql, 3)
        with pytest.warns(UserWarning, match="1 prepared transactions are open"):
            ws.ingest()
        late("commit prepared 'two'")
    assert ws.ingest()[0].rows_new == 1
    monkeypatch.setenv("SHOP_URL", server.url("stranger", "stranger"))
    with server.connected() as late:
        late("begin", "select now()")
        put(sql, 5)
        with pytest.warns(
            UserWarning, match="start of 1 open transactions of other users is hidden.*grant pg_read_all_stats"
        ):
            ws.ingest()
        late("insert into orders values (4, 4, 4)", "commit")
    assert ws.ingest()[0].rows_new == 1
    assert ids_of(ws) == [1, 2, 3, 4, 5]


def test_rows_that_are_gone_are_deleted_and_come_back(shop, sql):
    ws = shop(cursor="updated_at", snapshot_deletes=True)
    put(sql, 1, 2, 3)
    ws.ingest()
    sql("delete from orders where order_id = 2")
    assert ws.ingest()[0].rows_deleted == 1
    assert ids_of(ws) == [1, 3]
    put(sql, 2)
    ws.ingest()
    assert ids_of(ws) == [1, 2, 3]
    sql("delete from orders")
    assert ws.ingest()[0].rows_deleted == 3
    assert ids_of(ws) == []


def test_with_snapshot_deletes_a_row_with_an_old_cursor_comes_too(shop, sql):
    sql("alter table orders alter order_id type text")
    ws = shop(cursor="updated_at", overlap="1h", snapshot_deletes=True)
    sql("insert into orders select n, n % 7, n, now(), now() - interval '9 days' from generate_series(1, 100) n")
    ws.ingest()
    put(sql, 101)
    ws.ingest()
    sql(
        "create temp table kept as select * from orders where order_id = '7'", "delete from orders where order_id = '7'"
    )
    assert ws.ingest()[0].rows_deleted == 1
    sql("insert into orders select * from kept", "drop table kept")
    sql("insert into orders values ('it''s \\', 1, 1, now(), now() - interval '8 days')")
    (report,) = ws.ingest()
    assert report.rows_new + report.rows_corrected == 2
    assert report.rows_read < 10
    assert set(ids_of(ws)) == {*map(str, range(1, 102)), "it's \\"}


def test_without_snapshot_deletes_rows_stay_until_a_full_read(shop, sql):
    ws = shop(cursor="updated_at")
    put(sql, 1, 2)
    ws.ingest()
    sql("delete from orders where order_id = 2")
    assert ws.ingest()[0].rows_deleted == 0
    assert ws.ingest("orders", full=True)[0].rows_deleted == 1


def test_a_new_column_has_all_rows_read_again_and_told(shop, sql):
    sql("insert into orders select n, 1, n, now(), now() - interval '9 days' from generate_series(1, 50) n")
    ws = shop(cursor="updated_at", overlap="1h")
    ws.ingest()
    put(sql, 51)
    ws.ingest()
    sql("alter table orders add column channel text default 'web'")
    put(sql, 52)
    with pytest.warns(UserWarning, match="new columns, 'channel'"):
        (report,) = ws.ingest()
    assert (report.rows_read, report.rows_new, report.rows_incomplete) == (52, 1, 51)
    ws.ingest("orders", rebuild=True)
    assert set(rows_of(ws)["channel"]) == {"web"}


def test_another_select_or_cursor_begins_from_the_beginning(shop, sql):
    sql("insert into orders select n, 1, n, now(), now() - interval '9 days' from generate_series(1, 50) n")
    ws = shop("select * from orders where order_id > 40", cursor="updated_at", overlap="1h")
    ws.ingest()
    put(sql, 51)
    ws.ingest()
    ws = shop("select * from orders -- all of them;", cursor="updated_at", overlap="1h")
    assert ws.ingest()[0].rows_new == 40


def test_local_times_and_dates_are_cursors_too(shop, sql):
    sql("alter table orders alter updated_at type timestamp using now() at time zone 'America/New_York'")
    sql("alter table orders alter updated_at set default now() at time zone 'America/New_York'")
    sql("insert into orders(order_id, customer) select n, 1 from generate_series(1, 5) n")
    ws = shop(cursor="updated_at", overlap="1h", tz="America/New_York")
    ws.ingest()
    sql(
        "insert into orders(order_id, customer, updated_at) select n, 1, now() - interval '9 days' from generate_series(6, 9) n"
    )
    sql("insert into orders(order_id, customer) values (10, 1)")
    (second,) = ws.ingest()
    assert (second.rows_read, second.rows_new) == (6, 1)
    sql("alter table orders add column day date default current_date")
    ws = shop("select order_id, customer, at, day from orders", cursor="day", overlap="1h", tz="America/New_York")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ws.ingest()
        sql("insert into orders(order_id, customer) values (11, 1)")
        ws.ingest()
    assert 11 in ids_of(ws)


def test_a_copy_under_writes_equals_a_full_copy(shop, server, sql, tmp_path, monkeypatch):
    monkeypatch.setattr(open_transactions, "GRACE", 0)
    ws = shop(cursor="updated_at", overlap="50ms", snapshot_deletes=True)
    sql("insert into orders select n, n % 7, n from generate_series(1, 300) n")
    stop = threading.Event()

    def write(seed):
        """Insert, update and delete in short transactions; each tenth is held for longer than the overlap."""
        number = 1000 * seed
        with server.connected() as mine:
            while not stop.is_set():
                number += 1
                mine("begin", f"insert into orders values ({number}, {seed}, {number})")
                mine(f"update orders set amount = amount + 1, updated_at = now() where order_id = {1 + number % 300}")
                if number % 10 == 0:
                    time.sleep(0.15)
                mine(f"delete from orders where order_id = {number - 5} and {number} % 3 = 0", "commit")

    writers = [threading.Thread(target=write, args=(seed,)) for seed in (1, 2, 3)]
    for one in writers:
        one.start()
    reads = [ws.ingest()[0] for _ in range(12)]
    stop.set()
    for one in writers:
        one.join()
    ws.ingest()
    there = sql("select order_id, customer, amount from orders order by order_id")
    assert rows_of(ws, "order_id, customer, amount").rows() == there
    assert sum(one.rows_new for one in reads) > 300
    assert min(one.rows_read for one in reads) < len(there)


BAD = [
    ({"password": "wrong-password"}, AccessError, "refuses the login: password authentication failed"),
    ({"user": "nobody_here"}, AccessError, "refuses the login"),
    ({"database": "nowhere"}, NotFoundError, 'database "nowhere" does not exist'),
]


@pytest.mark.parametrize(("changes", "kind", "said"), BAD)
def test_a_server_that_cannot_be_used_is_named_without_a_secret(shop, server, sql, monkeypatch, changes, kind, said):
    ws = shop()
    monkeypatch.setenv("SHOP_URL", server.url(**changes))
    with pytest.raises(kind, match=said) as raised:
        ws.ingest()
    assert f"127.0.0.1:{server.port}" in str(raised.value)
    tells_nothing(raised.value, "wrong-password", postgres_server.PASSWORD, postgres_server.ENCODED)
    assert stored(ws) == 0


def tells_nothing(error, *secrets):
    told = "".join([repr(error), str(error), *traceback.format_exception(error)])
    for secret in secrets:
        assert secret not in told


def test_a_server_that_is_not_there_is_unreachable(shop, sql, tmp_path, monkeypatch):
    ws = shop()
    monkeypatch.setenv("SHOP_URL", f"postgresql://reader:{postgres_server.ENCODED}@127.0.0.1:1/postgres")
    with pytest.raises(
        UnavailableError, match=r"at 127.0.0.1:1/postgres cannot be reached: Connection refused"
    ) as raised:
        ws.ingest()
    tells_nothing(raised.value, postgres_server.ENCODED, postgres_server.PASSWORD)
    notes = ws.apply(define(tmp_path, "env:SHOP_URL", cursor="updated_at")).notes
    assert any("are checked when it is ingested" in note and "cannot be reached" in note for note in notes)


@pytest.mark.parametrize(
    "url", ["postgresql://u:hun/ter@2@host/db", "postgresql://u:hunter@2@host/db", "postgresql://u:hunter2#x@host/db"]
)
def test_a_url_that_libpq_would_quote_in_parts_is_refused_unquoted(shop, monkeypatch, url):
    ws = shop()
    monkeypatch.setenv("SHOP_URL", url)
    with pytest.raises(DataError, match="the URL of connection 'shop' cannot be read") as raised:
        ws.ingest()
    tells_nothing(raised.value, "hun", "ter@2")


@pytest.mark.parametrize(
    ("text", "options", "said", "hint"),
    [
        ("ordres", {}, "has no table 'ordres'", "did you mean 'orders'?"),
        ("deposits", {}, "has no table 'deposits'", "did you mean 'store.deposits'?"),
        ("public.order", {}, "has no table 'public.order'", "did you mean 'public.orders'?"),
        ("select * from ordres o", {}, "has no table 'ordres'", "did you mean 'orders'?"),
        ("select order_id, amont from orders", {}, 'column "amont" does not exist', "orders.amount"),
        ("orders", {"cursor": "update_at"}, "no column 'update_at'", "did you mean 'updated_at'?"),
        ("select order_id frm orders where", {}, "syntax error", "correct the SELECT"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_the_near_one(shop, sql, text, options, said, hint):
    put(sql, 1)
    sql("create schema if not exists store", "create table if not exists store.deposits (order_id int)", READ)
    sql("grant usage on schema store to reader", "grant select on store.deposits to reader")
    with pytest.raises((DefinitionError, DataError), match=said) as raised:
        shop(text, **options).ingest()
    assert hint in raised.value.hint


def test_a_source_cannot_write_and_needs_the_right_to_read(shop, sql):
    put(sql, 1)
    sql("create or replace function spoil() returns int language plpgsql as 'begin delete from orders; return 1; end'")
    with pytest.raises(AccessError, match="read-only transaction"):
        shop("select spoil() as order_id, now() as at").ingest()
    sql("revoke select on orders from reader")
    with pytest.raises(AccessError, match="permission denied for table orders"):
        shop().ingest()
    assert sql("select count(*) from orders") == [(1,)]


def test_a_statement_beyond_the_limit_is_ended(shop, tmp_path):
    project = define(tmp_path, "env:SHOP_URL", "select 1 as order_id, now() as at, pg_sleep(20)::text as x")
    with (tmp_path / "tinymlops.toml").open("a") as file:
        file.write('[sql]\ningest_timeout = "1s"\n')
    with tm.connect(tmp_path / "other.tm", create=True) as ws:
        ws.apply(project)
        with pytest.raises(
            DataError, match="ended the statement: canceling statement due to statement timeout"
        ) as raised:
            ws.ingest()
        assert "ingest_timeout" in raised.value.hint


@pytest.mark.parametrize(
    "slow",
    [
        "select o.*, (select pg_sleep(case when count(*) < 3 then 20 else 0 end) from orders)::text as slow from orders o",
        "select o.* from orders o, generate_series(1, (select case when count(*) < 3 then 50000000 else 1 end from orders)) n",
    ],
    ids=["before the first row", "between rows"],
)
def test_a_server_that_goes_away_in_the_middle_leaves_nothing_half_done(shop, server, sql, slow):
    put(sql, 1)
    ws = shop(slow, cursor="updated_at")
    active = "state = 'active' and usename = 'reader' and query like 'COPY (%'"

    def end():
        with server.connected() as mine:
            while not mine(f"select pid from pg_stat_activity where {active}"):
                time.sleep(0.02)
            time.sleep(0.1)
            mine("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reader'")

    ender = threading.Thread(target=end)
    ender.start()
    with pytest.raises(UnavailableError, match="went away while it was read") as raised:
        ws.ingest()
    ender.join()
    tells_nothing(raised.value, postgres_server.PASSWORD)
    assert stored(ws) == 0
    assert database_of(ws).rows("select count(*) from source_cursors") == [(0,)]
    put(sql, 2, 3)
    assert ws.ingest()[0].rows_new == 3


def test_ctrl_c_ends_a_read_at_the_server_too(shop, server, sql):
    put(sql, 1)
    ws = shop("select o.*, pg_sleep(20)::text as slow from orders o")
    active = "select pid from pg_stat_activity where state = 'active' and usename = 'reader'"

    def interrupt():
        with server.connected() as mine:
            while not mine(active):
                time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        ws.ingest()
    assert sql(active) == []
    assert stored(ws) == 0


def test_a_server_that_is_killed_and_comes_back_is_read_on(shop, server, sql):
    ws = shop(cursor="updated_at")
    put(sql, 1)
    ws.ingest()
    server.stop()
    try:
        with pytest.raises(UnavailableError, match="cannot be reached"):
            ws.ingest()
    finally:
        server.start()
    server.sql("insert into orders values (2, 2, 2)")
    assert ws.ingest()[0].rows_new == 1


def test_a_login_that_fails_does_not_keep_other_definitions_from_being_applied(shop, server, tmp_path, monkeypatch):
    ws = shop()
    monkeypatch.setenv("SHOP_URL", server.url("reader", "wrong-password"))
    notes = ws.apply(define(tmp_path, "env:SHOP_URL", "select * from orders")).notes
    assert any("are checked when it is ingested" in note and "refuses the login" in note for note in notes)


def test_a_static_table_is_read_with_its_deletions(shop, sql):
    put(sql, 1, 2)
    ws = shop(static=True, timestamp=None, snapshot_deletes=True, cursor="updated_at")
    ws.ingest()
    sql("delete from orders where order_id = 1")
    assert ws.ingest()[0].rows_deleted == 1
    assert ids_of(ws) == [2]


def test_a_check_names_what_is_wrong_before_anything_is_read(shop, server, sql, tmp_path, monkeypatch):
    put(sql, 1)
    ws = shop(cursor="updated_at")
    (found,) = ws.connections.check()
    assert found.ok
    assert found.place == f"127.0.0.1:{server.port}/postgres"
    assert found.server.startswith("PostgreSQL ")
    assert found.sources[0].said == "order_id, customer, amount, at, updated_at"
    assert stored(ws) == 0
    folder = ["--project", str(tmp_path), "--workspace", str(tmp_path / "shop.tm")]
    said = json.loads(run("connections", "check", "--json", *folder).stdout)
    assert said[0]["sources"] == [
        {"source": "orders", "ok": True, "said": "order_id, customer, amount, at, updated_at"}
    ]
    sql("alter table orders rename updated_at to changed_at")
    result = run("connections", "check", *folder)
    assert result.exit_code == 1
    assert "source orders: FAILED: there is no column 'updated_at', which its cursor= names" in result.stdout
    assert postgres_server.PASSWORD not in result.output
    with pytest.raises(NotFoundError, match="no connection 'shpo'") as raised:
        ws.connections.check("shpo")
    assert raised.value.hint == "did you mean 'shop'?"
    monkeypatch.delenv("SHOP_URL")
    assert "SHOP_URL, which is not set" in ws.connections.check()[0].error


def test_no_file_of_the_workspace_holds_the_password(shop, sql, tmp_path):
    put(sql, 1)
    ws = shop(cursor="updated_at")
    ws.ingest()
    with pytest.raises(NotFoundError, match="no column|no connection|nothing"):
        ws.connections.check("other")
    secrets = [one.encode() for one in (postgres_server.PASSWORD, postgres_server.ENCODED)]
    for path in (tmp_path / "shop.tm").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path
