"""Workspaces of older schemas open as they are, and have what the newest schema asks for."""

import zipfile
from pathlib import Path

import polars as pl
import pytest
import served_shop

import tinymlops as tm
from tinymlops.records import (
    Counter,
    Generation,
    MovedEvent,
    Outcome,
    Prediction,
    PushBatch,
    PushedRow,
    Record,
    RenamedSource,
)
from tinymlops.stores.checks import check
from tinymlops.stores.migrations import SCHEMA_VERSION

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture
def old(tmp_path):
    """The workspace of `served_shop` with pushes, a compaction, a run, predictions and an outcome, at schema 1.

    Its pushed clicks 0 to 5 are compacted, and those of 6 to 8 are not.
    """
    with zipfile.ZipFile(FIXTURES / "schema_1.zip") as packed:
        packed.extractall(tmp_path / "shop.tm")
    return tmp_path / "shop.tm"


def connect(path):
    return tm.connect(path, clock=tm.ReplayClock(served_shop.NOW))


def test_a_workspace_of_schema_1_opens_with_all_its_records(old):
    with connect(old) as ws:
        database = ws._environment.database
        assert database.rows("PRAGMA user_version") == [(SCHEMA_VERSION,)]
        since_schema_3 = {Generation, RenamedSource}
        assert all(database.list(cls) for cls in Record.__subclasses__() if cls not in since_schema_3)
        assert [finding for finding in check(ws._environment, lambda _: None) if finding.level == "damaged"] == []
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
    with connect(old) as ws:
        assert ws._environment.database.verify_audit() == []
        assert ws._environment.database.damaged_rows() == []
        clicks = pl.DataFrame({"shopper": ["b"], "timestamp": [served_shop.NOW]})
        assert ws.get_historical_features(clicks, ["interest"])["clicks_1d"].to_list() == [0]
