"""The load of the machine while runs work, read once for all runs of the process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tinymlops.training.watching.readings import Readings
from tinymlops.training.watching.ticking import repeat

__all__ = ["watch_system"]

Log = Callable[[float, dict[str, float]], None]
"""Takes the seconds since the run's start and the values by name."""

_FIRST = 1.0
"""Seconds after the first run's start at which the counters are read for the first time: a short run pays nothing."""
_SECOND = 4.0
"""Seconds from there to the first values."""
_EVERY = 10.0
_YOUNG = 3.0
"""Seconds: a younger run waits for the next values."""


class _Watcher(NamedTuple):
    started: float
    log: Log


def watch_system(log: Log, directory: Path) -> Callable[[], None]:
    """Have the load of the machine logged every ten seconds, by a thread in the background.

    Args:
        log: Takes the values; what it raises is left out.
        directory: On the disk whose free space is told.

    Returns:
        A function that ends it.
    """
    return _sampler.add(log, directory)


class _Sampler:
    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._watchers: list[_Watcher] = []
        self._readings: Readings | None = None
        self._stop: Callable[[], None] | None = None

    def add(self, log: Log, directory: Path) -> Callable[[], None]:
        watcher = _Watcher(time.monotonic(), log)
        with self._lock:
            self._watchers.append(watcher)
            if self._stop is None:
                self._stop = repeat(lambda: self._tick(directory), after=_FIRST)

        def end() -> None:
            with self._lock:
                if watcher in self._watchers:
                    self._watchers.remove(watcher)
                if not self._watchers and self._stop is not None:
                    self._stop()
                    self._stop = self._readings = None

        return end

    def _tick(self, directory: Path) -> float:
        readings = self._readings
        if readings is None:
            readings = Readings(directory)
            with self._lock:
                self._readings = readings if self._watchers else None
            return _SECOND
        values = readings.read()
        now = time.monotonic()
        with self._lock:
            watchers = [watcher for watcher in self._watchers if now - watcher.started >= _YOUNG]
        for watcher in watchers:
            try:
                watcher.log(now - watcher.started, values)
            except Exception:  # noqa: BLE001, S112  # one run's failure is not another's
                continue
        return _EVERY


_sampler = _Sampler()
os.register_at_fork(after_in_child=_sampler.reset)
