"""Jobs when something gives way: a disk without room, a database that is gone, a child that hangs, a clock that is wrong."""

import contextlib
import os
import resource
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import command_line
import psutil
import pytest
from clocks import NOON, AnyClock

import tinymlops as tm
from tinymlops.errors import NotFoundError, TinyMLOpsError
from tinymlops.jobs.rereading import Rereader
from tinymlops.jobs.runner import Runner
from tinymlops.schedules import Job, schedule_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
COUNT = "open('done', 'a').write('x')"


@pytest.fixture
def clock():
    return AnyClock()


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


def hourly(name="work", **options):
    return Job(name=name, schedule=schedule_of("1h", None, "UTC"), **options)


def runner_of(ws, folder, code, *jobs, tell=lambda _: None, **options):
    options = {"grace": 0.3, "at_once": 9, **options}
    return Runner(ws.jobs, jobs or [hourly()], [sys.executable, "-S", "-c", code], root=folder, tell=tell, **options)


@contextlib.contextmanager
def no_room():
    """Let no file grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def step_until(condition, *runners, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        for one in runners:
            one.step()
        time.sleep(0.01)


def children():
    return [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_disk_that_is_full_when_jobs_begin_leaves_none_behind(ws, clock, tmp_path, jobs):
    full = contextlib.ExitStack()

    def tell(line):
        if "attempt 1 begins" in line and not told:
            full.enter_context(no_room())
        told.append(line)

    told = []
    work = [hourly(f"job-{n}", retries=1) for n in range(jobs)]
    runner = runner_of(ws, tmp_path, "import time; time.sleep(0.01)", *work, tell=tell)
    runner.run_until_idle()
    clock.now += HOUR
    before = children()
    with full, pytest.raises(TinyMLOpsError):
        while True:
            runner.step()
    assert [one for one in children() if one not in before] == []
    runner.step()  # what could not be told is told now
    assert ws.jobs.history(state="running") == []
    clock.now += timedelta(minutes=1)
    step_until(lambda: len(ws.jobs.history(state="succeeded")) == jobs, runner)
    assert ws.jobs.open_attempts() == []
    assert {one.state for run in ws.jobs.history() for one in ws.jobs.attempts(run.job, run.due)} <= {
        "failed",
        "lost",
        "succeeded",
    }


def test_a_runner_goes_on_where_the_project_cannot_be_read_for_want_of_a_place(ws, tmp_path, monkeypatch):
    source = tmp_path / "features.py"
    source.write_text("")
    rereader = Rereader(
        [sys.executable, "-c", "raise SystemExit('error: read')"], [str(source)], since=time.time(), every=0
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    source.write_text("changed")
    found = rereader.poll()
    assert "gone" in found
    monkeypatch.undo()
    end = time.monotonic() + 10
    while (found := rereader.poll()) is None:
        assert time.monotonic() < end
    assert found == "read"


def test_a_runner_whose_words_cannot_be_written_works_on(ws, clock, tmp_path):
    with Path("/dev/full").open("w") as full:
        runner = runner_of(ws, tmp_path, COUNT, tell=lambda line: (print(line, file=full), full.flush()))
        runner.run_until_idle()
        clock.now += HOUR
        runner.run_until_idle()
        with contextlib.suppress(OSError):
            full.close()
    assert ws.jobs.get("work").state == "succeeded"


HUNG = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {}time.sleep(60)"
great = "subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'], start_new_session=False); "
subprocess.Popen([sys.executable, "-S", "-c", grandchild.format(great)])
time.sleep(60) if not os.path.exists("well") else None
"""


