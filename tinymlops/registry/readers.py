"""Consumers that name themselves when they read: counted in memory, and stored by the buffer now and then."""

from __future__ import annotations

import re
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from tinymlops.errors import DataError, TinyMLOpsError
from tinymlops.records import Reader
from tinymlops.stores.buffer import Buffer
from tinymlops.stores.forked import Owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tinymlops.stores.database import Database
    from tinymlops.times import Clock

__all__ = ["ReaderLog", "check_consumer"]

How: TypeAlias = Literal["online", "historical", "model"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
INTERVAL = 30.0
"""Seconds between two writes of what one reader read; a crash loses no more."""
_MOST = 10_000
"""Records that are counted between two writes; one more is left out, for the buffer must not fill."""


def check_consumer(name: str) -> str:
    """Return the name of a consumer if it may be one.

    Raises:
        DataError: Unless it matches `^[a-z][a-z0-9_-]{0,62}$`.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DataError(
            f"consumer={name!r} cannot be the name of a consumer",
            hint="use lower-case letters, digits, _ and -, beginning with a letter, 63 at most, such as 'billing'",
        )
    return name


class ReaderLog:
    """Counts the reads of consumers that name themselves. A read never waits for it and never fails by it.

    Args:
        database: The workspace's.
    """

    def __init__(self, database: Database) -> None:
        write = partial(_store, database)
        self._buffer: Buffer[Reader] = Buffer(database.path.parent, write, "readers", "the log of readers")
        self._owner = Owner(f"the log of readers of {database.path.parent}")
        self._alone = threading.Lock()
        self._counted: dict[tuple[str, How, tuple[str, ...]], Reader] = {}
        self._records = 0
        self._due = 0.0
        self._lost: TinyMLOpsError | None = None

    def note(self, consumer: str, how: How, names: Sequence[str], clock: Clock) -> None:
        """Count one read.

        Args:
            consumer: Its name, as `check_consumer` accepts it.
            how: How it read.
            names: What: `view`, `view:feature`, or `model:version`.
            clock: The workspace's time.
        """
        now, key = clock(), (consumer, how, tuple(names))
        with self._alone:
            known = self._counted.get(key)
            if known is not None:
                self._counted[key] = msgspec.structs.replace(known, calls=known.calls + 1, last_at=now)
            elif self._records + len(key[2]) <= _MOST:
                self._records += len(key[2])
                self._counted[key] = Reader(consumer=consumer, kind=how, name="", calls=1, first_at=now, last_at=now)
            due = time.monotonic() >= self._due
        if due:
            try:
                self._hand_over()
            except TinyMLOpsError as error:
                self._lost = error

    def flush(self) -> None:
        """Return once every read so far is stored.

        Raises:
            TinyMLOpsError: If some could not be stored.
        """
        self._hand_over()
        self._buffer.flush()
        self._report()

    def close(self) -> None:
        """Store what was counted and take no more; in a fork of the process, do nothing.

        Raises:
            TinyMLOpsError: If some could not be stored.
        """
        if not self._owner.is_here:
            return
        try:
            self._hand_over()
        finally:
            self._buffer.close()
        self._report()

    def _report(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            raise lost

    def _hand_over(self) -> None:
        with self._alone:
            counted, self._counted, self._records = self._counted, {}, 0
            self._due = time.monotonic() + INTERVAL
        if counted:
            self._buffer.append(
                [
                    msgspec.structs.replace(reader, name=name)
                    for (_, _, names), reader in counted.items()
                    for name in names
                ]
            )


def _store(database: Database, readers: Iterable[Reader]) -> None:
    """Add counts to those that are stored, in one commit; the audit log says nothing of them."""
    with database.write(actor=None) as tx:
        for reader in readers:
            known = tx.get(Reader, consumer=reader.consumer, kind=reader.kind, name=reader.name)
            if known is not None:
                first, last = min(known.first_at, reader.first_at), max(known.last_at, reader.last_at)
                reader = msgspec.structs.replace(  # noqa: PLW2901 - the sum takes its place
                    reader, calls=known.calls + reader.calls, first_at=first, last_at=last
                )
            tx.put(reader)
