"""Schedules that change, come and go while due times of the earlier ones are open: none is missed, none done twice."""

import os
import sys
import time
from datetime import timedelta

import msgspec
import pytest
from clocks import NOON, AnyClock
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.jobs.rereading import ProjectJobs, Rereader
from tinymlops.jobs.runner import Runner
from tinymlops.schedules import Job, due_times, job_that_was, schedule_of

MINUTE = timedelta(minutes=1)


def every(text, name="orders", **options):
    return Job(name=name, schedule=schedule_of(text, None, "UTC"), **options)


@pytest.fixture
def clock():
    return AnyClock()


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


def rows(ws):
    return sorted((run.due, run.state, run.cause) for run in ws.jobs.history(limit=None))


def test_a_changed_schedule_counts_from_when_it_is_taken_over(ws, clock):
    ws.jobs.decide([every("1h")])
    clock.now += 5 * MINUTE
    often = [every("10m")]
    assert ws.jobs.decide(often) == 0
    assert ws.jobs.follow_project(often) == [("orders", "every 1h", "every 10m", 0)]
    assert ws.jobs.follow_project(often) == []
    clock.now += 5 * MINUTE
    assert ws.jobs.decide(often) == 1
    (entry,) = ws.audit.list(action="job.change")
    assert (entry.subject, entry.detail) == ("job:orders", {"was": "every 1h", "now": "every 10m", "runs": 0})


def test_what_was_due_before_a_change_is_done_and_says_why(ws, clock):
    ws.jobs.decide([every("1h")])
    clock.now += 130 * MINUTE
    ws.jobs.follow_project([every("30m")])
    clock.now += 20 * MINUTE
    ws.jobs.decide([every("30m")])
    assert rows(ws) == [
        (NOON + 120 * MINUTE, "waiting", "changed from every 1h"),
        (NOON + 150 * MINUTE, "waiting", "schedule"),
    ]
    assert ws.jobs.get("orders", NOON + 120 * MINUTE).count == 2


def test_a_runner_with_an_earlier_definition_does_not_bring_it_back(ws, clock):
    old, new = [every("1h")], [every("7m")]
    ws.jobs.decide(old)
    ws.jobs.follow_project(new)
    clock.now += 120 * MINUTE
    assert ws.jobs.decide(old) == 0
    assert ws.jobs.decide(new) == 1


def test_what_waits_of_a_removed_job_is_skipped_and_what_runs_goes_on(ws, clock):
    jobs = [every("1h"), every("1h", "report")]
    ws.jobs.decide(jobs)
    clock.now += 60 * MINUTE
    ws.jobs.decide(jobs)
    (running,) = ws.jobs.claim([jobs[0]], at_once=9)
    clock.now += 70 * MINUTE
    changes = ws.jobs.follow_project([], {"orders", "report", "never seen"})
    assert sorted(changes) == [("orders", "every 1h", "removed", 1), ("report", "every 1h", "removed", 1)]
    assert ws.jobs.finish(running.number, "succeeded").state == "succeeded"
    os.close(running.lock)
    told = {run.told for run in ws.jobs.history(state="skipped")}
    assert "the job was removed from the project" in told
    assert ws.jobs.history(state="waiting") == []
    clock.now += 600 * MINUTE
    assert ws.jobs.decide(jobs) == 0  # a runner that has not read the project yet
    ws.jobs.follow_project(jobs)  # it is there again: it counts from now
    assert ws.jobs.decide(jobs) == 0
    clock.now += 60 * MINUTE
    assert ws.jobs.decide(jobs) == 2


@pytest.mark.parametrize("state", ["stopped", "lost", "failed"])
def test_a_removed_job_is_not_tried_again(ws, clock, state):
    jobs = [every("1h")]
    ws.jobs.decide(jobs)
    clock.now += 60 * MINUTE
    ws.jobs.decide(jobs)
    (running,) = ws.jobs.claim(jobs, at_once=9)
    ws.jobs.follow_project([], {"orders"})
    run = ws.jobs.finish(running.number, state, retries=3, told="no disk")
    os.close(running.lock)
    assert (run.state, run.told) == ("skipped", "the job was removed from the project")
    assert [one.told for one in ws.jobs.attempts("orders", run.due)] == ["no disk"]


