"""`tinymlops doctor`: every stored byte is checked, and a damaged file is named."""

import json
import os
import re
import sqlite3
import subprocess
import sys

import pytest
from command_line import ask, launch, run, succeed, train, write_shop

import tinymlops as tm
from tinymlops.features.history import reading_notes
from tinymlops.stores.doctor import sqlite_note


@pytest.fixture
def shop(tmp_path):
    """A shop with a model, pushed rows and segments."""
    folder = write_shop(tmp_path / "shop")
    succeed("init", folder)
    succeed("apply", "--project", folder)
    succeed("ingest", "--project", folder)
    train(folder)
    succeed("models", "register", "buy", "--run", "baseline", "--project", folder)
    succeed(
        "push", "clicks", "click_id=a", "customer_id=1", "at=2024-02-01T00:00:00Z", "seconds=1.5", "--project", folder
    )
    return folder


def examine(folder):
    result = run("doctor", "--project", folder, "--json")
    assert result.exit_code in (0, 8), result.output
    return result.exit_code, json.loads(result.stdout)


def damaged(report):
    return [finding for finding in report["findings"] if finding["level"] == "damaged"]


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def flip_all(path, text):
    """Flip a bit at each occurrence of a text: a page that LMDB has rewritten leaves the old one in the file."""
    for found in re.finditer(re.escape(text), path.read_bytes()):
        flip(path, found.start())


def test_a_sound_workspace_passes_every_check(shop):
    code, report = examine(shop)
    assert (code, damaged(report), report["damaged"]) == (0, [], 0)
    checks = [finding["check"] for finding in report["findings"]]
    assert checks == [
        *(
            "file system",
            "permissions",
            "locks",
            "schema",
            "database",
            "audit log",
            "rows",
            "commits",
            "clock",
            "online views",
            "files",
            "online store",
            "join images",
            "vector indexes",
            "row indexes",
            "search index",
            "orphans",
            "disk",
            "sums of metrics",
        )
    ]
    assert {space["kind"]: space["bytes"] > 0 for space in report["space"]} == {
        "database": True,
        "search index": False,
        "segments": True,
        "indexes": False,
        "images": False,
        "blobs": True,
        "online": True,
        "tmp": False,
        "vectors": False,
    }
    assert report["versions"]["tinymlops"] == tm.__version__


def test_it_changes_nothing(shop):
    def state():
        return {
            path: path.stat().st_mtime_ns
            for part in ("segments", "blobs")
            for path in (shop / "shop.tm" / part).rglob("*")
        }

    before = state()
    examine(shop)
    assert state() == before


