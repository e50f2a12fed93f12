"""The runner with real processes: what they do, how they end, and what is left of a runner that was killed."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from clocks import NOON, AnyClock
from inside import environment_of

import tinymlops as tm
from tinymlops.jobs.runner import Runner
from tinymlops.schedules import Job, schedule_of
from tinymlops.stores.job_files import HEAD, TAIL

HOUR = timedelta(hours=1)


@pytest.fixture
def clock():
    return AnyClock()


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


def hourly(**options):
    return Job(name="work", schedule=schedule_of("1h", None, "UTC"), **options)


class Shop:
    """A workspace and a runner whose program is some Python."""

    def __init__(self, ws, clock, tmp_path):
        self.ws, self.clock, self.folder = ws, clock, tmp_path
        self.told = []

    def runner(self, code, *jobs, **options):
        options = {"grace": 0.3, "at_once": 4, **options}
        return Runner(
            self.ws.jobs,
            jobs or [hourly()],
            [sys.executable, "-S", "-c", code],
            root=self.folder,
            tell=self.told.append,
            **options,
        )

    def due_once(self, code, *jobs, **options):
        """Let a runner see jobs, and then run what is due an hour later."""
        runner = self.runner(code, *jobs, **options)
        runner.run_until_idle()
        self.clock.now += HOUR
        runner.run_until_idle()
        return self.ws.jobs.history()

    def log(self):
        return self.ws.jobs.log(self.ws.jobs.get("work").attempt)


@pytest.fixture
def shop(ws, clock, tmp_path):
    return Shop(ws, clock, tmp_path)


def alive(process):
    """Return whether a process lives: one that has ended may wait for a while until its parent looks at it."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_due_is_run_and_its_output_kept(shop):
    (run,) = shop.due_once("print('héllo'); import sys; print('well', file=sys.stderr)")
    assert (run.state, run.due, run.told) == ("succeeded", NOON + HOUR, None)
    (attempt,) = shop.ws.jobs.attempts("work", run.due)
    assert (attempt.state, attempt.exit_code) == ("succeeded", 0)
    assert sorted(shop.log().split()) == ["héllo", "well"]
    assert environment_of(shop.ws).jobs.attempts() == []
    assert shop.told == [
        "work of 2024-05-01 13:00:00 UTC: attempt 1 begins",
        "work of 2024-05-01 13:00:00 UTC: succeeded",
    ]


def test_a_failure_says_how_and_its_last_line(shop):
    (run,) = shop.due_once("print('one'); raise SystemExit('no disk')")
    assert (run.state, run.told) == ("failed", "ended with code 1: no disk")
    (run,) = shop.ws.jobs.history()
    shop.ws.jobs.rerun("work")
    shop.runner("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").run_until_idle()
    assert shop.ws.jobs.get("work").told == "was ended by SIGKILL"


def test_a_program_that_cannot_be_started_is_a_failure(shop):
    runner = Runner(shop.ws.jobs, [hourly()], ["/nowhere/python"], root=shop.folder, tell=shop.told.append)
    runner.run_until_idle()
    shop.clock.now += HOUR
    runner.run_until_idle()
    assert shop.ws.jobs.get("work").told.startswith("could not be started: ")


def test_a_failure_is_tried_again_when_its_time_has_come(shop):
    jobs = hourly(retries=1)
    code = "import os, sys; os.path.exists('tried') or (open('tried', 'w').close(), sys.exit(1))"
    (run,) = shop.due_once(code, jobs)
    assert (run.state, run.not_before) == ("waiting", NOON + HOUR + timedelta(seconds=30))
    shop.clock.now = run.not_before
    shop.runner(code, jobs).run_until_idle()
    assert shop.ws.jobs.get("work").state == "succeeded"
    assert [one.state for one in shop.ws.jobs.attempts("work", run.due)] == ["failed", "succeeded"]


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def test_a_deadline_ends_all_that_was_started_even_what_does_not_listen(shop):
    (run,) = shop.due_once(STUBBORN, hourly(deadline=400_000))
    assert run.state == "failed"
    assert run.told.startswith("was ended by SIGKILL, past its deadline of 400ms")
    (attempt,) = shop.ws.jobs.attempts("work", run.due)
    assert attempt.state == "late"
    wait_for(lambda: not any(alive(int(one)) for one in shop.log().split()))


