"""Sinks: tables of others hold what the workspace has, whatever happens on the way."""

import random
import shutil
import threading
import time
from datetime import timedelta

import pytest
import served_shop
from command_line import ask as command_answer
from command_line import run as run_command
from inside import database_of
from sunk_shop import MODEL, Tables, ask_file, define, open_shop, predict

import tinymlops as tm
from tinymlops.connectors import postgres_writer, sqlite_writer
from tinymlops.errors import (
    AccessError,
    ConflictError,
    DataError,
    DefinitionError,
    NotFoundError,
    TinyMLOpsError,
    UnavailableError,
)
from tinymlops.records import Outcome, Prediction
from tinymlops.registry import sinks
from tinymlops.registry.names import definition_names
from tinymlops.sinks import delivering

SCHEMA = "out."


@pytest.fixture
def in_sqlite(tmp_path, monkeypatch):
    """The tables of a SQLite file, whose address is in SHOP_URL."""
    ask = ask_file(tmp_path / "app.db")
    ask("create table orders(a)")
    monkeypatch.setenv("SHOP_URL", "sqlite:app.db")
    return Tables(ask)


@pytest.fixture
def in_postgres(postgres, monkeypatch):
    """The tables of a PostgreSQL schema of their own, whose address is in SHOP_URL."""
    postgres.sql(
        "drop schema if exists out cascade", "create schema out", "grant usage, create on schema out to reader"
    )
    monkeypatch.setenv("SHOP_URL", postgres.url())
    return Tables(postgres.sql, SCHEMA)


