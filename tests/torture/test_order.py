"""Every file that a commit names is on the disk, under its name, before the commit is."""

import re
import sqlite3
from contextlib import closing

import pytest

from tinymlops.stores.references import named_files
from torture import world
from torture.conftest import needs_strace
from torture.figures import record
from torture.fleet import calls

pytestmark = needs_strace
_SHOWN = 5000
"""Bytes of written data in a trace: a page of the database with the hash of a file in it."""


def named(path):
    """Return hash to relative path of the files that a workspace's database names."""
    with closing(sqlite3.connect(f"file:{path / 'meta.db'}?mode=ro", uri=True)) as connection:
        return {file.sha256: file.name for file in named_files(connection.execute)}


def violations(log, path, files):
    """Return how each of the files came after the commit that names it."""
    traced, found = calls(log), []
    for sha256, name in files.items():
        commit = _commit_of(traced, sha256)
        renamed = _first(traced, lambda call, end=f'/{name}"': call.name.startswith("rename") and end in call.text)
        if commit is None or renamed is None:
            found.append(f"{name}: no commit or no rename in the trace")
            continue
        source = re.search(r'"([^"]+)"', traced[renamed].text)[1]
        synced = _first(traced, lambda call, source=source: _syncs(call, source))
        folder = str((path / name).parent)
        listed = _first(traced, lambda call, folder=folder: _syncs(call, folder), after=renamed)
        if synced is None or synced > renamed:
            found.append(f"{name} is renamed before it is synced")
        if listed is None or listed > commit:
            found.append(f"{name}: its directory is not synced before the commit")
        if renamed > commit:
            found.append(f"{name} is renamed after the commit")
    return found


def _commit_of(traced, sha256):
    """Return the position of the sync of the commit that names a file."""
    written = _first(traced, lambda call: "meta.db-wal>" in call.text and sha256 in call.text)
    return None if written is None else _first(traced, lambda call: _syncs(call, "meta.db-wal"), after=written)


def _syncs(call, path):
    return call.name in ("fsync", "fdatasync") and f"{path}>" in call.text


def _first(traced, matches, *, after=-1):
    return next((i for i, call in enumerate(traced) if i > after and matches(call)), None)


@pytest.fixture(scope="module")
def total():
    total = {"verbs": 0, "commits": 0, "files": 0, "violations": 0}
    yield total
    record("order_of_fsync", **total)


@pytest.mark.parametrize("verb", [verb for verb in world.VERBS if verb not in world.ELSEWHERE])
def test_a_commit_is_durable_only_after_every_file_that_it_names(fleet, place, verb, total):
    path = place.fresh()
    before = named(path)
    ended = fleet.traced("verb", path, verb=verb, strings=_SHOWN)
    assert ended.status == 0, ended.said
    files = {sha256: name for sha256, name in named(path).items() if sha256 not in before}
    wrong = violations(ended.log, path, files)
    traced = calls(ended.log)
    total["verbs"] += 1
    total["files"] += len(files)
    total["commits"] += sum(_syncs(call, "meta.db-wal") for call in traced)
    total["violations"] += len(wrong)
    assert not wrong
    assert not online_before_its_state(traced)


def online_before_its_state(traced):
    """Return whether the online store is written to before its state says durably that it is not synced."""
    written = _first(traced, lambda call: call.name.startswith("pwrite") and "data.mdb>" in call.text)
    synced = _first(traced, lambda call: _syncs(call, "online/state"))
    return written is not None and (synced is None or synced > written)


def test_a_backup_has_its_name_only_after_every_file_of_it_is_durable(fleet, place, total):
    path = place.fresh()
    ended = fleet.traced("verb", path, verb="backup")
    traced = calls(ended.log)
    appeared = _first(traced, lambda call: call.name.startswith("rename") and '/copy"' in call.text)
    copied = list((path.parent / "copy").rglob("*"))
    late = []
    for file in copied:
        relative = file.relative_to(path.parent / "copy")
        synced = _first(traced, lambda call, end=f"/{relative}": _syncs(call, end) and "/.copy." in call.text)
        if synced is None or synced > appeared:
            late.append(relative)
    listed = _first(traced, lambda call: _syncs(call, str(path.parent)), after=appeared)
    total["files"] += len(copied)
    total["violations"] += len(late) + (listed is None)
    assert not late
    assert listed is not None


@pytest.mark.parametrize("broken", ["no_fsync", "rename_before_fsync", "no_directory_fsync", "commit_before_publish"])
def test_a_publish_in_the_wrong_order_is_caught(fleet, place, broken):
    path = place.fresh()
    before = named(path)
    ended = fleet.traced("verb", path, verb="ingest", strings=_SHOWN, broken=broken)
    assert ended.status == 0, ended.said
    files = {sha256: name for sha256, name in named(path).items() if sha256 not in before}
    assert files
    assert violations(ended.log, path, files)
