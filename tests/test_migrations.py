"""Workspaces of older schemas open as they are, and are migrated to the newest schema."""

import importlib
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import corrected_shop
import covered_helpers
import covered_shop
import polars as pl
import pytest
import served_shop
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.records import (
    TABLES,
    Access,
    ArrivalLag,
    CheckResult,
    ColumnStatistics,
    ConsoleText,
    Counter,
    Dataset,
    DatasetPart,
    Definition,
    DeletedRun,
    EmbeddingFit,
    EmbeddingState,
    Experiment,
    FailedIngest,
    FittedModel,
    Generation,
    JobAttempt,
    JobLog,
    JobRun,
    JobState,
    JobUpstream,
    KeptMonitorReport,
    Mark,
    MetricPyramid,
    MetricSeries,
    MovedEvent,
    Note,
    OpaqueFile,
    OpaqueModel,
    OpaqueVersion,
    OutboxMessage,
    Outcome,
    PageSession,
    Prediction,
    PushBatch,
    PushedRow,
    Quarantine,
    Reader,
    RefusedLine,
    RegisteredModel,
    RenamedSource,
    RunInput,
    RunModel,
    Salt,
    SavedQuery,
    SinkState,
    SourceCursor,
    StreamPosition,
    Token,
    TokenUse,
    VectorFailure,
    VectorFile,
    VectorIndex,
)
from tinymlops.stores._verify import seal_schema
from tinymlops.stores.doctor import check
from tinymlops.stores.migrations import SCHEMA_VERSION
from tinymlops.stores.rows import check_of

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture
def old(tmp_path):
    """The workspace of `served_shop` with pushes, a compaction, a run, predictions and an outcome, at schema 1.

    Its pushed clicks 0 to 5 are compacted, and those of 6 to 8 are not.
    """
    with zipfile.ZipFile(FIXTURES / "schema_1.zip") as packed:
        packed.extractall(tmp_path / "shop.tm")
    (tmp_path / "shop.tm").chmod(0o700)
    return tmp_path / "shop.tm"


def connect(path):
    return tm.connect(path, clock=tm.ReplayClock(served_shop.NOW))


def test_a_workspace_of_schema_1_opens_with_all_its_records(old):
    with connect(old) as ws:
        database = database_of(ws)
        assert database.rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]
        newer = {Generation, RenamedSource, Note, Mark, Reader, CheckResult, Quarantine}
        newer |= {Dataset, DatasetPart, ColumnStatistics, FailedIngest, Token, TokenUse, Access, Salt}
        newer |= {Experiment, DeletedRun, RunInput, ConsoleText, MetricSeries, MetricPyramid}
        newer |= {OpaqueModel, OpaqueFile, RegisteredModel, OpaqueVersion, RunModel}
        newer |= {StreamPosition, RefusedLine, ArrivalLag}
        newer |= {JobState, JobRun, JobAttempt, JobLog, JobUpstream, OutboxMessage}
        newer |= {SourceCursor, PageSession, SinkState, KeptMonitorReport, SavedQuery}
        newer |= {VectorFile, EmbeddingState, VectorFailure, FittedModel, VectorIndex, EmbeddingFit}
        assert all(database.list(cls) for cls in TABLES if cls not in newer)
        assert [finding for finding in check(environment_of(ws), lambda _: None) if finding.level == "damaged"] == []
        assert {one.name for one in database.list(Counter)} == {"sequence", "audit", "commits", "schema"}
        assert [one.event_id for one in database.list(MovedEvent)] == ["0", "1", "2", "3", "4", "5"]
        assert [one.event_id for one in database.list(PushedRow)] == ["6", "7", "8"]
        assert database.count(PushBatch) == 2
        assert (database.count(Prediction), database.count(Outcome)) == (2, 1)
        assert ws.runs.read_artifact(ws.runs.search(order_by="-metrics.auc")[0].id, "notes.txt") == b"a few notes"


def test_a_workspace_of_schema_1_goes_on(old):
    with connect(old) as ws:
        again = [{"click": 5, "shopper": "b", "at": served_shop.START, "seconds": 1.0}]
        assert ws.push("clicks", again).rows_corrected == 1
        ws.materialize()
        assert ws.predict("splurge@champion", [{"customer": 1, "budget": 20.0}])
        assert ws.verify_online().same
        first = ws.audit.head()
        ws.push("clicks", [again[0] | {"seconds": 2.0}], batch_id="by anna")
        (entry,) = ws.audit.list(subject="by anna")
        assert entry.detail["batch_id"].startswith("text:")
        assert any("batch_id" in one.detail and "text:" not in str(one.detail) for one in ws.audit.list(action="push"))
        assert ws.audit.verify(first).intact
    with connect(old) as ws:
        assert database_of(ws).verify_audit() == []
        assert database_of(ws).damaged_rows() == []
        clicks = pl.DataFrame({"shopper": ["b"], "timestamp": [served_shop.NOW]})
        assert ws.get_historical_features(clicks, ["interest"])["clicks_1d"].to_list() == [0]


