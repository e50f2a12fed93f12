"""What this process writes to standard output and standard error, for the runs that want to keep it.

The method `write` of the stream itself is replaced, not `sys.stdout`: loggers and progress bars that took hold of the stream
earlier are heard as well, and others may replace and restore `sys.stdout` in any order meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["watch_console"]

Sink = Callable[[str, str], None]
"""Takes the stream's name and a text; it must be quick and must not print."""

_STREAMS = ("stdout", "stderr")


def watch_console(sink: Sink) -> Callable[[], None]:
    """Have what this process prints told to a function as well, until it is ended.

    Of two functions that watch at the same time, both are told everything. Output that is redirected elsewhere, as by
    `contextlib.redirect_stdout`, is not on the console; neither is what child processes and C libraries write by themselves.

    Returns:
        A function that ends it.
    """
    return _watching.add(sink)


class _Watching:
    def __init__(self) -> None:
        self.sinks: tuple[Sink, ...] = ()
        self.replaced: list[_Replaced] = []
        self.thread = threading.local()
        self.lock = threading.Lock()

    def in_child(self) -> None:
        """Forget the runs of the parent: a forked child's output is its own."""
        self.sinks = ()
        self.thread = threading.local()
        self.lock = threading.Lock()

    def add(self, sink: Sink) -> Callable[[], None]:
        with self.lock:
            for name in _STREAMS:
                self._replace(name)
            self.sinks = (*self.sinks, sink)

        def end() -> None:
            with self.lock:
                self.sinks = tuple(one for one in self.sinks if one is not sink)
                if not self.sinks:
                    self.replaced = [one for one in self.replaced if not one.restore()]

        return end

    def _replace(self, name: str) -> None:
        stream = getattr(sys, name)
        if stream is None or any(one.stream is stream for one in self.replaced):
            return
        replaced = _Replaced(self, name, stream)
        try:
            stream.write = replaced.write
        except (AttributeError, TypeError):  # a stream that cannot be watched is left alone
            return
        self.replaced.append(replaced)

    def told(self, name: str, text: object) -> None:
        if type(text) is str:
            for sink in self.sinks:
                sink(name, text)


class _Replaced:
    """The method `write` of a stream, replaced by one that tells what is written."""

    def __init__(self, watching: _Watching, name: str, stream: Any) -> None:
        self.stream = stream
        before = vars(stream).get("write") if hasattr(stream, "__dict__") else None
        self._before = before
        original = stream.write

        def write(text: Any, *others: Any, **named: Any) -> Any:
            if not watching.sinks or getattr(watching.thread, "writes", False):
                return original(text, *others, **named)
            watching.thread.writes = True  # a stream that writes to another one that is watched: it is told once
            try:
                result = original(text, *others, **named)
            finally:
                watching.thread.writes = False
            watching.told(name, text)
            return result

        self.write = write

    def restore(self) -> bool:
        """Put the stream's own method back, unless somebody has replaced ours; it passes everything on meanwhile."""
        if vars(self.stream).get("write") is not self.write:
            return False
        if self._before is None:
            del self.stream.write
        else:
            self.stream.write = self._before
        return True


_watching = _Watching()
os.register_at_fork(after_in_child=_watching.in_child)
