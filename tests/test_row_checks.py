"""Rows, counters, the schema and the commits of `meta.db`: what is not what was written is noticed, and said."""

import contextlib
import math
import shutil
import sqlite3
from datetime import UTC, datetime
from enum import IntEnum

import numpy as np
import polars as pl
import pytest
from conftest import at, shop
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.errors import DataError, IntegrityError
from tinymlops.records import (
    AuditEntry,
    MetricChunk,
    Prediction,
    PushBatch,
    RunRow,
)
from tinymlops.stores.collection import collect
from tinymlops.stores.database import Database
from tinymlops.stores.doctor import check
from tinymlops.stores.locks import FileLock

NOW = datetime(2024, 1, 1, tzinfo=UTC)
RESTORE = "restore the workspace from a backup"


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "meta.db", FileLock(tmp_path / "write.lock"))
    database.create(lambda first: first.audit("workspace.create", "shop"))
    yield database
    database.close()


def raw(path, *statements):
    """Change the file without the database."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def metric(**changes):
    return MetricChunk(**({"run": "r", "name": "auc", "step": 1, "value": 0.5, "at": NOW} | changes))


def prediction(key, **changes):
    values = {"model": "m", "version": 1, "at": NOW, "sequence": 1, "request": {}, "features": {}, "output": {}}
    return Prediction(id=key, **(values | changes))


def store(database, *records):
    with database.write(actor="a") as tx:
        for one in records:
            tx.insert(one)


def test_a_changed_value_is_noticed_when_it_is_read_and_named(database):
    store(database, prediction("p"), prediction("q"))
    raw(database.path, "UPDATE predictions SET version = 2 WHERE id = 'p'")
    for read in (
        lambda: database.get(Prediction, id="p"),
        lambda: database.list(Prediction),
        lambda: database.select(Prediction, "WHERE id = ?", ("p",)),
    ):
        with pytest.raises(IntegrityError, match=f"the row with id='p' in table predictions .*\nHint: {RESTORE}"):
            read()
    with database.write(actor="a") as tx:
        for read in (lambda: tx.get(Prediction, id="p"), lambda: tx.list(Prediction)):
            with pytest.raises(IntegrityError, match="id='p'"):
                read()
    assert database.get(Prediction, id="q") == prediction("q")
    assert database.damaged_rows() == ["the row with id='p' in table predictions is not what was written"]
    assert database.damaged_rows(MetricChunk) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE metric_chunks SET id = 7",
        "UPDATE metric_chunks SET run = 's'",
        "UPDATE metric_chunks SET value = 1",
        "UPDATE metric_chunks SET value = '0.5'",
        "UPDATE metric_chunks SET at = at + 1",
        "UPDATE metric_chunks SET check_ = 1",
    ],
)
def test_every_column_is_covered_an_assigned_id_too(database, change):
    store(database, metric())
    raw(database.path, change)
    with pytest.raises(IntegrityError, match="in table metric_chunks"):
        database.list(MetricChunk)


def test_what_is_written_by_put_update_and_in_many_is_covered_as_well(database):
    with database.write(actor="a") as tx:
        tx.put(prediction("p"))
        tx.put(prediction("p", version=2))
        tx.update(prediction("p", version=3))
        tx.insert_many([metric(step=step) for step in range(3)])
        tx.put_many([PushBatch(source="s", batch_id="b", digest=bytes([n]), at=n) for n in range(3)])
    assert database.damaged_rows() == []
    assert database.get(Prediction, id="p").version == 3
    assert [(one.id, one.step) for one in database.list(MetricChunk)] == [(1, 0), (2, 1), (3, 2)]
    assert database.list(PushBatch) == [PushBatch(source="s", batch_id="b", digest=b"\x02", at=2)]


class Level(IntEnum):
    LOW = 1


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, math.nan, -math.inf, 1e308, True, 3, np.float64(0.1), Level.LOW])
def test_what_sqlite_gives_back_as_another_type_is_not_taken_for_damage(database, value):
    store(database, metric(value=value))
    found = database.list(MetricChunk)[0].value
    assert found == value or (math.isnan(found) and math.isnan(value))


@pytest.mark.parametrize("changes", [{"count": 1.5}, {"count": 1.0}, {"run": 5}, {"name": b"auc"}])
def test_a_value_that_sqlite_would_convert_is_refused(database, changes):
    with pytest.raises(DataError, match="cannot be stored"):
        store(database, metric(**changes))


def test_a_text_that_is_none_any_more_is_damage(database):
    store(database, prediction("p"))
    raw(database.path, "UPDATE predictions SET model = CAST(x'ff' AS TEXT)")
    with pytest.raises(IntegrityError, match=r"meta\.db is damaged"):
        database.list(Prediction)
    (problem,) = database.damaged_rows()
    assert problem.startswith("table predictions: ")


@pytest.mark.parametrize("name", ["sequence", "commits"])
def test_a_changed_counter_is_noticed(database, name):
    with database.write(actor="a") as tx:
        tx.take_sequence(5)
    raw(database.path, f"UPDATE counters SET value = value + 1 WHERE name = '{name}'")
    with (
        pytest.raises(IntegrityError, match=f"the row with name='{name}' in table counters"),
        database.write(actor="a") as tx,
    ):
        tx.take_sequence(1)
    assert len(database.damaged_rows()) == 1


def test_a_counter_that_is_gone_is_noticed(database):
    raw(database.path, "DELETE FROM counters WHERE name = 'sequence'")
    with pytest.raises(IntegrityError, match="counter 'sequence' is missing"):
        database.sequence()


def test_an_audit_entry_is_compared_when_it_is_read(database):
    raw(database.path, "DROP TRIGGER audit_is_never_changed", "UPDATE audit SET actor = 'eve'")
    with pytest.raises(IntegrityError, match="the row with n=1 in table audit"):
        database.list(AuditEntry)
    with pytest.raises(IntegrityError, match="the row with n=1 in table audit"), database.write(actor="a") as tx:
        tx.audit("x", "y")


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX audit_subject",
        "DROP TRIGGER audit_has_no_gap",
        "CREATE TABLE mine (x)",
        "ALTER TABLE runs RENAME name TO nane",
    ],
)
def test_another_schema_is_refused(database, change):
    database.close()
    raw(database.path, change)
    with pytest.raises(IntegrityError, match=r"the schema of .*meta\.db is not what was written"):
        database.open()


def test_a_file_that_is_not_in_wal_mode_any_more_is_put_back(database):
    database.close()
    raw(database.path, "PRAGMA journal_mode = DELETE")
    database.open()
    assert database.rows("PRAGMA journal_mode") == [("wal",)]
    store(database, metric())


def test_a_table_whose_index_does_not_fit_is_noticed_when_it_is_opened(database):
    store(database, RunRow(id="a" * 32, name="quokka", status="running", started_at=NOW))
    database.close()
    content = database.path.read_bytes()
    index = content.rindex(b"quokka")
    assert content.count(b"quokka", 0, index), "the row itself lies before its index"
    database.path.write_bytes(content[:index] + b"g" + content[index + 1 :])
    with pytest.raises(IntegrityError, match=r"meta\.db is damaged: .*index"):
        database.open()


# The write-ahead log


def abandoned(database, tmp_path):
    """Copy the files as a killed process leaves them."""
    left = tmp_path / "left"
    left.mkdir()
    for file in database.path.parent.glob("meta.db*"):
        shutil.copy(file, left)
    (left / "meta.db-shm").unlink()
    return Database(left / "meta.db", FileLock(left / "write.lock"))


def commit(database, times):
    for step in range(times):
        store(database, metric(step=step))


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_log_that_is_whole_loses_nothing(database, tmp_path):
    commit(database, 5)
    left = abandoned(database, tmp_path)
    left.open()
    assert (left.count(MetricChunk), left.commits()) == (5, 5)
    left.close()


@pytest.mark.parametrize("place", [0, 10, 24, 40, 32 + 5 * (24 + 4096), -1, -5000])
def test_a_flipped_byte_in_the_log_of_a_killed_process_is_noticed(database, tmp_path, place):
    commit(database, 5)
    left = abandoned(database, tmp_path)
    flip(left.path.with_name("meta.db-wal"), place)
    with pytest.raises(IntegrityError, match=r"meta\.db has come to commit \d, and commit 5 was acknowledged"):
        left.open()


def test_a_log_that_is_gone_is_noticed_and_the_hint_is_right(database, tmp_path):
    commit(database, 2)
    left = abandoned(database, tmp_path)
    left.path.with_name("meta.db-wal").unlink()
    with pytest.raises(IntegrityError, match=r"remove .*meta\.db\.last and the directory .*online"):
        left.open()
    left.path.with_name("meta.db.last").unlink()
    left.open()
    assert left.count(MetricChunk) == 0
    commit(left, 1)
    left.close()
    left.open()
    left.close()


@pytest.mark.parametrize("content", [b"", b"7", b"x" * 30, b"00000000000000000009 00000000\n"])
def test_a_damaged_number_beside_the_database_is_written_anew(database, content):
    commit(database, 2)
    database.close()
    number = database.path.with_name("meta.db.last")
    right = number.read_bytes()
    number.write_bytes(content)
    database.open()
    commit(database, 1)
    assert number.read_bytes() != right
    assert database._last.read() == database.commits() == 3


def test_a_transaction_that_changes_nothing_is_no_commit(database):
    commit(database, 1)
    with database.write(actor="a") as tx:
        tx.get(MetricChunk, id=1)
    with contextlib.suppress(ZeroDivisionError), database.write(actor="a") as tx:
        tx.insert(metric())
        1 / 0  # noqa: B018
    assert (database.commits(), database._last.read()) == (1, 1)


def test_a_commit_stands_where_its_number_cannot_be_written(database):
    database._last.path.mkdir()
    commit(database, 1)
    assert database.commits() == 1
    database._last.path.rmdir()


def test_a_new_database_forgets_the_number_of_another(tmp_path):
    (tmp_path / "meta.db.last").write_bytes(b"00000000000000000009 " + b"%08x\n" % 0)
    database = Database(tmp_path / "meta.db", FileLock(tmp_path / "write.lock"))
    database._last.write(9)
    database.create(lambda first: None)
    commit(database, 1)
    database.close()
    database.open()
    database.close()


# A workspace


def orders(count):
    return pl.DataFrame({"customer": ["a"] * count, "at": [at(hour) for hour in range(count)], "amount": [1.0] * count})


@pytest.fixture
def shop_path(tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True) as ws:
        ws.apply(shop(orders(3)))
        ws.ingest("orders")
        ws.materialize()
    return path


def test_an_online_store_that_is_ahead_of_the_database_is_noticed(shop_path, tmp_path):
    shutil.copytree(shop_path, tmp_path / "ahead.tm")
    with tm.connect(tmp_path / "ahead.tm") as ws:
        ws.apply(shop(orders(5)))
        ws.ingest("orders")
    shutil.copy(tmp_path / "ahead.tm" / "online" / "data.mdb", shop_path / "online" / "data.mdb")
    with pytest.raises(IntegrityError, match="has come to sequence 3, and the online store has rows up to 5"):
        tm.connect(shop_path)
    shutil.rmtree(shop_path / "online")
    with tm.connect(shop_path) as ws:
        assert database_of(ws).sequence() == 3


def test_nothing_is_collected_or_backed_up_by_the_word_of_a_damaged_row(shop_path, tmp_path):
    raw(shop_path / "meta.db", "UPDATE segments SET dead_at = 1")
    with tm.connect(shop_path) as ws:
        with pytest.raises(IntegrityError, match="the row with id=1 in table segments"):
            collect(environment_of(ws), now=10, grace=0, actor="test")
        with pytest.raises(IntegrityError, match="nothing was backed up: the row with id=1 in table segments"):
            ws.backup(tmp_path / "saved")
        assert len(list((shop_path / "segments").rglob("*"))) == 2
    assert not (tmp_path / "saved").exists()


def test_a_search_does_not_leave_out_a_damaged_run(shop_path):
    with tm.connect(shop_path) as ws, ws.start_run("one") as run:
        run.log_metrics(auc=0.5)
    raw(shop_path / "meta.db", "UPDATE metric_summaries SET last = 0.4")
    with tm.connect(shop_path) as ws, pytest.raises(IntegrityError, match="in table metric_summaries"):
        ws.search_runs("metrics.auc > 0.45")


def test_sql_over_records_compares_them(shop_path):
    raw(shop_path / "meta.db", "UPDATE ingestions SET rows_new = 7")
    with tm.connect(shop_path) as ws, pytest.raises(IntegrityError, match="in table ingestions"):
        ws.sql("select * from ingestions")


def test_the_doctor_goes_on_after_a_look_that_ends_in_an_error(shop_path):
    with contextlib.closing(sqlite3.connect(shop_path / "meta.db")) as connection:
        connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'audit'")
        connection.execute("UPDATE segments SET source = CAST(x'ff' AS TEXT)")
        connection.commit()
    with tm.connect(shop_path) as ws:
        found = list(check(environment_of(ws), lambda _: None))
    damaged = {one.check: one.detail for one in found if one.level == "damaged"}
    assert damaged["audit log"] == "the row with name='audit' in table counters is not what was written"
    assert "Could not decode" in damaged["rows"]
    assert found[-1].check == "disk"


def test_the_doctor_names_every_damaged_row(shop_path):
    raw(shop_path / "meta.db", "UPDATE ingestions SET rows_new = 7", "UPDATE source_states SET rows = 9")
    with tm.connect(shop_path) as ws:
        found = [one.detail for one in check(environment_of(ws), lambda _: None) if one.level == "damaged"]
    assert found == [
        "the row with source='orders' in table source_states is not what was written",
        "the row with id=1 in table ingestions is not what was written",
    ]
