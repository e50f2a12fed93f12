"""Row indexes are derived: they come and go with what is read, survive nothing they need not, and no loss of one is felt."""

import errno
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import corrected_shop
import polars as pl
import pytest
from command_line import run
from indexing import FRAME, events, ingest, opened, project_of
from inside import environment_of

import tinymlops as tm
from tinymlops.errors import IntegrityError
from tinymlops.stores import lookup, row_index, segments
from tinymlops.stores.backup import restore

HERE = Path(__file__).parent


@pytest.fixture
def shop(tmp_path):
    """Two segments of events 0 to 99, the first with an index."""
    with opened(tmp_path / "events.tm") as ws:
        assert ingest(ws, events(0, 90)) == (90, 0, 0)
        assert ingest(ws, events(80, 20)) == (10, 0, 10)
        yield ws


def indexes(ws):
    return sorted(path.name for path in row_index.listed(environment_of(ws).indexes_dir))


def segment_names(ws):
    return sorted(path.name for path in environment_of(ws).segments_dir.rglob("*") if path.is_file())


def numbers(ws):
    return ws.sql("select number, count(*) as n from events_history group by 1 order by 1")["n"].to_list()


def test_a_lookup_makes_an_index_of_each_segment_that_lacks_one(shop):
    assert len(indexes(shop)) == 1
    ingest(shop, events(0, 1))
    assert indexes(shop) == segment_names(shop)


def test_a_read_of_nothing_and_a_whole_read_make_none(tmp_path):
    with opened(tmp_path / "events.tm") as ws:
        ingest(ws, events(0, 9))
        FRAME["events"] = events(0, 9)
        ws.ingest()
        ws.ingest(full=True)
        assert ingest(ws, events(0, 0)) == (0, 0, 0)
        assert not indexes(ws)


def test_a_segment_without_a_hit_is_not_opened(shop, monkeypatch):
    ingest(shop, events(0, 1))
    opened_files = []
    verify = segments.verify_file
    monkeypatch.setattr(
        segments, "verify_file", lambda path, sha256: (opened_files.append(sha256), verify(path, sha256))
    )
    assert ingest(shop, events(200, 5)) == (5, 0, 0)
    assert not opened_files
    (second,) = set(segment_names(shop)) - set(indexes(shop))
    assert ingest(shop, events(204, 1)) == (0, 0, 1)
    assert opened_files == [second]


def test_a_damaged_segment_is_found_by_the_read_that_needs_it(shop):
    ingest(shop, events(0, 1))
    for path in environment_of(shop).segments_dir.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert ingest(shop, events(200, 5)) == (5, 0, 0)
    with pytest.raises(IntegrityError, match="is damaged"):
        ingest(shop, events(3, 1))


def test_a_merge_and_gc_remove_those_of_segments_out_of_use(shop):
    ingest(shop, events(0, 1))
    shop.compact()
    assert not indexes(shop)
    assert len(segment_names(shop)) == 3
    for path in ("events/other", "gone/segment"):
        (environment_of(shop).indexes_dir / path).parent.mkdir(exist_ok=True)
        (environment_of(shop).indexes_dir / path).touch()
    ingest(shop, events(0, 1))
    shop.gc(grace="7d")
    assert len(indexes(shop)) == 1
    assert set(indexes(shop)) < set(segment_names(shop))
    assert ingest(shop, events(50, 100)) == (50, 0, 50)


def test_a_backup_is_without_them_and_what_is_restored_makes_its_own(shop, tmp_path):
    shop.backup(tmp_path / "saved")
    assert not list((tmp_path / "saved").rglob("indexes"))
    restore(tmp_path / "saved", tmp_path / "again.tm", actor="test", advance=lambda _: None)
    with opened(tmp_path / "again.tm") as ws:
        assert ingest(ws, events(95, 10)) == (5, 0, 5)
        assert len(indexes(ws)) == 2


def test_doctor_names_a_damaged_one_and_repair_drops_all(shop, tmp_path):
    (tmp_path / "tinymlops.toml").write_text('workspace = "events.tm"\n')
    (path,) = row_index.listed(environment_of(shop).indexes_dir)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    found = json.loads(run("doctor", "--project", tmp_path, "--json").stdout)
    (finding,) = [one for one in found["findings"] if one["level"] == "damaged"]
    assert (finding["check"], finding["file"]) == ("row indexes", str(path))
    assert {one["kind"]: one["files"] for one in found["space"]}["indexes"] == 1
    shop.repair()
    assert not indexes(shop)
    assert ingest(shop, events(0, 101)) == (1, 0, 100)


