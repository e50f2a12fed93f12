"""The environment of a measurement: the machine, the versions, and the speed of its memory."""

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["cores", "machine", "memory_speed"]

_PACKAGES = ("numba", "numpy", "polars", "duckdb", "pyarrow", "pandas")
_BYTES = 256 * 2**20
"""Bytes for each thread: many times the size of a cache."""
_PROBES = 2**22
_ATTEMPTS = 5


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that run on it."""
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "caches": _caches(),
        "memory_gigabytes": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def memory_speed() -> dict[str, float]:
    """Measure the memory with all cores at once, the best of five.

    Returns:
        `copy_gigabytes_per_second`, bytes read and written; and `random_nanoseconds`, the time of one core for a random
        read of eight bytes in 256 MB, with addresses known beforehand.
    """
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    with ThreadPoolExecutor(cores()) as pool:

        def best(work: "Callable[[int], object]") -> float:
            return min(_seconds(lambda: list(pool.map(work, range(cores())))) for _ in range(_ATTEMPTS))

        sources = [np.ones(_BYTES // 8) for _ in range(cores())]
        targets = [np.empty_like(source) for source in sources]
        copy = best(lambda i: np.copyto(targets[i], sources[i]))
        places = np.random.default_rng(0).integers(0, _BYTES // 8, _PROBES)
        found = [np.empty(_PROBES) for _ in sources]
        probe = best(lambda i: np.take(sources[i], places, out=found[i], mode="clip"))
    return {
        "copy_gigabytes_per_second": round(2 * _BYTES * cores() / copy / 1e9, 1),
        "random_nanoseconds": round(probe / _PROBES * 1e9, 1),
    }


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _seconds(work: "Callable[[], object]") -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _caches() -> dict[str, str]:
    """Return the first core's data caches by level, as the system names their sizes."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (folder / "type").read_text().strip() != "Instruction":
            found[f"L{(folder / 'level').read_text().strip()}"] = (folder / "size").read_text().strip()
    return found


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