@pytest.fixture(params=["in_sqlite", "in_postgres"])
def tables(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def ws(built_shop, tmp_path, request):
    names = request.fixturenames
    schema = (
        SCHEMA if "in_postgres" in names or ("tables" in names and request.getfixturevalue("tables").schema) else ""
    )
    with open_shop(built_shop, tmp_path) as opened:
        opened.apply(define(schema))
        yield opened


def answer(ws, count=3):
    return ws.predict("splurge@champion", [{"customer": one % 10, "budget": 30.0} for one in range(count)])


def test_the_tables_are_what_the_workspace_has_and_a_second_run_changes_nothing(ws, tables):
    found = [one["id"] for one in answer(ws, 5)]
    ws.log_outcomes([{"prediction_id": one, "value": True} for one in found[:2]])
    ws.log_outcomes([{"prediction_id": "nobody's", "value": "text"}, {"prediction_id": "none", "value": None}])
    first = ws.sinks.run()
    assert [(one.sink, one.written, one.rows) for one in first] == [
        ("scores", 5, 5),
        ("spent", 10, 10),
        ("truth", 4, 4),
    ]
    tables.agree(ws)
    assert [(one.written, one.deleted) for one in ws.sinks.run()] == [(0, 0)] * 3
    tables.agree(ws)
    assert [(one.sink, one.waiting, one.rows, one.error) for one in ws.status().sinks] == [
        ("scores", 0, 5, ""),
        ("spent", None, 10, ""),
        ("truth", 0, 4, ""),
    ]


def test_what_is_new_and_what_is_corrected_goes_out(ws, tables):
    predict(database_of(ws), "a", "b")
    ws.log_outcomes([{"prediction_id": "a", "value": 1}, {"prediction_id": "b", "value": 2}])
    ws.sinks.run()
    predict(database_of(ws), "c")
    ws.log_outcomes([{"prediction_id": "a", "value": 3}, {"prediction_id": "c", "value": "text"}])
    assert [one.waiting for one in ws.status().sinks] == [1, None, 2]
    ran = ws.sinks.run("scores", "truth")
    assert [(one.written, one.deleted, one.rows, one.batches) for one in ran] == [(1, 0, 3, 1), (2, 0, 3, 1)]
    ws.log_outcomes([{"prediction_id": "c", "value": "other"}])  # the last row, which moves behind itself
    assert [(one.written, one.batches) for one in ws.sinks.run("truth")] == [(1, 1)]
    tables.agree(ws)


def test_only_predictions_of_the_model_are_written(ws, tables):
    predict(database_of(ws), "a")
    predict(database_of(ws), "x", "y", model="other")
    predict(database_of(ws), "b")
    predict(database_of(ws), "z", model="other")
    ws.sinks.run()
    assert [row[0] for row in tables.rows("scores")] == ["a", "b"]


def test_what_is_deleted_here_is_deleted_there(ws, tables):
    database = database_of(ws)
    predict(database, *(f"p{one}" for one in range(10)))
    ws.log_outcomes([{"prediction_id": f"p{one}", "value": one} for one in range(10)])
    ws.sinks.run()
    with database.write(actor=None) as tx:
        tx.delete(Prediction, id=["p0", "p4", "p9"])
        tx.delete(Outcome, prediction_id=["p9", "p8"])
    predict(database, "new")  # takes the number that p9 had
    ran = ws.sinks.run()
    assert [one.deleted for one in ran] == [3, 0, 2]
    tables.agree(ws)
    with database.write(actor=None) as tx:
        tx.delete(Prediction, id=["p1", "new"])
    assert [(one.deleted, one.rows) for one in ws.sinks.run("scores")] == [(2, 6)]
    tables.agree(ws)


def _some_change(chance, database, ws, numbers):
    ids = [row[0] for row in database.rows("select id from predictions")]
    outcomes = [row[0] for row in database.rows("select prediction_id from outcomes")]
    kind = chance.choice(["predict", "predict", "other", "outcome", "correct", "forget", "forget last", "unlearn"])
    if kind in ("predict", "other"):
        new = [f"{next(numbers)}-{chance.random()}" for _ in range(chance.randint(1, 5))]
        predict(database, *new, model=MODEL if kind == "predict" else "other")
    elif kind == "outcome":
        values = [chance.choice([1, 2.5, "x", None]) for _ in range(chance.randint(1, 4))]
        ws.log_outcomes([{"prediction_id": f"{next(numbers)}", "value": one} for one in values])
    elif kind == "correct" and outcomes:
        picked = chance.sample(outcomes, min(3, len(outcomes)))
        ws.log_outcomes([{"prediction_id": one, "value": chance.random()} for one in picked])
    elif kind.startswith("forget") and ids:
        picked = ids[-2:] if kind == "forget last" else chance.sample(ids, min(2, len(ids)))
        with database.write(actor=None) as tx:
            tx.delete(Prediction, id=picked)
    elif kind == "unlearn" and outcomes:
        with database.write(actor=None) as tx:
            tx.delete(Outcome, prediction_id=chance.choice([outcomes[-2:], chance.sample(outcomes, 1)]))


@pytest.mark.parametrize("seed", range(2))
def test_whatever_changes_here_a_run_brings_there(ws, in_sqlite, monkeypatch, seed):
    """A random history of 50 changes with runs between them: the numbers of deleted rows are given out again."""
    monkeypatch.setattr(delivering, "_PAGE", 3)
    chance, numbers = random.Random(seed), iter(range(10_000))
    for _ in range(50):
        _some_change(chance, database_of(ws), ws, numbers)
        if chance.random() < 0.4:
            ws.sinks.run("scores", "truth")
            for name in ("scores", "truth"):
                assert in_sqlite.rows(name) == in_sqlite.expected(ws, name)


def test_an_outcome_corrected_while_a_table_is_compared_is_written_once(ws, tables, monkeypatch):
    ws.log_outcomes([{"prediction_id": f"p{one}", "value": one} for one in range(5)])
    ws.sinks.run()
    read = sinks.Logged.ids

    def read_while_one_is_corrected(log):
        for number, page in enumerate(read(log)):
            yield page
            if log.cls is Outcome and not number:
                ws.log_outcomes([{"prediction_id": page[0][0], "value": 77}])

    monkeypatch.setattr(sinks, "_IDS", 2)
    monkeypatch.setattr(sinks.Logged, "ids", read_while_one_is_corrected)
    ws.sinks.run("truth", full=True)
    assert tables.rows("truth") == tables.expected(ws, "truth")


def test_features_are_those_of_the_run_and_say_since_when(built_shop, tmp_path, tables):
    clock = tm.ReplayClock(served_shop.NOW - timedelta(days=7, hours=20))
    with open_shop(built_shop, tmp_path, clock=lambda: clock()) as ws:
        ws.apply(define(tables.schema))
        ws.sinks.run("spent")
        assert tables.rows("spent") == tables.expected(ws, "spent")
        shown = tables.ask(f"select distinct computed_at from {tables.schema}spent")
        clock = tm.ReplayClock(served_shop.NOW + timedelta(seconds=1))
        assert ws.sinks.run("spent")[0].written == 10  # the window has moved
        assert tables.rows("spent") == tables.expected(ws, "spent")
        later = tables.ask(f"select distinct computed_at from {tables.schema}spent")
        assert shown != later
        clock = tm.ReplayClock(served_shop.NOW + timedelta(seconds=2))
        assert ws.sinks.run("spent")[0].written == 0
        assert tables.ask(f"select distinct computed_at from {tables.schema}spent") == later


def test_an_older_state_of_features_never_comes_after_a_newer_one(ws, tables, monkeypatch):
    """A run that was slow to compute finds that another one wrote meanwhile, and computes again."""
    computed, values = [], delivering._values

    def slow(context, spec):
        found = values(context, spec)
        computed.append(found)
        if len(computed) == 2:  # the first is asked for the columns
            ws.sinks.run("spent")
            return found.with_columns(last_amount=found["last_amount"] - 1)
        return found

    monkeypatch.setattr(delivering, "_values", slow)
    ws.sinks.run("spent")
    assert len(computed) == 5
    assert tables.rows("spent") == tables.expected(ws, "spent")


def test_names_in_the_table_may_differ(built_shop, tmp_path, tables):
    with open_shop(built_shop, tmp_path) as ws:
        ws.apply(define(tables.schema, scores={"columns": {"id": "prediction id", "at": "scored_at"}}))
        predict(database_of(ws), "a")
        ws.sinks.run("scores")
        assert tables.ask(f'select "prediction id" from {tables.schema}scores') == [("a",)]
        with database_of(ws).write(actor=None) as tx:
            tx.delete(Prediction, id="a")
        assert ws.sinks.run("scores")[0].deleted == 1


@pytest.mark.parametrize("place", ["truth", "scores"])
def test_a_table_that_others_emptied_or_dropped_is_filled_again(ws, tables, place):
    predict(database_of(ws), "a", "b")
    ws.log_outcomes([{"prediction_id": "a", "value": 1}])
    ws.sinks.run()
    tables.ask(f"delete from {tables.schema}{place}")
    ws.sinks.run()
    tables.agree(ws)
    tables.ask(f"drop table {tables.schema}{place}")
    ws.sinks.run()
    tables.agree(ws)


def test_with_full_what_others_changed_is_written_again(ws, tables):
    predict(database_of(ws), "a", "b", "c")
    ws.sinks.run()
    tables.ask(f"update {tables.schema}scores set version = 7 where id = 'a'")
    tables.ask(f"delete from {tables.schema}scores where id = 'b'")
    tables.ask(f"update {tables.schema}scores set id = 'strange' where id = 'c'")
    assert ws.sinks.run("scores")[0].written == 0
    (ran,) = ws.sinks.run("scores", full=True)
    assert (ran.written, ran.deleted, ran.rows) == (3, 1, 3)
    tables.agree(ws)


def test_a_workspace_that_was_restored_from_a_backup_rules(ws, tables, tmp_path):
    predict(database_of(ws), "a", "b")
    ws.log_outcomes([{"prediction_id": "a", "value": 1}])
    ws.sinks.run()
    ws.backup(tmp_path / "copy")
    predict(database_of(ws), "lost", "lost too")
    ws.log_outcomes([{"prediction_id": "a", "value": 2}])
    ws.sinks.run()
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / "tinymlops.toml", tmp_path / "again")
    for name in tmp_path.glob("app.db*"):
        shutil.copy(name, tmp_path / "again")
    tm.restore(tmp_path / "copy", tmp_path / "again" / "shop.tm")
    there = tables if tables.schema else Tables(ask_file(tmp_path / "again" / "app.db"))
    with tm.connect(tmp_path / "again" / "shop.tm", clock=tm.ReplayClock(served_shop.NOW)) as again:
        predict(database_of(again), "c", "d", "e")
        again.sinks.run()
        there.agree(again)


