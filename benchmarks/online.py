"""The cost of the online store: reads compared with a bare LMDB get, windows, pushes, materialize and opening.

Run it alone: `python benchmarks/online.py`. Every figure stands beside one of the same run: medians of calls that are
taken in turns, in the process, each for other keys; what is read is turned into Python's values. Feast runs in an
environment of its own (`make bench-peers`) with fewer keys, which is to its advantage.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb
import numpy as np
import polars as pl

import tinymlops as tm
from harness import HERE, Report, reason_of
from peers import PEERS_PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = START + timedelta(minutes=1000)
COLUMNS = [f"f{i}" for i in range(8)]
EVENTS, WINDOWED_KEYS = 1000, 1000
"""In the longest window of each key, one a minute; and how many keys have windows."""
WINDOWS = ("100m", "500m", "1000m")
FUNCTIONS = ("count", "sum", "mean", "max")
FEAST_KEYS = 100_000
TURNS = 9
THREADS = 8
"""That push at the same time."""


def state_rows(keys: int, each: int = 1) -> pl.DataFrame:
    """Return rows of 8 float64 columns, a minute apart for each key."""
    random_numbers = np.random.default_rng(7)
    rows = keys * each
    minutes = pl.Series("at", np.arange(rows) // keys * 60_000_000).cast(pl.Duration("us")) + START
    columns = [pl.Series(name, random_numbers.normal(size=rows)) for name in COLUMNS]
    return pl.DataFrame([pl.Series("user", np.arange(rows) % keys), minutes, *columns])


def project_of(folder: Path) -> tm.Project:
    """Define state views, a windowed one, one that is computed on demand, and one that follows pushes."""
    project = tm.Project("bench")
    user = project.entity("user", key="user")

    @project.source(timestamp="at")
    def states() -> str:
        return f"select * from read_parquet('{folder / 'large.parquet'}')"

    @project.source(timestamp="at")
    def manies() -> str:
        return f"select * from read_parquet('{folder / 'many.parquet'}')"

    @project.source(timestamp="at")
    def events() -> str:
        return f"select * from read_parquet('{folder / 'events.parquet'}')"

    @project.source(timestamp="at")
    def clicks() -> tm.Schema:
        return {"user": int, "at": datetime, **dict.fromkeys(COLUMNS, float)}

    @project.feature_view(entity=user)
    def state(states: tm.Rows) -> tm.Features:
        return {name: states[name].last() for name in COLUMNS}

    @project.feature_view(entity=user)
    def many(manies: tm.Rows) -> tm.Features:
        return {name: manies[name].last() for name in COLUMNS}

    @project.feature_view(entity=user)
    def windows(events: tm.Rows) -> tm.Features:
        column = events["f0"]
        return {f"{name}_{window}": getattr(column, name)(window=window) for window in WINDOWS for name in FUNCTIONS}

    @project.feature_view(entity=user)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return {name: clicks[name].last() for name in COLUMNS} | {"clicks_1h": clicks.count(window="1h")}

    @project.on_demand
    def ratio(state: tm.Inputs, amount: pl.Expr) -> dict[str, pl.Expr]:
        return {"ratio": amount / state["f0"]}

    return project


def median_micros(calls: dict[str, tuple[Callable[[int], object], int]]) -> dict[str, float]:
    """Time calls in turns, so that a busy moment hits all of them; each is given another number every time."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    number = 0
    for turn in range(TURNS + 1):
        for name, (call, repeats) in calls.items():
            begun = time.perf_counter()
            for _ in range(repeats):
                number += 1
                call(number)
            if turn:  # the first fills the caches
                spent[name].append((time.perf_counter() - begun) / repeats * 1e6)
    return {name: statistics.median(times) for name, times in spent.items()}


def bare_store(path: Path, keys: int) -> lmdb.Environment[bytes]:
    """Write 8 floats for each key, with LMDB alone."""
    environment = lmdb.open(str(path), map_size=2**31, sync=False)
    values = np.random.default_rng(7).normal(size=(keys, 8))
    with environment.begin(write=True) as tx:
        for key, row in enumerate(values):
            tx.put(key.to_bytes(8, "big"), row.tobytes())
    return environment


