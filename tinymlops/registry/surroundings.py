"""What runs stand on: the commit and the changes of the code, versions of packages, and the machine.

They are read once a process, in the background: a run does not wait for them.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from tinymlops.records import Scalar
from tinymlops.registry.git import git_patch, git_state, repository_of
from tinymlops.registry.machine import machine_facts

__all__ = ["Surroundings", "package_versions", "read_surroundings"]

_PACKAGES = (
    *("tinymlops", "scikit-learn", "skops", "polars", "numpy", "scipy", "pandas", "statsmodels"),
    *("pyarrow", "duckdb", "lightgbm", "xgboost", "catboost", "torch", "torchvision", "lightning"),
    *("tensorflow", "keras", "jax", "transformers", "datasets", "optuna"),
)


@dataclass(frozen=True)
class Surroundings:
    """What a run stands on."""

    git_commit: str | None
    git_dirty: bool
    patch: str | None
    """The uncommitted changes, as `git apply` reads them."""
    packages: dict[str, str]
    machine: dict[str, Scalar]


Told = Callable[[Surroundings], None]


@dataclass
class _Reading:
    """What is read of one repository."""

    done: Surroundings | None = None
    waiting: list[Told] = field(default_factory=list)


def read_surroundings(directory: Path, tell: Told) -> Surroundings | None:
    """Return the surroundings of a run that is started in a directory, if this process has read them already.

    Args:
        directory: Usually the current one.
        tell: Called with them in the background once they are read, if they are not returned.
    """
    return _readings.of(directory, tell)


def package_versions() -> dict[str, str]:
    """Return the installed versions of Python and of the packages that a model's answers may depend on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


class _Readings:
    """The surroundings by repository, as this process found them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_repository: dict[Path | None, _Reading] = {}

    def in_child(self) -> None:
        """Keep what is known in a forked child, and read again what the parent was still reading."""
        self._lock = threading.Lock()
        self._by_repository = {key: one for key, one in self._by_repository.items() if one.done is not None}

    def of(self, directory: Path, tell: Told) -> Surroundings | None:
        repository = repository_of(directory)
        with self._lock:
            reading = self._by_repository.get(repository)
            if reading is not None:
                if reading.done is None:
                    reading.waiting.append(tell)
                return reading.done
            reading = self._by_repository[repository] = _Reading(waiting=[tell])
        # Not a daemon: a script that ends at once still tells what its run stood on.
        threading.Thread(target=self._read, args=(directory, reading), name="tinymlops-surroundings").start()
        return None

    def _read(self, directory: Path, reading: _Reading) -> None:
        commit, dirty = git_state(directory)
        patch = git_patch(directory) if dirty else None
        done = Surroundings(commit, dirty, patch, package_versions(), machine_facts())
        with self._lock:
            reading.done = done
            waiting, reading.waiting = reading.waiting, []
        for tell in waiting:
            tell(done)


_readings = _Readings()
os.register_at_fork(after_in_child=_readings.in_child)
