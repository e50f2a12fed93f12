"""Views that the online store lost, in a crash of the machine or by damage, and that `connect` restores."""

import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
import served_shop
from inside import online_of

import tinymlops as tm
from tinymlops.features.online import derived
from tinymlops.features.online.variants import states

CLOCK = tm.ReplayClock(served_shop.NOW)
CONNECTS = """
import sys, served_shop
import tinymlops as tm
print("ready", flush=True)
sys.stdin.readline()
tm.connect(sys.argv[1], clock=tm.ReplayClock(served_shop.NOW)).close()
"""
DIES = """
import os, sys, served_shop
import tinymlops as tm
from tinymlops.features.online import derived
real, calls = derived.materialize, []
def materialize(context, view):
    calls.append(view.name)
    if len(calls) == 2:
        os.kill(os.getpid(), 9)
    return real(context, view)
derived.materialize = materialize
tm.connect(sys.argv[1], clock=tm.ReplayClock(served_shop.NOW))
"""


@pytest.fixture
def path(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=CLOCK) as ws:
        ws.apply(served_shop.project)
        ws.ingest()
        ws.push("clicks", [{"click": 1, "shopper": "ann", "at": served_shop.START, "seconds": 2.5}])
        ws.materialize()
    return tmp_path / "shop.tm"


def crash(path):
    """Forge a crash of the machine: the store was last written to in another boot, and not closed."""
    (path / "online" / "state").write_text("another boot".ljust(64))


def remembered(path):
    return sorted(msgspec.json.decode((path / "online" / "views.json").read_bytes()).values())


def held(ws):
    with online_of(ws).read() as tx:
        return sorted(state.covered.view for state in states(tx))


def connected(path):
    return tm.connect(path, clock=CLOCK)


def start(code, path):
    places = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": places},
    )


def lose_by_crash(path):
    crash(path)


def lose_by_damage(path):
    (path / "online" / "data.mdb").write_bytes(b"\xff" * 8192)


@pytest.mark.parametrize("lose", [lose_by_crash, lose_by_damage])
def test_who_connects_after_the_store_was_lost_has_the_views_again(path, lose):
    lose(path)
    with connected(path) as ws:
        assert held(ws) == ["interest", "spending"]
        read = ws.get_online_features(["interest:last_seconds"], {"shopper": ["ann"]})
        assert read.to_dict()["last_seconds"] == [2.5]
    assert remembered(path) == ["interest", "spending"]


def rewrite_keys(tx):
    """Rewrite the store as an earlier version: other bytes for the same keys, and no format number."""
    for kind in (b"r", b"o"):
        for key, value in list(tx.scan(kind, kind + b"\xff")):
            tx.delete(key)
            tx.put(key[:17] + b"?" + key[17:], value)
    tx.delete(b"v")


def rewrite_format(tx):
    """Mark the store as written by a later version."""
    tx.put(b"v", (2**31).to_bytes(4, "big"))


@pytest.mark.parametrize("rewrite", [rewrite_keys, rewrite_format])
def test_a_store_whose_keys_another_version_wrote_is_made_anew(path, rewrite):
    with connected(path) as ws:
        online_of(ws).update(rewrite)
    for _ in range(2):
        with connected(path) as ws:
            assert held(ws) == ["interest", "spending"]
            read = ws.get_online_features(["interest:last_seconds"], {"shopper": ["ann"]})
            assert read.to_dict()["last_seconds"] == [2.5]
            with online_of(ws).read() as tx:
                assert all(tx.get(key) for state in states(tx) for key in tx.keys_of(state.variant.name))
                assert not any(key[17:18] == b"?" for key, _ in tx.scan(b"r", b"s"))
    assert remembered(path) == ["interest", "spending"]


def test_a_store_of_this_version_is_kept_as_it_is(path, monkeypatch):
    monkeypatch.setattr(derived, "materialize", None)
    with connected(path) as ws:
        assert held(ws) == ["interest", "spending"]


