"""What a runner of jobs costs, and simulated days of jobs under `kill -9` at random.

python benchmarks/jobs.py                       # about 3 minutes on two idle cores
python benchmarks/jobs.py --quick               # a simulated day, to see that it works
python benchmarks/jobs.py --only cost           # one part: cost or storm

Cost: 10,000 jobs are defined and 100 due at once, each the start of a program that does nothing.

Storm: two runners on one workspace live by a fast clock. Hourly jobs (one row in history for each due time, pushed under the
job's key), nightly ones in a zone whose clocks change in that week, and a chain. Runners, jobs and whole groups are killed at
random, and started again. In the end each due time must have succeeded once, and its row be there once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tinymlops as tm
from harness import Report
from tinymlops.jobs.processes import order_of
from tinymlops.jobs.runner import Runner
from tinymlops.schedules import Job, due_times, schedule_of
from tinymlops.times import from_micros

BEGIN = datetime(2024, 10, 24, tzinfo=UTC)
"""Three days before the night on which clocks in Vienna go back."""
HOURLY = Job(name="hourly", schedule=schedule_of("1h", None, "UTC"), missed="all", retries=9)
NIGHTLY = Job(name="nightly", schedule=schedule_of(None, "30 2 * * *", "Europe/Vienna"), missed="all", retries=9)
NEXT = Job(name="next", after=("nightly",), retries=9)
LAST = Job(name="last", after=("next",), retries=9)
JOBS = [HOURLY, NIGHTLY, NEXT, LAST]
SECONDS_A_DAY = 20.0
"""How long a simulated day takes."""


class FastClock:
    """A clock that shows a simulated day in some seconds.

    Args:
        start: What the machine's clock showed at the beginning.
    """

    def __init__(self, start: float) -> None:
        self._start = start

    def __call__(self) -> datetime:
        return BEGIN + timedelta(days=(time.time() - self._start) / SECONDS_A_DAY)


class OneClock:
    """A clock that is moved by hand."""

    now = BEGIN

    def __call__(self) -> datetime:
        return self.now


def cost(report: Report) -> None:
    """Measure a runner with 10,000 jobs: idle, and when 100 are due at once."""
    clock, yearly = OneClock(), schedule_of(None, "0 2 1 1 *", "UTC")
    jobs = [Job(name=f"job-{n}", schedule=HOURLY.schedule if n < 100 else yearly) for n in range(10_000)]
    with tempfile.TemporaryDirectory() as folder, tm.connect(Path(folder) / "jobs.tm", create=True, clock=clock) as ws:
        runner = Runner(ws.jobs, jobs, ["/bin/true"], root=Path(folder), tell=lambda _: None)
        row: dict[str, Any] = {"part": "cost", "jobs": len(jobs)}
        row["first look, s"] = _measured(runner.step)[0]
        runner.run_until_idle()
        row["idle, core in %"] = 100 * _measured(lambda: [runner.step() for _ in range(1_000)])[1] / 1_000
        clock.now += timedelta(hours=1)
        began = time.perf_counter()
        seconds, core = _measured(runner.run_until_idle)
        row |= {"100 due, s": seconds, "core-s of the runner": core, "a start, ms": 10 * (time.perf_counter() - began)}
        states = ws.sql("select state, count(*) as n from job_runs group by all").rows()
        assert states == [("succeeded", 100)], states
    _say(report, row)


def storm(report: Report, *, days: int) -> None:
    """Simulate days, killing at random, and count what was missed and what was done twice."""
    chance = random.Random(15)
    with tempfile.TemporaryDirectory() as folder:
        path, started = Path(folder) / "storm.tm", time.time()
        with tm.connect(path, create=True, clock=OneClock()) as ws:
            ws.apply(_project())
            ws.jobs.decide(JOBS)
        clock, end = FastClock(started), BEGIN + timedelta(days=days)
        runners: list[subprocess.Popen[bytes] | None] = [None, None]
        kills = {"runner": 0, "job": 0}
        while clock() < end:
            _start_missing(runners, path, started)
            time.sleep(chance.uniform(0.2, 2.0))
            if chance.random() < 0.5:
                kills["runner"] += _kill(runners, chance.randrange(2))
            if chance.random() < 0.7:
                kills["job"] += _kill_a_job(path, chance)
        dues = {job.name: list(due_times(job.schedule, BEGIN, end)) for job in (HOURLY, NIGHTLY) if job.schedule}
        dues |= dict.fromkeys(("next", "last"), dues["nightly"])
        wanted = {(name, due) for name, times in dues.items() for due in times}
        _wait_until_done(runners, path, started, wanted)
        for number in (0, 1):
            _kill(runners, number)
        _say(
            report,
            {"part": "storm", "days": days, "seconds": time.time() - started, **_counted(path, wanted), "kills": kills},
        )


def _counted(path: Path, wanted: set[tuple[str, datetime]]) -> dict[str, Any]:
    with tm.connect(path) as ws:
        runs = {(run.job, run.due): run for run in ws.jobs.history(limit=None)}
        pushed = [key for (key,) in ws.sql("select key from done").rows()]
        attempts = dict(ws.sql("select state, count(*) from job_attempts group by all").rows())
        keys = {f"{name}@{due:%Y-%m-%dT%H:%M:%S}" for name, due in wanted}
        found = [key for key in pushed if key in keys]
        return {
            "due times": len(wanted),
            "missed": sum(one not in runs or runs[one].state != "succeeded" for one in wanted),
            "not succeeded": Counter(runs[one].state if one in runs else "no run" for one in wanted)
            - Counter(succeeded=len(wanted)),
            "rows missing": len(keys - set(pushed)),
            "rows twice": len(found) - len(set(found)),
            "attempts": attempts,
        }


def _project() -> tm.Project:
    project = tm.Project("storm")

    @project.source(timestamp="at")
    def done() -> tm.Schema:
        return {"key": str, "at": "Datetime[us, UTC]"}

    return project


def attempt() -> None:
    """Do one attempt: push a row under the job's key, and record that it succeeded."""
    order = order_of()
    os.set_inheritable(order.lock, False)
    due = from_micros(order.due)
    key = f"{order.job}@{due:%Y-%m-%dT%H:%M:%S}"
    for what in ("push", "finish"):
        with tm.connect(order.workspace, clock=tm.ReplayClock(from_micros(order.now or 0))) as ws:
            if what == "push":
                ws.push("done", [{"key": key, "at": due}], batch_id=key)
                time.sleep(random.random() / 10)
            else:
                ws.jobs.finish(order.attempt, "succeeded", exit_code=0)


