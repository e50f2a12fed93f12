"""What a runner of jobs costs: 10,000 jobs, of which 100 are due at once, after 100,000 runs of earlier days.

python benchmarks/jobs.py                       # about a minute on two idle cores
python benchmarks/jobs.py --quick               # a tenth of it, to see that it works

The project has 50 files that are looked at for changes, 100 jobs that wait for files, and 200 that follow several others. What
is due is the start of a program that does nothing; nine run at once. Lateness is from the due time to the start of the program.
`tests/torture/test_job_month.py` is about what becomes of jobs when runners and jobs are killed.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tinymlops as tm
from harness import Report
from tinymlops.jobs.rereading import Rereader
from tinymlops.jobs.runner import Runner
from tinymlops.records import JobAttempt, JobRun
from tinymlops.schedules import Job, schedule_of

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
DUE, AT_ONCE = 100, 9
DAY = 86_400_000_000
FOLLOWERS, WAITERS = 200, 100
"""Jobs that follow several others, and jobs that wait for a file that does not come."""
HISTORY = 10
"""Runs of earlier days, for each job."""
FILES = 50
"""Those of the project, which are looked at for changes."""
IDLE, BUSY = 6.0, 0.02
"""Seconds that an idle runner is measured for, and between two looks of one that works."""


class OneClock:
    """A clock that is moved by hand."""

    now = NOON

    def __call__(self) -> datetime:
        return self.now


def jobs_of_a_large_project(count: int) -> list[Job]:
    """Return jobs: 100 hourly ones, some that wait for a file, some that follow several, and the rest once a year."""
    hourly, yearly = schedule_of("1h", None, "UTC"), schedule_of(None, "0 2 1 1 *", "UTC")
    jobs = [Job(name=f"due-{n}", schedule=hourly, missed="all") for n in range(DUE)]
    jobs += [
        Job(name=f"waits-{n}", schedule=hourly, missed="all", wait_for=f"in/{n}-{{date}}-*.csv", wait_limit=DAY)
        for n in range(WAITERS)
    ]
    jobs += [Job(name=f"follows-{n}", after=(f"due-{n % DUE}", f"yearly-{n}")) for n in range(FOLLOWERS)]
    return jobs + [Job(name=f"yearly-{n}", schedule=yearly) for n in range(count - len(jobs))]


def cost(*, jobs: int) -> dict[str, Any]:
    """Measure a runner: idle, while 100 jobs are due at once, and while files are waited for."""
    clock, made = OneClock(), jobs_of_a_large_project(jobs)
    with tempfile.TemporaryDirectory() as folder, tm.connect(Path(folder) / "jobs.tm", create=True, clock=clock) as ws:
        rereader = Rereader(["/bin/false"], _files(Path(folder)), since=time.time())

        def runner() -> Runner:
            return Runner(
                ws.jobs, made, ["/bin/true"], root=Path(folder), at_once=AT_ONCE, tell=lambda _: None, project=rereader
            )

        _write_history(ws, made)
        first = _measured(runner().step)[0]
        idle, working = _idle(runner()), runner()
        working.step()
        clock.now += timedelta(hours=1)
        late: list[float] = []
        seconds, core = _measured(lambda: _watch(ws, working, late))
        waiting = _idle(runner())
        assert len(ws.jobs.history(state="waiting", limit=None)) == WAITERS
    late.sort()
    return {
        "jobs": jobs,
        "runs before": HISTORY * jobs,
        "first look, s": first,
        "idle, core in %": idle,
        "due at once": DUE,
        "until all have ended, s": seconds,
        "core-s of the runner": core,
        "late, s (median)": round(statistics.median(late), 2),
        "late, s (p99)": round(late[-2], 2),
        "late, s (worst)": round(late[-1], 2),
        f"while {WAITERS} files are waited for, core in %": waiting,
    }


def _watch(ws: tm.Workspace, runner: Runner, late: list[float]) -> None:
    """Let a runner work until nothing but files is waited for, and see when each attempt begins."""
    began, seen = time.perf_counter(), set[int | None]()
    while len(late) < DUE or ws.jobs.open_attempts():
        runner.step()
        new = {one.id for one in ws.jobs.open_attempts()} - seen
        late += [time.perf_counter() - began] * len(new)
        seen |= new
        time.sleep(BUSY)


def _write_history(ws: tm.Workspace, jobs: list[Job]) -> None:
    """Store runs of earlier days, as if they had succeeded; what follows begins to count after them."""
    with ws.jobs._scope.write(audit=None) as tx:  # noqa: SLF001
        for n in range(HISTORY):
            due = NOON - timedelta(days=n + 1)
            ended = {"due": due, "state": "succeeded", "ended_at": due}
            tx.insert_many(JobAttempt(job=job.name, number=1, started_at=due, exit_code=0, **ended) for job in jobs)
            tx.insert_many(
                JobRun(job=job.name, cause="schedule", first=due, not_before=due, attempts=1, **ended) for job in jobs
            )


def _files(folder: Path) -> list[str]:
    names = [str(folder / f"module_{n}.py") for n in range(FILES)]
    for name in names:
        Path(name).touch()
    return names


def _idle(runner: Runner) -> float:
    """Return the share of a core that a runner takes while nothing is due, in percent."""
    runner.step()
    stop = threading.Timer(IDLE, runner.stop)
    stop.start()
    seconds, core = _measured(runner.run)
    stop.join()
    return round(100 * core / seconds, 2)


def _measured(work: Any) -> tuple[float, float]:
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    core = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(time.perf_counter() - began, 3), round(core, 4)


def main() -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    report = Report("jobs")
    row = cost(jobs=1_000 if parser.parse_args().quick else 10_000)
    report.rows.append(row)
    report.say(json.dumps(row, indent=1))
    report.save()


if __name__ == "__main__":
    main()
