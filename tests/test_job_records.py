"""Jobs as rows: due times decided once, taken by one runner, fenced, tried again, followed by others."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from clocks import NOON, AnyClock
from inside import clock_of, database_of, environment_of, set_fence

import tinymlops as tm
from tinymlops.records import JobRun
from tinymlops.registry.jobs import CLAIMABLE
from tinymlops.registry.outbox import backoff
from tinymlops.schedules import Job, schedule_of
from tinymlops.stores.fence import Fence, fence_of, fenced

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


def hourly(name="orders", **options):
    return Job(name=name, schedule=schedule_of("1h", None, "UTC"), **options)


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=AnyClock()) as ws:
        yield ws


def at(ws, moment):
    clock_of(ws).now = moment


def seen(ws, *jobs):
    """Let a runner see jobs for the first time."""
    ws.jobs.decide(jobs)
    return list(jobs)


def take(ws, jobs, at_once=10):
    return ws.jobs.claim(jobs, at_once=at_once)


def end(ws, claimed, state="succeeded", **options):
    run = ws.jobs.finish(claimed.number, state, **options)
    os.close(claimed.lock)
    return run


def states(ws, job=None):
    return {(run.job, run.due): run.state for run in ws.jobs.history(job, limit=None)}


def test_a_due_time_is_one_run_however_often_it_is_decided(ws):
    jobs = seen(ws, hourly())
    assert ws.jobs.history() == []
    at(ws, NOON + HOUR)
    assert [ws.jobs.decide(jobs), ws.jobs.decide(jobs)] == [1, 0]
    at(ws, NOON - 3 * HOUR)
    assert ws.jobs.decide(jobs) == 0
    at(ws, NOON + HOUR)
    assert ws.jobs.decide(jobs) == 0
    assert states(ws) == {("orders", NOON + HOUR): "waiting"}


@pytest.mark.parametrize(
    ("missed", "counts"), [("all", [1] * 24), ("coalesce", [24]), ("skip", [23, 1])], ids=["all", "coalesce", "skip"]
)
def test_a_machine_that_slept_for_a_day_catches_up_by_the_rule(ws, missed, counts):
    jobs = seen(ws, hourly(missed=missed))
    at(ws, NOON + 24 * HOUR + SECOND)
    ws.jobs.decide(jobs)
    runs = sorted(ws.jobs.history(limit=None), key=lambda run: run.due)
    assert [run.count for run in runs] == counts
    assert [run.due for run in runs if run.state == "waiting"][-1] == NOON + 24 * HOUR
    assert [run.told for run in runs if run.state == "skipped"] == [
        "no runner was there when it was due" for _ in range(missed == "skip")
    ]


def test_a_clock_that_was_wrong_by_years_does_not_silence_a_job(ws):
    jobs = seen(ws, hourly())
    at(ws, datetime(2031, 1, 1, tzinfo=UTC))
    assert ws.jobs.decide(jobs) == 1
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    at(ws, NOON + 2 * HOUR)
    assert ws.jobs.decide(jobs) == 1
    assert ("orders", NOON + 2 * HOUR) in states(ws)


def test_of_two_that_take_runs_one_gets_each(ws):
    jobs = seen(ws, hourly("a"), hourly("b"))
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    first, second = take(ws, jobs, 1), take(ws, jobs, 2)
    assert [one.run.job for one in first + second] == ["a", "b"]
    assert take(ws, jobs) == []
    for one in first + second:
        end(ws, one)
    assert set(states(ws).values()) == {"succeeded"}


def test_a_job_runs_once_at_a_time_and_in_due_order(ws):
    jobs = seen(ws, hourly(missed="all"))
    at(ws, NOON + 3 * HOUR)
    ws.jobs.decide(jobs)
    done = []
    while claimed := take(ws, jobs):
        (one,) = claimed
        assert take(ws, jobs) == []
        done.append(one.run.due)
        end(ws, one)
    assert done == [NOON + n * HOUR for n in (1, 2, 3)]


def test_a_job_that_the_runner_does_not_know_is_left_alone(ws):
    jobs = seen(ws, hourly())
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    assert take(ws, [hourly("other")]) == []


@pytest.mark.parametrize(("missed", "count"), [("coalesce", 3), ("skip", 1), ("all", 1)])
def test_a_job_that_is_slower_than_its_schedule_does_not_fall_behind_unless_it_is_to(ws, missed, count):
    jobs = seen(ws, hourly(missed=missed))
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    (slow,) = take(ws, jobs)
    for n in (2, 3, 4):
        at(ws, NOON + n * HOUR)
        ws.jobs.decide(jobs)
    assert take(ws, jobs) == []
    end(ws, slow)
    (next_one,) = take(ws, jobs)
    due = NOON + (2 if missed == "all" else 4) * HOUR
    assert (next_one.run.due, next_one.run.count) == (due, count)
    assert next_one.run.first == (NOON + 2 * HOUR if missed == "coalesce" else due)
    end(ws, next_one)
    skipped = ws.jobs.history(state="skipped")
    assert [run.due for run in skipped] == ([] if missed == "all" else [NOON + 3 * HOUR, NOON + 2 * HOUR])
    assert all(run.told.startswith("it still waited when the one of") for run in skipped)


def test_a_run_that_is_tried_again_is_not_taken_over(ws):
    jobs = seen(ws, hourly())
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    end(ws, *take(ws, jobs), "failed", retries=1)
    at(ws, NOON + 2 * HOUR)
    ws.jobs.decide(jobs)
    assert states(ws) == {("orders", NOON + HOUR): "waiting", ("orders", NOON + 2 * HOUR): "waiting"}


def test_logs_of_old_attempts_are_not_kept(ws):
    jobs = seen(ws, hourly())
    for n in range(104):
        at(ws, NOON + n * SECOND)
        ws.jobs.start("orders")
        end(ws, *take(ws, jobs), log=f"log {n}")
    assert [ws.jobs.log(n) for n in (1, 4, 5, 104)] == [None, None, "log 4", "log 103"]
    assert len(ws.jobs.history(limit=None)) == 104


def test_lateness_is_told(ws):
    jobs = seen(ws, hourly())
    at(ws, NOON + HOUR + 90 * SECOND)
    ws.jobs.decide(jobs)
    (one,) = take(ws, jobs)
    assert one.attempt.late_us == 90_000_000
    end(ws, one)


def test_a_failure_is_tried_again_later_and_then_no_more(ws):
    jobs = seen(ws, hourly())
    now = NOON + HOUR
    at(ws, now)
    ws.jobs.decide(jobs)
    for failures in (1, 2):
        (one,) = take(ws, jobs)
        run = end(ws, one, "failed", retries=2, exit_code=1, told="no disk")
        assert (run.state, run.not_before) == ("waiting", now + backoff(failures))
        assert take(ws, jobs) == []
        now = run.not_before
        at(ws, now)
    (one,) = take(ws, jobs)
    assert end(ws, one, "failed", retries=2, told="no disk").state == "failed"
    assert [(one.number, one.state, one.told) for one in ws.jobs.attempts("orders", NOON + HOUR)] == [
        (n, "failed", "no disk") for n in (1, 2, 3)
    ]
    again = ws.jobs.rerun("orders")
    assert (again.state, again.attempts, again.cause) == ("waiting", 0, "by hand")
    (one,) = take(ws, jobs)
    assert end(ws, one).state == "succeeded"
    with pytest.raises(tm.NotFoundError, match="that was due at"):
        ws.jobs.rerun("orders", NOON)


def test_backoff_doubles_up_to_an_hour():
    assert [backoff(n) // SECOND for n in (1, 2, 3, 7, 8, 9, 10_000)] == [30, 60, 120, 1920, 3600, 3600, 3600]


def test_a_lost_attempt_is_made_again_at_once_but_not_for_ever(ws):
    jobs = seen(ws, hourly())
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    last = None
    for _ in range(5):
        (one,) = take(ws, jobs)
        last = end(ws, one, "lost", told="its machine stopped")
    assert (last.state, last.lost, last.attempts) == ("failed", 5, 0)


def test_an_attempt_that_was_given_up_cannot_commit(ws, tmp_path):
    jobs = seen(ws, hourly())
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    (late,) = take(ws, jobs)
    fence = fence_of(tmp_path / "shop.tm", fenced(late.number, tmp_path / "shop.tm"))
    assert isinstance(fence, Fence)
    set_fence(ws, fence)
    ws.runs.start("in time")
    set_fence(ws, None)
    ws.jobs.finish(late.number, "lost")
    (now,) = take(ws, jobs)
    set_fence(ws, fence)
    for write in (lambda: ws.runs.start("too late"), lambda: ws.jobs.finish(late.number, "succeeded")):
        with pytest.raises(tm.ConflictError, match=f"attempt {late.number} of a job has ended or was given up"):
            write()
    set_fence(ws, None)
    assert [run.name for run in ws.runs.search()] == ["in time"]
    assert ws.jobs.get("orders").attempt == now.number
    for one in (late, now):
        os.close(one.lock)


def test_a_fence_is_of_one_workspace(tmp_path):
    here = fenced(7, tmp_path / "a.tm")
    assert fence_of(tmp_path / "a.tm", here).attempt == 7
    assert fence_of(tmp_path / "b.tm", here) is None
    assert fence_of(tmp_path / "a.tm", {}) is None
    assert fence_of(tmp_path / "a.tm", {"TINYMLOPS_JOB_FENCE": f"x:{tmp_path}/a.tm"}) is None


def test_the_file_of_an_attempt_is_held_before_it_is_stored(ws):
    jobs = seen(ws, hourly())
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    (one,) = take(ws, jobs)
    files = environment_of(ws).jobs
    assert files.is_held(one.number)
    os.close(one.lock)
    assert not files.is_held(one.number)
    files.remove(one.number)
    assert files.attempts() == []


def test_a_claim_that_could_not_be_committed_leaves_its_number_to_the_next(ws, monkeypatch):
    jobs = seen(ws, hourly())
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    files, held = environment_of(ws).jobs, []
    real = files.hold

    def hold_and_fail(attempt):
        held.append(real(attempt))
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "hold", hold_and_fail)
    with pytest.raises(OSError, match="no space left"):
        take(ws, jobs)
    monkeypatch.undo()
    (one,) = take(ws, jobs)  # the file of the first try is still locked
    assert one.number == 1
    os.close(held[0])
    assert files.is_held(1)
    end(ws, one)


def test_a_job_follows_each_success_of_another_once(ws):
    jobs = seen(ws, hourly("orders", missed="all"), Job(name="spending", after=("orders",)))
    at(ws, NOON + 2 * HOUR)
    ws.jobs.decide(jobs)
    (first,) = take(ws, jobs)
    end(ws, first)
    (second,) = take(ws, jobs)
    end(ws, second, "failed")
    assert [ws.jobs.decide(jobs), ws.jobs.decide(jobs)] == [1, 0]
    assert {due: state for (job, due), state in states(ws).items() if job == "spending"} == {NOON + HOUR: "waiting"}
    ws.jobs.rerun("orders", NOON + 2 * HOUR)
    for _ in range(2):
        for one in take(ws, jobs):
            end(ws, one)
    ws.jobs.decide(jobs)
    assert ws.jobs.get("spending", NOON + 2 * HOUR).cause == "after orders"
    assert ws.jobs.decide(jobs) == 0


def test_a_job_does_not_follow_what_was_before_it(ws):
    jobs = seen(ws, hourly("orders"))
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    end(ws, *take(ws, jobs))
    jobs.append(Job(name="spending", after=("orders",)))
    assert [ws.jobs.decide(jobs), ws.jobs.decide(jobs)] == [0, 0]


def test_a_backfill_of_a_year_is_in_due_order_and_lets_what_is_due_now_pass(ws):
    job = hourly()
    jobs = seen(ws, job)
    start = NOON - 365 * 24 * HOUR
    made = ws.jobs.backfill(job, start, NOON)
    assert [run.due for run in made] == [start + n * HOUR for n in range(365 * 24 + 1)]
    done = []
    for n in range(6):
        if n == 3:
            at(ws, NOON + HOUR)
            ws.jobs.decide(jobs)
        (one,) = take(ws, jobs)
        done.append(one.run.due)
        end(ws, one)
    assert done == [start, start + HOUR, start + 2 * HOUR, NOON + HOUR, start + 3 * HOUR, start + 4 * HOUR]
    assert len(ws.jobs.backfill(job, start, start + 10 * HOUR)) == 0  # done, or waiting already
    with pytest.raises(tm.DataError, match="ends in the future"):
        ws.jobs.backfill(job, start, NOON + 2 * HOUR)
    with pytest.raises(tm.DataError, match="more than 100,000"):
        ws.jobs.backfill(job, datetime(2000, 1, 1, tzinfo=UTC), NOON)
    with pytest.raises(tm.DefinitionError, match="follows 'orders'"):
        ws.jobs.backfill(Job(name="spending", after=("orders",)), start, NOON)


def test_a_paused_job_is_not_started_and_what_it_missed_follows_the_rule(ws):
    jobs = seen(ws, hourly())
    at(ws, NOON + HOUR)
    ws.jobs.decide(jobs)
    ws.jobs.pause("orders")
    at(ws, NOON + 5 * HOUR)
    assert take(ws, jobs) == []
    assert ws.jobs.decide(jobs) == 0
    assert ws.jobs.pause("orders", resume=True).paused_at is None
    ws.jobs.decide(jobs)
    assert [(run.due, run.count) for run in ws.jobs.history()] == [(NOON + 5 * HOUR, 5), (NOON + HOUR, 1)]
    with pytest.raises(tm.NotFoundError, match="no runner has seen a job 'order'") as told:
        ws.jobs.pause("order")
    assert "orders" in told.value.hint


def test_what_a_person_does_is_in_the_audit_log(ws):
    jobs = seen(ws, hourly())
    ws.jobs.start("orders")
    end(ws, *take(ws, jobs))
    ws.jobs.rerun("orders")
    ws.jobs.pause("orders")
    ws.jobs.pause("orders", resume=True)
    ws.jobs.backfill(jobs[0], NOON - HOUR, NOON)
    done = [entry.action for entry in ws.audit.list(subject="job:orders")]
    assert sorted(done) == sorted(["job.start", "job.rerun", "job.pause", "job.resume", "job.backfill"])


def test_a_state_that_there_is_not_is_refused(ws):
    with pytest.raises(tm.DataError, match="'faild' is not a state of a run") as told:
        ws.jobs.history(state="faild")
    assert "failed" in told.value.hint


def test_runs_are_tables_of_sql(ws):
    jobs = seen(ws, hourly())
    ws.jobs.start("orders")
    end(ws, *take(ws, jobs), log="hello")
    assert ws.sql("select job, state from job_runs").rows() == [("orders", "succeeded")]
    assert ws.sql("select number, state from job_attempts").rows() == [(1, "succeeded")]
    assert ws.jobs.log(1) == "hello"
    assert database_of(ws).list(JobRun)[0].due == NOON


def test_what_may_be_attempted_is_found_without_a_look_at_all_history(ws):
    plan = database_of(ws).rows(f"EXPLAIN QUERY PLAN SELECT * FROM job_runs {CLAIMABLE}", (0,))
    assert [step for *_, step in plan if "job_runs_open" in step]
    assert not [step for *_, step in plan if step.startswith("SCAN job_runs")]
