"""Who reads features and asks models: counted in memory, and stored by the buffer now and then.

It is no change of the workspace: a read that is counted here has written nothing that another read could see.
"""

from __future__ import annotations

import builtins
import re
import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from msgspec.structs import replace

from tinymlops.errors import DataError, TinyMLOpsError
from tinymlops.records import Access, Reader, Record, TokenUse
from tinymlops.stores.buffer import Buffer
from tinymlops.stores.forked import Owner
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction
    from tinymlops.times import Clock

__all__ = ["Accesses", "ReaderLog", "check_consumer", "drop_old"]

How: TypeAlias = Literal["online", "historical", "model"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
INTERVAL = 30.0
"""Seconds until a read is stored; a crash, or an end without closing the workspace, loses no more."""
_MOST = 10_000
"""Records that are counted between two writes; what is beyond is counted without its names, for the buffer must not fill."""
_UNRECORDED = "not recorded"
_KEPT = 400 * 86_400_000_000
"""Microseconds that the access log goes back after `gc`."""


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


class _Counted:
    """Reads of one actor in one minute that asked for the same."""

    __slots__ = ("calls", "first_at", "last_at", "names")

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.calls = 0
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None


class ReaderLog:
    """Counts reads by minute, actor, consumer and what was asked for. A read never waits for it and never fails by it.

    Args:
        scope: Of the open workspace.
    """

    def __init__(self, scope: Scope) -> None:
        database = scope.environment.database
        write = partial(_store, database)
        self._scope = scope
        self._buffer: Buffer[Record] = Buffer(database.path.parent, write, "reads", "the access log")
        self._owner = Owner(f"the access log of {database.path.parent}")
        self._alone = threading.Lock()
        self._counted: dict[tuple[int, str, str | None, How, tuple[object, ...]], _Counted] = {}
        self._records = 0
        self._unrecorded = 0
        self._uses: dict[str, tuple[int, datetime]] = {}
        self._timer: threading.Timer | None = None
        self._lost: TinyMLOpsError | None = None

    def note(
        self,
        consumer: str | None,
        how: How,
        asked: tuple[object, ...],
        names: Callable[[], Sequence[str]],
        clock: Clock,
    ) -> None:
        """Count one read.

        Args:
            consumer: What the reader calls itself, as `check_consumer` accepts it; None where it does not.
            how: How it read.
            asked: What it asked for: the same read is the same tuple.
            names: Gives the names of that: `view`, `view:feature`, or `model:version`; called once for many reads.
            clock: The workspace's time.
        """
        key = (int(time.time()) // 60, self._scope.actor, consumer, how, asked)
        with self._alone:
            counted = self._counted.get(key) or self._begin(key, names)
            if counted is not None:
                counted.calls += 1
                if consumer is not None:
                    counted.last_at = clock()
                    counted.first_at = counted.first_at or counted.last_at
            self._come_back()

    def count_use(self, token: str, now: datetime) -> None:
        """Count the use of a token.

        Args:
            token: Its id.
            now: When, by the machine's clock.
        """
        with self._alone:
            self._uses[token] = (self._uses.get(token, (0, now))[0] + 1, now)
            self._come_back()

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

    def _begin(
        self, key: tuple[int, str, str | None, How, tuple[object, ...]], names: Callable[[], Sequence[str]]
    ) -> _Counted | None:
        found = _Counted(names())
        if self._records + len(found.names) + 1 > _MOST:
            self._unrecorded += 1
            return None
        self._records += len(found.names) + 1
        self._counted[key] = found
        return found

    def _come_back(self) -> None:
        """Store what is counted in half a minute."""
        if self._timer is None:
            self._timer = threading.Timer(INTERVAL, self._hand_over_in_time)
            self._timer.daemon = True
            self._timer.start()

    def _report(self) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            raise lost

    def _hand_over_in_time(self) -> None:
        try:
            self._hand_over()
        except TinyMLOpsError as error:
            self._lost = error

    def _hand_over(self) -> None:
        with self._alone:
            counted, self._counted, self._records = self._counted, {}, 0
            unrecorded, self._unrecorded = self._unrecorded, 0
            uses, self._uses = self._uses, {}
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        records: list[Record] = [TokenUse(id=one, requests=count, last_at=at) for one, (count, at) in uses.items()]
        for (minute, actor, consumer, how, _), one in counted.items():
            records.append(_access(minute, actor, consumer or "", how, ",".join(one.names), one.calls))
            if consumer is not None and one.first_at is not None and one.last_at is not None:
                records += [
                    Reader(
                        consumer=consumer,
                        kind=how,
                        name=name,
                        calls=one.calls,
                        first_at=one.first_at,
                        last_at=one.last_at,
                    )
                    for name in one.names
                ]
        if unrecorded:
            records.append(_access(int(time.time()) // 60, self._scope.user, "", _UNRECORDED, "", unrecorded))
        if records:
            self._buffer.append(records)


class Accesses:
    """The access log of a workspace: who read which features and asked which models, minute by minute.

    Args:
        scope: Of the open workspace.
        flush: Stores what was counted so far.
    """

    def __init__(self, scope: Scope, flush: Callable[[], None]) -> None:
        self._database = scope.environment.database
        self._flush = flush

    def list(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        who: str | None = None,
        name: str | None = None,
        limit: int = 1_000,
    ) -> builtins.list[Access]:
        """List reads, the newest minute first.

        A crash loses the last half minute of them. Reads beyond 10,000 different ones in half a minute are counted
        under the kind `not recorded`.

        Args:
            since: Only from this time on, by the machine's clock.
            until: Only before this time: the next page.
            who: Only of this actor: a user of the system, or the name of a token.
            name: Only of this view, `view:feature` or model.
            limit: The most to return.
        """
        self._flush()
        conditions = ["minute >= ?", "(? IS NULL OR actor = ?)"]
        bound: builtins.list[object] = [0 if since is None else to_micros(since), who, who]
        if until is not None:
            conditions.append("minute < ?")
            bound.append(to_micros(until))
        if name is not None:
            conditions.append("instr(',' || replace(names, ':', ',') || ',' || names || ',', ',' || ? || ',') > 0")
            bound.append(name)
        rest = f"WHERE {' AND '.join(conditions)} ORDER BY minute DESC, actor, consumer, kind, names LIMIT ?"
        return self._database.select(Access, rest, [*bound, limit])


def drop_old(scope: Scope, now: int) -> int:
    """Remove what the access log holds from before 400 days ago; return how many rows that were.

    Args:
        scope: Of the open workspace.
        now: Microseconds UTC, by the machine's clock.
    """
    with scope.write(audit="inside") as tx:
        ((old,),) = tx.execute("SELECT count(*) FROM accesses WHERE minute < ?", (now - _KEPT,))
        if old:
            tx.execute("DELETE FROM accesses WHERE minute < ?", (now - _KEPT,))
            tx.audit("gc", "accesses", rows=old)
    return int(old)


def _access(minute: int, actor: str, consumer: str, kind: str, names: str, calls: int) -> Access:
    at = datetime.fromtimestamp(minute * 60, UTC)
    return Access(minute=at, actor=actor, consumer=consumer, kind=kind, names=names, calls=calls)


def _store(database: Database, records: Sequence[Record]) -> None:
    """Add counts to those that are stored, in one commit; the audit log says nothing of them.

    Uses of tokens alone are a quiet commit: an open page asks with one, and would wake itself by it for ever.
    """
    with database.write(actor=None) as tx:
        for record in records:
            tx.put(_added(tx, record))
        if all(isinstance(one, TokenUse) for one in records):
            tx.count_quiet()


def _added(tx: Transaction, record: Record) -> Record:
    """Return a record with the counts that are stored under its key."""
    known = tx.get(type(record), **{name: getattr(record, name) for name in record.key})
    match known, record:
        case Access(), Access():
            return replace(record, calls=known.calls + record.calls)
        case TokenUse(), TokenUse():
            return replace(
                record, requests=known.requests + record.requests, last_at=max(known.last_at, record.last_at)
            )
        case Reader(), Reader():
            first, last = min(known.first_at, record.first_at), max(known.last_at, record.last_at)
            return replace(record, calls=known.calls + record.calls, first_at=first, last_at=last)
    return record