@pytest.fixture
def corrected(tmp_path):
    """The workspace of `corrected_shop` at schema 2: rows were read in their final versions, whenever these came."""
    with zipfile.ZipFile(FIXTURES / "schema_2.zip") as packed:
        packed.extractall(tmp_path / "shop.tm")
    (tmp_path / "shop.tm").chmod(0o700)
    return tmp_path / "shop.tm"


def known_of(ws, customer):
    """The amounts and counts of spending at the end of days 6, 11 and 16."""
    days = [corrected_shop.day(number + 0.5) for number in (5, 10, 15)]
    spine = pl.DataFrame({"customer": [customer] * 3, "timestamp": days})
    found = ws.get_historical_features(spine, ["spending"])
    return found["spent"].to_list()


def test_builds_and_models_of_schema_2_read_what_they_read_and_new_definitions_observe(corrected):
    clock = tm.ReplayClock(corrected_shop.day(16))
    with tm.connect(corrected, clock=clock) as ws:
        assert ws.verify("spending_of_visits").same
        assert ws.verify_online().same
        assert known_of(ws, "a") == [12.0, 12.0, 12.0]
        plan = ws.apply(corrected_shop.project())
        assert "known latest -> observed" in str(plan)  # and where its code lies, in another checkout
        # Corrections count from the ingest that brought them, also those that were compacted.
        assert known_of(ws, "a") == [30.0, 31.0, 12.0]
        assert known_of(ws, "b") == [70.0, 70.0, 73.0]
        ws.compact()
        assert known_of(ws, "a") == [30.0, 31.0, 12.0]
        ws.materialize()
        online = ws.get_online_features(["spending"], [{"customer": "a"}, {"customer": "b"}])
        assert online.to_dict()["spent"] == [12.0, 73.0]
        assert ws.verify("spending_of_visits").same
        assert ws.verify_online().same
        ws.predict("spender@champion", [{"customer": "a"}], sync=True)
        assert ws.verify_online().same
        data = ws.get_training_data("spending_of_visits")
        assert data.train.X.filter(pl.col("n") == 2)["spent"].unique().sort().to_list() == [30.0, 70.0]
        assert data.report.knowledge["spending"].known == "observed"
        corrected_shop.FRAMES["orders"] = corrected_shop.changed(amount={1: 12.0, 3: 34.0})
        clock.advance("1d")
        (report,) = ws.ingest("orders")
        assert (report.rows_corrected, report.rows_known) == (2, 2)  # one of them had vanished
        clock.advance("1d")
        assert known_of(ws, "b") == [70.0, 70.0, 73.0]
        assert database_of(ws).damaged_rows() == []


def test_a_workspace_of_schema_3_goes_on_and_its_definitions_keep_their_fingerprints(tmp_path):
    with zipfile.ZipFile(FIXTURES / "schema_3.zip") as packed:
        packed.extractall(tmp_path / "shop.tm")
    (tmp_path / "shop.tm").chmod(0o700)
    with connect(tmp_path / "shop.tm") as ws:
        found = database_of(ws).list(Definition)
        assert found
        assert all((one.logic, one.author, one.message, one.below) == ("", "", "", {}) for one in found)
        assert [finding for finding in check(environment_of(ws), lambda _: None) if finding.level == "damaged"] == []
        planned = ws.plan(served_shop.project)
        assert {change.detail for change in planned.changes if change.action == "change"} <= {"where its code is"}
        ws.materialize()
        assert ws.predict("splurge@champion", [{"customer": 1, "budget": 20.0}])
        assert ws.verify_online().same


