"""The outbox: messages that are committed with what they tell, and sent afterwards, at least once.

Whoever sends takes a message for a minute first; if it dies, the message is sent again, with the same id.
"""

from __future__ import annotations

import builtins
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from tinymlops.records import OutboxMessage
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.records import Scalar
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.transaction import Transaction

__all__ = ["Outbox", "backoff", "put_message"]

_LEASE = timedelta(minutes=1)
_AT_ONCE = 2
"""Messages that one sender takes: each has ten seconds on each of two ways, which is less than the minute."""
_MOST = 100
"""Attempts to send a message: four days."""
_BACKOFF, _LONGEST_BACKOFF = timedelta(seconds=30), timedelta(hours=1)
_DUE = "WHERE state = 'waiting' AND not_before <= ? ORDER BY created_at, id LIMIT ?"


def backoff(failures: int) -> timedelta:
    """Return how long to wait after so many failures: half a minute, twice that each time, an hour at most."""
    doublings = min(max(failures - 1, 0), 20)
    return min(_BACKOFF * (1 << doublings), _LONGEST_BACKOFF)


def put_message(tx: Transaction, kind: str, text: str, now: datetime, **detail: Scalar) -> OutboxMessage:
    """Add a message in the transaction of what it tells.

    Args:
        tx: The transaction.
        kind: What happened, such as "job.failed".
        text: The same for people.
        now: The time.
        detail: The same for programs.
    """
    message = OutboxMessage(
        id=secrets.token_hex(16), kind=kind, text=text, detail=detail, created_at=now, not_before=now
    )
    return tx.insert(message)


class Outbox:
    """The messages of a workspace.

    Args:
        scope: Of the open workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def list(self, *, state: str | None = None) -> builtins.list[OutboxMessage]:
        """Return messages, the oldest first.

        Args:
            state: Only those `waiting`, `sent` or `given up`.
        """
        where = {} if state is None else {"state": state}
        return self._scope.environment.database.list(OutboxMessage, where=where, order="created_at")

    def take(self) -> builtins.list[OutboxMessage]:
        """Take the messages that are due, for a minute in which nobody else takes them."""
        now = self._scope.clock()
        due = (to_micros(now), _AT_ONCE)
        if not self._scope.environment.database.select(OutboxMessage, _DUE, due):
            return []
        with self._scope.write(audit=None) as tx:
            taken = [
                msgspec.structs.replace(one, attempts=one.attempts + 1, not_before=now + _LEASE)
                for one in tx.select(OutboxMessage, _DUE, due)
            ]
            for one in taken:
                tx.update(one)
            return taken

    def settle(self, message: OutboxMessage, error: str | None, *, taken: Sequence[str] = ()) -> OutboxMessage:
        """Record that a message was sent, or why not.

        Args:
            message: As `take` returned it.
            error: Why it could not be sent; None if it was.
            taken: Who has taken it, now or before.
        """
        now = self._scope.clock()
        message = msgspec.structs.replace(message, taken=tuple(taken))
        if error is None:
            settled = msgspec.structs.replace(message, state="sent", sent_at=now, told=None)
        else:
            state = "given up" if message.attempts >= _MOST else "waiting"
            later = now + backoff(message.attempts)
            settled = msgspec.structs.replace(message, state=state, not_before=later, told=error)
        with self._scope.write(audit=None) as tx:
            tx.update(settled)
        return settled
