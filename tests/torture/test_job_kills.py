"""Kill a runner, or the job that it started, at every system call that changes something: a due time is done once."""

import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from inside import environment_of

import tinymlops as tm
from tinymlops.schedules import Job, schedule_of
from torture.conftest import FULL, needs_strace
from torture.figures import record
from torture.fleet import STATE, copied, points

pytestmark = needs_strace
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
DUE = NOON + timedelta(hours=1)
POINTS = 3
"""Kill points of the short version."""
HOURLY = Job(name="work", schedule=schedule_of("1h", None, "UTC"), retries=3)
RUNNER = """
import datetime, sys
import tinymlops as tm
from tinymlops.jobs.runner import Runner
from tinymlops.schedules import Job, schedule_of

with tm.connect(sys.argv[1], clock=tm.ReplayClock(sys.argv[2])) as ws:
    job = Job(name="work", schedule=schedule_of("1h", None, "UTC"), retries=3)
    Runner(ws.jobs, [job], [sys.executable, sys.argv[3]], root=sys.argv[4]).run_until_idle()
"""
JOB = """
import os
import tinymlops as tm
from tinymlops.jobs.processes import order_of
from tinymlops.times import from_micros

order = order_of()
os.set_inheritable(order.lock, False)
clock = tm.ReplayClock(from_micros(order.now))
with tm.connect(order.workspace, clock=clock) as ws:
    ws.push("done", [{"due": order.due, "at": from_micros(order.due)}], batch_id=f"{order.job}@{order.due}")
with tm.connect(order.workspace, clock=clock) as ws:
    ws.jobs.finish(order.attempt, "succeeded", exit_code=0)
"""


class Life:
    """The life of one job: a workspace in which it is due, a runner and its program."""

    def __init__(self, folder):
        self.base, self.copy, self.log = folder / "base", folder / "copy", folder / "trace"
        (self.base).mkdir()
        (folder / "runner.py").write_text(RUNNER)
        (folder / "job.py").write_text(JOB)
        self._folder = folder
        project = tm.Project("life")

        @project.source(timestamp="at")
        def done() -> tm.Schema:
            return {"due": int, "at": "Datetime[us, UTC]"}

        with tm.connect(self.base / "shop.tm", create=True, clock=tm.ReplayClock(NOON)) as ws:
            ws.apply(project)
            ws.jobs.decide([HOURLY])

    def fresh(self):
        subprocess.run(["rm", "-rf", str(self.copy)], check=True)
        copied(self.base, self.copy)

    def run(self, *before, later=timedelta(0)):
        moment = (DUE + later).isoformat()
        words = ["runner.py", self.copy / "shop.tm", moment, self._folder / "job.py", self._folder]
        return subprocess.run(
            [*before, sys.executable, *map(str, words)],
            cwd=self._folder,
            capture_output=True,
            check=False,
            timeout=120,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def traced(self, *faults):
        options = ["-f", "-y", "-s", "0", "-o", str(self.log), "-e", f"trace={STATE}", "-e", "signal=none"]
        return self.run("strace", *options, *(word for fault in faults for word in ("-e", f"inject={fault}")))

    def finished(self):
        """Let later runners do what is left, and return what is wrong."""
        for hours in range(3):  # a job that was killed is tried again later
            self._wait_for_the_living()
            ended = self.run(later=timedelta(minutes=10 * hours))
            if ended.returncode:
                return [ended.stderr.decode()]
            if self._is_done():
                break
        with tm.connect(self.copy / "shop.tm", clock=tm.ReplayClock(DUE + timedelta(hours=9))) as ws:
            run = ws.jobs.get("work", DUE)
            rows = ws.sql("select due from done").height
            open_ones = ws.jobs.open_attempts()
        wrong = [] if run.state == "succeeded" else [f"the run is {run.state}: {run.told}"]
        wrong += [] if rows == 1 else [f"there are {rows} rows"]
        return wrong + [f"attempt {one.id} is still open" for one in open_ones]

    def _is_done(self):
        with tm.connect(self.copy / "shop.tm", clock=tm.ReplayClock(DUE)) as ws:
            return ws.jobs.get("work", DUE).state == "succeeded" and not ws.jobs.open_attempts()

    def _wait_for_the_living(self):
        with tm.connect(self.copy / "shop.tm", clock=tm.ReplayClock(DUE)) as ws:
            files = environment_of(ws).jobs
            until = time.monotonic() + 60
            while any(files.is_held(one.id) for one in ws.jobs.open_attempts()):
                assert time.monotonic() < until
                time.sleep(0.02)


@pytest.fixture
def life(tmp_path):
    return Life(tmp_path)


def test_a_job_killed_at_any_system_call_is_done_once(life):
    life.fresh()
    reference = life.traced()
    assert reference.returncode == 0, reference.stderr
    found = points(life.log, life.copy)
    assert life.finished() == []
    chosen = found if FULL else random.Random(15).sample(found, POINTS)
    wrong, killed = [], 0
    for point in chosen:
        life.fresh()
        life.traced(f"{point.name}:signal=SIGKILL:when={point.nth}")
        killed += 1
        wrong += [(point.name, point.nth, point.text[:200], one) for one in life.finished()]
    record("kills_of_jobs_at_system_calls", kill_points=killed, wrong=len(wrong))
    assert not wrong, "\n\n".join(map(str, wrong))
