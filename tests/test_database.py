"""The database: records, transactions, sequence, audit, many processes."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import typing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops import errors, records
from tinymlops.errors import ConflictError, DataError, DefinitionError, IntegrityError, NotFoundError
from tinymlops.records import (
    TABLES,
    AuditEntry,
    LoggedModel,
    MetricChunk,
    ModelAlias,
    ModelVersion,
    Outcome,
    Prediction,
    PushedRow,
    RunRow,
    Segment,
)
from tinymlops.stores import database as database_module
from tinymlops.stores.database import Database
from tinymlops.stores.locks import FileLock
from tinymlops.stores.migrations import SCHEMA_VERSION
from tinymlops.stores.rows import CHECK, codec_for

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
PYTHONPATH = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
NOW = datetime(2013, 10, 1, 12, tzinfo=UTC)
OPEN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from tinymlops.records import MetricChunk
from tinymlops.stores.database import Database
from tinymlops.stores.locks import FileLock
path = Path(sys.argv[1])
database = Database(path / "meta.db", FileLock(path / "write.lock"))
database.open()
now = datetime(2013, 10, 1, tzinfo=UTC)
"""
WRITER = (
    OPEN
    + """
for i in range(200):
    with database.write(actor=sys.argv[2]) as transaction:
        base = transaction.take_sequence(2)
        for n in (base + 1, base + 2):
            transaction.insert(MetricChunk(run=sys.argv[2], name="n", step=n, value=i, at=now))
        transaction.audit("write", sys.argv[2])
    database.sequence()
database.close()
"""
)
DIES_INSIDE = (
    OPEN
    + """
with database.write(actor="x") as transaction:
    transaction.take_sequence(5)
    transaction.insert_many(MetricChunk(run="dead", name="n", step=i, value=i, at=now) for i in range(50_000))
    print("inside", flush=True)
    sys.stdin.readline()
"""
)


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "meta.db", FileLock(tmp_path / "write.lock"))
    database.create(lambda first: None)
    yield database
    database.close()


def metric(**changes):
    return MetricChunk(**({"run": "r1", "name": "auc", "step": 1, "value": 0.5, "at": NOW} | changes))


def prediction(key, **changes):
    values = {
        "model": "delay",
        "version": 1,
        "at": NOW,
        "sequence": 7,
        "request": {"carrier": "UA"},
        "features": {"mean_1h": 1.5, "visib": None, "dest": "ä\x00𝄞"},
        "output": {"label": True, "probability": 0.25},
    }
    return Prediction(id=key, **(values | changes))


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=PYTHONPATH,
    )


def raw(database, sql):
    """Change the file without the database."""
    with contextlib.closing(sqlite3.connect(database.path)) as connection:
        connection.execute(sql)
        connection.commit()


def test_a_record_comes_back_as_it_went_in(database):
    signature = records.Signature(
        features=[records.FeatureField("dest", "Enum", "request", ["a", "b"])],
        request=[records.RequestField("dest", "String", "request")],
        task="binary",
        classes=[0, "x", None, True, 1.5],
    )
    model = LoggedModel(
        run="r1",
        name="m",
        flavor="skops",
        sha256="0" * 64,
        bytes=3,
        model_class="X",
        signature=signature,
        evaluation=records.Evaluation(split="test", rows=3, metrics={"auc": math.inf}),
        at=NOW,
    )
    row = PushedRow(n=1, source="s", payload=b"\x00\xff", digest=b"", event=-5, created=2**63 - 1, deleted=True)
    with database.write(actor="a") as transaction:
        for record in (model, row, prediction("p")):
            assert transaction.insert(record) is record
    assert database.get(LoggedModel, run="r1", name="m") == model
    assert database.get(PushedRow, n=1) == row
    assert database.get(Prediction, id="p") == prediction("p")
    assert database.get(Prediction, id="q") is None


@given(value=st.floats(), at=st.datetimes(timezones=st.just(UTC)), step=st.integers(-(2**63), 2**63 - 1))
def test_floats_times_and_whole_numbers_are_exact(value, at, step):
    plan = codec_for(MetricChunk)
    stored = plan.encode(metric(value=value, at=at, count=step))
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        columns = ", ".join(f"{name} ANY" for name in (*plan.names, CHECK))
        connection.execute(f"CREATE TABLE metric_chunks ({columns}) STRICT")
        connection.execute(plan.insert, stored)
        found = plan.decode(connection.execute(plan.select).fetchone())
    assert (found.at, found.count) == (at, step)
    assert found.value == value or (math.isnan(value) and math.isnan(found.value))


