"""A progress bar on standard error for work that takes long, in a terminal and in a notebook."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress"]

_QUIET = 2.0
"""Seconds before a bar is drawn: short work needs none."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Lend a function that is told how much more is done; a bar appears once two seconds have passed.

    Args:
        what: What is being done, for the bar.
        total: How much there is to do, in rows or steps.

    Example:
        >>> with progress("predicting", 100) as advance:
        ...     advance(100)
    """
    bar = _Bar(what, total)
    try:
        yield bar.advance
    finally:
        bar.stop()


class _Bar:
    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._begun = time.monotonic()
        self._drawn: _Drawn | None = None

    def advance(self, count: int) -> None:
        self._done += count
        if self._drawn is None and time.monotonic() - self._begun >= _QUIET and _is_watched():
            self._drawn = _Drawn(self._what, self._total)
        if self._drawn is not None:
            self._drawn.update(self._done)

    def stop(self) -> None:
        if self._drawn is not None:
            self._drawn.stop()


class _Drawn:
    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(what, total=total)
        self._bar.start()

    def update(self, done: int) -> None:
        self._bar.update(self._task, completed=done)

    def stop(self) -> None:
        self._bar.stop()


def _is_watched() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
