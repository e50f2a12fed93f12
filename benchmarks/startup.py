"""The cost of starting: the interpreter, `import tinymlops` and the command; and the first minute, in which the kernels
are compiled: the README's first page, a first table of real size, the flights demo.

Run it alone: `python benchmarks/startup.py` (a few minutes; `--demo` runs the flights example too). Every process starts
with a cache of its own, in one of four states:

    cold            the cache is empty
    warm            `tinymlops doctor --compile` has filled it
    read-only home  it cannot be under the home directory, and is empty
    no cache        there is no directory that could hold it

The median is reported, in seconds (`s`) and in seconds of the process's own processor time (`cpu s`): the second says what
a busy machine hides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
STARTS = 31
COMMANDS = {
    "bare python": [sys.executable, "-c", ""],
    "import tinymlops": [sys.executable, "-c", "import tinymlops"],
    "tinymlops --help": [str(Path(sys.executable).with_name("tinymlops")), "--help"],
}
ALLOWED = {"import tinymlops": 100.0, "tinymlops --help": 200.0}
"""Milliseconds: the import beside a bare interpreter, the help in all."""

STATES = ("cold", "warm", "read-only home", "no cache")
PAGES = 5

TOLD = """
import json, os, runpy, sys, time
from numba.core import event
waited, depth = 0.0, 0
class Compiling(event.Listener):
    def on_start(self, happened):
        global depth, begun
        begun, depth = begun if depth else time.perf_counter(), depth + 1
    def on_end(self, happened):
        global depth, waited
        depth -= 1
        waited += 0.0 if depth else time.perf_counter() - begun
event.register("numba:compile", Compiling())
sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[1])))
at = time.perf_counter()
runpy.run_path(sys.argv[1], run_name="__main__")
took = time.perf_counter() - at
print(json.dumps({"s": took, "cpu s": time.process_time(), "compiling, s": waited}))
"""
"""Runs a script, and tells how long it took and how long it waited for the compiler."""

REAL = """
from datetime import UTC, datetime
import numpy as np
import polars as pl
import tinymlops as tm
rows, spine = 1_000_000, 200_000
draw = np.random.default_rng(0)
def moments(count):
    return pl.Series((draw.random(count) * 86_400e6 * 365).astype("int64")).cast(pl.Datetime("us", "UTC"))
events = pl.DataFrame({"customer_id": draw.integers(0, 10_000, rows), "amount": draw.normal(size=rows), "at": moments(rows)})
asked = pl.DataFrame({"customer_id": draw.integers(0, 10_000, spine), "timestamp": moments(spine)})
big = tm.Project("big")
buyer = big.entity("customer", key="customer_id")
@big.source(timestamp="at")
def orders() -> pl.DataFrame:
    return events
@big.feature_view(entity=buyer)
def spending(orders: tm.Rows) -> tm.Features:
    amount = orders["amount"]
    return {"last": amount.last(), "spent_30d": amount.sum(window="30d"), "most_30d": amount.max(window="30d")}
with tm.connect("big.tm", create=True) as ws:
    ws.apply(big)
    ws.ingest()
    ws.get_historical_features(asked, [spending])
    ws.materialize()
"""
"""A million rows through the first verbs."""

WAIT = """
import runpy, time
runpy.run_path("shop.py")
from tinymlops.kernels.beside import is_compiling
while is_compiling():
    time.sleep(0.1)
"""
"""The first page, and then the time until all is compiled."""


def start(command: list[str]) -> float:
    """Return the run time of a process in milliseconds."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def starts() -> dict[str, float]:
    """Start each command many times in turn, so that a busy moment hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(STARTS + 1):
        for name, command in COMMANDS.items():
            spent = start(command)
            if turn:  # the first fills the caches
                times[name].append(spent)
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    for name, median in medians.items():
        allowed = f"  (allowed: {ALLOWED[name]:.0f} ms)" if name in ALLOWED else ""
        print(f"{name:<18}{median:7.1f} ms  {median / medians['bare python']:5.1f} x bare{allowed}")
    return medians


@contextmanager
def state(name: str, warm: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield an empty folder to work in, and the environment of a user in one of the states."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (work := folder / "work").mkdir()
        (spare := folder / "tmp").mkdir()
        (folder / "file").touch()
        mine = {key: value for key, value in os.environ.items() if key not in ("TINYMLOPS_KERNELS", "XDG_RUNTIME_DIR")}
        mine |= {"XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(spare)}
        if name == "warm":
            mine["XDG_CACHE_HOME"] = str(warm)
        elif name != "cold":
            mine["XDG_CACHE_HOME"] = str(folder / "file")  # under a file there can be no directory, even for root
        if name == "no cache":
            (spare / f"tinymlops-{os.getuid()}").touch()
        (work / "shop.py").write_text(first_page())
        yield work, mine


def first_page() -> str:
    """Return the script of README's first page."""
    found = re.search(r"## The first page\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def run(name: str, warm: Path, script: str | None = None) -> dict[str, float]:
    """Run a script, by default the first page, in a state; return the figures that it prints."""
    with state(name, warm) as (folder, variables):
        path = folder / "shop.py"
        if script is not None:
            path = folder / "script.py"
            path.write_text(script)
        return told(path, folder, variables)


def told(path: Path, folder: Path, variables: dict[str, str]) -> dict[str, float]:
    """Run a script and return its last line."""
    command = [sys.executable, "-c", TOLD, str(path)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def first_minute(warm: Path, *, demo: bool) -> dict[str, dict[str, float]]:
    """Measure the time of each run, and its wait for the compiler."""
    found: dict[str, dict[str, float]] = {}

    def say(name: str, figures: dict[str, float]) -> None:
        found[name] = figures
        print(f"{name:<44}" + "".join(f"{value:9.2f} {unit}" for unit, value in figures.items()), flush=True)

    with state("warm", warm) as (folder, variables):
        command = [COMMANDS["tinymlops --help"][0], "doctor", "--compile"]
        begun = time.perf_counter()
        subprocess.run(command, cwd=folder, env=variables, check=True, capture_output=True)
        say("doctor --compile, all kernels", {"s": time.perf_counter() - begun})
    for name in STATES:
        pages = [run(name, warm) for _ in range(PAGES)]
        say(f"first page, {name}", {unit: statistics.median(page[unit] for page in pages) for unit in pages[0]})
    say("first page, until all is compiled beside it", run("cold", warm, WAIT))
    for name in ("cold", "warm"):
        say(f"a million rows, {name}", run(name, warm, REAL))
    for name in ("cold", "warm") if demo else ():
        with state(name, warm) as (_, variables):
            say(f"flights demo, {name}", told(ROOT / "examples/flights/demo.py", ROOT / "examples/flights", variables))
    return found


def main() -> None:
    """Measure, print and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    arguments.add_argument("--demo", action="store_true", help="run the flights example too")
    demo = arguments.parse_args().demo
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}, {STARTS} starts each")
    medians = starts()
    with tempfile.TemporaryDirectory() as warm:
        minute = first_minute(Path(warm), demo=demo)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "startup.json").write_text(json.dumps(medians | {"first minute": minute}, indent=2) + "\n")


if __name__ == "__main__":
    main()