def test_a_paused_job_that_changes_stays_paused_and_keeps_what_it_missed(ws, clock):
    ws.jobs.decide([every("1h")])
    ws.jobs.pause("orders")
    clock.now += 130 * MINUTE
    new = [every("1d")]
    ws.jobs.follow_project(new)
    assert ws.jobs.claim(new, at_once=9) == []
    ws.jobs.pause("orders", resume=True)
    (one,) = ws.jobs.claim(new, at_once=9)
    assert (one.run.due, one.run.count) == (NOON + 120 * MINUTE, 2)
    os.close(one.lock)


def test_a_job_that_follows_another_from_now_on_counts_from_now_on(ws, clock):
    upstream, before = every("1h", "up"), every("3h")
    ws.jobs.decide([upstream, before])
    clock.now += 60 * MINUTE
    ws.jobs.decide([upstream])
    (one,) = ws.jobs.claim([upstream], at_once=9)
    ws.jobs.finish(one.number, "succeeded")
    os.close(one.lock)
    after = Job(name="orders", after=("up",))
    ws.jobs.follow_project([upstream, after])
    assert ws.jobs.decide([upstream, after]) == 0
    clock.now += MINUTE
    ws.jobs.start("up")
    (one,) = ws.jobs.claim([upstream], at_once=9)
    ws.jobs.finish(one.number, "succeeded")
    os.close(one.lock)
    ws.jobs.follow_project([upstream, every("3h")])  # and it is followed for the last time
    assert [run.cause for run in ws.jobs.history("orders")] == ["after up"]


SCHEDULES = st.one_of(
    st.builds(schedule_of, st.sampled_from(["1h", "90m", "1d2h", "1s"]), st.none(), st.just("UTC")),
    st.builds(
        schedule_of,
        st.none(),
        st.sampled_from(["30 2 * * *", "*/5 * * * 1-5", "0 0 1 1 *"]),
        st.sampled_from(["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires"]),
    ),
)


@given(SCHEDULES)
def test_a_schedule_is_read_back_from_its_text(schedule):
    job = Job(name="orders", schedule=schedule, missed="all")
    assert job_that_was("orders", job.when, missed="all") == job


def test_what_is_no_schedule_is_none():
    both = Job(name="a", after=("b", "c"))
    assert job_that_was("a", both.when, missed="coalesce") == both
    assert [job_that_was("a", text, missed="all") for text in ("removed", "", "0 0 * * * (Mars)", "every x")] == [
        None
    ] * 4


EVENTS = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 200)),
    st.tuples(st.just("edit"), st.sampled_from(["20m", "30m", "45m", "1h", None])),
    st.tuples(st.just("reread"), st.sampled_from([0, 1])),
    st.tuples(st.just("decide"), st.sampled_from([0, 1])),
    st.tuples(st.just("restart"), st.sampled_from([0, 1])),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("histories")


class TwoRunners:
    """Two runners of one project, each with what it read of it last, and the due times there should be."""

    def __init__(self, ws, clock):
        self.ws, self.clock = ws, clock
        self.file = "1h"
        self.read = ["1h", "1h"]
        self.force, self.since = "1h", NOON
        self.wanted = set()
        ws.jobs.decide(self.jobs(0))

    def jobs(self, runner):
        return [every(self.read[runner], missed="all")] if self.read[runner] else []

    def reread(self, runner):
        gone = {"orders"} if self.read[runner] and not self.file else set()
        self.read[runner] = self.file
        self.ws.jobs.follow_project(self.jobs(runner), gone)
        if self.file != self.force and (self.file or gone):
            self.pass_by()
            self.force = self.file

    def restart(self, runner):
        self.read[runner] = None
        self.reread(runner)

    def pass_by(self):
        """What was due by the schedule in force until now should be there."""
        if self.force:
            self.wanted |= set(due_times(schedule_of(self.force, None, "UTC"), self.since, self.clock.now))
        self.since = self.clock.now


def stood_for(run):
    """Return the due times that a run stands for: several where its job was removed, which skips them as one.

    What still waited then has its own row, and is counted by the one that took its place.
    """
    if (run.told or "").startswith("it still waited"):
        return []
    if run.count == 1:
        return [run.due]
    assert run.state == "skipped"
    schedule = schedule_of(run.cause.removeprefix("changed from every "), None, "UTC")
    dues = list(due_times(schedule, run.first - timedelta(microseconds=1), run.due))
    assert len(dues) == run.count
    return dues