def test_what_a_job_leaves_running_is_ended_with_it(shop):
    code = STUBBORN.replace("time.sleep(60)\n", "")
    (run,) = shop.due_once(code)
    assert run.state == "succeeded"
    wait_for(lambda: not any(alive(int(one)) for one in shop.log().split()))


def test_no_more_run_at_once_than_is_said(shop):
    jobs = [Job(name=f"job-{n}", schedule=schedule_of("1h", None, "UTC")) for n in range(5)]
    code = (
        "import os, time; os.mkdir(f'in-{os.getpid()}'); time.sleep(0.1); "
        "print(sum(one.startswith('in-') for one in os.listdir())); os.rmdir(f'in-{os.getpid()}')"
    )
    runs = shop.due_once(code, *jobs, at_once=2)
    assert [run.state for run in runs] == ["succeeded"] * 5
    assert max(int(shop.ws.jobs.log(run.attempt)) for run in runs) == 2


def test_chains_run_to_their_end_and_stop_at_a_failure(shop):
    code = "import os; raise SystemExit('\"b\"' in os.environ['TINYMLOPS_JOB'])"
    chain = [hourly(), Job(name="a", after=("work",)), Job(name="b", after=("a",)), Job(name="c", after=("b",))]
    runs = shop.due_once(code, *chain)
    assert {run.job: run.state for run in runs} == {"work": "succeeded", "a": "succeeded", "b": "failed"}
    assert {run.due for run in runs} == {NOON + HOUR}


def test_lateness_and_what_a_run_stands_for_are_told(shop):
    runner = shop.runner("")
    runner.run_until_idle()
    shop.clock.now += 5 * HOUR + timedelta(minutes=2)
    runner.run_until_idle()
    assert shop.told[0] == "work of 2024-05-01 17:00:00 UTC: attempt 1 begins, 2m late, for 5 due times"