def test_a_table_with_rows_of_others_or_of_another_sink_is_left_alone(ws, tables, built_shop, tmp_path):
    time_type = "timestamptz" if tables.schema else "datetime"
    columns = f"prediction_id text primary key, value float8, value_text text, at {time_type}, origin text"
    tables.ask(f"create table {tables.schema}truth ({columns})")
    tables.ask(f"insert into {tables.schema}truth(prediction_id) values ('theirs')")
    if tables.schema:
        tables.ask(f"grant all on {tables.schema}truth to reader")
    with pytest.raises(ConflictError, match="has rows that no sink wrote"):
        ws.sinks.run("truth")
    assert tables.ask(f"select count(*) from {tables.schema}truth") == [(1,)]
    predict(database_of(ws), "a")
    ws.sinks.run("scores")
    (tmp_path / "other").mkdir()
    with open_shop(built_shop, tmp_path / "other") as other:
        (tmp_path / "other" / "tinymlops.toml").write_text('[connections.shop]\nurl = "env:SHOP_URL"\n')
        if not tables.schema:
            (tmp_path / "other" / "app.db").symlink_to(tmp_path / "app.db")
        other.apply(define(tables.schema))
        with pytest.raises(ConflictError, match="is written by sink 'scores' of another workspace"):
            other.sinks.run("scores")
    assert len(tables.rows("scores")) == 1