@pytest.fixture
def covered(tmp_path, monkeypatch):
    """The workspace of `covered_shop` from when a digest covered one function, and its modules in a directory of their own."""
    with zipfile.ZipFile(FIXTURES / "schema_8.zip") as packed:
        packed.extractall(tmp_path / "shop.tm")
    (tmp_path / "shop.tm").chmod(0o700)
    for module in (covered_helpers, covered_shop):
        text = Path(module.__file__).read_text()
        (tmp_path / Path(module.__file__).name).write_text(text)
        monkeypatch.delitem(sys.modules, module.__name__)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def loaded(directory, **changes):
    """Import the shop again, with changes to the text of its helpers."""
    text = (directory / "covered_helpers.py").read_text()
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (directory / "covered_helpers.py").write_text(text)
    for name in ("covered_helpers", "covered_shop"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module("covered_shop").project


def identities(ws):
    return [(row.kind, row.name, row.version, row.fingerprint) for row in ws.catalog.list()]


def changed(plan):
    return {one.name: one.detail for one in plan.changes if one.action != "keep"}


def test_code_applied_when_a_digest_covered_one_function_is_the_same_after_the_upgrade(covered):
    project, asked = loaded(covered), [{"customer": 1, "budget": 5.0}]
    clock = tm.ReplayClock(covered_shop.NOW)
    with tm.connect(covered / "shop.tm", clock=clock) as ws:
        before = identities(ws)
        assert not ws.plan(project)
        answer = ws.predict("spender@champion", asked)[0]["probability"]
        assert not ws.apply(project)
        assert identities(ws) == before
        assert ws.catalog.get("on_demand", "room").spec["code"]["covers"]["parts"].keys() == {
            "room",
            "covered_helpers.left",
        }
        assert ws.plan(project).unseen[0].packages.keys() == {"polars"}
        assert all(report.rows_new == 0 for report in ws.ingest())
        ws.materialize()
        assert ws.verify("visits_to_orders").same
        assert ws.verify_online().same
        assert ws.predict("spender@champion", asked)[0]["probability"] == answer
        audit = database_of(ws).rows("SELECT action, subject FROM audit WHERE action = 'definition.cover'")
        assert {subject for _, subject in audit} == {
            f"source:{name}" for name in ("orders", "visits", "paid", "days")
        } | {"on_demand:room"}
        assert database_of(ws).verify_audit() == []
    with tm.connect(covered / "shop.tm", clock=clock) as ws:  # by what is stored now
        assert not ws.plan(project)
        assert ws.predict("spender@champion", asked)[0]["probability"] == answer


@pytest.mark.parametrize("applied", [True, False], ids=["after an apply", "before an apply"])
def test_a_helper_that_changes_after_the_upgrade_is_found_by_plan(covered, applied):
    clock = tm.ReplayClock(covered_shop.NOW)
    if applied:
        with tm.connect(covered / "shop.tm", clock=clock) as ws:
            ws.apply(loaded(covered))
    project = loaded(covered, **{"RATE = 2.0": "RATE = 3.0", "return budget - spent": "return budget - 2 * spent"})
    with tm.connect(covered / "shop.tm", clock=clock) as ws:
        found = changed(ws.plan(project))
        if not applied:  # nobody recorded what the helpers were
            assert found == {}
            return
        assert {name: found[name] for name in ("paid", "days", "room")} == {
            "paid": "code of covered_helpers.RATE",
            "days": "code of covered_helpers.RATE",
            "room": "code of covered_helpers.left",
        }
        assert {"orders", "visits"}.isdisjoint(found)
        before = {(kind, name): (version, mark) for kind, name, version, mark in identities(ws)}
        ws.apply(project)
        after = {(kind, name): (version, mark) for kind, name, version, mark in identities(ws)}
        assert after["on_demand", "room"][0] == before["on_demand", "room"][0] + 1
        assert after["source", "orders"] == before["source", "orders"]
        # Back again: the next version, and the fingerprint that builds and models know.
        ws.apply(loaded(covered, **{"RATE = 3.0": "RATE = 2.0", "return budget - 2 * spent": "return budget - spent"}))
        again = {(kind, name): mark for kind, name, _, mark in identities(ws)}
        assert again == {key: mark for key, (_, mark) in before.items()}
        assert len(ws.predict("spender@champion", [{"customer": 1, "budget": 5.0}])) == 1
        assert ws.verify("visits_to_orders").same


def test_a_message_of_schema_15_is_sent_after_the_upgrade(tmp_path):
    """The column that says who has taken it is new, and its row's checksum with it."""
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(served_shop.NOW)):
        pass
    row = ("0" * 32, "job.failed", "x failed", '{"job":"x"}', "waiting", 5, 0, 6, None, None)
    with closing(sqlite3.connect(tmp_path / "shop.tm" / "meta.db", isolation_level=None)) as old:
        old.execute("ALTER TABLE outbox DROP COLUMN taken")
        old.execute(f"INSERT INTO outbox VALUES ({', '.join('?' * 11)})", (*row, check_of(row)))
        old.execute("DELETE FROM _sqlite_migrations WHERE name = 'm016_alerts'")
        old.execute("PRAGMA user_version = 15")
        seal_schema(old)
    with tm.connect(tmp_path / "shop.tm", clock=tm.ReplayClock(served_shop.NOW)) as ws:
        assert database_of(ws).damaged_rows() == []
        (message,) = ws.jobs.outbox.take()
        assert (message.id, message.taken, message.detail) == ("0" * 32, (), {"job": "x"})
        assert ws.jobs.outbox.settle(message, None, taken=["webhook"]).taken == ("webhook",)
        assert database_of(ws).damaged_rows() == []
