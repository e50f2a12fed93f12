"""What `gc` removes of jobs: old runs with attempts and logs, and sent messages; nothing that anything still counts from."""

import os
from datetime import timedelta

import pytest
from clocks import NOON, AnyClock
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import context_of, database_of

import tinymlops as tm
from tinymlops.records import JobLog
from tinymlops.registry.job_pruning import remove_old_runs
from tinymlops.schedules import Job, schedule_of
from tinymlops.times import to_micros

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DAILY = Job(name="daily", schedule=schedule_of("1d", None, "UTC"), missed="all")
NEXT = Job(name="next", after=("daily",))
BOTH = Job(name="both", after=("daily", "next"))
JOBS = [DAILY, NEXT, BOTH]


@pytest.fixture
def clock():
    return AnyClock()


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.jobs.decide(JOBS)
        yield ws


def day(ws, clock, *, jobs=JOBS, state="succeeded", days=1):
    """Let days pass and end what is due."""
    clock.now += days * DAY
    while ws.jobs.decide(jobs) or ws.jobs.history(state="waiting"):
        claimed = ws.jobs.claim(jobs, at_once=9)
        for one in claimed:
            ws.jobs.finish(one.number, state if one.run.job == "daily" else "succeeded", told="told", log="said")
            os.close(one.lock)
        if not claimed:
            return


def dues(ws, job):
    return [run.due for run in ws.jobs.history(job, limit=None)]


def test_old_runs_go_with_all_that_is_known_of_them(ws, clock):
    for _ in range(6):
        day(ws, clock)
    assert [len(dues(ws, job.name)) for job in JOBS] == [6, 6, 6]
    collected = ws.gc(job_history="60h")
    assert collected.job_runs == 3 * 3
    assert [len(dues(ws, job.name)) for job in JOBS] == [3, 3, 3]
    assert ws.sql("select count(*) from job_attempts").rows() == [(9,)]
    assert len(database_of(ws).list(JobLog)) == 9
    assert ws.gc(job_history="60h").job_runs == 0
    (entry,) = [one for one in ws.audit.list(action="gc") if one.subject == "jobs"]
    assert entry.detail["runs"] == 9
    assert ws.gc(job_history="50000d").job_runs == 0  # before there were times


def test_nothing_is_made_again_after_it_was_removed(ws, clock):
    for _ in range(4):
        day(ws, clock)
    last = {job.name: dues(ws, job.name)[0] for job in JOBS}
    number = ws.jobs.get("both").attempt
    ws.jobs.rerun("daily")  # its success has a later attempt than any that was followed
    day(ws, clock, days=0)
    clock.now += 3 * 365 * DAY
    ws.gc()
    assert {job.name: dues(ws, job.name) for job in JOBS} == {name: [due] for name, due in last.items()}
    assert ws.jobs.decide([NEXT, BOTH]) == 0
    clock.now -= 3 * 365 * DAY
    assert ws.jobs.decide(JOBS) == 0
    day(ws, clock)
    assert ws.jobs.get("both").attempt > number  # the fence is never used again
    assert ws.jobs.last_success("daily", ws.jobs.get("daily").due) == last["daily"]


def test_the_last_success_stays_however_many_failures_follow_it(ws, clock):
    day(ws, clock)
    success = ws.jobs.get("daily").due
    for _ in range(5):
        day(ws, clock, state="failed")
    clock.now += 400 * DAY
    assert ws.gc().job_runs == 5
    assert dues(ws, "daily") == [success]
    assert ws.jobs.log(ws.jobs.get("daily").attempt) == "said"


def test_what_waits_or_runs_stays(ws, clock):
    ws.jobs.backfill(DAILY, NOON - 3 * DAY, NOON)
    for _ in range(2):
        (one,) = ws.jobs.claim(JOBS, at_once=1)
        if one.run.attempt == 1:
            ws.jobs.finish(one.number, "failed")
            os.close(one.lock)
    clock.now += 800 * DAY
    assert ws.gc().job_runs == 1
    assert [run.state for run in ws.jobs.history()] == ["waiting", "running"]
    assert ws.jobs.finish(one.number, "succeeded").state == "succeeded"
    os.close(one.lock)


def test_sent_messages_go_and_others_stay(ws, clock):
    for _ in range(2):
        day(ws, clock, state="failed")
    sent, waiting = ws.jobs.outbox.take()
    ws.jobs.outbox.settle(sent, None)
    clock.now += 364 * DAY
    assert ws.gc().messages == 0
    clock.now += 2 * DAY
    assert ws.gc().messages == 1
    assert [one.id for one in ws.jobs.outbox.list()] == [waiting.id]


@settings(max_examples=6, deadline=None)
@given(
    days=st.lists(
        st.tuples(st.sampled_from(["succeeded", "failed", "idle"]), st.integers(0, 72), st.booleans()),
        min_size=3,
        max_size=6,
    )
)
def test_with_and_without_pruning_the_same_is_done(days, tmp_path_factory):
    done = []
    for prunes in (False, True):
        clock, ended = AnyClock(), []
        with tm.connect(tmp_path_factory.mktemp("shop") / "shop.tm", create=True, clock=clock) as ws:
            ws.jobs.decide(JOBS)
            for state, hours, reruns in days:
                clock.now += hours * HOUR
                for run in ws.jobs.history("daily", state="succeeded", limit=1) if reruns else ():
                    ws.jobs.rerun("daily", run.due)
                ws.jobs.decide(JOBS)
                while state != "idle" and (claimed := ws.jobs.claim(JOBS, at_once=9)):
                    for one in claimed:
                        ended.append((one.run.job, one.run.due, one.number))
                        ws.jobs.finish(one.number, state)
                        os.close(one.lock)
                    ws.jobs.decide(JOBS)
                if prunes:
                    remove_old_runs(context_of(ws).scope, to_micros(clock.now - 3 * DAY))
        done.append(ended)
    assert done[0] == done[1]
