"""Backup and restore: one commit, complete or not at all."""

import errno
import hashlib
import threading
from pathlib import Path

import msgspec
import polars as pl
import pytest
from command_line import put_instead
from conftest import at, shop
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError, IntegrityError, NotFoundError, TinyMLOpsError
from tinymlops.records import Definition, Segment
from tinymlops.stores.backup import backup, read_manifest, restore
from tinymlops.stores.database import Database
from tinymlops.stores.locks import FileLock
from tinymlops.stores.publish import hash_file


def orders(count):
    return pl.DataFrame({"customer": ["a"] * count, "at": [at(i) for i in range(count)], "amount": [1.0] * count})


def filled(ws, count=3):
    project = shop(orders(count))
    ws.apply(project)
    ws.ingest("orders")
    with ws.start_run("r") as run:
        run.log_artifact("notes.txt", b"some notes")
    return project


def saved(ws, target):
    return backup(environment_of(ws), target, advance=lambda _: None)


def spent(ws):
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(20)]})
    return ws.get_historical_features(spine, ["spending"])["spent_1d"].to_list()


def test_a_disk_that_takes_no_directory_is_a_full_disk(workspace, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    filled(workspace)
    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(TinyMLOpsError, match="the disk of .* is full"):
        saved(workspace, tmp_path / "copy")


def test_a_restored_workspace_answers_like_the_one_that_was_backed_up(workspace, tmp_path):
    filled(workspace)
    manifest = saved(workspace, tmp_path / "copy")
    assert read_manifest(tmp_path / "copy") == manifest
    assert {file.path.partition("/")[0] for file in manifest.files} == {"meta.db", "segments", "blobs"}
    restore(tmp_path / "copy", tmp_path / "again.tm", actor="x", advance=lambda _: None)
    with tm.connect(tmp_path / "again.tm") as again:
        assert spent(again) == spent(workspace) == [3.0]
        assert again.runs.read_artifact(again.runs.get("r").id, "notes.txt") == b"some notes"
        assert database_of(again).verify_audit() == []
        # It goes on from where it was.
        project = shop(orders(5))
        again.apply(project)
        assert again.ingest("orders")[0].rows_new == 2


def test_what_is_committed_during_a_backup_is_in_it_whole_or_not_at_all(workspace, tmp_path):
    project = filled(workspace)
    stop = threading.Event()

    def write():
        count = 4
        while not stop.is_set():
            project.frames["orders"] = orders(count)
            workspace.ingest("orders")
            count += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        manifests = [saved(workspace, tmp_path / f"copy{i}") for i in range(5)]
    finally:
        stop.set()
        thread.join()
    for i, manifest in enumerate(manifests):
        restore(tmp_path / f"copy{i}", tmp_path / f"again{i}.tm", actor="x", advance=lambda _: None)
        with tm.connect(tmp_path / f"again{i}.tm") as again:
            assert database_of(again).sequence() == manifest.sequence
            assert spent(again) == [float(min(manifest.sequence, 20))]


def test_a_damaged_backup_restores_nothing(workspace, tmp_path):
    filled(workspace)
    manifest = saved(workspace, tmp_path / "copy")
    for file in manifest.files:
        path = tmp_path / "copy" / file.path
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(IntegrityError, match="damaged"):
            restore(tmp_path / "copy", tmp_path / "again.tm", actor="x", advance=lambda _: None)
        path.unlink()
        with pytest.raises(IntegrityError, match="missing"):
            restore(tmp_path / "copy", tmp_path / "again.tm", actor="x", advance=lambda _: None)
        path.write_bytes(content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "shop.tm"]


def test_a_damaged_workspace_makes_no_backup(workspace, tmp_path):
    filled(workspace)
    (segment,) = (tmp_path / "shop.tm" / "segments" / "orders").iterdir()
    segment.write_bytes(b"no segment")
    with pytest.raises(IntegrityError, match=str(segment)):
        saved(workspace, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.tm"]


def test_nothing_is_overwritten(workspace, tmp_path):
    saved(workspace, tmp_path / "copy")
    with pytest.raises(DataError, match="is there already"):
        saved(workspace, tmp_path / "copy")
    with pytest.raises(DataError, match="is there already"):
        restore(tmp_path / "copy", tmp_path / "shop.tm", actor="x", advance=lambda _: None)


@pytest.mark.parametrize(("source", "message"), [("shop.tm", "is not a backup"), ("nowhere", "is not a backup")])
def test_what_is_no_backup_is_refused(workspace, tmp_path, source, message):
    with pytest.raises(NotFoundError, match=message):
        restore(tmp_path / source, tmp_path / "again.tm", actor="x", advance=lambda _: None)


def test_a_manifest_that_leads_outside_is_refused(workspace, tmp_path):
    saved(workspace, tmp_path / "copy")
    path = tmp_path / "copy" / "manifest.json"
    path.write_text(path.read_text().replace("meta.db", "../shop.tm/meta.db"))
    with pytest.raises(IntegrityError, match="outside"):
        restore(tmp_path / "copy", tmp_path / "again.tm", actor="x", advance=lambda _: None)


# A backup from a stranger


def remade(copy, change):
    """Change a backup's manifest."""
    path = copy / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes())
    change(manifest["files"])
    path.write_bytes(msgspec.json.encode(manifest))


def test_only_what_the_database_names_is_restored(workspace, tmp_path):
    filled(workspace)
    manifest = saved(workspace, tmp_path / "copy")
    content = b"raise SystemExit"
    sha256 = hashlib.sha256(content).hexdigest()
    extra = [{"path": name, "sha256": sha256, "bytes": 16} for name in ("features.py", "blobs/features.py")]
    for one in extra:
        (tmp_path / "copy" / one["path"]).write_bytes(content)
    remade(tmp_path / "copy", lambda files: files.extend(extra))
    restored = restore(tmp_path / "copy", tmp_path / "again.tm", actor="x", advance=lambda _: None)
    assert restored.files == manifest.files
    assert not list((tmp_path / "again.tm").rglob("features.py"))


def test_what_the_database_names_is_restored_whatever_the_manifest_leaves_out(workspace, tmp_path):
    filled(workspace)
    manifest = saved(workspace, tmp_path / "copy")
    remade(tmp_path / "copy", lambda files: files.__delitem__(slice(1, None)))
    assert restore(tmp_path / "copy", tmp_path / "again.tm", actor="x", advance=lambda _: None).files == manifest.files
    with tm.connect(tmp_path / "again.tm") as again:
        assert spent(again) == [3.0]
    remade(tmp_path / "copy", lambda files: files.clear())
    with pytest.raises(IntegrityError, match=r"lists no meta\.db"):
        restore(tmp_path / "copy", tmp_path / "more.tm", actor="x", advance=lambda _: None)


@pytest.mark.parametrize("source", ["../../outside", "..", ".", "a/b", "/etc"])
def test_a_database_that_names_files_outside_of_the_workspace_is_refused(workspace, tmp_path, source):
    filled(workspace)
    saved(workspace, tmp_path / "copy")
    copy = Database(tmp_path / "copy" / "meta.db", FileLock(tmp_path / "write.lock"))
    copy.open()
    with copy.write(actor="x") as tx:
        (segment,) = tx.list(Segment)
        tx.update(msgspec.structs.replace(segment, source=source))
    copy.close()
    sha256 = hash_file(copy.path)
    remade(tmp_path / "copy", lambda files: files[0].update(sha256=sha256))
    with pytest.raises(IntegrityError, match="which is not a file of a workspace"):
        restore(tmp_path / "copy", tmp_path / "again.tm", actor="x", advance=lambda _: None)
    assert not (tmp_path / "again.tm").exists()


def test_a_restored_workspace_is_private_and_its_database_one_file(workspace, tmp_path):
    filled(workspace)
    saved(workspace, tmp_path / "copy")
    (tmp_path / "copy").chmod(0o755)
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    assert (tmp_path / "again.tm").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in (tmp_path / "again.tm").glob("meta.db*")) == ["meta.db"]


