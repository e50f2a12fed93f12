"""Our part of `benchmarks/tracking.py`, which runs it: `tracking_jobs.py JOB ARGUMENTS`, each job in a process of its own."""

from __future__ import annotations

import os
import sqlite3
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tinymlops as tm
import tracked_runs
from tinymlops.registry.runs.points import points_of
from tracked_runs import PAGE, per_second, timed

if TYPE_CHECKING:
    from collections.abc import Callable

PART = 1_000
"""Calls between two looks at the clock."""
FILLING = 4
"""Threads that log the runs to search."""
TURNS = 5
"""Ours and the bare commit take turns, so that a busy moment hits both."""
INSERT = "INSERT INTO points (run, name, step, value, at) VALUES ('r', 'loss', ?, ?, ?)"
SEARCHES: dict[str, dict[str, Any]] = {
    "filter": {"where": "metrics.m3 > 0.9 and params.depth = 3"},
    "sort": {"order_by": "-metrics.m0"},
    "both": {"where": "metrics.m3 > 0.5 and params.depth = 3", "order_by": "-metrics.m0"},
}


def buffered(workspace: str, seconds: float) -> dict[str, Any]:
    """Log on end; the time is that until everything is flushed, sealed and the run is finished."""
    marks = {share: share * seconds for share in (1 / 6, 1.0)}
    memory: dict[float, float] = {}
    with tm.connect(workspace, create=True) as ws:
        run, calls, begun = ws.start_run("buffered"), 0, time.perf_counter()
        while marks:
            for _ in range(PART):
                run.log_metric("loss", calls * 0.5)
                calls += 1
            spent = time.perf_counter() - begun
            for share in [one for one, at in marks.items() if spent >= at]:
                memory[share] = peak_megabytes()
                del marks[share]
        logging = time.perf_counter() - begun
        run.flush()
        flushed = time.perf_counter() - begun
        run.finish()
        whole = time.perf_counter() - begun
        points = ws.runs.points(run.id, "loss")
        assert points.size == calls, f"{points.size:,} of {calls:,} points"
        assert float(points.values[-1]) == (calls - 1) * 0.5
    early, late = memory.values()
    return {
        "points": calls,
        "per_second": calls / whole,
        "logging_seconds": logging,
        "flush_seconds": flushed - logging,
        "finish_seconds": whole - flushed,
        "early_megabytes": early,
        "late_megabytes": late,
        "peak_megabytes": peak_megabytes(),
        "bytes_a_point": sum(file.stat().st_size for file in Path(workspace).glob("meta.db*")) / calls,
    }


def durable(workspace: str, seconds: float, threads: int) -> dict[str, Any]:
    """Log single durable points from one thread, in turns with a bare commit on the same disk; then from several."""
    with tm.connect(workspace, create=True) as ws, closing(bare(f"{workspace}.bare")) as connection:
        run, ours, plain = ws.start_run("durable"), [], []

        def log(number: int) -> None:
            run.log_metric(f"m{number % threads}", number * 0.5, durable=True)

        for turn in range(TURNS + 1):
            for into, call in (
                (plain, lambda number: connection.execute(INSERT, (number, number * 0.5, number))),
                (ours, lambda number: run.log_metric("loss", number * 0.5, durable=True)),
            ):
                speed = per_second(call, seconds / TURNS)
                if turn:
                    into.append(speed)
        many = per_second(log, seconds, threads=threads)
        run.finish()
    shares = [mine / other for mine, other in zip(ours, plain, strict=True)]
    return {
        "one": statistics.median(ours),
        "bare": statistics.median(plain),
        "share": statistics.median(shares),
        "many": many,
    }


