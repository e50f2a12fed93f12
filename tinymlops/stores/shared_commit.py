"""A shared commit: threads that write at the same time wait for the disk once, together.

While one commit is on its way to the disk, new writers queue up. When it ends, the first of them writes for all that
wait, each in a part of its own, and commits them together. There is no timer, and no writer returns before its rows are
durable. Records that may be lost without an error belong in a `Buffer` (`buffer.py`) instead.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tinymlops.errors import ConflictError, is_fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tinymlops.stores.transaction import Transaction

__all__ = ["SharedCommit"]

T = TypeVar("T")

_MOST = 64
"""The threads that write together."""


class _Job(Generic[T]):
    """The work that one thread wants done."""

    def __init__(self, actor: str | None, work: Callable[[Transaction], T]) -> None:
        self.actor, self.work = actor, work
        self.done = False
        self.error: BaseException | None = None
        self._result: T

    def run(self, tx: Transaction) -> None:
        """Do it in a transaction of its own, or in its part of one; what an earlier try raised counts no more."""
        self.error = None
        self._result = self.work(tx)

    def result(self) -> T:
        """Return what the work returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return self._result


class SharedCommit:
    """Runs work in write transactions that several threads share.

    Args:
        write: Begins a transaction for an actor, and commits it, durably.
        patience: Seconds to wait for earlier writers.
    """

    def __init__(self, write: Callable[[str | None], AbstractContextManager[Transaction]], patience: float) -> None:
        self._write, self._patience = write, patience
        self._queue: list[_Job[Any]] = []
        self._queued = threading.Lock()
        self._turn = threading.Lock()

    def run(self, actor: str | None, work: Callable[[Transaction], T]) -> T:
        """Do some work in a transaction, and return when it is durable.

        Args:
            actor: The actor in the audit log; None to write no entry.
            work: Called with the transaction, once or more often, from the thread that writes: the last call counts.
                An error that it raises undoes its own writes, and none of the others'.

        Returns:
            What the work returned.

        Raises:
            ConflictError: If others kept writing for all that time.
        """
        job = _Job(actor, work)
        with self._queued:
            self._queue.append(job)
        try:
            while not job.done:
                if not self._turn.acquire(timeout=self._patience):
                    self._give_up(job)
                    continue
                try:
                    if not job.done:
                        self._commit(job)
                finally:
                    self._turn.release()
        finally:
            self._withdraw(job)
        return job.result()

    def _commit(self, own: _Job[Any]) -> None:
        """Commit the work that waits; if that fails as a whole, the others try again."""
        with self._queued:
            jobs = [own, *(job for job in self._queue if job is not own)][:_MOST]
            self._queue = [job for job in self._queue if job not in jobs]
        try:
            if len(jobs) == 1:
                with self._write(own.actor) as tx:
                    own.run(tx)
            else:
                with self._write(None) as tx:
                    for job in jobs:
                        _run_part(job, tx)
        except BaseException:
            with self._queued:
                self._queue = [*jobs[1:], *self._queue]
            raise
        for job in jobs:
            job.done = True

    def _withdraw(self, job: _Job[Any]) -> bool:
        """Withdraw a job that no thread has begun; return whether that succeeded."""
        with self._queued:
            waits = job in self._queue
            self._queue = [other for other in self._queue if other is not job]
        return waits

    def _give_up(self, job: _Job[Any]) -> None:
        if self._withdraw(job):
            raise ConflictError(f"other threads wrote for {self._patience:g} seconds", hint="try again")


def _run_part(job: _Job[Any], tx: Transaction) -> None:
    try:
        with tx.part(job.actor) as part:
            job.run(part)
    except BaseException as error:
        if not is_fault(error) or not tx.is_open:
            raise
        job.error = error
