"""`jobs attempt`: one attempt at one due time, for a program that keeps time itself and may try again whenever it likes."""

import json
import os
import re
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command_line import PROGRAM, SHOP, ask, refused, run, succeed, write_shop

import tinymlops as tm

JOBS = '''
import os
import time
from pathlib import Path

project.schedule(cron="30 2 * * *", zone="Europe/Vienna", retries=2)(orders)
project.schedule(after="orders")(spending)
project.command("yearly", "gc", cron="0 0 29 2 *", deadline="5m")


@project.schedule(every="1h")
def slow(job: tm.JobContext) -> None:
    """Write its process down, and count itself once it has waited for as long as a file says."""
    Path("process").write_text(str(os.getpid()))
    time.sleep(float(Path("seconds").read_text()))
    with Path("counted").open("a") as file:
        print(job.due.isoformat(), file=file)


@project.schedule(every="1h", retries=1)
def broken(job: tm.JobContext) -> None:
    print("it was here")
    raise tm.DataError("no such luck")


@project.schedule(every="1h", deadline="1s")
def hung(job: tm.JobContext) -> None:
    time.sleep(60)
'''
NOON = "2024-05-01T12:00:00Z"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = write_shop(tmp_path_factory.mktemp("attempt") / "shop")
    (folder / "features.py").write_text(SHOP + JOBS)
    (folder / "seconds").write_text("0")
    for words in (("init", folder), ("apply", "--project", folder)):
        succeed(*words)
    return folder


@pytest.fixture
def shop(made, monkeypatch):
    monkeypatch.chdir(made)
    (made / "counted").unlink(missing_ok=True)
    (made / "process").unlink(missing_ok=True)
    (made / "seconds").write_text("0")
    return made


def runs_of(name):
    return {one["due"]: one for one in ask("jobs", "history", name)}


