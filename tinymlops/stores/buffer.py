"""A buffer: a caller adds records and goes on before they are durable; a thread commits them together.

It is for predictions and the points of runs, and never for a user's rows: a caller that may only go on once a record is
durable writes it in a transaction of its own.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from tinymlops.errors import ConflictError, TinyMLOpsError
from tinymlops.stores.forked import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Buffer"]

T = TypeVar("T")
R = TypeVar("R")

_GROUP_SECONDS = 0.25
"""How long a group collects records before it is committed."""
_MOST_PENDING = 20_000


class _Group(Generic[T]):
    """Records that are committed together."""

    def __init__(self) -> None:
        self.records: list[T] = []
        self.urgent = False
        self.done = False
        self.error: BaseException | None = None


class Buffer(Generic[T]):
    """Commits records of one class, from a thread that lives only while there is something to write.

    The interpreter waits for that thread when it ends, so a script that never closes its workspace loses none.

    Args:
        workspace: Its path.
        write: Commits a group of them.
        what: The kind of records, for errors and the thread's name, such as "predictions".
        name: The name of the buffer in errors, such as "the prediction log".
        due: A group of so many records is written at once; a smaller one within a quarter of a second.
        most: The records of a group at most; a caller with more waits until the disk has taken them.
        keeps: Whether records that could not be written are kept and tried again, which `write` must bear.
    """

    def __init__(
        self,
        workspace: Path,
        write: Callable[[Sequence[T]], None],
        what: str,
        name: str,
        *,
        due: int | None = None,
        most: int | None = None,
        keeps: bool = False,
    ) -> None:
        self._write = write
        self._what = what
        self._due, self._most, self._keeps = due or _MOST_PENDING, most or _MOST_PENDING, keeps
        self._owner = Owner(f"{name} of {workspace}")
        self._changed = threading.Condition()
        self._collecting = _Group[T]()
        self._writing: _Group[T] | None = None
        self._writer: threading.Thread | None = None
        self._unreported: list[_Group[T]] = []
        self._closed = False

    def append(self, records: Sequence[T], *, sync: bool = False) -> None:
        """Add records; where the disk cannot follow, wait for it.

        Args:
            records: With ids of their own.
            sync: Return only once they are durable.

        Raises:
            ConflictError: If the workspace is closed, or this is a fork of the process that opened it.
            TinyMLOpsError: If these, with `sync`, or earlier ones could not be written; the latter is raised once,
                and then these were not added.
        """
        self._owner.check()
        with self._changed:
            if self._closed or self._unreported:
                self._require_usable()
            group = self._collecting
            while group.records and len(group.records) + len(records) > self._most:
                self._changed.wait()
                self._require_usable()
                group = self._collecting
            before = len(group.records)
            group.records += records
            if self._writer is None and records:
                self._start()
            if before < self._due <= len(group.records):
                self._changed.notify_all()
            if sync and records:
                self._wait_for(group)

    def flush(self) -> None:
        """Wait until everything appended so far is durable.

        Raises:
            TinyMLOpsError: If some of it could not be written.
        """
        self._owner.check()
        with self._changed:
            for group in (self._writing, self._collecting):
                if group is not None and group.records:
                    self._wait_for(group)
            self._report()

    @property
    def is_empty(self) -> bool:
        """Whether everything appended so far is durable."""
        return not self._collecting.records and self._writing is None

    def drain(self, work: Callable[[Sequence[T]], R]) -> R:
        """Do some work in place of the next write, in this thread: it gets what is pending, and makes it durable.

        Raises:
            ConflictError: As `append` does.
        """
        self._owner.check()
        with self._changed:
            self._require_usable()
            self._changed.wait_for(lambda: self._writing is None)
            group = self._take()
        try:
            return work(group.records)
        except BaseException as error:
            group.error = error
            raise
        finally:
            with self._changed:
                self._end(group)
                self._unreported = [other for other in self._unreported if other is not group]

    def close(self) -> None:
        """Write what is pending and accept no more; in a fork of the process, do nothing.

        Raises:
            TinyMLOpsError: If something could not be written and the error was not raised yet.
        """
        if not self._owner.is_here:
            return
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            while self._writer is not None:
                self._changed.wait()
            self._report()

    def _start(self) -> None:
        writer = threading.Thread(target=self._run, name=f"tinymlops-{self._what}", daemon=False)
        writer.start()
        self._writer = writer

    def _run(self) -> None:
        while (group := self._next()) is not None:
            try:
                self._write(group.records)
            except BaseException as error:  # noqa: BLE001 - kept for the callers that wait, or append next
                group.error = error
            with self._changed:
                self._end(group)
                if group.error is not None and not self._closed:
                    self._changed.wait(timeout=_GROUP_SECONDS)

    def _next(self) -> _Group[T] | None:
        """Wait until a group is due and return it; None, which ends the thread, if there is nothing to write."""
        with self._changed:
            self._changed.wait_for(lambda: self._writing is None)
            if not self._collecting.records:
                self._writer = None
                self._changed.notify_all()
                self._tell_the_end()
                return None
            self._changed.wait_for(self._is_due, timeout=_GROUP_SECONDS)
            self._changed.wait_for(lambda: self._writing is None)
            return self._take()

    def _tell_the_end(self) -> None:
        """Say what was lost where no caller is left to be told: the program has ended."""
        if self._unreported and not self._closed and not threading.main_thread().is_alive():
            lost = self._lost(self._unreported)
            sys.stderr.write(f"tinymlops: {lost.message}\n")
            self._unreported = []

    def _take(self) -> _Group[T]:
        self._writing, self._collecting = self._collecting, _Group[T]()
        self._changed.notify_all()
        return self._writing

    def _end(self, group: _Group[T]) -> None:
        self._writing = None
        group.done = True
        if group.error is not None:
            if self._is_kept():
                self._unreported = [group]
                self._collecting.records[:0] = group.records
                if self._writer is None:
                    self._start()
            else:
                self._unreported.append(group)
        self._changed.notify_all()

    def _is_kept(self) -> bool:
        """Whether what could not be written is tried again: not once nobody is left to wait for it."""
        return self._keeps and not self._closed and threading.main_thread().is_alive()

    def _is_due(self) -> bool:
        return self._collecting.urgent or self._closed or len(self._collecting.records) >= self._due

    def _wait_for(self, group: _Group[T]) -> None:
        group.urgent = True
        self._changed.notify_all()
        while not group.done:
            self._changed.wait()
        if group.error is not None:
            self._unreported = [other for other in self._unreported if other is not group]
            raise self._lost([group])

    def _require_usable(self) -> None:
        if self._closed:
            raise ConflictError("the workspace is closed", hint="connect to it again")
        self._report()

    def _report(self) -> None:
        """Raise the error of groups that no caller waited for, once."""
        groups, self._unreported = self._unreported, []
        if groups:
            raise self._lost(groups)

    def _lost(self, groups: Sequence[_Group[T]]) -> TinyMLOpsError:
        count, error = sum(len(group.records) for group in groups), groups[-1].error
        known = error if isinstance(error, TinyMLOpsError) else TinyMLOpsError(str(error))
        kept = ", and are kept to try again" if self._is_kept() else ""
        lost = TinyMLOpsError(f"{count} {self._what} could not be logged{kept}: {known.message}", hint=known.hint)
        lost.__cause__ = error
        return lost
