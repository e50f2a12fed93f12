"""Shared parts of the benchmarks: measure peers one process at a time, compare them in a table, and write files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymlops_cli.machine import machine, memory_speed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from peers import Entry, Task

HERE = Path(__file__).parent
RESULTS = HERE / "results"
MLFLOW_PYTHON = HERE.parent / os.environ.get("MLFLOW", ".venv-mlflow") / "bin" / "python"
"""Of MLflow's own environment; `make bench-mlflow` makes it, and `MLFLOW` names another."""
LONGEST_SECONDS = 600
"""For all runs of one peer, what it loads beforehand included."""
ROUNDING = 1e-9
"""Relative; the sums of floats of two right answers differ by less."""


def measure(entry: Entry, task: Task, *, runs: int, reference: Path, cpus: int | None = None) -> dict[str, Any]:
    """Measure one peer in a process of its own; `failed` holds the reason if there are no figures.

    Args:
        entry: The peer.
        task: The task.
        runs: The number of runs after the first.
        reference: The right answer; written by this peer if it does not exist.
        cpus: The number of cores it may use; None for all.
    """
    request = {"peer": entry.name, "task": asdict(task), "runs": runs, "reference": str(reference), "cpus": cpus}
    command = [str(entry.python), str(HERE / "worker.py"), json.dumps(request)]
    row: dict[str, Any] = {"peer": entry.name, "version": version_of(entry)}
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    except subprocess.TimeoutExpired:
        return row | {"failed": f"stopped after {LONGEST_SECONDS} s"}
    if done.returncode:
        return row | {"failed": reason_of(done)}
    return row | json.loads(done.stdout.splitlines()[-1])


def reason_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of a failed process that names an error; a process out of memory says nothing."""
    lines = [line for line in done.stderr.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return f"{lines[-1] if lines else 'killed'} (exit code {done.returncode})"


def version_of(entry: Entry) -> str:
    """Return the version of a peer's package in its own environment."""
    code = f"import importlib.metadata as m; print(m.version('{entry.package}'))"
    return subprocess.run([str(entry.python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def verdict(row: Mapping[str, Any], spine: int) -> str:
    """Return how an answer differs from ours; empty if it does not."""
    if row["rows"] != spine:
        return f"WRONG: {row['rows']:,} of {spine:,} rows"
    if row["differing"] and (row["error"] is None or row["error"] > ROUNDING):
        return f"WRONG: {row['differing']:,} cells differ"
    return f"{row['differing']:,} sums not correctly rounded" if row["differing"] else ""


@dataclass
class Report:
    """Prints as it goes, and keeps text and rows for the files.

    Args:
        name: The name of the files under `results/`.
    """

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=lambda: {**machine(), **memory_speed()})

    def __post_init__(self) -> None:
        self.say(json.dumps(self.facts, indent=1))

    def say(self, line: str = "") -> None:
        print(line, flush=True)
        self.lines.append(line)

    def save(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        content = {"at": datetime.now(UTC).isoformat(), "machine": self.facts, "rows": self.rows}
        (RESULTS / f"{self.name}.json").write_text(json.dumps(content, indent=1))
        (RESULTS / f"{self.name}.txt").write_text("\n".join(self.lines) + "\n")
        print(f"\nwritten to {RESULTS / self.name}.json and .txt")

    def compare(
        self,
        entries: Sequence[Entry],
        task: Task,
        *,
        runs: int,
        spine: int,
        least_bytes: Mapping[str, float],
        **about: Any,
    ) -> None:
        """Measure peers at one task, the first being the reference, and print a table of them.

        Args:
            entries: The peers.
            task: The task.
            runs: The number of runs after the first.
            spine: Rows of the spine.
            least_bytes: Bytes touched by those of our paths for which they are known.
            about: Fields to add to each row.
        """
        self.say(f"{'':34}{'seconds':>9}{'ratio':>8}{'first':>8}{'cold':>8}{'loaded MB':>11}{'peak MB':>9}")
        with tempfile.TemporaryDirectory() as folder:
            ours: dict[str, Any] | None = None
            for entry in entries:
                if not entry.available:
                    self.say(f"{entry.name:34}left out: `make bench-peers` installs it")
                    continue
                row = measure(entry, task, runs=runs, reference=Path(folder) / "answer.npy") | about
                self.rows.append(row)
                if "failed" in row:
                    self.say(f"{entry.name:34}{row['failed'][:90]}")
                    continue
                ours = ours or row
                row |= {"ratio": row["seconds"] / ours["seconds"], "verdict": verdict(row, spine)}
                self.say(line_of(row))
                self._say_bytes(row, least_bytes.get(entry.name))

    def _say_bytes(self, row: dict[str, Any], touched: float | None) -> None:
        if touched is None:
            return
        speed = touched / row["seconds"] / 1e9
        share = speed / self.facts["copy_gigabytes_per_second"]
        row |= {"bytes_touched": touched, "gigabytes_per_second": speed, "share_of_bandwidth": share}
        self.say(f"{'':6}{touched / 1e9:.2f} GB touched: {speed:.1f} GB/s, {share:.0%} of what the memory copies")


def line_of(row: Mapping[str, Any]) -> str:
    """Write a measurement as a line of the table; a ratio in brackets is that of a wrong answer."""
    cold = f"{row['cold_seconds']:8.3f}" if row["cold_seconds"] is not None else f"{'':8}"
    ratio = f"({row['ratio']:.1f}x)" if row["verdict"].startswith("WRONG") else f"{row['ratio']:.1f}x"
    return (
        f"{row['peer']:34}{row['seconds']:9.3f}{ratio:>8}{row['first_seconds']:8.3f}{cold}"
        f"{row['loaded_megabytes']:11.0f}{row['peak_megabytes']:9.0f}  {row['verdict']}"
    ).rstrip()


def fail_if_wrong(report: Report) -> None:
    """End with an error if ours could not be measured."""
    failed = [row for row in report.rows if "failed" in row and row["peer"].startswith("tinymlops")]
    if failed:
        sys.exit("\n".join(f"{row['peer']}: {row['failed']}" for row in failed))
