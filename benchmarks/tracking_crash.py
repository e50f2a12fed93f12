"""The last line of the table of `benchmarks/tracking.py`: processes that log, one that reads, and `kill -9` at random.

A logger says how many of its points are durable, once `flush` or a durable call has returned. It is killed, and another goes
on with the run; in the end every point that was said to be durable is looked for.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tinymlops as tm
import tracked_runs

HERE = Path(__file__).parent
A_FLUSH = 200
"""Points between two calls of `flush`; one in fifty of them is durable by itself."""


def log(workspace: str, number: int) -> dict[str, Any]:
    """Log until this process is killed: go on with a run of this number if there is one, else start it."""
    with tm.connect(workspace) as ws:
        runs = ws.runs.search(f"name = 'crash {number}'", limit=1)
        run = ws.start_run(resume=runs[0].id) if runs else ws.start_run(f"crash {number}")
        logged = ws.runs.points(run.id, "loss").size
        while True:
            for _ in range(A_FLUSH):
                durable = logged % 50 == 0
                run.log_metric("loss", logged * 0.5, step=logged, durable=durable)
                logged += 1
                if durable:
                    say([number, logged])
            run.flush()
            say([number, logged])


def read(workspace: str) -> dict[str, Any]:
    """Read until this process is ended: what a page with a list of runs and their curves reads."""
    with tm.connect(workspace) as ws:
        while True:
            for run in ws.runs.search(order_by="-metrics.loss", limit=20):
                ws.runs.curve(run.id, "loss", pixels=400)
            say("read")


def say(what: object) -> None:
    """Write a line to standard output, at once and whole."""
    os.write(1, f"{json.dumps(what)}\n".encode())


def crash(folder: Path, *, processes: int, seconds: float) -> dict[str, Any]:
    """Let processes log and one read, kill one after the other, and return what was counted."""
    workspace, chance = folder / "crash.tm", random.Random(11)
    tm.connect(workspace, create=True).close()
    outputs = [folder / f"crash{number}.out" for number in range(processes)]
    errors = folder / "crash.err"
    loggers = [_started("log", outputs[n], errors, workspace=str(workspace), number=n) for n in range(processes)]
    reader = _started("read", folder / "read.out", errors, workspace=str(workspace))
    until, kills = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        time.sleep(chance.uniform(0.0, 2 * seconds / 60))
        number = chance.randrange(processes)
        if _lines(outputs[number]):  # else it would be killed while it starts, for ever
            kills += _kill(loggers[number])
            loggers[number] = _started("log", outputs[number], errors, workspace=str(workspace), number=number)
    for one in (*loggers, reader):
        kills += _kill(one)
    said = [_lines(output) for output in outputs]
    acknowledged = {number: max((line[1] for line in lines), default=0) for number, lines in enumerate(said)}
    return {
        "processes": processes,
        "kills": kills,
        "acknowledged": sum(acknowledged.values()),
        "reads": len(_lines(folder / "read.out")),
        "lost": _lost(workspace, acknowledged),
        "errors": errors.read_text().count("Error:"),
        "first_error": "".join(errors.read_text().splitlines(keepends=True)[-1:]),
    }


def _lost(workspace: Path, acknowledged: dict[int, int]) -> int:
    """Return how many points were acknowledged and are missing or different."""
    lost = 0
    with tm.connect(workspace) as ws:
        for number, count in acknowledged.items():
            values: list[float] = []
            for run in ws.runs.search(f"name = 'crash {number}'"):
                values = ws.runs.points(run.id, "loss").values.tolist()
            lost += sum(values[at : at + 1] != [at * 0.5] for at in range(count))
    return lost


def _started(job: str, output: Path, errors: Path, **arguments: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(Path(__file__)), job, json.dumps(arguments)]
    with output.open("ab") as out, errors.open("ab") as err:
        return subprocess.Popen(command, stdout=out, stderr=err, cwd=HERE)


def _kill(process: subprocess.Popen[bytes]) -> int:
    """End a process at once; return whether it was still there."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _lines(output: Path) -> list[Any]:
    text = output.read_text() if output.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


if __name__ == "__main__":
    tracked_runs.answer({"log": log, "read": read})