def test_parameters_of_a_run_keep_their_types(database):
    run = RunRow(
        id="r1",
        name="n",
        status="finished",
        params={"a": "1", "b": 1, "c": True, "d": None, "e": 1.0},
        started_at=NOW,
    )
    with database.write(actor="a") as transaction:
        transaction.insert(run)
    found = database.get(RunRow, id="r1")
    assert [type(value) for value in found.params.values()] == [str, int, bool, type(None), float]


def test_an_outcome_keeps_numbers_and_texts_apart(database):
    with database.write(actor="a") as transaction:
        for key, value in (("a", 1.5), ("b", "1.5"), ("c", None)):
            transaction.insert(Outcome(prediction_id=key, value=value, at=NOW, origin="logged"))
    assert [outcome.value for outcome in database.list(Outcome)] == [1.5, "1.5", None]


def test_an_assigned_id_is_filled_in_and_never_used_again(database):
    with database.write(actor="a") as transaction:
        first = transaction.insert(metric())
        second = transaction.insert(metric())
        transaction.delete(MetricChunk, id=second.id)
        third = transaction.insert(metric())
    assert [first.id, second.id, third.id] == [1, 2, 3]


def test_list_filters_orders_and_limits(database):
    with database.write(actor="a") as transaction:
        transaction.insert_many(
            metric(run=run, step=step, at=NOW + timedelta(seconds=step)) for run in "ab" for step in range(3)
        )
        transaction.insert_many(prediction(key, sequence=sequence) for key, sequence in (("x", None), ("y", 1)))

    def steps(**arguments):
        return [(m.run, m.step) for m in database.list(MetricChunk, **arguments)]

    assert steps(where={"run": "a"}, order="-step") == [("a", 2), ("a", 1), ("a", 0)]
    assert steps(order="-at", limit=2) == [("b", 2), ("a", 2)]
    assert steps(where={"step": [0, 2], "run": ["b", "c"]}) == [("b", 0), ("b", 2)]
    assert steps(where={"step": []}) == []
    assert steps(where={"at": NOW}) == [("a", 0), ("b", 0)]
    assert len(steps(where={"step": list(range(100_000))})) == 6
    assert [p.id for p in database.list(Prediction, where={"sequence": None})] == ["x"]
    assert [p.id for p in database.list(Prediction, where={"sequence": [None, 1]})] == ["x", "y"]
    assert database.count(MetricChunk, {"run": "a"}) == 3
    assert database.count(MetricChunk) == 6


def test_a_column_that_does_not_exist_is_named_with_its_near_match(database):
    with pytest.raises(DefinitionError, match=r"no column 'stepp'\nHint: did you mean 'step'\?"):
        database.list(MetricChunk, where={"stepp": 1})
    with pytest.raises(DefinitionError, match="no column"):
        database.list(MetricChunk, order="-step; drop table metric_chunks")


def test_put_update_and_delete_change_one_record(database):
    with database.write(actor="a") as transaction:
        transaction.put(prediction("p"))
        transaction.put(prediction("p", version=2))
        assert transaction.get(Prediction, id="p").version == 2
        transaction.update(prediction("p", version=3))
        with pytest.raises(NotFoundError, match="predictions has no id='q'"):
            transaction.update(prediction("q"))
    assert [p.version for p in database.list(Prediction)] == [3]
    with database.write(actor="a") as transaction:
        assert transaction.delete(Prediction, id="p") == 1
        assert transaction.delete(Prediction, id="p") == 0


def test_a_second_record_with_the_same_key_is_a_conflict(database):
    with pytest.raises(ConflictError, match="predictions already has"), database.write(actor="a") as transaction:
        transaction.insert(prediction("p"))
        transaction.insert_many([prediction("q"), prediction("p")])
    assert database.count(Prediction) == 0


def test_an_alias_needs_its_version(database):
    alias = ModelAlias(name="delay", alias="champion", version=1, changed_at=NOW)
    with pytest.raises(DataError, match="model_aliases"), database.write(actor="a") as transaction:
        transaction.insert(alias)
    version = ModelVersion(name="delay", version=1, run="r", logged_name="m", manifest_sha256="0", registered_at=NOW)
    with database.write(actor="a") as transaction:
        transaction.insert(version)
        transaction.insert(alias)


