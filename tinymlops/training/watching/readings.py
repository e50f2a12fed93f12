"""How busy the machine and this process are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tinymlops.gpus import Gpus

__all__ = ["Readings"]


class Readings:
    """The load of the machine since the last reading.

    Args:
        directory: On the disk whose free space is told.
    """

    def __init__(self, directory: Path) -> None:
        import psutil

        self._psutil = psutil
        self._directory = directory
        self._process = psutil.Process()
        self._gpus = Gpus()
        self._before: dict[str, float] = {}
        self._read_at = time.monotonic()
        self.read()  # shares of time and rates are those since a first reading

    def read(self) -> dict[str, float]:
        """Return what can be read here, by name; what the system does not tell is left out."""
        values: dict[str, float] = {}
        elapsed = time.monotonic() - self._read_at
        self._read_at += elapsed
        for read in (self._cpu, self._memory, self._own, self._free):
            values.update(self._readable(read))
        counters = {**self._readable(self._disk), **self._readable(self._network)}
        for name, count in counters.items():
            if name in self._before and elapsed > 0:
                values[name] = max(count - self._before[name], 0) / elapsed  # a counter may begin anew
        self._before = counters
        return {f"system/{name}": float(value) for name, value in {**values, **self._gpus.read()}.items()}

    def _readable(self, read: Callable[[], Iterator[tuple[str, float]]]) -> dict[str, float]:
        try:
            return dict(read())
        except (self._psutil.Error, OSError, RuntimeError, NotImplementedError):  # a container may hide some of it
            return {}

    def _cpu(self) -> Iterator[tuple[str, float]]:
        yield "cpu", self._psutil.cpu_percent(interval=None)

    def _memory(self) -> Iterator[tuple[str, float]]:
        yield "memory", self._psutil.virtual_memory().percent

    def _own(self) -> Iterator[tuple[str, float]]:
        yield "process/cpu", self._process.cpu_percent(interval=None)
        yield "process/memory", self._process.memory_info().rss

    def _free(self) -> Iterator[tuple[str, float]]:
        yield "disk/free", self._psutil.disk_usage(str(self._directory)).free

    def _disk(self) -> Iterator[tuple[str, float]]:
        disk = self._psutil.disk_io_counters()
        if disk is not None:
            yield "disk/read", disk.read_bytes
            yield "disk/write", disk.write_bytes

    def _network(self) -> Iterator[tuple[str, float]]:
        network = self._psutil.net_io_counters()
        yield "network/received", network.bytes_recv
        yield "network/sent", network.bytes_sent
