"""The machine that a run works on: what it has, and which one it is; never its environment variables."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from typing import TYPE_CHECKING

from tinymlops.gpus import gpu_names

if TYPE_CHECKING:
    from tinymlops.records import Scalar

__all__ = ["machine_facts"]

_LONGEST = 2.0


def machine_facts() -> dict[str, Scalar]:
    """Return name, system, Python, processor, cores, bytes of memory, and GPUs if there are any."""
    facts: dict[str, Scalar] = {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": _cores(),
    }
    memory = _memory()
    if memory is not None:
        facts["memory"] = memory
    gpus = gpu_names()
    if gpus:
        facts["gpus"] = ", ".join(gpus)
    return facts


def _processor() -> str:
    try:
        if platform.system() == "Darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST, check=True)  # noqa: S603
            return done.stdout.strip()
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            models = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(models, platform.machine())
    except (OSError, subprocess.SubprocessError):
        return platform.machine()


def _cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