def test_what_cannot_be_a_sink_is_refused_where_it_is_written(tmp_path):
    project = tm.Project("p")
    good = {"connection": "shop", "table": "t", "predictions": "m"}
    for options, said in (
        ({"outcomes": True}, "writes several things"),
        ({"predictions": None}, "writes nothing"),
        ({"table": "select 1"}, "not the name of a table"),
        ({"table": "a/b.parquet"}, "not the name of a table"),
        ({"columns": {"idd": "x"}}, "names 'idd', which is not written"),
        ({"columns": {"id": "at"}}, "would write two columns 'at'"),
        ({"predictions": None, "features": 3}, "is not a feature view"),
    ):
        with pytest.raises(DefinitionError, match=said):
            project.sink("s", **{**good, **options})
    with pytest.raises(DefinitionError, match="no table|to the same table"):
        project.sink("s", **good)
        project.sink("again", **good)
        with tm.connect(tmp_path / "w.tm", create=True) as ws:
            ws.plan(project)
    other = tm.Project("q")
    other.sink("s", connection="shop", table="t", features="spendng")
    with (
        tm.connect(tmp_path / "w.tm") as ws,
        pytest.raises(NotFoundError, match="'spendng', which sink 's' names"),
    ):
        ws.plan(other)


def test_plan_and_lineage_show_a_sink(ws):
    changed = define(spent={"table": "elsewhere"})
    assert "~ sink spent  (table spent -> elsewhere)" in str(ws.plan(changed))
    assert "spent" in str(ws.lineage("spending:last_amount", downstream=True))
    assert ws.catalog.get("sink", "spent").spec["of"] == "spending"


