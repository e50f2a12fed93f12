"""Polars in a forked child: its threads stay with the parent, and the first work that needs them would wait forever.

Loaded with the package, so that it sees each fork.
"""

from __future__ import annotations

import os
import sys

__all__ = ["require_threads"]

_TASKS = "/proc/self/task"


class _Fork:
    """Whether Polars had threads when this process was forked; it starts them once, at its first real work."""

    def __init__(self) -> None:
        self.runs = self.stranded = False

    def before(self) -> None:
        self.runs = self.stranded or _polars_has_threads()

    def in_child(self) -> None:
        self.stranded = self.runs


def require_threads() -> None:
    """Refuse to work with tables in a forked child of a process that had used Polars.

    Raises:
        ConflictError: In such a child.
    """
    if _fork.stranded:
        from tinymlops.errors import ConflictError

        raise ConflictError(
            f"process {os.getpid()} was forked from one that had used Polars, whose threads a fork does not have",
            hint='start the child by "spawn" or "forkserver", such as with multiprocessing.get_context("spawn")',
        )


def _polars_has_threads() -> bool:
    if "polars" not in sys.modules:
        return False
    try:
        return any(_is_polars(_name(task)) for task in os.listdir(_TASKS))
    except OSError:  # no such directory, as on macOS, or a thread that has just ended
        return True


def _is_polars(thread: str) -> bool:
    return thread.startswith("polars-") and thread[len("polars-") :].isdigit()


def _name(task: str) -> str:
    with open(f"{_TASKS}/{task}/comm") as file:
        return file.read().strip()


_fork = _Fork()
os.register_at_fork(before=_fork.before, after_in_child=_fork.in_child)
