"""Jobs that wait: for a place in their pool, and for a file that is there and no longer written."""

import os
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from clocks import NOON, AnyClock
from inside import look_now

import tinymlops as tm
from tinymlops.features.definitions.scheduling import check_pools
from tinymlops.jobs.file_waits import FileWaits, pattern_of
from tinymlops.jobs.runner import Runner
from tinymlops.registry.job_rows import waiting_run
from tinymlops.schedules import Job, schedule_of

HOUR = timedelta(hours=1)
SETTLED = 0.15
"""Seconds between two looks that these tests wait for."""


@pytest.fixture
def clock():
    return AnyClock()


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


def hourly(name="work", **options):
    return Job(name=name, schedule=schedule_of("1h", None, "UTC"), **options)


def runner_of(ws, folder, told, *jobs, code="", **options):
    options = {"grace": 0.3, "at_once": 9, "settled": SETTLED, **options}
    return Runner(ws.jobs, jobs, [sys.executable, "-S", "-c", code], root=folder, tell=told.append, **options)


def step_until(condition, *runners, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        for one in runners:
            one.step()
        time.sleep(0.01)


COUNT = """
import os, time, json
pool = "database" if "db" in os.environ["TINYMLOPS_JOB"] else "other"
name = f"in-{pool}-{os.getpid()}"
os.mkdir(name)
time.sleep(0.05)
print(sum(one.startswith(f"in-{pool}-") for one in os.listdir()), sum(one.startswith("in-") for one in os.listdir()))
os.rmdir(name)
"""


def test_a_pool_has_so_many_places_in_two_runners_together(ws, clock, tmp_path):
    jobs = [hourly(f"db-{n}", pool="database") for n in range(6)] + [hourly(f"free-{n}") for n in range(4)]
    both = [runner_of(ws, tmp_path, [], *jobs, code=COUNT, pools={"database": 2}) for _ in range(2)]
    for one in both:
        one.step()
    clock.now += HOUR
    step_until(lambda: len(ws.jobs.history(state="succeeded")) == len(jobs), *both)
    counts = {run.job: ws.jobs.log(run.attempt).split() for run in ws.jobs.history()}
    assert max(int(mine) for job, (mine, _) in counts.items() if job.startswith("db")) <= 2
    assert ws.sql("select pool, count(*) from job_attempts group by pool order by pool").rows() == [
        ("database", 6),
        (None, 4),
    ]


def end(ws, one):
    ws.jobs.finish(one.number, "succeeded")
    os.close(one.lock)


def test_a_place_is_taken_from_the_first_attempt_to_its_end_whoever_knows_the_job(ws, clock):
    jobs = [hourly(name, pool="database") for name in "abc"] + [hourly("d")]
    ws.jobs.decide(jobs)
    clock.now += HOUR
    ws.jobs.decide(jobs)
    taken = ws.jobs.claim(jobs, at_once=9, pools={"database": 1})
    assert [one.run.job for one in taken] == ["a", "d"]
    commits = ws.jobs.commits()
    assert ws.jobs.claim(jobs[1:], at_once=9, pools={"database": 1}) == []  # of a runner that has no job "a" any more
    assert ws.jobs.claim(jobs[1:], at_once=9) == []
    assert ws.jobs.commits() == commits
    assert [one.attempt.pool for one in taken] == ["database", None]
    end(ws, taken[0])
    (second,) = ws.jobs.claim(jobs, at_once=9, pools={"database": 1})
    assert second.run.job == "b"
    (third,) = ws.jobs.claim(jobs, at_once=9, pools={"database": 2})
    for one in (taken[1], second, third):
        end(ws, one)


def test_a_full_pool_takes_no_place_of_others(ws, clock):
    jobs = [hourly(name, pool="database") for name in "abc"] + [hourly("z")]
    ws.jobs.decide(jobs)
    clock.now += HOUR
    ws.jobs.decide(jobs)
    taken = ws.jobs.claim(jobs, at_once=2, pools={"database": 1})
    assert [one.run.job for one in taken] == ["a", "z"]
    for one in taken:
        end(ws, one)


def test_a_pool_without_a_size_is_refused():
    with pytest.raises(tm.DefinitionError, match="'a' is in the pool 'database', whose size nothing says") as told:
        check_pools({"a": hourly("a", pool="database")}, {})
    assert "[jobs.pools] and database = 1" in told.value.hint
    with pytest.raises(tm.DefinitionError) as told:
        check_pools({"a": hourly("a", pool="databse")}, {"database": 1})
    assert told.value.hint == "did you mean 'database'?"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pool": "Data Base"}, "cannot be the name of a pool"),
        ({"pool": 7}, "cannot be the name of a pool"),
        ({"wait_for": ""}, "is not a pattern"),
        ({"wait_for": 7}, "is not a pattern"),
        ({"wait_for": "a\0b"}, "is not a pattern"),
        ({"wait_for": "{day}.csv"}, "braces around something else"),
        ({"wait_for": "{date.csv"}, "braces around something else"),
        ({"wait_limit": "1h"}, "goes with wait_for="),
        ({"wait_for": "a.csv", "wait_limit": "soon"}, "is not a duration"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said):
    with pytest.raises(tm.DefinitionError, match=said) as told:
        tm.Project("shop").command("clean", "gc", every="1h", **options)
    assert told.value.hint


def test_options_are_in_the_job():
    job = tm.Project("shop").command("clean", "gc", every="1h", pool="database", wait_for="{date}.csv")
    assert (job.pool, job.wait_for, job.wait_limit) == ("database", "{date}.csv", 86_400_000_000)


@pytest.mark.parametrize(
    ("zone", "due", "day"),
    [
        ("Europe/Vienna", datetime(2024, 10, 26, 22, 30, tzinfo=UTC), "2024-10-27"),
        ("Europe/Vienna", datetime(2024, 10, 27, 22, 30, tzinfo=UTC), "2024-10-27"),  # 25 hours long
        ("America/New_York", datetime(2024, 5, 1, 3, tzinfo=UTC), "2024-04-30"),
        ("UTC", datetime(2024, 5, 1, 3, tzinfo=UTC), "2024-05-01"),
    ],
)
def test_the_date_is_that_of_the_schedules_zone(zone, due, day):
    job = Job(name="work", schedule=schedule_of(None, "0 3 * * *", zone), wait_for="in/{date}/x-{date}*.csv")
    assert pattern_of(job, due) == f"in/{day}/x-{day}*.csv"
    assert pattern_of(Job(name="next", after=("work",), wait_for="{date}"), NOON) == "2024-05-01"


WAITING = {"wait_for": "data/{date}.csv", "wait_limit": 3_600_000_000}
READ = "print(open('data/2024-05-01.csv').read())"


def due(ws, clock, *runners):
    for one in runners:
        one.step()
    clock.now += HOUR
    for one in runners:
        one.step()


def test_a_job_waits_for_its_file_without_a_place_and_over_a_restart(ws, clock, tmp_path):
    job, told = hourly(**WAITING), []
    (tmp_path / "data").mkdir()
    first = runner_of(ws, tmp_path, told, job, code=READ, at_once=1)
    due(ws, clock, first)
    run = ws.jobs.get("work")
    assert (run.state, run.told, run.attempts) == ("waiting", "waits for data/2024-05-01.csv", 0)
    commits = ws.jobs.commits()
    look_now(first)
    first.step()
    assert ws.jobs.commits() == commits
    first.stop()
    first.run()
    other = hourly("other")
    second = runner_of(ws, tmp_path, told, job, other, code=READ, at_once=1)
    ws.jobs.start("other")
    (tmp_path / "data" / "2024-05-01.csv").write_text("done")
    second.run_until_idle()
    assert {run.job: run.state for run in ws.jobs.history()} == {"work": "succeeded", "other": "succeeded"}
    assert ws.jobs.get("work").told is None
    assert ws.jobs.log(ws.jobs.get("work").attempt) == "done\n"
    assert len(ws.jobs.attempts("work", run.due)) == 1


def test_a_file_that_is_still_written_is_not_taken(ws, clock, tmp_path):
    job = hourly(**WAITING)
    (tmp_path / "data").mkdir()
    runner = runner_of(ws, tmp_path, [], job, code=READ)
    due(ws, clock, runner)
    with (tmp_path / "data" / "2024-05-01.csv").open("w") as file:
        for n in range(20):
            file.write(f"{n}\n")
            file.flush()
            look_now(runner)
            runner.step()
            time.sleep(SETTLED / 4)
        assert ws.jobs.get("work").state == "waiting"
    step_until(lambda: ws.jobs.get("work").state == "succeeded", runner)
    assert ws.jobs.log(1).split() == [str(n) for n in range(20)]


def test_looks(tmp_path):
    job, waits = hourly(wait_for="{date}/*.csv"), FileWaits(tmp_path / "a*b", settled=0.05)
    folder = tmp_path / "a*b" / "2024-05-01"
    folder.mkdir(parents=True)
    (tmp_path / "axb" / "2024-05-01").mkdir(parents=True)
    (tmp_path / "axb" / "2024-05-01" / "of another.csv").write_text("")
    run = waiting_run("work", NOON, "schedule")
    assert waits.look(job, run) == "absent"
    (folder / "folder.csv").mkdir()
    (folder / "broken.csv").symlink_to("nowhere")
    (folder / "x.txt").write_text("")
    assert waits.look(job, run) == "absent"
    (folder / "ä 1.csv").write_text("")
    assert [waits.look(job, run), waits.look(job, run)] == ["new", "new"]
    time.sleep(0.06)
    assert waits.look(job, run) == "there"
    (folder / "2.csv").write_text("one more")
    assert waits.look(job, run) == "growing"
    time.sleep(0.06)
    assert waits.look(job, run) == "there"
    status = (folder / "2.csv").stat()
    (folder / "3.csv").write_text("one less")
    os.utime(folder / "3.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    (folder / "3.csv").replace(folder / "2.csv")  # the same size and time, but another file
    assert waits.look(job, run) == "growing"
    for name in ("2.csv", "ä 1.csv"):
        (folder / name).unlink()
    assert waits.look(job, run) == "absent"
    waits.keep(set())
    assert waits.look(job, waiting_run("work", NOON + 24 * HOUR, "schedule")) == "absent"


@pytest.mark.parametrize("written", [False, True])
def test_a_limit_ends_the_wait_and_is_told(ws, clock, tmp_path, written):
    job, told = hourly(retries=3, **WAITING), []
    (tmp_path / "data").mkdir()
    runner = runner_of(ws, tmp_path, told, job, code=READ)
    due(ws, clock, runner)
    clock.now += timedelta(minutes=59)
    step_until(lambda: ws.jobs.get("work").told, runner)
    assert ws.jobs.get("work").state == "waiting"
    clock.now += timedelta(minutes=1)
    file = tmp_path / "data" / "2024-05-01.csv"

    def is_over():
        if written:
            with file.open("a") as opened:
                opened.write("more")
        look_now(runner)
        return ws.jobs.get("work", NOON + HOUR).state == "failed"

    step_until(is_over, runner)
    runner.run_until_idle()
    later = ws.jobs.get("work", NOON + 2 * HOUR)  # it waits for itself, and did not take over what waited before it
    assert later.state == ("succeeded" if written else "waiting")
    why = "was still being written" if written else "was not there"
    assert ws.jobs.get("work", NOON + HOUR).told == f"data/2024-05-01.csv {why} within 1h"
    (message,) = ws.jobs.outbox.list()
    assert message.text == f"job 'work' of 2024-05-01 13:00:00 UTC failed: data/2024-05-01.csv {why} within 1h"
    assert any(f"failed, data/2024-05-01.csv {why}" in line for line in told)
    assert ws.jobs.attempts("work", NOON + HOUR) == []


def test_a_file_that_is_there_after_the_limit_is_taken_by_a_runner_that_comes_late(ws, clock, tmp_path):
    job = hourly(**WAITING)
    runner_of(ws, tmp_path, [], job).run_until_idle()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "2024-05-02.csv").write_text("")
    clock.now += 23 * HOUR + timedelta(hours=0.9)
    ws.jobs.decide([job])
    clock.now += 0.9 * HOUR
    runner_of(ws, tmp_path, [], job).run_until_idle()
    assert ws.jobs.get("work").state == "succeeded"


def test_what_was_given_up_or_taken_meanwhile_is_not_given_up(ws, clock):
    job = hourly(**WAITING)
    ws.jobs.decide([job])
    clock.now += HOUR
    ws.jobs.decide([job])
    run = ws.jobs.get("work")
    assert ws.jobs.claim([job], at_once=1, arrived={("work", NOON)}) == []
    (one,) = ws.jobs.claim([job], at_once=1, arrived={("work", run.due)})
    assert not ws.jobs.give_up(run, "it was not there")
    ws.jobs.wait(run, "waits")
    assert ws.jobs.get("work").told is None
    end(ws, one)
