"""File locks between threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinymlops import errors
from tinymlops.errors import ConflictError
from tinymlops.stores.locks import FileLock

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
PYTHONPATH = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
HOLDER = """
import sys, time
from pathlib import Path
from tinymlops.stores.locks import FileLock
with FileLock(Path(sys.argv[1])).exclusive(deadline=5):
    print("held", flush=True)
    sys.stdin.readline()
    print(time.time(), flush=True)
"""
COUNTER = """
import sys
from pathlib import Path
from tinymlops.stores.locks import FileLock
lock, total = FileLock(Path(sys.argv[1])), Path(sys.argv[2])
for _ in range(100):
    with lock.exclusive(deadline=30):
        total.write_text(str(int(total.read_text()) + 1))
"""


@pytest.fixture
def lock(tmp_path):
    return FileLock(tmp_path / "write.lock")


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=PYTHONPATH,
    )


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def in_fork(function):
    """Run it in a forked child and return whether it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def test_an_exclusive_lock_is_re_entrant_in_its_thread(lock):
    with lock.exclusive(deadline=1), lock.exclusive(deadline=1), lock.shared(deadline=1):
        pass
    with FileLock(lock.path).exclusive(deadline=0):
        pass


def test_the_deadline_raises_an_error_that_names_the_file(lock):
    with lock.exclusive(deadline=1):
        other = FileLock(lock.path)
        before = time.monotonic()
        with pytest.raises(ConflictError, match=r"write\.lock is still held"), other.exclusive(deadline=0.1):
            pass
        assert 0.1 <= time.monotonic() - before < 1
        with pytest.raises(ConflictError, match=r"write\.lock"), other.shared(deadline=0.05):
            pass


def test_another_thread_waits_for_an_exclusive_lock(lock):
    refused = []

    def take():
        try:
            with lock.exclusive(deadline=0.05):
                pass
        except ConflictError:
            refused.append(True)

    with lock.exclusive(deadline=1):
        in_thread(take)
    in_thread(take)
    assert refused == [True]


def test_shared_holders_do_not_exclude_each_other(lock):
    taken = []

    def take():
        with lock.shared(deadline=1):
            taken.append(True)

    with lock.shared(deadline=1), lock.shared(deadline=1):
        in_thread(take)
    assert taken == [True]


def test_shared_cannot_become_exclusive_in_one_thread(lock):
    with (
        lock.shared(deadline=1),
        pytest.raises(ConflictError, match="held shared by this thread"),
        lock.exclusive(deadline=5),
    ):
        pass


def test_an_exclusive_waiter_is_not_starved_by_shared_holders(lock):
    stop = threading.Event()

    def keep_sharing():
        while not stop.is_set():
            with lock.shared(deadline=5):
                time.sleep(0.005)

    threads = [threading.Thread(target=keep_sharing) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with FileLock(lock.path).exclusive(deadline=5):
            pass
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_waiting_process_gets_the_lock_within_milliseconds(lock):
    holder = start(HOLDER, lock.path)
    with holder:
        assert holder.stdout.readline() == "held\n"
        output = []
        release = threading.Timer(0.2, lambda: output.append(holder.communicate("\n")[0]))
        release.start()
        with lock.exclusive(deadline=10):
            got = time.time()
        release.join()
    assert got - float(output[0]) < 0.1


def test_a_killed_process_does_not_keep_the_lock(lock):
    holder = start(HOLDER, lock.path)
    with holder:
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    with lock.exclusive(deadline=5):
        pass


def test_processes_exclude_each_other(lock, tmp_path):
    total = tmp_path / "total"
    total.write_text("0")
    processes = [start(COUNTER, lock.path, total) for _ in range(4)]
    for process in processes:
        with process:
            assert process.wait(30) == 0
    assert total.read_text() == "400"


def test_a_lock_used_after_fork_says_so(lock):
    def use():
        with pytest.raises(ConflictError, match="was opened by process"), lock.exclusive(deadline=1):
            pass

    assert in_fork(use)


def test_a_fork_neither_keeps_nor_releases_the_lock_of_its_parent(lock):
    ready, done = os.pipe(), os.pipe()
    with lock.exclusive(deadline=1):
        pid = os.fork()
        if pid == 0:
            lock._release("exclusive", -1)
            os.write(ready[1], b".")
            os.read(done[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        with pytest.raises(ConflictError), FileLock(lock.path).exclusive(deadline=0.05):
            pass
    with FileLock(lock.path).exclusive(deadline=1):
        pass
    os.write(done[1], b".")
    os.waitpid(pid, 0)
    for descriptor in (*ready, *done):
        os.close(descriptor)