def test_only_what_was_materialized_comes_back(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=CLOCK) as ws:
        ws.apply(served_shop.project)
        ws.ingest()
        ws.materialize("spending")
    crash(tmp_path / "shop.tm")
    with connected(tmp_path / "shop.tm") as ws:
        assert held(ws) == ["spending"]


def test_nothing_is_computed_where_nothing_was_lost(path, monkeypatch):
    monkeypatch.setattr(derived, "materialize", None)
    before = (path / "online" / "views.json").stat()
    with connected(path) as ws:
        ws.push("clicks", [{"click": 2, "shopper": "ann", "at": served_shop.START, "seconds": 1.0}])
        ws.materialize()
        assert held(ws) == ["interest", "spending"]
    after = (path / "online" / "views.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_process_killed_in_the_middle_leaves_the_rest_to_the_next(path):
    crash(path)
    with start(DIES, path) as process:
        _, errors = process.communicate()
    assert process.returncode == -9, errors
    assert remembered(path) == ["interest", "spending"]
    with connected(path) as ws:
        assert held(ws) == ["interest", "spending"]


def test_two_processes_that_connect_at_once_bring_them_back_together(path):
    crash(path)
    with start(CONNECTS, path) as first, start(CONNECTS, path) as second:
        both = first, second
        assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
        for process in both:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in both:
            _, errors = process.communicate()
            assert process.returncode == 0, errors
    with connected(path) as ws:
        assert held(ws) == ["interest", "spending"]


def test_a_view_that_cannot_be_computed_is_said_and_the_others_come_back(path, monkeypatch, caplog):
    real = derived.materialize

    def broken(context, view):
        if view.name == "interest":
            raise ZeroDivisionError("in the user's code")
        return real(context, view)

    crash(path)
    monkeypatch.setattr(derived, "materialize", broken)
    with caplog.at_level(logging.WARNING), connected(path) as ws:
        assert held(ws) == ["spending"]
        read = ws.get_online_features(["interest:last_seconds"], {"shopper": ["ann"]})
        assert read.to_dict()["last_seconds"] == [2.5]
    assert "view 'interest' was lost with the online store and cannot be materialized again: in the user" in caplog.text
    monkeypatch.undo()
    with connected(path) as ws:
        assert held(ws) == ["interest", "spending"]


@pytest.mark.parametrize("how", ["gc", "crash"])
def test_a_view_that_is_no_longer_defined_is_forgotten(path, how):
    project = tm.Project("shop")
    shopper = project.entity("shopper", key="shopper")

    @project.source(timestamp="at", id="click")
    def clicks() -> tm.Schema:
        """Pages that a shopper looks at."""
        return {"click": int, "shopper": str, "at": datetime, "seconds": float}

    @project.feature_view(entity=shopper)
    def interest(clicks: tm.Rows) -> tm.Features:
        """How long this shopper stays."""
        return {"last_seconds": clicks["seconds"].last(), "clicks_1d": clicks.count(window="1d")}

    with connected(path) as ws:
        ws.apply(project)
        if how == "gc":
            assert ws.gc().views == 1
    if how == "crash":
        crash(path)
    connected(path).close()
    assert remembered(path) == ["interest"]


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"\xff"])
def test_a_file_that_says_nothing_is_written_anew_from_the_store(path, content):
    file = path / "online" / "views.json"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    connected(path).close()
    assert remembered(path) == ["interest", "spending"]


def test_repair_keeps_them_in_mind_and_a_backup_does_not(path, tmp_path):
    with connected(path) as ws:
        assert [covered.view for covered in ws.repair()] != []
        assert held(ws) == remembered(path) == ["interest", "spending"]
        ws.backup(tmp_path / "copy")
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    with connected(tmp_path / "again.tm") as ws:
        assert held(ws) == []
        assert len(ws.materialize()) == 2