def bare(path: str) -> sqlite3.Connection:
    """Open a database as one would who wants single rows to be durable."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE points (id INTEGER PRIMARY KEY, run TEXT, name TEXT, step REAL, value REAL, at INTEGER)"
    )
    return connection


def whole_run(workspace: str, times: int) -> dict[str, Any]:
    """Start, log a parameter and a metric, and finish."""
    with tm.connect(workspace, create=True) as ws:

        def run() -> None:
            with ws.start_run("whole") as active:
                active.log_param("depth", 3)
                active.log_metric("loss", 0.1)

        first = timed(run)
        return {"first": first, "seconds": statistics.median(timed(run) for _ in range(times))}


def fill(workspace: str, runs: int) -> dict[str, Any]:
    """Log the runs to search."""
    with tm.connect(workspace, create=True) as ws:

        def work(thread: int) -> None:
            for one in islice(tracked_runs.runs(runs), thread, None, FILLING):
                run = ws.runs.start(f"run {one.number}", params={"depth": one.depth}, origin="benchmark").id
                ws.runs.log_metrics(run, one.metrics, step=0)
                ws.runs.finish(run)

        with ThreadPoolExecutor(FILLING) as pool:
            list(pool.map(work, range(FILLING)))
    return {}


def fill_curve(workspace: str, points: int) -> dict[str, Any]:
    """Log a long metric."""
    draw, step = np.random.default_rng(7), 100_000
    values = np.exp(-np.arange(points) / points * 3) + draw.normal(scale=0.05, size=points)
    with tm.connect(workspace, create=True) as ws:
        begun = time.perf_counter()
        with ws.start_run("curve") as run:
            for first in range(0, points, step):
                steps = np.arange(first, min(first + step, points))
                part = points_of(steps, values[steps], 1_700_000_000_000_000 + 1_000 * steps)
                ws.runs.log_points(run.id, {"loss": part})
        return {"seconds": time.perf_counter() - begun, "run": run.id}


def search(workspace: str, times: int) -> dict[str, Any]:
    """Search: the first time in this process, and the median of the next ones."""
    found: dict[str, Any] = {"connect": timed(lambda: tm.connect(workspace).close())}
    with tm.connect(workspace) as ws:
        for name, arguments in SEARCHES.items():

            def ask(arguments: dict[str, Any] = arguments) -> Any:
                return ws.runs.search(limit=PAGE, **arguments)

            first = timed(ask)
            found[name] = {"first": first, "next": statistics.median(timed(ask) for _ in range(times))}
            found[name]["answer"] = [run.metrics["m0"] for run in ask() if "m0" in run.metrics]
    return found


def curve(workspace: str, run: str, points: int, pixels: int, times: int) -> dict[str, Any]:
    """Draw a curve: first in a new process whose file is out of the cache, next, and closer."""
    forgotten(Path(workspace) / "meta.db")
    with tm.connect(workspace) as ws:
        forgotten(Path(workspace) / "meta.db")
        draw = np.random.default_rng(3)
        starts = draw.integers(0, points, size=(2, times)).tolist()
        whole = next_of(lambda _: ws.runs.curve(run, "loss", pixels=pixels), times)
        tenth = next_of(
            lambda n: ws.runs.curve(run, "loss", pixels=pixels, start=starts[0][n], stop=starts[0][n] + points // 10),
            times,
        )
        close = next_of(
            lambda n: ws.runs.curve(run, "loss", pixels=pixels, start=starts[1][n], stop=starts[1][n] + 5_000), times
        )
        drawn = ws.runs.curve(run, "loss", pixels=pixels)
        assert drawn.total == points, drawn
    return {"first": whole[0], "next": whole[1], "tenth": tenth[1], "close": close[1], "shown": drawn.shown}


def next_of(call: Callable[[int], object], times: int) -> tuple[float, float]:
    """Return how long the first call takes, and the median of the next ones."""
    first, *others = [timed(lambda n=n: call(n)) for n in range(times)]  # type: ignore[misc]
    return first, statistics.median(others)


def forgotten(file: Path) -> None:
    """Let the system drop a file from its cache, as far as it does so."""
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def peak_megabytes() -> float:
    """Return the most memory that this process has used so far, MB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    known = (buffered, durable, whole_run, fill, fill_curve, search, curve)
    tracked_runs.answer({job.__name__: job for job in known})
