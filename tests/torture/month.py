"""A simulated month of jobs: what is due in it, a clock in a file, and the programs of a runner and of an attempt."""

import fcntl
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import tinymlops as tm
from tinymlops.jobs.processes import order_of
from tinymlops.jobs.runner import Runner
from tinymlops.schedules import Job, schedule_of
from tinymlops.times import from_micros, to_micros

VIENNA = "Europe/Vienna"
RETRIES = 9
POOL = "database"
SETTLED = 0.05
"""Seconds between two looks at a file that is waited for."""
JOBS = (
    Job(name="hourly", schedule=schedule_of("1h", None, "UTC"), missed="all", retries=RETRIES),
    Job(name="merged", schedule=schedule_of("6h", None, "UTC"), missed="coalesce", retries=RETRIES),
    *(
        Job(name=name, schedule=schedule_of("12h", None, "UTC"), missed="all", retries=RETRIES, pool=POOL)
        for name in ("pooled", "pooled-too")
    ),
    Job(name="nightly", schedule=schedule_of(None, "30 2 * * *", VIENNA), missed="all", retries=RETRIES),
    Job(
        name="delivered",
        schedule=schedule_of(None, "0 2 * * *", VIENNA),
        missed="all",
        retries=RETRIES,
        wait_for="in/{date}.csv",
        wait_limit=10 * 86_400_000_000,
    ),
    Job(name="next", after=("nightly",), retries=RETRIES),
    Job(name="both", after=("nightly", "delivered"), retries=RETRIES),
)
_LOOKS = 0.03


class FileClock:
    """A clock that shows what is written in a file.

    Args:
        path: The file.
    """

    def __init__(self, path):
        self._path = Path(path)

    def __call__(self):
        return from_micros(int.from_bytes(self._path.read_bytes(), "big"))

    def set(self, moment):
        """Let it show a moment, for all who look at the file."""
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            os.pwrite(file.fileno(), to_micros(moment).to_bytes(8, "big"), 0)


def project():
    """Return what the jobs write to: a row for each due time of each."""
    made = tm.Project("month")

    @made.source(timestamp="at")
    def done() -> tm.Schema:
        return {"job": str, "due": int, "at": "Datetime[us, UTC]"}

    return made


def runner(folder):
    """Run jobs until killed."""
    folder = Path(folder)
    clock = FileClock(folder / "clock")
    command = [sys.executable, __file__, "attempt"]
    with tm.connect(folder / "month.tm", clock=clock) as ws, (folder / "told").open("a") as told:

        def tell(line):
            told.write(line + "\n")
            told.flush()

        runner = Runner(ws.jobs, JOBS, command, root=folder, at_once=3, tell=tell, pools={POOL: 1}, settled=SETTLED)
        while True:
            runner.step()
            time.sleep(_LOOKS)


def attempt():
    """Do one attempt: a row under the job's key, then the success; a file outside of the workspace is witness."""
    order = order_of()
    os.set_inheritable(order.lock, False)
    say = os.open("witness", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(say, f"{order.attempt} {order.job} {order.due}\n".encode())
    held = [os.open(f"alone-{name}", os.O_WRONLY | os.O_CREAT) for name in {order.job, order.job.partition("-")[0]}]
    for descriptor in held:  # the kernel lets go of it too, should this process be killed
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.write(say, f"{order.attempt} {order.job} beside-another\n".encode())
    clock = tm.ReplayClock(from_micros(order.now))
    with tm.connect(order.workspace, clock=clock) as ws:
        row = {"job": order.job, "due": order.due, "at": from_micros(order.due)}
        ws.push("done", [row], batch_id=f"{order.job}@{order.due}")
    for descriptor in held:  # with the success that is told next, another attempt may begin
        os.close(descriptor)
    with tm.connect(order.workspace, clock=clock) as ws:
        ws.jobs.finish(order.attempt, "succeeded", exit_code=0)


def moment(text):
    """Read a moment of UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


if __name__ == "__main__":
    {"runner": runner, "attempt": attempt}[sys.argv[1]](*sys.argv[2:])
