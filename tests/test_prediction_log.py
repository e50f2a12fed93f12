"""The prediction log: written in groups, bounded, durable on request, and every loss is reported."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import START
from inside import database_of

import tinymlops as tm
from tinymlops.errors import ConflictError, TinyMLOpsError
from tinymlops.records import Prediction
from tinymlops.serving.log import prediction_log
from tinymlops.stores import buffer as module
from tinymlops.stores.environment import open_environment

PYTHONPATH = {**os.environ, "PYTHONPATH": str(Path(tm.__file__).parents[1])}
FORGETFUL = """
import sys
from datetime import UTC, datetime
import tinymlops as tm
from tinymlops.records import Prediction
ws = tm.connect(sys.argv[1], create=True)
ws._log.append([Prediction(id=str(i), model="m", version=1, at=datetime(2024, 1, 1, tzinfo=UTC), sequence=None,
                           request={}, features={}, output={}) for i in range(100)])
"""


@pytest.fixture
def database(tmp_path):
    environment = open_environment(tmp_path / "shop.tm", create=True, clock=lambda: START)
    yield environment.database
    environment.release()


def made(*ids):
    return [
        Prediction(id=str(i), model="m", version=1, at=START, sequence=3, request={}, features={}, output={})
        for i in ids
    ]


def started(target, *arguments):
    thread = threading.Thread(target=target, args=arguments)
    thread.start()
    return thread


class Held:
    """The workspace's write lock, held by another thread until it is released."""

    def __init__(self, database):
        self._database, self._taken, self._enough = database, threading.Event(), threading.Event()

    def __enter__(self):
        self._thread = started(self._hold)
        assert self._taken.wait(10)

    def __exit__(self, *_):
        self._enough.set()
        self._thread.join(10)

    def _hold(self):
        with self._database.write(actor="x"):
            self._taken.set()
            assert self._enough.wait(20)


class FullDisk:
    """A database that may not grow any more."""

    def __init__(self, database):
        self._connection = database._writer

    def __enter__(self):
        ((pages,),) = self._connection.execute("PRAGMA page_count").fetchall()
        self._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    def __exit__(self, *_):
        self._connection.execute("PRAGMA max_page_count = 1000000").fetchall()


def large(*ids):
    return [
        Prediction(
            id=i, model="m", version=1, at=START, sequence=3, request={"x": "x" * 100_000}, features={}, output={}
        )
        for i in ids
    ]


def test_what_is_appended_is_durable_after_a_flush(database):
    log = prediction_log(database)
    log.append(made(1, 2))
    log.append([])
    log.flush()
    assert [one.id for one in database.list(Prediction)] == ["1", "2"]
    log.close()


def test_a_synchronous_append_returns_only_once_it_is_durable(database):
    log = prediction_log(database)
    log.append(made(1), sync=True)
    assert database.count(Prediction) == 1
    log.append([], sync=True)
    log.close()


def test_threads_at_once_lose_nothing_and_share_commits(database, monkeypatch):
    commits = []
    write = database.write
    monkeypatch.setattr(database, "write", lambda **options: (commits.append(1), write(**options))[1])
    log = prediction_log(database)

    def work(worker):
        for number in range(50):
            log.append(made(f"{worker}-{number}"), sync=number % 25 == 0)

    threads = [started(work, worker) for worker in range(8)]
    for thread in threads:
        thread.join(30)
    log.close()
    assert database.count(Prediction) == 400
    assert len(commits) < 50


def test_no_thread_is_left_once_everything_is_written(database):
    log = prediction_log(database)
    log.append(made(1), sync=True)
    log.close()
    assert [thread for thread in threading.enumerate() if thread.name == "tinymlops-predictions"] == []


def test_a_caller_with_more_than_the_disk_takes_waits(database, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PENDING", 10)
    log = prediction_log(database)
    with Held(database):
        log.append(made(*range(10)))  # goes to the writer, which waits for the lock
        while log._writing is None:
            threading.Event().wait(0.01)
        log.append(made(*range(10, 20)))  # fills the next group
        waiting = started(log.append, made(20))
        waiting.join(0.2)
        assert waiting.is_alive()
        assert len(log._collecting.records) == 10
    waiting.join(10)
    log.close()
    assert database.count(Prediction) == 21


def test_more_than_a_group_at_once_is_taken_all_the_same(database, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PENDING", 10)
    log = prediction_log(database)
    log.append(made(*range(25)), sync=True)
    assert database.count(Prediction) == 25
    log.close()


def test_closing_wakes_who_waits_for_room_and_writes_the_rest(database, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PENDING", 1)
    log = prediction_log(database)
    errors = []

    def append(identifier):
        try:
            log.append(made(identifier))
        except ConflictError as error:
            errors.append(error.message)

    with Held(database):
        log.append(made("a"))
        while log._writing is None:
            threading.Event().wait(0.01)
        log.append(made("b"))
        late = started(append, "c")
        closing = started(log.close)
        late.join(10)
        assert errors == ["the workspace is closed"]
        assert closing.is_alive()
    closing.join(10)
    assert sorted(one.id for one in database.list(Prediction)) == ["a", "b"]
    with pytest.raises(ConflictError, match="the workspace is closed"):
        log.append(made("d"))
    log.close()
    log.flush()


def test_a_full_disk_is_said_to_who_waits_and_writing_goes_on_after_it(database):
    log = prediction_log(database)
    with FullDisk(database), pytest.raises(TinyMLOpsError, match="1 predictions could not be logged: the disk of"):
        log.append(large("a"), sync=True)
    log.append(large("b"), sync=True)
    log.close()
    assert [one.id for one in database.list(Prediction)] == ["b"]


def test_a_loss_that_nobody_waited_for_is_said_once_by_the_next_append(database):
    log = prediction_log(database)
    with FullDisk(database):
        log.append(large("a", "b"))
        while not log._unreported:
            threading.Event().wait(0.01)
    with pytest.raises(TinyMLOpsError, match="2 predictions could not be logged") as caught:
        log.append(made("c"))
    assert caught.value.hint == "free some space and run it again"
    log.append(made("d"), sync=True)
    log.close()
    assert [one.id for one in database.list(Prediction)] == ["d"]


def test_a_loss_that_nobody_was_told_of_is_said_by_close(database):
    log = prediction_log(database)
    with FullDisk(database):
        log.append(large("a"))
        with pytest.raises(TinyMLOpsError, match="1 predictions could not be logged"):
            log.close()
    log.close()


def test_everybody_who_waits_for_a_lost_group_is_told(database):
    log = prediction_log(database)
    told = []

    def append(identifier):
        try:
            log.append(large(identifier), sync=True)
        except TinyMLOpsError as error:
            told.append(error.message)

    with FullDisk(database):
        for thread in [started(append, str(number)) for number in range(4)]:
            thread.join(20)
    assert len(told) == 4
    log.close()


def test_a_fork_is_refused_and_closes_nothing(database):
    log = prediction_log(database)
    log.append(made(1), sync=True)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            log.append(made(2))
        except ConflictError as error:
            os.write(write, error.message.encode())
        log.close()
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert "cannot be used in process" in pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    log.append(made(3), sync=True)
    log.close()
    assert database.count(Prediction) == 2


def test_a_script_that_never_closes_its_workspace_loses_nothing(tmp_path):
    command = [sys.executable, "-c", FORGETFUL, str(tmp_path / "shop.tm")]
    subprocess.run(command, env=PYTHONPATH, check=True, timeout=60)
    with tm.connect(tmp_path / "shop.tm") as ws:
        assert database_of(ws).count(Prediction) == 100