def runner(path: str, started: float) -> None:
    """Run jobs by the fast clock until killed."""
    with tm.connect(path, clock=FastClock(started)) as ws:
        Runner(
            ws.jobs, JOBS, [sys.executable, __file__, "--attempt"], root=Path(path).parent, tell=lambda _: None
        ).run()


def _start_missing(runners: list[subprocess.Popen[bytes] | None], path: Path, started: float) -> None:
    for number, one in enumerate(runners):
        if one is None or one.poll() is not None:
            command = [sys.executable, __file__, "--runner", str(path), str(started)]
            runners[number] = subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _kill(runners: list[subprocess.Popen[bytes] | None], number: int) -> int:
    one = runners[number]
    if one is None:
        return 0
    one.kill()
    one.wait()
    runners[number] = None
    return 1


def _kill_a_job(path: Path, chance: random.Random) -> int:
    with suppress(OSError, ValueError):
        files = [one for one in (path / "jobs").iterdir() if one.name.isdecimal()]
        process = int(chance.choice(files).read_text()) if files else 0
        if process and b"--attempt" in Path(f"/proc/{process}/cmdline").read_bytes():
            os.killpg(process, signal.SIGKILL)
            return 1
    return 0


def _wait_until_done(
    runners: list[subprocess.Popen[bytes] | None], path: Path, started: float, wanted: set[tuple[str, datetime]]
) -> None:
    until = time.monotonic() + 900
    while time.monotonic() < until:
        _start_missing(runners, path, started)
        time.sleep(2)
        with tm.connect(path) as ws:
            done = {(run.job, run.due) for run in ws.jobs.history(state="succeeded", limit=None)}
        if wanted <= done:
            return


def _measured(work: Any) -> tuple[float, float]:
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    core = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(time.perf_counter() - began, 3), round(core, 4)


def _say(report: Report, row: dict[str, Any]) -> None:
    report.rows.append(row)
    report.say(json.dumps(row, indent=1, default=str))


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["cost", "storm"])
    parser.add_argument("--attempt", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--runner", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.attempt:
        return attempt()
    if asked.runner:
        return runner(asked.runner[0], float(asked.runner[1]))
    report = Report("jobs")
    if asked.only != "storm":
        cost(report)
    if asked.only != "cost":
        storm(report, days=1 if asked.quick else 7)
    report.save()
    return None


if __name__ == "__main__":
    main()
