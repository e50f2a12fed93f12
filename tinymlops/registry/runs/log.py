"""The log of the runs that this process keeps going: points and changes are buffered, and committed together.

What is appended is committed after a quarter of a second, or as soon as a thousand points wait and the last commit has
ended; `flush` and `finish` wait for it. Where the disk is full it is kept and tried again. What a run refuses, such as a
parameter that another process has logged with another value, is told to its next caller.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.errors import TinyMLOpsError
from tinymlops.registry.runs.changing import RunChange, changed
from tinymlops.registry.runs.console import ConsoleChange, store_console
from tinymlops.stores.buffer import Buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["Point", "RunLog", "Series"]

_DUE = 1_000
_MOST = 200_000


@dataclass(eq=False, slots=True)
class Series:
    """A metric of a run in progress, whose points are being logged."""

    run: str
    session: int
    name: str
    next_step: float = 0.0


class Point(NamedTuple):
    """A point that is on its way."""

    series: Series
    step: float
    value: float
    at: int
    """Microseconds since 1970 in UTC."""


@dataclass(slots=True)
class _OfRun:
    """What is to be written of one run."""

    session: int = 0
    points: dict[str, list[Point]] = field(default_factory=dict)
    changes: list[RunChange] = field(default_factory=list)
    console: list[ConsoleChange] = field(default_factory=list)


Logged = Point | RunChange | ConsoleChange


class RunLog:
    """Writes what runs log.

    Args:
        scope: The workspace and the actor.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._refused: dict[str, TinyMLOpsError] = {}
        self._buffer: Buffer[Logged] = Buffer(
            scope.environment.path, self._write, "points of runs", "the log of runs", due=_DUE, most=_MOST, keeps=True
        )
        self.append = self._buffer.append
        self._last: dict[object, Callable[[], Sequence[Logged]]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether everything logged so far is durable."""
        return self._buffer.is_empty

    def flush(self) -> None:
        """Wait until everything logged so far is durable.

        Raises:
            TinyMLOpsError: If some of it could not be written.
        """
        if not self._buffer.is_empty:
            self._buffer.flush()

    def write_now(self, points: Sequence[Point]) -> None:
        """Write points in a commit that threads share, after everything that is pending; return when they are durable."""
        self.flush()

        def work(tx: Transaction) -> None:
            for run, logged in _by_run(points).items():
                _store_one(tx, run, logged)

        self._scope.write_together(work)

    def append_unasked(self, run: str, logged: Sequence[Logged]) -> None:
        """Add what no caller waits for: an error is told to the run's next caller."""
        try:
            self.append(logged)
        except TinyMLOpsError as error:
            self._refused.setdefault(run, error)

    def expect(self, source: object, last: Callable[[], Sequence[Logged]] | None) -> None:
        """Ask a function for the last that is to be written, should the process end before it is asked no more.

        Args:
            source: Who it is that has something to write.
            last: Returns it; None to ask no more.
        """
        if last is None:
            self._last.pop(source, None)
        else:
            self._last[source] = last

    def write_last(self) -> None:
        """Write, in this thread, what is pending and the last of those who are expected: the process ends.

        Raises:
            TinyMLOpsError: If it could not be written.
        """
        last = [logged for ask in tuple(self._last.values()) for logged in ask()]
        self._buffer.drain(lambda pending: self._write([*pending, *last]))

    def close(self) -> None:
        """Write what is pending and accept no more."""
        if self._last:
            with suppress(TinyMLOpsError):
                self.write_last()
            self._last.clear()
        self._buffer.close()

    def require(self, run: str) -> None:
        """Raise, once, what a run has refused.

        Raises:
            TinyMLOpsError: If it has.
        """
        refused = self._refused.pop(run, None)
        if refused is not None:
            raise refused

    def commit_with(self, work: Callable[[Transaction], None]) -> None:
        """Write what is pending and do some audited work after it, in one transaction."""

        def together(pending: Sequence[Logged]) -> None:
            with self._scope.write(audit="inside") as tx:
                self._store(tx, pending)
                work(tx)

        self._buffer.drain(together)

    def _write(self, pending: Sequence[Logged]) -> None:
        if pending:
            with self._scope.write(audit=None) as tx:
                self._store(tx, pending)

    def _store(self, tx: Transaction, pending: Sequence[Logged]) -> None:
        for run, logged in _by_run(pending).items():
            try:
                with tx.part(None) as part:
                    _store_one(part, run, logged)
            except TinyMLOpsError as error:
                if not tx.is_open or error.__cause__ is not None:  # of the disk or the database
                    raise
                self._refused[run] = error


def _by_run(pending: Sequence[Logged]) -> dict[str, _OfRun]:
    found: dict[str, _OfRun] = {}
    series: dict[Series, list[Point]] = {}
    for item in pending:
        if type(item) is Point:
            try:
                series[item.series].append(item)
            except KeyError:
                series[item.series] = [item]
        else:
            of_run = found.setdefault(item.run, _OfRun())  # type: ignore[union-attr]
            if isinstance(item, ConsoleChange):
                of_run.console.append(item)
            elif isinstance(item, RunChange):
                of_run.changes.append(item)
    for one, points in series.items():
        of_run = found.setdefault(one.run, _OfRun())
        of_run.session = one.session
        of_run.points.setdefault(one.name, []).extend(points)
    return found


def _store_one(tx: Transaction, run: str, logged: _OfRun) -> None:
    from tinymlops.registry.runs.points import points_of
    from tinymlops.registry.runs.storing import store_points

    changed(tx, run, logged.changes)
    for change in logged.console:
        store_console(tx, change)
    series = {}
    for name, points in logged.points.items():
        _, steps, values, times = zip(*points, strict=True)
        series[name] = points_of(steps, values, times, logged.session)
    if series:
        store_points(tx, run, logged.session, series)