def begin(*words):
    """Start an attempt as a program of its own, and return once its job runs."""
    process = subprocess.Popen([PROGRAM, "jobs", "attempt", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = time.monotonic() + 20
    while not Path("process").exists() or not Path("process").read_text():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    return process


def test_an_attempt_is_for_the_last_due_time_and_is_made_once(shop):
    night = ask("jobs", "attempt", "orders", "--at", "2024-10-27T01:30:00Z")  # the second half past two
    assert (night["due"], night["state"], night["told"]) == ("2024-10-27T00:30:00Z", "succeeded", None)
    again = ask("jobs", "attempt", "orders", "--at", "2024-10-28T01:29:59Z")
    assert again == night
    assert "succeeded" in succeed("jobs", "attempt", "spending", "--at", "2024-10-27T01:30:00Z")
    assert "nothing is done" in succeed("jobs", "attempt", "spending", "--at", "2024-10-27T01:30:00Z")
    assert list(runs_of("orders")) == list(runs_of("spending")) == ["2024-10-27T00:30:00Z"]
    assert runs_of("spending")["2024-10-27T00:30:00Z"]["cause"] == "after orders"
    assert runs_of("orders")["2024-10-27T00:30:00Z"]["cause"] == "schedule"
    assert runs_of("broken") == runs_of("slow") == {}  # though they are due


def test_an_attempt_asked_for_by_hand_is_for_its_own_moment(shop):
    due = "2024-05-01T12:34:56.789000Z"
    assert ask("jobs", "attempt", "slow", "--due", due)["due"] == due
    assert runs_of("slow")[due]["cause"] == "by hand"
    assert (shop / "counted").read_text() == "2024-05-01T12:34:56.789000+00:00\n"


def test_a_failure_has_the_exit_code_of_the_job_and_is_alerted_after_its_last_retry(shop):
    words = ("jobs", "attempt", "broken", "--at", NOON)
    first = run(*words)
    assert first.exit_code == 6
    assert "it was here" in first.stdout
    assert "alert" not in first.stderr
    assert (runs_of("broken")[NOON]["state"], run(*words).exit_code) == ("waiting", 6)
    with tm.connect("shop.tm") as ws:
        (message,) = ws.sql("select kind, text from outbox").to_dicts()
    assert "no such luck" in message["text"]
    assert len(runs_of("broken")[NOON]["attempts"]) == 2
    third = run(*words, "--json")  # a person tried it once more
    assert (third.exit_code, json.loads(third.stdout)["state"]) == (6, "failed")
    assert [one.split()[1] for one in runs_of("broken")[NOON]["attempts"]] == ["failed"] * 3


def test_a_deadline_ends_an_attempt(shop):
    late = run("jobs", "attempt", "hung", "--at", NOON, "--json")
    assert (late.exit_code, json.loads(late.stdout)["state"]) == (1, "late")


def test_of_two_at_once_one_does_it_and_the_other_waits_for_it(shop):
    (shop / "seconds").write_text("1.5")
    first = begin("slow", "--at", NOON)
    second = succeed("jobs", "attempt", "slow", "--at", NOON)
    assert "succeeded" in second
    assert first.wait(20) == 0
    first.communicate()
    assert len(runs_of("slow")[NOON]["attempts"]) == 1
    assert (shop / "counted").read_text().count("\n") == 1


def test_a_job_whose_caller_was_killed_goes_on_and_is_waited_for(shop):
    (shop / "seconds").write_text("2")
    due = "2024-05-01T13:00:00Z"
    first = begin("slow", "--at", due)
    first.kill()
    first.communicate()
    assert "succeeded" in succeed("jobs", "attempt", "slow", "--at", due)
    assert len(runs_of("slow")[due]["attempts"]) == 1
    assert (shop / "counted").read_text() == "2024-05-01T13:00:00+00:00\n"


def test_a_job_that_was_killed_with_its_caller_is_done_again(shop):
    (shop / "seconds").write_text("30")
    due = "2024-05-01T14:00:00Z"
    first = begin("slow", "--at", due)
    first.kill()
    os.kill(int((shop / "process").read_text()), signal.SIGKILL)
    first.communicate()
    (shop / "seconds").write_text("0")
    assert "succeeded" in succeed("jobs", "attempt", "slow", "--at", due)
    assert [one.split()[1] for one in runs_of("slow")[due]["attempts"]] == ["lost", "succeeded"]
    assert (shop / "counted").read_text().count("\n") == 1


def test_a_request_to_end_ends_the_job_which_may_be_done_again(shop):
    (shop / "seconds").write_text("30")
    due = "2024-05-01T15:00:00Z"
    first = begin("slow", "--at", due)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=20)
    assert first.returncode == 130
    assert runs_of("slow")[due]["state"] == "waiting"
    (shop / "seconds").write_text("0")
    assert "succeeded" in succeed("jobs", "attempt", "slow", "--at", due)


def test_a_paused_job_is_not_attempted(shop):
    succeed("jobs", "run", "--once")  # which sees the jobs
    succeed("jobs", "pause", "slow")
    assert "is paused" in refused(5, "jobs", "attempt", "slow", "--at", "2024-05-01T16:00:00Z")
    succeed("jobs", "resume", "slow")
    succeed("jobs", "attempt", "slow", "--at", "2024-05-01T16:00:00Z")


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (2, ["slow"], "either --due or --at"),
        (2, ["slow", "--due", NOON, "--at", NOON], "either --due or --at"),
        (4, ["sloe", "--at", NOON], "did you mean 'slow'"),
        (4, ["yearly", "--at", "1972-02-28T23:59:59Z"], "was not due before"),
        (6, ["slow", "--at", "noon"], "is not a time"),
        (6, ["slow", "--due", "2024-05-01T12:00:00"], "has no time zone"),
        (6, ["slow", "--due", f"{datetime.now(UTC).year + 1}-01-01T00:00:00Z"], "lies in the future"),
    ],
)
def test_what_cannot_be_attempted_is_refused(shop, code, words, told):
    assert told in re.sub(r"\s+", " ", refused(code, "jobs", "attempt", *words))
