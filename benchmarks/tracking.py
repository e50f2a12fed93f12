"""What tracking costs, beside MLflow on SQLite: logging, whole runs, a server, search, curves, and processes that are killed.

python benchmarks/tracking.py                   # about 15 minutes on two idle cores; `make bench-mlflow` before it
python benchmarks/tracking.py --quick           # small sizes, to see that it works
python benchmarks/tracking.py --only search     # one part: log, durable, run, client, search, curve or crash

Every figure stands beside one of the same run on the same disk. MLflow runs in an environment of its own, with one job a
process, as ours do; its runs to search are written straight into the tables that it made, because its own calls take an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import HERE, MLFLOW_PYTHON, Report, reason_of
from serving import SERVE, free_port, stop
from tracking_crash import crash

if TYPE_CHECKING:
    from collections.abc import Callable

    Part = Callable[["Bench"], None]

THREADS = 16
PIXELS = 1_000
LONGEST_SECONDS = 1_200


@dataclass(frozen=True)
class Sizes:
    """How much is done."""

    buffered_seconds: float = 60.0
    seconds: float = 10.0
    times: int = 50
    runs: int = 10_000
    points: int = 1_000_000
    processes: int = 16
    crash_seconds: float = 60.0


QUICK = Sizes(buffered_seconds=3.0, seconds=1.0, times=5, runs=200, points=100_000, processes=4, crash_seconds=8.0)


@dataclass(frozen=True)
class Bench:
    """One run of the benchmark."""

    folder: Path
    sizes: Sizes
    report: Report
    mlflow: bool
    """Whether it is installed."""

    def ours(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Do one of our jobs in a process of its own."""
        return _answer([sys.executable, str(HERE / "tracking_jobs.py"), job, json.dumps(arguments)], self.folder)

    def theirs(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Do one of MLflow's jobs in a process of its environment; nothing where it is not installed."""
        if not self.mlflow:
            return {}
        script = HERE / "peers" / "tracking_with_mlflow.py"
        return _answer([str(MLFLOW_PYTHON), str(script), job, json.dumps(arguments)], self.folder)

    def path(self, name: str) -> str:
        """Return a path in its folder."""
        return str(self.folder / name)

    def say(self, what: str, value: float, unit: str, target: str, *, ok: bool | None) -> None:
        """Print a figure with its target, and keep it."""
        verdict = {True: "yes", False: "NO", None: ""}[ok]
        shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"
        self.report.say(f"{what:66}{shown:>12} {unit:<9}{target:<30}{verdict}")
        self.report.rows.append({"what": what, "value": value, "unit": unit, "target": target, "met": ok})

    def beside(self, what: str, ours: float, theirs: float | None, least: float, *, slower: bool = False) -> None:
        """Print how many times MLflow's speed ours is; `slower` where the figures are times, not speeds."""
        if theirs is not None:
            ratio = theirs / ours if slower else ours / theirs
            self.say(what, ratio, "x MLflow", f"at least {least:g} x", ok=ratio >= least)


def _answer(command: list[str], folder: Path) -> dict[str, Any]:
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH" or command[0] == sys.executable
    }
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=LONGEST_SECONDS, cwd=folder, env=environment
    )
    if done.returncode:
        raise SystemExit(f"{Path(command[1]).name} {command[2]}: {reason_of(done)}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def log(bench: Bench) -> None:
    """Log on end, buffered."""
    found = bench.ours("buffered", workspace=bench.path("buffered.tm"), seconds=bench.sizes.buffered_seconds)
    seconds = bench.sizes.buffered_seconds
    least = 100_000.0
    bench.say(
        f"log_metric, buffered, {seconds:g} s, flushed and sealed",
        found["per_second"],
        "/s",
        f"at least {least:,.0f}",
        ok=found["per_second"] >= least,
    )
    more = found["late_megabytes"] - found["early_megabytes"]
    bench.say(f"  peak memory after {seconds / 6:g} s", found["early_megabytes"], "MB", "", ok=None)
    bench.say(f"  more of it after {seconds:g} s", more, "MB", "bounded: under 64", ok=more < 64)
    bench.say("  peak memory with finish, which seals", found["peak_megabytes"], "MB", "", ok=None)
    for name in ("flush", "finish"):
        bench.say(f"  of it {name}", found[f"{name}_seconds"], "s", "", ok=None)
    bench.say("  on the disk", found["bytes_a_point"], "bytes/pt", "", ok=None)


def durable(bench: Bench) -> None:
    """Log single points that are on the disk when the call returns."""
    sizes = bench.sizes
    ours = bench.ours("durable", workspace=bench.path("durable.tm"), seconds=sizes.seconds, threads=THREADS)
    theirs = bench.theirs("logging", database=bench.path("logging.db"), seconds=sizes.seconds, threads=THREADS)
    bench.say("log_metric(durable=True), one caller", ours["one"], "/s", "", ok=None)
    bench.say("  a bare fsynced commit of SQLite, in turns", ours["bare"], "/s", "", ok=None)
    bench.say("  ours of that", 100 * ours["share"], "%", "at least 80", ok=ours["share"] >= 0.8)
    if theirs:
        bench.say("  mlflow.log_metric on SQLite, one caller", theirs["one"], "/s", "", ok=None)
        bench.beside("  ours beside it", ours["one"], theirs["one"], 1)
    bench.say(f"log_metric(durable=True), {THREADS} callers", ours["many"], "/s", "", ok=None)
    if theirs:
        bench.say(f"  MLflow, {THREADS} callers", theirs["many"], "/s", "", ok=None)
        bench.beside("  ours beside it", ours["many"], theirs["many"], 10)


def run(bench: Bench) -> None:
    """Start a run, log one parameter and one metric, and finish it."""
    ours = bench.ours("whole_run", workspace=bench.path("whole.tm"), times=bench.sizes.times)
    theirs = bench.theirs("logging", database=bench.path("whole.db"), seconds=bench.sizes.seconds / 5, threads=THREADS)
    bench.say("a run with one parameter and one metric", 1e3 * ours["seconds"], "ms", "", ok=None)
    bench.say("  the first of a process", 1e3 * ours["first"], "ms", "", ok=None)
    if theirs:
        bench.say("  MLflow, the same four calls", 1e3 * theirs["run_seconds"], "ms", "", ok=None)
        bench.beside("  ours beside it", ours["seconds"], theirs["run_seconds"], 10, slower=True)


def client(bench: Bench) -> None:
    """Let MLflow's own client log to its server, and to ours."""
    if not bench.mlflow:
        return
    found: dict[str, dict[str, Any]] = {}
    for name, command in _servers(bench).items():
        port = free_port()
        with tempfile.TemporaryFile() as told:
            process = subprocess.Popen(
                [*command, str(port)], stdout=told, stderr=told, start_new_session=True, cwd=bench.folder
            )
            try:
                uri = f"http://127.0.0.1:{port}"
                if _speaks(bench, process, uri):
                    found[name] = bench.theirs("client", uri=uri, seconds=bench.sizes.seconds)
            finally:
                stop(process)
    if found.keys() != {"ours", "mlflow"}:
        bench.report.say(f"MLflow's client: left out: only {list(found)} answered its protocol")
        return
    ours, theirs = found["ours"], found["mlflow"]
    for what, name, unit in (
        ("log_metric, one after the other", "calls", "/s"),
        ("log_batch of 1,000", "points", "points/s"),
    ):
        bench.say(f"MLflow's client on our server: {what}", ours[name], unit, "", ok=None)
        bench.say("  on MLflow's own server", theirs[name], unit, "", ok=None)
        bench.beside("  ours beside it", ours[name], theirs[name], 2)
    bench.say("MLflow's client on our server: a whole run", 1e3 * ours["run_seconds"], "ms", "", ok=None)
    bench.beside("  ours beside its own server", ours["run_seconds"], theirs["run_seconds"], 2, slower=True)


def _servers(bench: Bench) -> dict[str, list[str]]:
    """Return the commands of the servers, without the port that ends them."""
    import tinymlops as tm

    tm.connect(bench.path("served.tm"), create=True).close()
    store = [
        "--backend-store-uri",
        f"sqlite:///{bench.path('served.db')}",
        "--artifacts-destination",
        bench.path("artifacts"),
    ]
    return {
        "mlflow": [str(MLFLOW_PYTHON), "-m", "mlflow", "server", "--host", "127.0.0.1", *store, "--port"],
        "ours": [sys.executable, "-c", SERVE, bench.path("served.tm")],
    }


def _speaks(bench: Bench, process: subprocess.Popen[bytes], uri: str) -> bool:
    """Wait until a server answers MLflow's protocol; return whether it does."""
    until = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < until:
        found = bench.theirs("speaks", uri=uri)
        if found["status"] is not None:
            return bool(found["speaks"])
        time.sleep(0.5)
    return False


def search(bench: Bench) -> None:
    """Search many runs: by a condition, in the order of a metric, and both."""
    sizes, workspace, database = bench.sizes, bench.path("searched.tm"), bench.path("searched.db")
    bench.ours("fill", workspace=workspace, runs=sizes.runs)
    ours = bench.ours("search", workspace=workspace, times=max(5, sizes.times // 5))
    bench.theirs("fill", database=database, runs=sizes.runs)
    theirs = bench.theirs("search", database=database, times=max(3, sizes.times // 10))
    bench.say(f"{sizes.runs:,} runs x 20 metrics: connect", 1e3 * ours["connect"], "ms", "", ok=None)
    for name in ("filter", "sort", "both"):
        found, other = ours[name], theirs.get(name)
        for when in ("first", "next"):
            spent = found[when]
            bench.say(f"  {name}, {when}", 1e3 * spent, "ms", "under 100", ok=spent < 0.1)
            if other is not None:
                bench.say("    MLflow's search_runs", 1e3 * other[when], "ms", "", ok=None)
                bench.beside("    ours beside it", spent, other[when], 10, slower=True)
        if other is not None and sorted(found["answer"]) != sorted(other["answer"]):
            raise SystemExit(f"{name}: MLflow finds other runs than we do")


def curve(bench: Bench) -> None:
    """Draw the curve of a long metric."""
    sizes, workspace = bench.sizes, bench.path("curve.tm")
    made = bench.ours("fill_curve", workspace=workspace, points=sizes.points)
    found = bench.ours(
        "curve", workspace=workspace, run=made["run"], points=sizes.points, pixels=PIXELS, times=max(5, sizes.times)
    )
    bench.say(f"{sizes.points:,} points logged in bulk and sealed", made["seconds"], "s", "", ok=None)
    what = f"a curve of {sizes.points:,} points at {PIXELS:,} pixels"
    for name, said, most in (
        ("first", f"{what}, first", 50),
        ("next", "  next", 10),
        ("tenth", "  a tenth of it", 10),
        ("close", "  5,000 steps of it", 10),
    ):
        bench.say(said, 1e3 * found[name], "ms", f"under {most}", ok=1e3 * found[name] < most)


def crashes(bench: Bench) -> None:
    """Kill processes that log."""
    found = crash(bench.folder, processes=bench.sizes.processes, seconds=bench.sizes.crash_seconds)
    what = f"{found['processes']} processes log, one polls ({found['reads']:,} reads): killed"
    bench.say(what, found["kills"], "times", "", ok=None)
    bench.say("  points acknowledged", found["acknowledged"], "", "", ok=None)
    bench.say("  of them lost", found["lost"], "", "0", ok=found["lost"] == 0)
    bench.say("  errors, of locks and others", found["errors"], "", "0", ok=found["errors"] == 0)
    if found["errors"]:
        bench.report.say(found["first_error"])


PARTS: dict[str, Part] = {
    "log": log,
    "durable": durable,
    "run": run,
    "client": client,
    "search": search,
    "curve": curve,
    "crash": crashes,
}


def _versions(report: Report, *, mlflow: bool, bench: Bench) -> None:
    if mlflow:
        report.facts["mlflow"] = bench.theirs("version")
        report.say(json.dumps(report.facts["mlflow"]))
    else:
        report.say("MLflow: left out: `make bench-mlflow` installs it")
    report.say(f"load of the machine before: {', '.join(f'{one:.1f}' for one in os.getloadavg())}\n")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--disk", help="a directory on the disk to measure; by default that of temporary files")
    asked = parser.parse_args()
    report, mlflow = Report("tracking"), MLFLOW_PYTHON.exists()
    with tempfile.TemporaryDirectory(dir=asked.disk) as folder:
        bench = Bench(Path(folder), QUICK if asked.quick else Sizes(), report, mlflow)
        _versions(report, mlflow=mlflow, bench=bench)
        for name in asked.only or PARTS:
            PARTS[name](bench)
    missed = [row["what"].strip() for row in report.rows if row["met"] is False]
    report.say(f"\n{len(missed)} targets missed" + (f": {'; '.join(missed)}" if missed else ""))
    if not asked.quick and not asked.only:
        report.save()


if __name__ == "__main__":
    main()
