"""A progress bar on standard error for long work, in a terminal and in a notebook."""

from __future__ import annotations

import html
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tinymlops.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["is_watched", "progress"]

_QUIET = 2.0
"""Seconds before a bar is drawn: short work needs none."""
_SHOWN_EVERY = 0.1
"""Seconds between two updates of the bar."""
_ANEW = "\r\x1b[2K"
"""Return to the beginning of the line and clear it."""


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the work done since the last call; a bar appears after two seconds.

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
        self._what = printable(what, line=True)
        self._total = total
        self._done = 0
        self._begun = time.monotonic()
        self._drawn: _InTerminal | _InNotebook | None = None

    def advance(self, count: int) -> None:
        self._done += count
        if self._drawn is None and time.monotonic() - self._begun >= _QUIET:
            self._drawn = _draw(self._what, self._total)
        if self._drawn is not None:
            self._drawn.update(self._done)

    def stop(self) -> None:
        if self._drawn is not None:
            self._drawn.stop()


def is_watched() -> bool:
    """Return whether standard error is a terminal or a notebook, not a pipe or a file."""
    return "ipykernel" in sys.modules or sys.stderr.isatty()


def _draw(what: str, total: int) -> _InTerminal | _InNotebook | None:
    """Start a bar on a terminal or in a notebook; None where output is piped or kept."""
    if "ipykernel" in sys.modules:
        return _InNotebook(what, total)
    return _InTerminal(what, total) if sys.stderr.isatty() else None


class _InTerminal:
    """A line that is rewritten in place, by this thread alone.

    Unlike rich's own display it starts no thread, hides no cursor and does not replace standard output: Ctrl-C can come
    twice in a row, from a library and from Python, and the second one would keep a clean-up from running.
    """

    def __init__(self, what: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
        )
        self._task = self._bar.add_task(what, total=total)
        self._shown_at = 0.0

    def update(self, done: int) -> None:
        self._bar.update(self._task, completed=done)
        if time.monotonic() - self._shown_at < _SHOWN_EVERY:
            return
        self._shown_at = time.monotonic()
        with self._console.capture() as capture:
            self._console.print(self._bar.get_renderable())
        sys.stderr.write(_ANEW + capture.get().rstrip("\n"))
        sys.stderr.flush()

    def stop(self) -> None:
        sys.stderr.write(_ANEW)
        sys.stderr.flush()


class _InNotebook:
    """The browser's own bar: what rich draws in a notebook needs another package."""

    def __init__(self, what: str, total: int) -> None:
        from IPython.display import DisplayHandle

        self._what = html.escape(what)
        self._total = total
        self._shown_at = 0.0
        self._handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
        self._handle.display({"text/plain": ""}, raw=True)  # type: ignore[no-untyped-call]

    def update(self, done: int) -> None:
        if time.monotonic() - self._shown_at < _SHOWN_EVERY:
            return
        self._shown_at = time.monotonic()
        bar = f"{self._what} <progress max='{self._total}' value='{done}'></progress> {done:,}/{self._total:,}"
        self._handle.update({"text/html": bar, "text/plain": ""}, raw=True)

    def stop(self) -> None:
        self._handle.update({"text/plain": ""}, raw=True)