def test_a_stopped_runner_ends_what_runs_and_the_next_one_runs_it_again(shop):
    runner = shop.runner("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    runner.run_until_idle()
    shop.clock.now += HOUR
    runner.step()
    files = environment_of(shop.ws).jobs
    wait_for(lambda: files.read_log(1))
    runner.stop()
    runner.run()
    run = shop.ws.jobs.get("work")
    assert (run.state, run.attempts) == ("waiting", 0)
    shop.runner("").run_until_idle()
    assert [one.state for one in shop.ws.jobs.attempts("work", run.due)] == ["stopped", "succeeded"]


def test_a_long_log_keeps_its_beginning_and_its_end(shop):
    shop.due_once("print('begin'); print('x' * 1_000_000); print('end')")
    log = shop.log()
    assert log.startswith("begin\n")
    assert log.endswith("end\n")
    assert len(log) < HEAD + TAIL + 100
    assert f"... {1_000_011 - HEAD - TAIL:,} bytes left out ..." in log


def test_a_log_is_emptied_while_it_grows_without_bound(shop):
    files = environment_of(shop.ws).jobs
    (shop.folder / "shop.tm" / "jobs").mkdir()
    descriptor = files.open_log(7)
    os.write(descriptor, b"begin" + bytes(HEAD - 5) + b"x" * 17_000_000)
    files.trim_log(7)
    os.write(descriptor, b"y" * 10)
    os.close(descriptor)
    assert (shop.folder / "shop.tm" / "jobs" / "7.log").stat().st_size == 10
    assert files.read_log(7).endswith("\n... 17,000,000 bytes left out ...\nyyyyyyyyyy")
    assert files.read_log(7).startswith("begin\N{REPLACEMENT CHARACTER}")


def test_secrets_are_left_out_of_what_is_kept(shop, monkeypatch):
    monkeypatch.setenv("SHOP_PASSWORD", "correct-horse-battery")
    shop.due_once("import os; print('using', os.environ['SHOP_PASSWORD']); raise SystemExit(3)")
    assert "correct-horse" not in shop.log() + shop.ws.jobs.get("work").told + " ".join(shop.told)


RUNNER = """
import sys, datetime
import tinymlops as tm
from tinymlops.jobs.runner import Runner
from tinymlops.schedules import Job, schedule_of

now = datetime.datetime.fromisoformat(sys.argv[2])
with tm.connect(sys.argv[1], clock=tm.ReplayClock(now)) as ws:
    job = Job(name="work", schedule=schedule_of("1h", None, "UTC"), deadline=int(sys.argv[4]))
    Runner(ws.jobs, [job], [sys.executable, "-c", sys.argv[3]], root=sys.argv[5], grace=0.3).run()
"""

ORPHAN = """
import os, sys, time
from pathlib import Path
Path("begun").write_text(str(os.getpid()))
from tinymlops.jobs.processes import order_of
import tinymlops as tm
order = order_of()
os.set_inheritable(order.lock, False)
while not Path("go").exists():
    time.sleep(0.01)
with tm.connect(order.workspace) as ws:
    ws.runs.start("mine")
with tm.connect(order.workspace) as ws:
    ws.jobs.finish(order.attempt, "succeeded")
print("done without a runner")
"""


def begin_and_kill_runner(shop, code, deadline=60_000_000):
    """Start a job by a runner that is then killed, and return the job's process."""
    job = hourly(deadline=deadline)
    shop.runner("", job).run_until_idle()
    shop.clock.now += HOUR
    arguments = [shop.folder / "shop.tm", shop.clock.now.isoformat(), code, deadline, shop.folder]
    runner = subprocess.Popen([sys.executable, "-c", RUNNER, *map(str, arguments)], stdout=subprocess.DEVNULL)
    begun = shop.folder / "begun"
    try:
        wait_for(lambda: begun.exists() and begun.read_text(), 60)
    finally:
        runner.kill()
        runner.wait()
    return job, int(begun.read_text())


def test_a_job_outlives_its_killed_runner_and_is_not_run_twice(shop):
    job, _ = begin_and_kill_runner(shop, ORPHAN)
    other = shop.runner("raise SystemExit(9)", job)
    other.run_until_idle()
    assert shop.ws.jobs.get("work").state == "running"
    Path(shop.folder / "go").touch()
    wait_for(lambda: shop.ws.jobs.get("work").state == "succeeded", 30)
    files = environment_of(shop.ws).jobs
    wait_for(lambda: not files.is_held(1))
    shop.runner("raise SystemExit(9)", job).run_until_idle()
    assert [one.state for one in shop.ws.jobs.attempts("work", NOON + HOUR)] == ["succeeded"]
    assert [run.name for run in shop.ws.runs.search()] == ["mine"]
    assert shop.log() == "done without a runner\n"
    assert files.attempts() == []


def test_a_job_that_was_killed_with_its_runner_is_run_again(shop):
    job, process = begin_and_kill_runner(shop, ORPHAN)
    os.kill(process, signal.SIGKILL)
    files = environment_of(shop.ws).jobs
    wait_for(lambda: not files.is_held(1))
    shop.runner("", job).run_until_idle()
    assert [one.state for one in shop.ws.jobs.attempts("work", NOON + HOUR)] == ["lost", "succeeded"]
    assert any("it is waiting" in line for line in shop.told)


def test_a_job_without_a_runner_is_ended_past_its_deadline_by_the_next_and_cannot_commit(shop):
    job, process = begin_and_kill_runner(shop, ORPHAN, deadline=20_000_000)
    shop.clock.now += timedelta(seconds=30)
    shop.runner("", job).run_until_idle()
    wait_for(lambda: not alive(process))
    assert [one.state for one in shop.ws.jobs.attempts("work", NOON + HOUR)] == ["late"]
    assert shop.ws.jobs.get("work").state == "failed"


def test_two_runners_share_the_work_and_do_none_of_it_twice(shop):
    jobs = [Job(name=f"job-{n}", schedule=schedule_of("1h", None, "UTC"), missed="all") for n in range(3)]
    code = "open('done', 'a').write('x')"
    one, other = shop.runner(code, *jobs), shop.runner(code, *jobs)
    one.step()
    other.step()
    shop.clock.now += 3 * HOUR
    while shop.ws.jobs.history(state="waiting") or shop.ws.jobs.history(state="running") or not shop.told:
        one.step()
        other.step()
        time.sleep(0.01)
    assert (shop.folder / "done").read_text() == "x" * 9
    assert [run.state for run in shop.ws.jobs.history()] == ["succeeded"] * 9


def test_an_idle_runner_writes_nothing(shop):
    runner = shop.runner("", hourly(), Job(name="next", after=("work",)))
    runner.run_until_idle()
    before = shop.ws.jobs.commits()
    for _ in range(10):
        shop.clock.now += timedelta(minutes=1)
        runner.step()
    assert shop.ws.jobs.commits() == before