def test_a_model_or_a_connection_that_is_not_there_is_named_and_the_other_sinks_run(built_shop, tmp_path, in_sqlite):
    with open_shop(built_shop, tmp_path) as ws:
        ws.apply(define(scores={"predictions": "splruge"}, spent={"connection": "shpo"}))
        with pytest.raises(NotFoundError, match="no model 'splruge', whose predictions sink 'scores' writes"):
            ws.sinks.run()
        assert [one.error[:20] for one in ws.status().sinks] == ["there is no model 's", "there is no connecti", ""]
        assert [one.delivered_at is None for one in ws.status().sinks] == [True, True, False]
        with pytest.raises(NotFoundError, match="there is no sink 'truht'"):
            ws.sinks.run("truht")
        ws.apply(define())
        ws.sinks.run()
        assert not any(one.error for one in ws.status().sinks)


def test_a_sink_that_is_not_defined_any_more_is_told_while_its_rows_stay(ws, in_sqlite):
    predict(database_of(ws), "a")
    ws.sinks.run()
    ws.apply(served_shop.project)
    assert [(one.sink, one.writes, one.rows) for one in ws.status().sinks] == [
        ("scores", "removed", 1),
        ("spent", "removed", 10),
    ]


def test_a_process_that_dies_between_both_commits_leaves_a_table_that_is_gone_on_with(ws, tables, monkeypatch):
    monkeypatch.setattr(delivering, "_PAGE", 2)
    predict(database_of(ws), *"abcde")

    def die(*_, written, **__):
        if written:
            raise KeyboardInterrupt

    for there in (2, 4, 5):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(delivering.SinkStates, "written", die)
            ws.sinks.run("scores")
        assert len(tables.rows("scores")) == there
    assert ws.status().sinks[0].waiting == 5  # as far as the workspace knows
    (ran,) = ws.sinks.run("scores")
    assert (ran.written, ran.batches, ran.rows) == (0, 0, 5)
    assert ws.status().sinks[0].waiting == 0


# What databases do


def test_a_user_who_may_only_read_is_told_what_is_missing(ws, in_postgres, postgres, monkeypatch):
    predict(database_of(ws), "a")
    ws.sinks.run()
    monkeypatch.setenv("SHOP_URL", postgres.url("stranger", "stranger"))
    postgres.sql("grant usage on schema out to stranger", "grant select on all tables in schema out to stranger")
    predict(database_of(ws), "b")
    with pytest.raises(AccessError, match="permission denied for") as raised:
        ws.sinks.run("scores")
    assert "grant select, insert, update, delete" in raised.value.hint
    assert "permission denied" in ws.status().sinks[0].error
    postgres.sql("grant select, insert, update on all tables in schema out to stranger")
    ws.sinks.run("scores")
    with database_of(ws).write(actor=None) as tx:
        tx.delete(Prediction, id="a")
    with pytest.raises(AccessError, match="permission denied for table scores"):  # the deletion is told, not forgotten
        ws.sinks.run("scores")
    assert "permission denied" in ws.status().sinks[0].error
    postgres.sql("grant delete on all tables in schema out to stranger")
    assert ws.sinks.run("scores")[0].deleted == 1
    in_postgres.agree(ws)


def test_a_lock_and_a_long_statement_end_a_run_that_is_gone_on_with(ws, in_postgres, postgres, monkeypatch):
    predict(database_of(ws), "a")
    ws.sinks.run()
    predict(database_of(ws), "b")
    monkeypatch.setattr(postgres_writer, "_LOCK_TIMEOUT", "100ms")
    with postgres.connected() as sql:
        sql("begin", "lock table out.scores in share mode")
        with pytest.raises(UnavailableError, match="lock timeout"):
            ws.sinks.run("scores")
        sql("rollback")
    postgres.sql(
        "create function out.slow() returns trigger language plpgsql as 'begin perform pg_sleep(5); return new; end'"
    )
    postgres.sql("create trigger slow before insert on out.scores for each row execute function out.slow()")
    monkeypatch.setattr(delivering, "parse_duration", lambda *_, **__: 200_000)
    with pytest.raises(UnavailableError, match="statement timeout"):
        ws.sinks.run("scores")
    monkeypatch.undo()
    monkeypatch.setenv("SHOP_URL", postgres.url())
    postgres.sql("drop trigger slow on out.scores")
    assert ws.sinks.run("scores")[0].written == 1
    in_postgres.agree(ws)