def test_one_by_other_hashes_or_of_another_type_is_made_anew(shop, monkeypatch):
    (path,) = row_index.listed(environment_of(shop).indexes_dir)
    before = path.read_bytes()
    monkeypatch.setattr(lookup, "_function", lambda: "another version")
    assert ingest(shop, events(0, 101)) == (1, 0, 100)
    changed = path.read_bytes()
    assert changed != before
    decimals = events(0, 102).with_columns(pl.col("number").cast(pl.Float64))
    assert ingest(shop, decimals) == (1, 0, 101)
    assert path.read_bytes() not in (before, changed)


@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_where_none_can_be_written_rows_are_stored_as_ever(shop, monkeypatch, failure):
    def fail(_):
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(row_index, "scratch_directory", fail)
    before = indexes(shop)
    assert ingest(shop, events(90, 20)) == (10, 0, 10)
    assert ingest(shop, events(0, 111)) == (1, 0, 110)
    assert indexes(shop) == before


def test_rows_without_ids_are_looked_up_by_their_content_until_a_column_is_added(tmp_path):
    with tm.connect(tmp_path / "events.tm", create=True) as ws:
        ws.apply(project_of(id=None))
        twice = pl.concat([events(0, 30), events(0, 10)])
        assert ingest(ws, twice) == (40, 0, 0)
        assert ingest(ws, pl.concat([events(0, 3)] * 3)) == (3, 0, 6)
        assert ingest(ws, events(0, 1, amount=2.0)) == (1, 0, 0)
        assert len(indexes(ws)) == 2
        wider = events(0, 31).with_columns(shop=pl.lit("a"))
        with pytest.warns(UserWarning, match="shop"):
            assert ingest(ws, wider) == (1, 0, 30)
        assert len(indexes(ws)) == 3
        assert ingest(ws, wider) == (0, 0, 31)
        assert len(indexes(ws)) == 3  # each row is compared in the columns that it was stored with, so all are read


def test_a_workspace_of_an_earlier_schema_gets_them(tmp_path, monkeypatch):
    with zipfile.ZipFile(HERE / "fixtures" / "schema_2.zip") as packed:
        packed.extractall(tmp_path / "shop.tm")
    (tmp_path / "shop.tm").chmod(0o700)
    with (
        tm.connect(tmp_path / "shop.tm", clock=tm.ReplayClock(corrected_shop.day(16))) as ws,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("tinymlops.features.intake.taking_in._SMALL", 0)
        ws.apply(corrected_shop.project())
        patch.setitem(corrected_shop.FRAMES, "orders", pl.DataFrame(corrected_shop.ORDERS))  # which others change
        (before,) = ws.ingest("orders")
        (again,) = ws.ingest("orders")
        assert (again.rows_new, again.rows_corrected, again.rows_known) == (0, 0, 4)
        assert before.rows_read == 4
        assert indexes(ws)


def program(*arguments, **variables):
    return [sys.executable, str(HERE / "indexing.py"), *map(str, arguments)], {**os.environ, **variables}


@pytest.mark.parametrize(("kill", "after"), [(1, ""), (2, ""), (2, "1"), (3, "")])
def test_killed_at_a_rename_it_goes_on_as_if_nothing_were_lost(tmp_path, kill, after):
    with opened(tmp_path / "events.tm") as ws:
        ingest(ws, events(0, 90))
    command, variables = program("ingest", tmp_path / "events.tm", 80, 3, kill + bool(after), AFTER=after)
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with opened(tmp_path / "events.tm") as ws:
        assert ingest(ws, events(0, 120))[1:] != (0, 0)
        assert numbers(ws) == [1] * 120
        assert ingest(ws, events(0, 120)) == (0, 0, 120)


def test_another_process_that_merges_and_collects_takes_nothing_away(tmp_path):
    with opened(tmp_path / "events.tm") as ws:
        ingest(ws, events(0, 90))
    command, variables = program("compact", tmp_path / "events.tm", 12)
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as other:
        with opened(tmp_path / "events.tm") as ws:
            for first in range(90, 114):
                new, corrected, known = ingest(ws, events(first - 10, 11))
                assert (new, corrected, known) == (1, 0, 10)
        assert other.wait(60) == 0, other.stderr.read()
    with opened(tmp_path / "events.tm") as ws:
        assert numbers(ws) == [1] * 114