def group_of(process):
    """Return the processes of a group, dead ones left out."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(one.pid) == process and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found


def test_a_hung_job_with_children_of_children_is_late_and_the_next_due_time_works(ws, clock, tmp_path):
    runner = runner_of(ws, tmp_path, HUNG, hourly(deadline=1_500_000))
    runner.run_until_idle()
    clock.now += HOUR
    runner.step()
    group = ws.jobs.files.process_of(1)
    step_until(lambda: len(group_of(group)) == 3, runner)
    runner.run_until_idle()
    assert group_of(group) == []
    run = ws.jobs.get("work")
    assert (run.state, [one.state for one in ws.jobs.attempts("work", run.due)]) == ("failed", ["late"])
    assert run.told.startswith("was ended by SIGKILL, past its deadline of 1s500ms")
    (tmp_path / "well").touch()
    clock.now += HOUR
    runner.run_until_idle()
    assert (ws.jobs.get("work").due, ws.jobs.get("work").state) == (NOON + 2 * HOUR, "succeeded")


@pytest.mark.parametrize("moved", [-20 * HOUR, -3 * DAY, DAY])
@pytest.mark.parametrize("missed", ["coalesce", "all", "skip"])
def test_a_clock_that_is_moved_while_a_job_runs_leaves_one_attempt_and_the_next_due_time_works(
    ws, clock, tmp_path, moved, missed
):
    job = Job(name="work", schedule=schedule_of("12h", None, "UTC"), missed=missed, deadline=60_000_000)
    runner = runner_of(ws, tmp_path, f"import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n{COUNT}", job)
    runner.run_until_idle()
    clock.now += 12 * HOUR
    first = clock.now
    runner.step()
    clock.now += moved
    for _ in range(3):
        runner.step()
    (tmp_path / "go").touch()
    runner.run_until_idle()
    assert [one.state for one in ws.jobs.attempts("work", first)] == ["succeeded"]
    clock.now = max(first, clock.now) + 12 * HOUR
    runner.run_until_idle()
    assert (ws.jobs.get("work").due, ws.jobs.get("work").state) == (clock.now, "succeeded")
    runs = ws.jobs.history(state="succeeded")
    assert (tmp_path / "done").read_text() == "x" * len(runs)
    assert {run.state for run in ws.jobs.history()} <= {"succeeded", "skipped"}


INGEST = """
import tinymlops as tm

project = tm.Project("shop")


@project.schedule(every="1h", retries=1)
@project.source(connection="shop", timestamp="at", id="order_id", cursor="updated_at")
def orders() -> str:
    return "select o.*, (select pg_sleep(case when count(*) < 3 then 20 else 0 end) from orders)::text as slow from orders o"
"""
SETTINGS = """workspace = "shop.tm"
modules = ["features"]

[connections.shop]
url = "env:SHOP_URL"
"""
ORDERS = "create table orders(order_id bigint primary key, at timestamptz, updated_at timestamptz)"
PUT = "insert into orders select n, '2024-01-01', now() from generate_series({}) n"


@pytest.fixture(scope="module")
def server():
    postgres_server = pytest.importorskip("postgres_server")
    if postgres_server.binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_server.running() as one:
        one.sql(ORDERS, "grant select on orders to reader")
        yield one


def is_read(server):
    with server.connected() as sql:
        reads = "state = 'active' and query like 'COPY (%' and clock_timestamp() - query_start > interval '300ms'"
        return sql(f"select 1 from pg_stat_activity where {reads}") != []


def test_a_database_that_goes_away_while_a_job_reads_it(server, clock, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_URL", server.url())
    server.sql("delete from orders")
    (tmp_path / "tinymlops.toml").write_text(SETTINGS)
    (tmp_path / "features.py").write_text(INGEST)
    command_line.succeed("init", tmp_path)
    command_line.succeed("apply", "--project", tmp_path)
    server.sql(PUT.format("1, 2"))
    job = hourly("orders", retries=1)
    with tm.connect(tmp_path / "shop.tm", clock=clock) as ws:
        runner = Runner(
            ws.jobs, [job], [sys.executable, "-m", "tinymlops_cli.job_process"], root=tmp_path, tell=lambda _: None
        )
        runner.run_until_idle()
        clock.now += HOUR
        step_until(lambda: is_read(server), runner)
        server.process.kill()
        server.process.wait(30)
        step_until(lambda: ws.jobs.get("orders").state == "waiting", runner)
        run = ws.jobs.get("orders")
        assert run.attempts == 1
        assert "went away while it was read" in run.told
        assert "s3cret" not in run.told + ws.jobs.log(run.attempt)
        with pytest.raises(NotFoundError, match="was never ingested"):
            ws.sql("select order_id from orders")
        clock.now = run.not_before
        step_until(lambda: ws.jobs.get("orders").state == "failed", runner)  # nobody is there
        assert [one.exit_code for one in ws.jobs.attempts("orders", run.due)] == [12, 12]
        server.start()
        server.sql(PUT.format("3, 5"))
        clock.now = NOON + 2 * HOUR
        step_until(lambda: ws.jobs.get("orders").state not in ("waiting", "running", "failed"), runner)
        runner.run_until_idle()
        assert [(one.due, one.state) for one in ws.jobs.history()] == [
            (NOON + 2 * HOUR, "succeeded"),
            (NOON + HOUR, "failed"),
        ]
        assert sorted(ws.sql("select order_id from orders")["order_id"]) == [1, 2, 3, 4, 5]