def reads(ws: tm.Workspace, bare: lmdb.Environment[bytes], keys: int) -> dict[str, float]:
    """Measure reads of 1 and of 100 keys."""
    draw = random.Random(3)
    all_keys, windowed_keys = ([draw.randrange(most) for _ in range(1_000_000)] for most in (keys, WINDOWED_KEYS))
    unpack = struct.Struct("<8d").unpack

    def plain(count: int) -> Callable[[int], object]:
        def call(number: int) -> object:
            at = number * count % 999_000
            with bare.begin() as tx:
                return [unpack(tx.get(key.to_bytes(8, "big"))) for key in all_keys[at : at + count]]

        return call

    def ours(views: list[str], count: int, order: list[int], **fields: Any) -> Callable[[int], object]:
        more = {name: [value] * count for name, value in fields.items()}

        def call(number: int) -> object:
            at = number * count % 999_000
            return ws.get_online_features(views, {"user": order[at : at + count], **more}).to_dict()

        return call

    return median_micros(
        {
            "bare_1": (plain(1), 2000),
            "bare_100": (plain(100), 50),
            "state_1": (ours(["state"], 1, all_keys), 1000),
            "state_100": (ours(["state"], 100, all_keys), 50),
            "windows_1": (ours(["windows"], 1, windowed_keys), 300),
            "windows_100": (ours(["windows"], 100, windowed_keys), 5),
            "on_demand_1": (ours(["state", "ratio"], 1, all_keys, amount=2.0), 50),
            "on_demand_100": (ours(["state", "ratio"], 100, all_keys, amount=2.0), 20),
        }
    )


def pushes(ws: tm.Workspace, clock: tm.ReplayClock) -> dict[str, float]:
    """Measure pushes that are durable and visible online when they return."""
    batches, singles = [], []
    rows = state_rows(1000)
    for number in range(30):
        clock.advance(timedelta(seconds=1))
        batch = rows.with_columns(at=pl.lit(clock()), user=pl.col("user") * 7919 % 10_000 + number)
        begun = time.perf_counter()
        assert ws.push("clicks", batch).online == "current"
        batches.append(time.perf_counter() - begun)
    for number in range(300):
        clock.advance(timedelta(milliseconds=1))
        row = {"user": number, "at": clock(), **dict.fromkeys(COLUMNS, 1.0)}
        begun = time.perf_counter()
        ws.push("clicks", [row])
        singles.append(time.perf_counter() - begun)
    clock.advance(timedelta(seconds=1))
    at = clock()

    def push(thread: int) -> None:
        for number in range(50):
            ws.push("clicks", [{"user": 1_000 * thread + number, "at": at, **dict.fromkeys(COLUMNS, 2.0)}])

    with ThreadPoolExecutor(THREADS) as pool:
        begun = time.perf_counter()
        list(pool.map(push, range(THREADS)))
        together = time.perf_counter() - begun
    return {
        "pushes_together_per_second": THREADS * 50 / together,
        "push_rows_per_second": 1000 / statistics.median(batches),
        "single_push_median_ms": statistics.median(singles) * 1e3,
        "single_push_p99_ms": sorted(singles)[-3] * 1e3,
    }


KILLED = """
import os, signal, sys
import tinymlops as tm
ws = tm.connect(sys.argv[1])
ws.get_online_features(["state"], {"user": [1]})
os.kill(os.getpid(), signal.SIGKILL)
"""
OPENED = """
import sys, time
begun = time.perf_counter()
import tinymlops as tm
with tm.connect(sys.argv[1]) as ws:
    ws.get_online_features(["state"], {"user": [1]}).to_dict()
    print(time.perf_counter() - begun)
"""


def openings(path: Path) -> dict[str, float]:
    """Measure a new process until its first answer, imports included, after a clean end and after kill -9."""
    first = [sys.executable, "-c", OPENED, str(path)]
    subprocess.run(first, check=True, capture_output=True)
    clean = float(subprocess.run(first, check=True, capture_output=True, text=True).stdout)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    after = float(subprocess.run(first, check=True, capture_output=True, text=True).stdout)
    return {"open_seconds": clean, "open_after_kill_seconds": after}


