"""A run that is watched: its console and the load of the machine go into its log until it ends."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.registry.runs.console import ConsoleChange
from tinymlops.training.watching.console import watch_console
from tinymlops.training.watching.system import watch_system
from tinymlops.training.watching.ticking import repeat
from tinymlops.training.watching.transcript import HEAD, Changes, Transcript

if TYPE_CHECKING:
    from tinymlops.registry.runs.log import RunLog
    from tinymlops.times import Clock

__all__ = ["RunWatch"]

_EVERY = 1.0
"""Seconds of output that are lost at most if the process is killed."""


class RunWatch:
    """Watches one run.

    Args:
        log: Where its output goes.
        run: Its id.
        session: How often it was resumed.
        clock: The workspace's time.
        system: Takes the seconds since the start, and the load of the machine by name; None not to watch it.
        directory: On the disk whose free space is told.
        console: Whether to keep what this process prints.
    """

    def __init__(
        self,
        log: RunLog,
        run: str,
        session: int,
        *,
        clock: Clock,
        directory: Path,
        system: Callable[[float, dict[str, float]], None] | None,
        console: bool,
    ) -> None:
        self._log, self._run, self._session, self._clock = log, run, session, clock
        self._process = os.getpid()
        self._transcript = Transcript()
        self._ends: list[Callable[[], None]] = []
        if system is not None:
            self._ends.append(watch_system(system, directory))
        if console:
            self._ends += [repeat(self._tick, after=_EVERY), watch_console(self._transcript.write)]
            log.expect(self, self._last)

    def flush(self) -> None:
        """Bring the output so far into the log."""
        if os.getpid() != self._process:  # a fork may have inherited a lock that nobody releases
            return
        self._transcript.deliver(lambda changes: self._log.append([self._change(changes)]))

    def stop(self) -> None:
        """Watch no more; what was printed is in the log then."""
        for end in self._ends:
            end()
        self._ends.clear()
        self._log.expect(self, None)
        self.flush()

    def _tick(self) -> float:
        self._transcript.deliver(lambda changes: self._log.append_unasked(self._run, [self._change(changes)]))
        return _EVERY

    def _last(self) -> Sequence[ConsoleChange]:
        found: list[ConsoleChange] = []
        if os.getpid() != self._process:
            return found
        self._transcript.deliver(lambda changes: found.append(self._change(changes)))
        return found

    def _change(self, changes: Changes) -> ConsoleChange:
        pieces = [(piece.start, piece.stop, piece.text) for piece in changes.pieces]
        left_out = (HEAD, changes.passed)
        return ConsoleChange(self._run, self._session, changes.since, pieces, left_out, self._clock())
