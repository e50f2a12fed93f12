"""A workspace directory: made whole by any number of processes, shared within one."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

import tinymlops as tm
from tinymlops import errors
from tinymlops.errors import AccessError, ConflictError, DataError, IntegrityError, NotFoundError, TinyMLOpsError
from tinymlops.features import in_force
from tinymlops.records import AuditEntry, Segment
from tinymlops.stores import environment as environments
from tinymlops.stores.environment import Environment, open_environment
from tinymlops.times import ReplayClock, system_clock

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
PYTHONPATH = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
CREATE = """
import sys
from pathlib import Path
from tinymlops.times import system_clock
from tinymlops.stores.environment import open_environment
sys.stdin.readline()
environment = open_environment(Path(sys.argv[1]), create=True, clock=system_clock)
with environment.database.write(actor="x") as transaction:
    transaction.take_sequence(1)
environment.blobs.put(b"same")
environment.online.update(lambda tx: tx.put(sys.argv[2].encode(), b"v"))
environment.release()
"""
DIES_BEFORE_COMMIT = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
import polars as pl
from tinymlops.times import system_clock
from tinymlops.records import Segment
from tinymlops.stores import segments
from tinymlops.stores.environment import open_environment
environment = open_environment(Path(sys.argv[1]), create=False, clock=system_clock)
frame = pl.DataFrame({"v": [1], "__event": [1], "__created": [1], "__ordinal": [1], "__deleted": [False]})
with environment.gc_lock.shared(deadline=1):
    file = segments.write(frame, environment.segments_dir / "weather", environment.tmp)
    with environment.database.write(actor="x") as transaction:
        base = transaction.take_sequence(1)
        transaction.insert(Segment(source="weather", sha256=file.sha256, base=base, rows=1, last=base + 1, bytes=file.bytes,
                                   min_event=1, max_event=1, created_at=datetime(2013, 1, 1, tzinfo=UTC)))
        os.kill(os.getpid(), 9)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flights.tm"


def connect(path, *, create=False):
    return open_environment(path, create=create, clock=system_clock)


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=PYTHONPATH,
    )


def test_a_new_workspace_is_private_and_complete(path):
    environment = open_environment(path, create=True, clock=ReplayClock("2013-10-01T00:00:00Z"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {entry.name for entry in path.iterdir() if entry.is_dir()} == {"tmp", "blobs", "segments", "online"}
    assert environment.path == path
    (entry,) = environment.database.list(AuditEntry)
    assert entry.action == "workspace.create"
    assert entry.detail == {"clock": datetime(2013, 10, 1, tzinfo=UTC).isoformat()}
    environment.release()
    assert sorted(name for name in os.listdir(path) if name.startswith("meta")) == ["meta.db"]


def test_one_environment_serves_a_process_until_its_last_user_leaves(path, monkeypatch):
    first = connect(path, create=True)
    monkeypatch.chdir(path.parent)
    path.with_name("link.tm").symlink_to(path)
    second, third = connect(Path("flights.tm")), connect(Path("link.tm"), create=True)
    assert first is second is third
    first.release()
    second.release()
    assert third.database.sequence() == 0
    third.release()
    with pytest.raises(ConflictError, match="is closed"):
        third.database.sequence()
    again = connect(path)
    assert again is not first
    assert again.database.sequence() == 0
    again.release()


def test_a_path_that_is_no_workspace_is_refused_with_the_near_match(path):
    connect(path, create=True).release()
    with pytest.raises(NotFoundError, match=r"did you mean 'flights\.tm'\?; connect with create=True"):
        connect(path.with_name("flight.tm"))
    assert not path.with_name("flight.tm").exists()


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"not empty and no workspace: it holds notes\.txt"):
        connect(tmp_path, create=True)
    with pytest.raises(NotFoundError):
        connect(tmp_path)
    with pytest.raises(DataError, match="is a file"):
        connect(tmp_path / "notes.txt", create=True)
    with pytest.raises(NotFoundError, match="mkdir -p"):
        connect(tmp_path / "no" / "flights.tm", create=True)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_an_empty_directory_becomes_a_workspace(path):
    path.mkdir()
    connect(path, create=True).release()


def test_a_directory_that_others_may_enter_is_made_private_with_the_workspace(path):
    path.mkdir()
    path.chmod(0o777)
    connect(path, create=True).release()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.parametrize("mask", [0o000, 0o277, 0o777])
def test_a_new_workspace_is_private_and_usable_under_any_umask(path, mask):
    before = os.umask(mask)
    try:
        connect(path, create=True).release()
    finally:
        os.umask(before)
    assert {stat.S_IMODE(one.stat().st_mode) for one in (path, *path.iterdir()) if one.is_dir()} == {0o700}
    assert stat.S_IMODE((path / "meta.db").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only a superuser can be somebody else for a moment")
def test_a_directory_of_another_user_that_cannot_be_made_private_is_refused():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shared = Path(folder, "shared")
        shared.mkdir()
        shared.chmod(0o777)
        pid = os.fork()
        if pid == 0:
            os.setgid(65534)
            os.setuid(65534)
            try:
                connect(shared, create=True)
            except AccessError as error:
                os._exit(0 if "belongs to another user" in error.message else 1)
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert os.listdir(shared) == []


def test_a_creation_that_died_half_way_is_finished_by_the_next(path):
    connect(path, create=True).release()
    (path / "meta.db").rename(path / "meta.db.building")
    shutil.rmtree(path / "online")
    with pytest.raises(NotFoundError):
        connect(path)
    environment = connect(path, create=True)
    assert environment.database.verify_audit() == []
    environment.release()
    assert not (path / "meta.db.building").exists()


def test_a_database_whose_content_stays_in_its_log_is_not_given_its_name(path):
    """As on a full disk, which closing does not report; here a reader has the replaced file open."""
    reading = []

    def first(transaction):
        transaction.execute("PRAGMA busy_timeout = 0")
        reading.append(sqlite3.connect(path / "meta.db.building", isolation_level=None))
        reading[0].execute("BEGIN")
        assert reading[0].execute("SELECT count(*) FROM audit").fetchall() == [(0,)]
        transaction.audit("workspace.create", path.name)

    path.mkdir()
    new = Environment(path)
    with pytest.raises(AssertionError):
        new.database.create(first)
    assert not (path / "meta.db").exists()
    reading[0].close()
    connect(path, create=True).release()


def test_a_connect_that_fails_keeps_nothing_open(path, monkeypatch):
    def fails(environment):
        raise IntegrityError("the online store is damaged")

    connect(path, create=True).release()
    monkeypatch.setattr(in_force, "finish_change", fails)
    with pytest.raises(IntegrityError):
        tm.connect(path)
    assert not environments._open


def test_eight_processes_creating_at_once_all_end_with_one_workspace(path):
    processes = [start(CREATE, path, i) for i in range(8)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0
    environment = connect(path)
    assert environment.database.sequence() == 8
    assert [entry.action for entry in environment.database.list(AuditEntry)] == ["workspace.create"]
    with environment.online.read() as transaction:
        assert len(list(transaction.scan(b"0", b"9"))) == 8
    environment.release()


def test_a_crash_between_publish_and_commit_leaves_nothing_visible(path):
    connect(path, create=True).release()
    with start(DIES_BEFORE_COMMIT, path) as process:
        assert process.wait(30) == -signal.SIGKILL
    environment = connect(path)
    assert environment.database.count(Segment) == 0
    assert environment.database.sequence() == 0
    assert len(list((path / "segments" / "weather").iterdir())) == 1, "an orphan, for gc"
    with environment.gc_lock.exclusive(deadline=1):
        pass
    environment.release()


def test_what_dead_processes_left_is_removed_at_open(path):
    connect(path, create=True).release()
    for name in ("old.part", "new.part"):
        (path / "tmp" / name).touch()
    os.utime(path / "tmp" / "old.part", (0, 0))
    connect(path).release()
    assert os.listdir(path / "tmp") == ["new.part"]


def test_a_fork_can_neither_use_nor_open_nor_close_the_workspace_of_its_parent(path):
    environment = connect(path, create=True)
    pid = os.fork()
    if pid == 0:
        refused = 0
        environment.release()
        for use in (
            environment.check,
            lambda: connect(path),
            environment.database.sequence,
            environment.online.needs_rebuild,
        ):
            try:
                use()
            except ConflictError:
                refused += 1
        os._exit(0 if refused == 4 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert environment.database.sequence() == 0
    environment.release()


def test_a_fork_may_open_a_workspace_that_its_parent_has_closed(path):
    connect(path, create=True).release()
    pid = os.fork()
    if pid == 0:
        environment = connect(path)
        with environment.database.write(actor="child") as transaction:
            transaction.take_sequence(1)
        environment.release()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    environment = connect(path)
    assert environment.database.sequence() == 1
    environment.release()


def test_windows_is_sent_to_wsl(path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(TinyMLOpsError, match="WSL2"):
        connect(path, create=True)
    assert not path.exists()


def test_a_closed_workspace_says_that_it_is(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        assert repr(ws) == "<workspace shop.tm: 0 definitions>"
    assert repr(ws) == "<workspace shop.tm: closed>"


@pytest.mark.parametrize("clock", [None, "2024-01-01", datetime(2024, 1, 1, tzinfo=UTC)])
def test_a_clock_that_is_no_function_is_refused(tmp_path, clock):
    with pytest.raises(tm.DataError, match="does not tell the time"):
        tm.connect(tmp_path / "shop.tm", create=True, clock=clock)
    assert not (tmp_path / "shop.tm").exists()