def feast(folder: Path, report: Report) -> dict[str, float]:
    """Measure Feast; nothing where it is not installed."""
    if not PEERS_PYTHON.exists():
        report.say("feast with SQLite: left out: `make bench-peers` installs it")
        return {}
    request = {"folder": str(folder), "keys": FEAST_KEYS, "reads": [[1, 200], [100, 40]]}
    command = [str(PEERS_PYTHON), str(HERE / "peers" / "online_with_feast.py"), json.dumps(request)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    if done.returncode:
        report.say(f"feast with SQLite: {reason_of(done)}")
        return {}
    return {f"feast_{name}": value for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    keys = parser.parse_args().keys
    report, row = Report("online"), {"keys": keys}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        state_rows(keys).write_parquet(folder / "large.parquet")
        state_rows(FEAST_KEYS).write_parquet(folder / "state.parquet")
        state_rows(10_000, 100).write_parquet(folder / "many.parquet")
        state_rows(WINDOWED_KEYS, EVENTS).select("user", "at", "f0").write_parquet(folder / "events.parquet")
        clock = tm.ReplayClock(NOW)
        with tm.connect(folder / "bench.tm", create=True, clock=clock, root=folder) as ws:
            ws.apply(project_of(folder))
            ws.ingest()
            for view in ("clicking", "windows", "many", "state"):
                begun = time.perf_counter()
                ws.materialize(view)
                row[f"materialize_{view}"] = time.perf_counter() - begun
            begun = time.perf_counter()
            ws.materialize("many")
            row["materialize_again"] = time.perf_counter() - begun
            bare = bare_store(folder / "bare", keys)
            row |= reads(ws, bare, keys)
            bare.close()
            row |= pushes(ws, clock)
        row |= openings(folder / "bench.tm") | feast(folder, report)
    report.rows.append(row)
    tell(report, row)
    report.save()


def tell(report: Report, row: dict[str, float]) -> None:
    """Print the figures beside what they are compared with."""

    def line(what: str, value: float, unit: str, **ratios: float) -> None:
        beside = "".join(f"  {value / row[name]:.1f}x {name}" for name in ratios if name in row)
        faster = "".join(
            f"  {row[name] / value:.0f}x faster than {name}"
            for name in ratios
            if name.startswith("feast") and name in row
        )
        report.say(f"{what:46}{value:12.1f} {unit:7}{faster or beside}")

    report.say(f"\n{row['keys']:,} keys; in the process, medians")
    for count in (1, 100):
        line(f"bare LMDB get and unpack, {count} keys", row[f"bare_{count}"], "us")
        line(f"8 state features, {count} keys", row[f"state_{count}"], "us", **{f"bare_{count}": 0})
        line("", row[f"state_{count}"], "us", **{f"feast_read_{count}": 0})
        line(f"3 windows x 4 aggregates, {count} keys", row[f"windows_{count}"], "us", **{f"state_{count}": 0})
        line(
            f"8 state features and one on demand, {count} keys",
            row[f"on_demand_{count}"],
            "us",
            **{f"state_{count}": 0},
        )
    line("push, batches of 1,000 rows", row["push_rows_per_second"], "rows/s")
    line("push, one row: median", row["single_push_median_ms"], "ms")
    line("push, one row: p99", row["single_push_p99_ms"], "ms")
    line(f"pushes of one row by {THREADS} threads", row["pushes_together_per_second"], "pushes/s")
    line("materialize 1,000,000 rows of 10,000 keys", row["materialize_many"] * 1e3, "ms")
    if "feast_materialize_many" in row:
        report.say(
            f"{'':46}{row['feast_materialize_many'] / row['materialize_many']:12.1f} x faster than Feast with SQLite"
        )
    line("the same with nothing new", row["materialize_again"] * 1e3, "ms")
    line(f"materialize {row['keys']:,} keys", row["materialize_state"] * 1e3, "ms")
    line("open, until the first answer", row["open_seconds"] * 1e3, "ms")
    line("open after kill -9, until the first answer", row["open_after_kill_seconds"] * 1e3, "ms")


if __name__ == "__main__":
    main()
