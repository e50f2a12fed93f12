"""How a query's process ended, as its server tells it; the processes here are shells that only end."""

import logging
import subprocess

import msgspec
import pytest

from tinymlops.queries import answering, child, processes
from tinymlops.queries.messages import Bounds, Done, Question, Refused, too_large, too_slow
from tinymlops.queries.processes import QueryProcesses, Running

QUESTION = Question(
    workspace="", root="", text="select 1", bounds=Bounds(seconds=5.0, memory=2**30, rows=10, bytes=2**20)
)
READ = "head -c 8 >/dev/null; "


@pytest.fixture
def ends(monkeypatch):
    """Have processes end in these ways, one after the other; returns those that are left."""
    left = []

    def started():
        command = ["sh", "-c", READ + left.pop(0)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    monkeypatch.setattr(processes, "_started", started)
    return left


def answer():
    return QueryProcesses().answer(QUESTION, Running()).reply


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("kill -KILL $$", too_large(QUESTION)),
        ("kill -ABRT $$", too_large(QUESTION)),
        ("kill -XCPU $$", too_slow(QUESTION)),
        ("kill -ALRM $$", too_slow(QUESTION)),
    ],
)
def test_a_process_that_its_limits_ended_says_which(ends, end, told):
    ends.append(end)
    assert answer() == told


@pytest.mark.parametrize(("end", "code"), [("exit 3", "3"), ("kill -SEGV $$", "-11")])
def test_any_other_end_is_a_failed_query_and_the_log_has_its_code(ends, caplog, end, code):
    ends.append(end)
    with caplog.at_level(logging.ERROR, "tinymlops.server"):
        reply = answer()
    assert (reply.kind, reply.message) == ("", "the query failed; the server's log says why")
    assert f"exit code {code}" in caplog.text


def test_a_process_that_ended_before_it_was_asked_has_one_successor(ends, tmp_path, caplog):
    done = Refused(kind="DataError", message="answered")
    head = msgspec.msgpack.encode(done)
    (tmp_path / "answer").write_bytes(len(head).to_bytes(child.LENGTH, "big") + head)
    ends += ["exit 0", f"cat '{tmp_path}/answer'", "exit 5"]
    assert answer() == done
    assert ends == ["exit 5"]
    ends[:] = ["exit 0", "exit 0", "exit 5"]
    assert answer().message == "the query failed; the server's log says why"
    assert "exit code 0" in caplog.text
    assert ends == ["exit 5"]


def test_an_answer_that_does_not_fit_into_memory_says_so(monkeypatch):
    monkeypatch.setattr(answering, "answered", lambda _: Done(Refused(kind="", message=""), b"content"))
    assert child.answer_of(QUESTION)[1] == b"content"

    def fails(_):
        raise MemoryError

    monkeypatch.setattr(answering, "answered", fails)
    head, content = child.answer_of(QUESTION)
    assert (msgspec.msgpack.decode(head, type=Refused), content) == (too_large(QUESTION), b"")