@pytest.mark.parametrize(
    "record",
    [
        metric(step=2**63),
        metric(name="\ud800"),
        metric(at=datetime(2013, 1, 1)),
        prediction("p", features={"a": "\udfff"}),
        prediction("p", features={"a": object()}),
    ],
    ids=["integer", "surrogate", "naive", "surrogate in json", "object"],
)
def test_what_cannot_be_stored_exactly_is_refused(database, record):
    with pytest.raises(DataError), database.write(actor="a") as transaction:
        transaction.insert(record)
    assert database.count(type(record)) == 0


def test_an_exception_rolls_everything_back(database):
    with pytest.raises(ZeroDivisionError), database.write(actor="a") as transaction:
        transaction.insert(metric())
        transaction.take_sequence(3)
        transaction.audit("x", "y")
        1 / 0  # noqa: B018
    assert (database.count(MetricChunk), database.sequence(), database.count(AuditEntry)) == (0, 0, 0)
    with database.write(actor="a") as transaction:
        assert transaction.take_sequence(1) == 0


def test_a_transaction_is_invisible_until_it_ends_and_useless_afterwards(database):
    with database.write(actor="a") as transaction:
        transaction.insert(metric())
        assert database.count(MetricChunk) == 0
    assert database.count(MetricChunk) == 1
    with pytest.raises(ConflictError, match="has ended"):
        transaction.insert(metric())


def test_write_transactions_do_not_nest(database):
    with (
        database.write(actor="a"),
        pytest.raises(ConflictError, match="inside a write transaction"),
        database.write(actor="a"),
    ):
        pass


def test_reading_connections_refuse_to_write(database):
    with pytest.raises(IntegrityError, match="readonly"):
        database.rows("DELETE FROM metric_chunks")


def test_the_sequence_starts_at_one_and_has_no_gap(database):
    with database.write(actor="a") as transaction:
        assert transaction.take_sequence(3) == 0
        assert transaction.take_sequence(2) == 3
        assert transaction.sequence() == 5
    assert database.sequence() == 5


def test_the_audit_log_is_chained_and_append_only(database):
    with database.write(actor="anna") as transaction:
        first = transaction.audit("promote", "delay", version=3, share=math.nan)
        second = transaction.audit("promote", "delay", version=4)
    assert (first.n, second.n, second.previous) == (1, 2, first.hash)
    assert database.list(AuditEntry)[1] == second
    assert database.verify_audit() == []
    changed = msgspec.structs.replace(first, actor="eve")
    for change in (
        lambda transaction: transaction.update(changed),
        lambda transaction: transaction.put(changed),
        lambda transaction: transaction.delete(AuditEntry, n=2),
    ):
        with pytest.raises(ConflictError, match="append only"), database.write(actor="eve") as transaction:
            change(transaction)
    assert database.verify_audit() == []


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE n = 2", "audit entry 2 was changed"),
        ("DELETE FROM audit WHERE n = 2", "audit entries 2 to 2 were removed"),
        ("DELETE FROM audit WHERE n > 1", "audit entries 2 to 3 were removed"),
    ],
)
def test_a_tampered_audit_log_is_noticed(database, sql, problem):
    with database.write(actor="anna") as transaction:
        for version in range(3):
            transaction.audit("promote", "delay", version=version)
    for trigger in ("audit_is_never_changed", "audit_is_never_deleted"):
        raw(database, f"DROP TRIGGER {trigger}")
    raw(database, sql)
    assert problem in database.verify_audit()


def test_a_newer_schema_is_refused_before_anything_is_written(database):
    raw(database, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(IntegrityError, match="pip install --upgrade tinymlops"), database.write(actor="a"):
        pytest.fail("the block must not run")
    database.close()
    with pytest.raises(IntegrityError, match=f"knows only {SCHEMA_VERSION}"):
        database.open()


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "meta.db").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(IntegrityError, match=r"meta\.db is damaged"):
        Database(tmp_path / "meta.db", FileLock(tmp_path / "write.lock")).open()


def test_the_settings_are_those_of_the_design(database):
    with database.write(actor="a"):
        settings = {
            name: database._writer.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "wal_autocheckpoint")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "wal_autocheckpoint": 0,
    }


