"""Measure one peer in this process: `python worker.py JSON`, answered in JSON on the last line.

    {"peer": name, "task": {...}, "runs": 5, "reference": "answer.npy", "cpus": null}

Runs once to warm up, then for the median; compares the last answer with the reference, or writes the reference if there
is none yet. Where files are read, one more run follows with their pages put out of the cache.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from peers import Peer, Task

LONGEST_SECONDS = 240
"""After so long no further run is begun."""


def main() -> None:
    """Answer the one request of this process."""
    request = json.loads(sys.argv[1])
    if request["cpus"]:
        # Before any package counts the cores.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: request["cpus"]])
    from peers import BY_NAME, Task

    task = Task(**request["task"])
    print(json.dumps(measure(BY_NAME[request["peer"]].make(), task, request["runs"], request["reference"])))


def measure(peer: Peer, task: Task, runs: int, reference: str) -> dict[str, Any]:
    """Time a peer and compare its answer."""
    begun = time.perf_counter()
    peer.load(task)
    load_seconds = time.perf_counter() - begun
    gc.collect()
    loaded = resident_megabytes()
    forget_peak()
    seconds: list[float] = []
    result: Any = None
    for _ in range(runs + 1):
        del result  # the last answer must not count into the next one's memory
        begun = time.perf_counter()
        result = peer.run()
        seconds.append(time.perf_counter() - begun)
        if sum(seconds) > LONGEST_SECONDS and len(seconds) > 1:
            break
    peak = peak_megabytes()
    checked = compare(peer.read(result), task, Path(reference))
    del result
    return {
        "load_seconds": load_seconds,
        "first_seconds": seconds[0],
        "seconds": statistics.median(seconds[1:]),
        "all_seconds": seconds[1:],
        "cold_seconds": cold_seconds(peer),
        "loaded_megabytes": loaded,
        "peak_megabytes": peak,
        **checked,
    }


def cold_seconds(peer: Peer) -> float | None:
    """Time one run with files out of the system's cache."""
    files = peer.files()
    if not files or not hasattr(os, "posix_fadvise"):
        return None
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)  # only clean pages are dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    begun = time.perf_counter()
    peer.run()
    return time.perf_counter() - begun


def compare(answer: pl.DataFrame, task: Task, reference: Path) -> dict[str, Any]:
    """Count what differs from the reference: rows lost or doubled, and cells by their bits.

    Sums and means of floats depend on the order in which a peer adds: where only they differ, and by numbers, `error`
    is the greatest relative one.
    """
    import numpy as np

    found = cells(answer, task)
    if not reference.exists():
        np.save(reference, found)
    wanted = np.load(reference, mmap_mode="r")
    if found.shape != wanted.shape:
        return {"rows": answer.height, "differing": -1, "error": None}
    different = found.view(np.int64) != wanted.view(np.int64)
    if not different.any():
        return {"rows": answer.height, "differing": 0, "error": 0.0}
    told: dict[str, Any] = {"rows": answer.height, "differing": int(different.sum()), "error": None}
    added = np.array([column.startswith(("sum_", "mean_")) for column in task.columns])
    errors = np.abs(found - wanted)[different] / np.maximum(np.abs(wanted[different]), 1.0)
    if different[:, ~added].any() or np.isnan(errors).any():
        return told
    return told | {"error": float(errors.max())}


def cells(answer: pl.DataFrame, task: Task) -> np.ndarray[Any, Any]:
    """Return float64[rows, columns] in the spine's order, every null and NaN as the same bits."""
    import numpy as np
    import polars as pl

    ordered = answer.sort("row").select(pl.col(task.columns).cast(pl.Float64).fill_null(float("nan")))
    values = np.ascontiguousarray(ordered.to_numpy())
    values[np.isnan(values)] = np.nan
    values[values == 0] = 0.0  # an empty sum may be minus zero
    return values


def resident_megabytes() -> float:
    return _status("VmRSS")


def peak_megabytes() -> float:
    """Return the most memory this process held since `forget_peak`, or ever where the system cannot forget."""
    return _status("VmHWM")


def forget_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float:
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024 / 1e6


if __name__ == "__main__":
    main()
