"""What the access log may lose, and tokens beside other processes: killed, forked, and at the same time."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from inside import database_of
from served_shop import NOW
from test_server_running import Running

import tinymlops as tm
from tinymlops.errors import ConflictError
from tinymlops.records import AuditEntry

PATIENCE = 60
READER = """
import sys, time
import served_shop
import tinymlops as tm
from tinymlops.registry import readers

readers.INTERVAL = 0.5
ws = tm.connect(sys.argv[1], clock=tm.ReplayClock(served_shop.NOW))
for number in range(3):
    ws.get_online_features(["spending"], [{"customer": number}], consumer="early")
print("read", flush=True)
time.sleep(2.5)
ws.get_online_features(["spending"], [{"customer": 1}], consumer="late")
print("read", flush=True)
time.sleep(60)
"""
CREATOR = """
import sys
import tinymlops as tm

with tm.connect(sys.argv[1]) as ws:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        print(ws.tokens.create("billing", "reader").token)
    except tm.ConflictError:
        print("refused")
"""


def started(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(shop_path, tmp_path):
    return shutil.copytree(shop_path, tmp_path / "shop.tm")


def test_a_killed_process_loses_no_read_that_is_older_than_an_interval(path):
    process = started(READER, path)
    for _ in range(2):
        assert process.stdout.readline() == "read\n"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    with tm.connect(path, clock=tm.ReplayClock(NOW)) as ws:
        found = {one.consumer: one.calls for one in ws.access.list() if one.consumer}
        assert found == {"early": 3}


def test_of_two_processes_that_issue_one_name_at_once_one_is_refused(path):
    processes = [started(CREATOR, path) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=PATIENCE)[0].strip() for process in processes)
    assert said[:2] == ["refused", "refused"]
    with tm.connect(path) as ws:
        assert ws.tokens.verify(said[2]).name == "billing"
        assert len(ws.tokens.list()) == 1
        assert [one.action for one in database_of(ws).list(AuditEntry)].count("token.create") == 1


def in_fork(work):
    """Run something in a fork of this process; return what it answers."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:
            answer = type(error).__name__
        os.write(write, str(answer).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return answer


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_use_the_tokens_of_its_parent(path):
    with tm.connect(path) as ws:
        text = ws.tokens.create("billing", "reader").token
        assert in_fork(lambda: ws.tokens.verify(text).name) == ConflictError.__name__
        assert ws.tokens.verify(text).name == "billing"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_has_connections_of_its_own(path):
    running = Running(path)
    try:
        with tm.connect(running.url, token=None) as client:
            assert client.models.list()
            names = str([one.name for one in client.models.list()])
            assert in_fork(lambda: [one.name for one in client.models.list()]) == names
            assert str([one.name for one in client.models.list()]) == names
    finally:
        running.process.kill()
        running.process.communicate(timeout=PATIENCE)