@settings(max_examples=40, deadline=None)
@example(events=[("wait", 179), ("edit", None), ("decide", 0), ("wait", 1)])
@given(events=st.lists(EVENTS, max_size=40))
def test_two_runners_and_any_edits_miss_nothing_and_double_nothing(folder, events):
    clock = AnyClock()
    with tm.connect(folder / f"{len(list(folder.iterdir()))}.tm", create=True, clock=clock) as ws:
        both = TwoRunners(ws, clock)
        for name, what in [*events, ("reread", 0), ("reread", 1), ("decide", 0)]:
            if name == "wait":
                clock.now += what * MINUTE + timedelta(seconds=7)
            elif name == "edit":
                both.file = what
            elif name == "decide":
                ws.jobs.decide(both.jobs(what))
            else:
                getattr(both, name)(what)
        both.pass_by()
        found = [due for run in ws.jobs.history(limit=None) for due in stood_for(run)]
        assert len(found) == len(set(found))
        assert set(found) == both.wanted


READ = """
import os, sys
text = open("project.json").read()
if text == "broken":
    sys.exit("warning: first\\nerror: this is no Python")
os.write(int(sys.argv[1]), text.encode())
"""


class Project:
    """A project whose definitions are a file of JSON, and a runner that follows it."""

    def __init__(self, ws, folder):
        self.file, self.told = folder / "project.json", []
        jobs = self.write(every("1h"))
        reader = Rereader([sys.executable, "-S", "-c", READ], [str(self.file)], since=time.time() + 9, every=0.01)
        command = [sys.executable, "-S", "-c", ""]
        self.runner = Runner(ws.jobs, jobs, command, root=folder, tell=self.told.append, project=reader, grace=0.3)

    def write(self, *jobs):
        found = ProjectJobs(jobs=jobs, pools={}, files=(str(self.file),))
        self.file.write_bytes(msgspec.json.encode(found))
        return jobs

    def step_until(self, said):
        end = time.monotonic() + 20
        while not any(said in line for line in self.told):
            assert time.monotonic() < end, self.told
            self.runner.step()
            time.sleep(0.01)


def test_a_runner_follows_its_project_without_a_restart(ws, clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = Project(ws, tmp_path)
    project.runner.step()
    clock.now += 130 * MINUTE
    project.write(every("30m"), every("15m", "new"))
    project.step_until("every 30m from now on, every 1h until now")
    clock.now += 21 * MINUTE
    project.step_until("new of 2024-05-01 14:30:00 UTC: succeeded")
    project.step_until("orders of 2024-05-01 14:30:00 UTC: succeeded")
    project.file.write_text("broken")
    project.step_until("its jobs stay as they were: this is no Python")
    clock.now += 30 * MINUTE
    project.step_until("orders of 2024-05-01 15:00:00 UTC: succeeded")
    project.write(every("30m"))
    project.step_until("new: removed from the project")
    project.runner.run_until_idle()
    assert [run.due - NOON for run in ws.jobs.history("orders")] == [180 * MINUTE, 150 * MINUTE, 120 * MINUTE]
    assert {run.state for run in ws.jobs.history()} == {"succeeded"}


def test_a_file_that_changed_while_it_was_read_is_read_again(tmp_path):
    file = tmp_path / "project.json"
    file.write_text("one")
    found = msgspec.json.encode(ProjectJobs(jobs=(), pools={}, files=(str(file),)))
    code = f"import os, sys; open({str(file)!r}, 'w').write('two!'); os.write(int(sys.argv[1]), {found!r})"
    since = time.time() - 100  # it changed after the runner began to read it
    reader = Rereader([sys.executable, "-S", "-c", code], [str(file)], since=since, every=0.01)
    read, end = 0, time.monotonic() + 20
    while read < 2:
        assert time.monotonic() < end
        read += isinstance(reader.poll(), ProjectJobs)
        time.sleep(0.01)
    reader.close()


def test_a_file_of_the_future_is_read_once(tmp_path):
    file = tmp_path / "project.json"
    file.write_text("one")
    os.utime(file, (time.time() + 10_000, time.time() + 10_000))
    reader = Rereader(["/nowhere"], [str(file)], since=time.time() - 100, every=0.0)
    assert [reader.poll() for _ in range(5)] == [None] * 5
