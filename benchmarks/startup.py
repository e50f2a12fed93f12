"""What starting costs: a bare interpreter, `import tinymlops`, and `tinymlops --help`.

Run it alone: `python benchmarks/startup.py`. Each is started many times in turn, so that a busy moment hits all of
them; the median is reported, in milliseconds and as a ratio to the bare interpreter.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

STARTS = 31
COMMANDS = {
    "bare python": [sys.executable, "-c", ""],
    "import tinymlops": [sys.executable, "-c", "import tinymlops"],
    "tinymlops --help": [str(Path(sys.executable).with_name("tinymlops")), "--help"],
}
ALLOWED = {"import tinymlops": 100.0, "tinymlops --help": 200.0}
"""Milliseconds: the import beside a bare interpreter, the help in all."""


def start(command: list[str]) -> float:
    """Return how many milliseconds a process lives."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    """Measure, print and write the results."""
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}, {STARTS} starts each")
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(STARTS + 1):
        for name, command in COMMANDS.items():
            spent = start(command)
            if turn:  # the first fills the caches
                times[name].append(spent)
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    bare = medians["bare python"]
    for name, median in medians.items():
        allowed = f"  (allowed: {ALLOWED[name]:.0f} ms)" if name in ALLOWED else ""
        print(f"{name:<18}{median:7.1f} ms  {median / bare:5.1f} x bare{allowed}")
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "startup.json").write_text(json.dumps(medians, indent=2) + "\n")


if __name__ == "__main__":
    main()