def test_a_deadlock_ends_a_batch_as_a_whole(ws, in_postgres, postgres):
    predict(database_of(ws), "a", "b")
    ws.log_outcomes([{"prediction_id": one, "value": 1} for one in "ab"])
    ws.sinks.run()
    ws.log_outcomes([{"prediction_id": one, "value": 2} for one in "ab"])
    with postgres.connected() as sql:
        sql(
            "begin", "set local deadlock_timeout = '10s'", "update out.truth set origin = 'x' where prediction_id = 'b'"
        )
        failures = []

        def run():
            try:
                ws.sinks.run("truth")
            except TinyMLOpsError as error:
                failures.append(error)

        runner = threading.Thread(target=run)
        runner.start()
        while not postgres.sql("select 1 from pg_stat_activity where wait_event_type = 'Lock'"):
            time.sleep(0.02)
        sql("update out.truth set origin = 'x' where prediction_id = 'a'")  # which the run holds, and it gives up first
        runner.join()
        sql("rollback")
    (failure,) = failures
    assert isinstance(failure, UnavailableError)
    assert "deadlock" in failure.message
    assert in_postgres.ask("select distinct value from out.truth") == [(1.0,)]
    ws.sinks.run("truth")
    in_postgres.agree(ws)


def test_a_server_that_goes_away_in_the_middle_costs_no_row(ws, in_postgres, postgres, monkeypatch):
    monkeypatch.setattr(delivering, "_PAGE", 10)
    predict(database_of(ws), *(f"{one:03}" for one in range(100)))
    frames, frame_of = [], delivering.frame_of

    def until(cls, rows):
        frames.append(rows)
        if len(frames) == 5:
            postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reader'")
        return frame_of(cls, rows)

    monkeypatch.setattr(delivering, "frame_of", until)
    with pytest.raises(UnavailableError) as raised:
        ws.sinks.run("scores")
    assert "s3cret" not in f"{raised.value!r}{raised.value.hint}"
    there = in_postgres.ask("select count(*) from out.scores")[0][0]
    assert 0 < there < 100
    assert there % 10 == 0
    assert ws.sinks.run("scores")[0].written == 100 - there
    assert in_postgres.rows("scores") == in_postgres.expected(ws, "scores")


def test_a_server_that_is_not_there_is_told_without_the_password(ws, in_postgres, monkeypatch):
    monkeypatch.setenv("SHOP_URL", "postgresql://reader:hunter2hunter2@127.0.0.1:1/postgres")
    with pytest.raises(UnavailableError, match="cannot be reached") as raised:
        ws.sinks.run("scores")
    assert "hunter2" not in f"{raised.value!r}{raised.value.hint}{ws.status()}"


def test_a_full_disk_there_ends_a_batch_as_a_whole(ws, in_sqlite, monkeypatch):
    monkeypatch.setattr(delivering, "_PAGE", 50)
    predict(database_of(ws), *(f"{one:04}{'x' * 300}" for one in range(400)))
    opened = sqlite_writer.sqlite3.connect

    def small(*arguments, **options):
        connection = opened(*arguments, **options)
        connection.execute("pragma max_page_count = 60")
        return connection

    monkeypatch.setattr(sqlite_writer.sqlite3, "connect", small)
    with pytest.raises(UnavailableError, match="database or disk is full"):
        ws.sinks.run("scores")
    monkeypatch.undo()
    monkeypatch.setenv("SHOP_URL", "sqlite:app.db")
    there = in_sqlite.ask("select count(*) from scores")[0][0]
    assert there % 50 == 0
    assert ws.sinks.run("scores")[0].rows == 400
    assert in_sqlite.rows("scores") == in_sqlite.expected(ws, "scores")