def test_a_catalog_runs_no_code_that_lies_in_its_workspace(workspace, tmp_path):
    project = filled(workspace)

    @project.on_demand
    def more(spending: tm.Inputs) -> dict[str, pl.Expr]:
        return {"twice": spending["spent_1d"] * 2}

    workspace.apply(project)
    script = tmp_path / "shop.tm" / "blobs" / "more.py"
    script.write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    with database_of(workspace).write(actor="x") as tx:
        (row,) = tx.list(Definition, where={"kind": "on_demand"})
        code = row.spec["code"] | {"module": "__main__", "file": str(script), "name": "more"}
        tx.update(msgspec.structs.replace(row, spec=row.spec | {"code": code}))
    workspace.close()
    with (
        tm.connect(tmp_path / "shop.tm") as again,
        pytest.raises(DefinitionError, match="is not run: .* is inside .*, which holds data"),
    ):
        again.get_online_features(["spending", "more"], [{"customer": "a"}])
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("what", ["pipe", "link", "directory"])
def test_a_backup_that_holds_something_else_than_files_is_refused_and_does_not_hang(workspace, tmp_path, what):
    filled(workspace)
    for file in saved(workspace, tmp_path / "copy").files:
        path = tmp_path / "copy" / file.path
        kept = path.rename(tmp_path / "kept")
        put_instead(path, what, kept)
        with pytest.raises(IntegrityError, match="is not a regular file"):
            restore(tmp_path / "copy", tmp_path / "again.tm", actor="x", advance=lambda _: None)
        path.rmdir() if what == "directory" else path.unlink()
        kept.rename(path)
    assert not (tmp_path / "again.tm").exists()