@pytest.mark.parametrize("part", ["segments", "blobs"])
def test_one_flipped_byte_in_any_file_is_found_and_the_file_named(shop, part):
    for path in [path for path in (shop / "shop.tm" / part).rglob("*") if path.is_file()]:
        flip(path, path.stat().st_size // 2)
        code, report = examine(shop)
        assert code == 8
        assert [finding["file"] for finding in damaged(report)] == [str(path)]
        flip(path, path.stat().st_size // 2)
    assert examine(shop)[0] == 0


def test_one_flipped_byte_in_the_online_store_is_found(shop):
    succeed("materialize", "spending", "--project", shop)
    data = shop / "shop.tm" / "online" / "data.mdb"
    flip_all(data, b"amount")
    code, report = examine(shop)
    assert code == 8
    (finding,) = damaged(report)
    assert finding["check"] == "online store"
    assert finding["file"] == str(shop / "shop.tm" / "online")


def test_repair_makes_the_online_store_anew_and_touches_nothing_else(shop):
    succeed("materialize", "spending", "--project", shop)
    online = ask("features", "online", "spending", "customer_id=1", "--project", shop)["rows"]
    kept = {
        path: path.read_bytes() for part in ("segments", "blobs") for path in (shop / "shop.tm" / part).rglob("*/*")
    }
    data = shop / "shop.tm" / "online" / "data.mdb"
    flip_all(data, b"amount")
    assert "doctor --repair" in run("doctor", "--project", shop).stdout
    result = ask("doctor", "--repair", "--project", shop)
    assert (result["damaged"], "spending" in result["rebuilt"]) == (0, True)
    assert ask("features", "online", "spending", "customer_id=1", "--project", shop)["rows"] == online
    assert kept == {path: path.read_bytes() for path in kept}


def test_one_flipped_byte_in_a_join_image_is_found_and_the_next_read_makes_it_anew(shop, monkeypatch):
    monkeypatch.setattr(reading_notes, "MANY_ROWS", 0)
    asked = ("features", "historical", "spending", "customer_id=1", "timestamp=2024-02-02T00:00:00Z", "--project", shop)
    before = ask(*asked)
    for path in sorted((shop / "shop.tm" / "images").rglob("*")):
        if path.is_file():
            flip(path, path.stat().st_size // 2)
            code, report = examine(shop)
            assert (code, [finding["file"] for finding in damaged(report)]) == (8, [str(path)])
            assert "doctor --repair" in run("doctor", "--project", shop).stdout
            assert ask(*asked) == before
            assert examine(shop)[0] == 0


def test_a_missing_file_is_found_with_what_it_was(shop):
    (path, *_) = (shop / "shop.tm" / "segments" / "orders").iterdir()
    path.unlink()
    code, report = examine(shop)
    assert code == 8
    (finding,) = damaged(report)
    assert finding["file"] == str(path)
    assert "rows of source orders" in finding["detail"]


def change(folder, statement):
    with sqlite3.connect(folder / "shop.tm" / "meta.db") as connection:
        connection.execute(statement)
    connection.close()


def test_an_edited_audit_entry_is_found(shop):
    path = shop / "shop.tm" / "meta.db"
    content = path.read_bytes()
    place = content.index(b"workspace.create")
    path.write_bytes(content[:place] + b"W" + content[place + 1 :])
    code, report = examine(shop)
    assert code == 8
    assert [finding["detail"] for finding in damaged(report)] == [
        "audit entry 1 was changed",
        "the row with n=1 in table audit is not what was written",
    ]


def test_a_pushed_row_that_is_not_what_was_written_is_found(shop):
    change(shop, "UPDATE pushed_rows SET payload = x'00'")
    code, report = examine(shop)
    assert code == 8
    assert "is not what was written" in damaged(report)[0]["detail"]


def test_files_that_nothing_names_are_counted_and_kept(shop):
    orphan = shop / "shop.tm" / "blobs" / "ab" / ("ab" + "0" * 62)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"12345")
    code, report = examine(shop)
    assert code == 0
    (finding,) = [finding for finding in report["findings"] if finding["check"] == "orphans"]
    assert finding["detail"].startswith("1 files that nothing names, 5 bytes")
    assert orphan.exists()


def test_a_database_that_cannot_be_opened_is_named(shop):
    (shop / "shop.tm" / "meta.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    result = run("doctor", "--project", shop)
    assert result.exit_code == 8
    assert "meta.db is damaged" in result.stderr


def test_for_people_it_ends_with_a_verdict(shop):
    assert succeed("doctor", "--project", shop).splitlines()[-1] == "nothing is damaged"


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
    ],
)
def test_the_versions_of_sqlite_with_the_race_are_known(version, fixed):
    assert ("without" in sqlite_note(version)) is fixed


NEEDED = """
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import tinymlops as tm
from tinymlops.kernels.compiling import recorded
from tinymlops_cli import warming

with recorded() as compiled:
    warming._walk(Path(sys.argv[1]))
with recorded() as needed, tm.connect("shop.tm") as ws:
    spine = pl.DataFrame({"customer_id": [1], "timestamp": [datetime(2024, 2, 2, tzinfo=UTC)]})
    ws.get_historical_features(spine, ["spending", "browsing"])
    ws.materialize()
    ws.get_online_features(["spending", "browsing"], [{"customer_id": 1}, {"customer_id": 2}])
print(len(compiled), len(needed), [kernel.__name__ for kernel, types in needed if (kernel, types) not in compiled])
"""


def test_what_it_compiles_is_all_that_a_project_needs(shop, tmp_path):
    interpreted = {name: value for name, value in os.environ.items() if name != "TINYMLOPS_KERNELS"}
    command = [sys.executable, "-c", NEEDED, str(tmp_path)]
    done = subprocess.run(command, cwd=shop, env=interpreted, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compiled, needed, lacking = done.stdout.split(maxsplit=2)
    assert int(compiled) > 40
    assert int(needed) > 5
    assert lacking.strip() == "[]"


def test_the_workspace_is_read_while_another_process_writes(shop):
    with tm.connect(shop / "shop.tm", root=shop) as ws, ws.start_run("open"):
        result = launch("doctor", "--project", shop)
        assert result.returncode == 0, result.stderr
    assert ask("runs", "list", "--project", shop)[0]["name"] == "open"


def test_kernels_are_compiled_where_there_is_no_project(tmp_path):
    result = launch("doctor", "--compile", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["kernels"]["compiled"]
    assert "tinymlops.toml" in launch("doctor", cwd=tmp_path).stderr
