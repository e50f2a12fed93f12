"""What runs stand on: the commit and the changes of the code, versions of packages, and the machine.

They are read once a process, in the background: a run does not wait for them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.registry.git import git_patch, git_state, repository_of
from tinymlops.registry.machine import machine_facts

if TYPE_CHECKING:
    from tinymlops.records import Scalar

__all__ = ["Reading", "Surroundings", "package_versions", "read_surroundings"]

_PACKAGES = (
    *("tinymlops", "scikit-learn", "skops", "polars", "numpy", "scipy", "pandas", "statsmodels"),
    *("pyarrow", "duckdb", "lightgbm", "xgboost", "catboost", "torch", "torchvision", "lightning"),
    *("tensorflow", "keras", "jax", "transformers", "datasets", "optuna"),
)


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a run stands on."""

    git_commit: str | None = None
    git_dirty: bool = False
    patch: bytes | None = None
    """The uncommitted changes, as `git apply` reads them."""
    patch_sha256: str | None = None
    packages: dict[str, str]
    machine: dict[str, Scalar]


class Reading:
    """The surroundings in one repository, which are read in the background."""

    def __init__(self) -> None:
        self.done: Surroundings | None = None
        """None until they are read."""
        self._lock = threading.Lock()
        self._waiting: list[Callable[[Surroundings], None]] = []

    def then(self, tell: Callable[[Surroundings], None]) -> None:
        """Call a function with the surroundings: now if they are known, else in the background once they are read."""
        with self._lock:
            if self.done is None:
                self._waiting.append(tell)
                return
        tell(self.done)

    def read(self, directory: Path | None) -> None:
        """Read them, and tell those who wait."""
        commit, dirty = (None, False) if directory is None else git_state(directory)
        text = git_patch(directory) if dirty and directory is not None else None
        patch = None if text is None else text.encode()
        done = Surroundings(
            git_commit=commit,
            git_dirty=dirty,
            patch=patch,
            patch_sha256=None if patch is None else hashlib.sha256(patch).hexdigest(),
            packages=package_versions(),
            machine=machine_facts(),
        )
        with self._lock:
            self.done = done
            waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell(done)


def read_surroundings(directory: Path | None) -> Reading:
    """Return what a run stands on that is started in a directory; the first call of a process begins to read it.

    Args:
        directory: Usually the current one; None if there is none.
    """
    return _readings.of(directory)


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
        self._by_repository: dict[Path | None, Reading] = {}

    def in_child(self) -> None:
        """Keep what is known in a forked child, and read again what the parent was still reading."""
        self._lock = threading.Lock()
        self._by_repository = {key: one for key, one in self._by_repository.items() if one.done is not None}

    def of(self, directory: Path | None) -> Reading:
        repository = None if directory is None else repository_of(directory)
        with self._lock:
            reading = self._by_repository.get(repository)
            if reading is not None:
                return reading
            reading = self._by_repository[repository] = Reading()
        # Not a daemon: a script that ends at once still tells what its run stood on.
        threading.Thread(target=reading.read, args=(directory,), name="tinymlops-surroundings").start()
        return reading


_readings = _Readings()
os.register_at_fork(after_in_child=_readings.in_child)
