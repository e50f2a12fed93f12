"""Rows a second that `follow` takes from a file, durable when counted, as a stream without end: compaction included.

Run it alone: `python benchmarks/follow.py [ROWS]`. Each case is a process of its own. A writer appends so many lines while
they are followed; the time is from its first line to the commit of the last. Beside it: how long a line waits from its
write to its commit, where few come; and the bare work of reading and decoding the same lines. Rows a core-second say what a
machine that does nothing else would take.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import tinymlops as tm

ROWS = 1_000_000
ALLOWED_ROWS_A_SECOND = 20_000
RESULTS = Path(__file__).parent / "results"


def line(number: int) -> str:
    """Return a click of one of 1,000 customers, 110 bytes."""
    at = f"2026-01-01T00:{number // 60_000_000 % 60:02}:{number // 1_000_000 % 60:02}.{number % 1_000_000:06}Z"
    return (
        f'{{"click": {number}, "customer": {number % 1_000}, "at": "{at}", "seconds": {number * 0.25}, '
        f'"page": "/page/{number % 50}"}}\n'
    )


def followed(rows: int, folder: Path, *, with_id: bool, online: bool, pause: float = 0.0) -> dict[str, float]:
    """Follow a file while another thread, or the time before, writes it."""
    project = tm.Project("bench")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="click" if with_id else None)
    def clicks() -> tm.Schema:
        return {"click": int, "customer": int, "at": datetime, "seconds": float, "page": str}

    @project.feature_view(entity=customer)
    def interest(clicks: tm.Rows) -> tm.Features:
        return {"last_seconds": clicks["seconds"].last(), "clicks_30d": clicks.count(window="30d")}

    file, written = folder / "clicks.jsonl", list[int]()
    with tm.connect(folder / "bench.tm", create=True) as ws:
        ws.apply(project)
        if online:
            ws.materialize()
        if pause:

            def write() -> None:
                with file.open("a", buffering=1) as out:
                    for number in range(rows):
                        written.append(time.time_ns() // 1_000)
                        out.write(line(number))
                        time.sleep(pause)

            writer = threading.Thread(target=write)
            writer.start()
            ws.follow("clicks", file, stop=lambda: not writer.is_alive())
            writer.join()
            created = ws.sql("select __created as at from clicks_history order by __sequence")["at"].to_list()
            waits = [(one.timestamp() * 1e6 - then) / 1e3 for one, then in zip(created, written, strict=False)]
            return {"p50_ms": statistics.median(waits), "p99_ms": statistics.quantiles(waits, n=100)[-1]}
        with file.open("w") as out:
            out.writelines(map(line, range(rows)))
        begun, worked = time.perf_counter(), time.process_time()
        done = ws.follow("clicks", file, once=True)
        seconds, worked = time.perf_counter() - begun, time.process_time() - worked
        assert done.rows_new == rows
        assert not online or done.online == "current"
        return {"rows_a_second": rows / seconds, "rows_a_core_second": rows / worked, "batches": done.batches}


def decoded(rows: int, folder: Path) -> dict[str, float]:
    """Read the lines and decode them, and do nothing with them."""
    import msgspec

    file = folder / "clicks.jsonl"
    with file.open("w") as out:
        out.writelines(map(line, range(rows)))
    begun = time.perf_counter()
    with file.open("rb") as lines:
        count = sum(bool(msgspec.json.decode(one)) for one in lines)
    return {"rows_a_second": count / (time.perf_counter() - begun)}


CASES: dict[str, Callable[[int, Path], dict[str, float]]] = {
    "bare: lines read and decoded": decoded,
    "followed, without ids": lambda rows, folder: followed(rows, folder, with_id=False, online=False),
    "followed, known by id": lambda rows, folder: followed(rows, folder, with_id=True, online=False),
    "followed, known by id, a view online": lambda rows, folder: followed(rows, folder, with_id=True, online=True),
    "one line each 5 ms": lambda _, folder: followed(2_000, folder, with_id=True, online=False, pause=0.005),
}


def main(rows: int) -> None:
    """Measure, print and write the results."""
    results: dict[str, dict[str, float]] = {}
    print(f"{rows:,} lines of 110 bytes; wanted: {ALLOWED_ROWS_A_SECOND:,} rows a second")
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--case", name, str(rows), folder]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[name] = json.loads(said.splitlines()[-1])
        print(f"{name:<40}" + "  ".join(f"{what} {value:12,.1f}" for what, value in results[name].items()), flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "follow.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        print(json.dumps(CASES[sys.argv[2]](int(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