def test_a_file_that_another_program_writes_to_is_waited_for_and_then_told(ws, in_sqlite, tmp_path, monkeypatch):
    import sqlite3

    predict(database_of(ws), "a")
    monkeypatch.setattr(sqlite_writer.open_sqlite.__wrapped__, "__kwdefaults__", {"busy": 0.1})
    other = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(UnavailableError, match="database is locked"):
        ws.sinks.run("scores")
    other.execute("rollback")
    other.close()
    assert ws.sinks.run("scores")[0].written == 1


def test_a_file_that_is_not_there_is_not_made(ws, in_sqlite, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_URL", "sqlite:nowhere.db")
    with pytest.raises(NotFoundError, match="which is not there"):
        ws.sinks.run("scores")
    assert not (tmp_path / "nowhere.db").exists()
    (tmp_path / "nowhere.db").write_bytes(b"no database" * 100)
    with pytest.raises(DataError, match="no SQLite database"):
        ws.sinks.run("scores")


def test_an_object_store_is_not_written_to(ws, in_sqlite, monkeypatch):
    monkeypatch.setenv("SHOP_URL", "s3://bucket/prefix")
    with pytest.raises(DefinitionError, match="an object store, which sinks do not write to"):
        ws.sinks.run("scores")


def test_several_runs_at_once_write_every_row_once(ws, tables, monkeypatch):
    monkeypatch.setattr(delivering, "_PAGE", 7)
    database, stop, failures = database_of(ws), threading.Event(), []

    def go_on():
        while not stop.is_set():
            try:
                ws.sinks.run()
            except ConflictError as error:  # others wrote all the time
                assert "all the time" in error.message
            except BaseException as error:
                failures.append(error)
                raise

    runners = [threading.Thread(target=go_on) for _ in range(3)]
    for one in runners:
        one.start()
    for number in range(40):
        predict(database, *(f"{number:03}-{one}" for one in range(5)))
        ws.log_outcomes([{"prediction_id": f"{number % 7}", "value": number}])
    stop.set()
    for one in runners:
        one.join()
    assert not failures
    ws.sinks.run()
    tables.agree(ws)


def test_the_commands_say_the_same(built_shop, tmp_path, in_sqlite, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    with open_shop(built_shop, folder) as ws:
        predict(database_of(ws), "a", "b")
    (folder / "tinymlops.toml").write_text(
        'workspace = "shop.tm"\nmodules = ["out"]\n[connections.shop]\nurl = "sqlite:../app.db"\n'
    )
    (folder / "out.py").write_text(
        "import tinymlops as tm\n"
        "project = tm.Project('out')\n"
        f"project.sink('scores', predictions='{MODEL}', connection='shop', table='scores', create=True)\n"
        "project.command('send', 'sinks', 'run', 'scores', every='1h')\n"
    )
    monkeypatch.chdir(folder)
    assert "+ sink scores" in run_command("plan").stdout
    assert run_command("apply").exit_code == 0
    assert command_answer("sinks", "list")[0]["waiting"] == 2
    assert command_answer("status")["sinks"][0]["waiting"] == 2
    ran = run_command("sinks", "run", "scores")
    assert ran.stdout == "scores to shop: scores: 2 rows written, 0 deleted, 2 there now\n"
    assert command_answer("sinks", "run", "--full")[0]["rows"] == 2
    assert "shop: scores" in run_command("sinks", "list").stdout
    assert "shop: scores" in run_command("status").stdout
    assert run_command("sinks", "run", "scroes").exit_code == 4
    assert definition_names(folder / "shop.tm" / "meta.db", "sink") == ["scores"]


def test_whoever_reads_the_audit_log_sees_what_left(ws, in_sqlite):
    predict(database_of(ws), "a")
    ws.sinks.run("scores")
    ws.sinks.run("scores")
    (entry,) = ws.audit.list(action="sink.")
    assert (entry.subject, entry.detail) == ("sink:scores", {"target": "shop: scores", "written": 1, "deleted": 0})