def test_the_wal_is_checkpointed_when_it_has_grown_and_emptied_at_close(database, monkeypatch):
    monkeypatch.setattr(database_module, "_WAL_LIMIT", 200_000)
    wal = database.path.with_name("meta.db-wal")
    largest = 0
    for batch in range(30):
        with database.write(actor="a") as transaction:
            transaction.insert_many(prediction(f"{batch}-{i}") for i in range(200))
        largest = max(largest, wal.stat().st_size)
    assert database.path.stat().st_size > 500_000
    assert largest < 600_000
    database.close()
    assert not wal.exists()


def test_each_thread_reads_through_its_own_connection_which_ends_with_it(database):
    with database.write(actor="a") as transaction:
        transaction.insert(metric())
    seen = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: seen.append((database.count(MetricChunk), database._reader())))
        thread.start()
        thread.join()
    del thread
    assert [count for count, _ in seen] == [1, 1, 1]
    for _, connection in seen:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")


def test_threads_write_one_after_the_other(database):
    def write():
        for _ in range(25):
            with database.write(actor="a") as transaction:
                transaction.insert(metric(step=transaction.take_sequence(1)))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [m.step for m in database.list(MetricChunk)] == list(range(100))


def test_eight_processes_write_without_an_error_or_a_gap(database, tmp_path):
    processes = [start(WRITER, tmp_path, f"w{i}") for i in range(8)]
    for process in processes:
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
    assert database.sequence() == 3200
    assert [m.step for m in database.list(MetricChunk)] == list(range(1, 3201))
    assert database.count(AuditEntry) == 1600
    assert database.verify_audit() == []


def test_a_process_killed_inside_a_transaction_leaves_nothing_and_blocks_nobody(database, tmp_path):
    process = start(DIES_INSIDE, tmp_path)
    with process:
        assert process.stdout.readline() == "inside\n"
        process.send_signal(signal.SIGKILL)
    with database.write(actor="a") as transaction:
        assert transaction.take_sequence(1) == 0
    assert database.count(MetricChunk) == 0
    assert database.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_handle_used_after_fork_says_so_and_the_parent_goes_on(database):
    with database.write(actor="a") as transaction:
        transaction.insert(metric())
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(ConflictError):
                database.close()
                database.get(MetricChunk, id=1)
                code = 2
            with contextlib.suppress(ConflictError), database.write(actor="b"):
                code = 3
            os._exit(0 if code == 1 else code)
        assert os.waitpid(pid, 0)[1] == 0
    assert database.count(MetricChunk) == 1


def test_a_fork_inside_a_transaction_cannot_commit_it(database):
    pid = 0
    with contextlib.ExitStack() as stack:
        transaction = stack.enter_context(database.write(actor="a"))
        transaction.insert(metric())
        pid = os.fork()
        if pid == 0:
            try:
                stack.close()
            except ConflictError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        with contextlib.closing(sqlite3.connect(database.path)) as other:
            assert other.execute("SELECT count(*) FROM metric_chunks").fetchone() == (0,)
    assert database.count(MetricChunk) == 1


def test_a_closed_database_says_so(database):
    database.close()
    with pytest.raises(ConflictError, match="is closed"):
        database.count(MetricChunk)
    with pytest.raises(ConflictError, match="is closed"), database.write(actor="a"):
        pass


def test_reads_use_the_indexes(database):
    for sql in (
        "SELECT * FROM segments WHERE source = ? AND dead_at IS NULL",
        "SELECT * FROM pushed_rows WHERE source = ? AND n > 5",
        "SELECT * FROM pushed_rows WHERE source = ? AND event_id = '1'",
        "SELECT * FROM metric_chunks WHERE run = ?",
        "SELECT * FROM predictions WHERE model = ? AND version = 1 AND at > 5",
    ):
        ((*_, plan),) = database.rows("EXPLAIN QUERY PLAN " + sql, ["x"])
        assert "USING INDEX" in plan, sql


def test_segments_keep_their_null_times(database):
    segment = Segment(
        source="planes",
        sha256="0" * 64,
        base=0,
        rows=1,
        last=1,
        bytes=1,
        min_event=None,
        max_event=None,
        created_at=NOW,
    )
    with database.write(actor="a") as transaction:
        stored = transaction.insert(segment)
    assert database.list(Segment, where={"source": "planes", "dead_at": None}) == [stored]


def test_every_field_type_of_every_record_is_understood():
    for cls in TABLES:
        assert len(typing.get_type_hints(cls)) >= len(codec_for(cls).names)
