"""What processes keep in memory of the database, and the token that tells them to read it again.

The online store holds the token, so that it is read in the same transaction as the features. It changes with every
change of what is kept: definitions, model versions and aliases. It is empty while a change is being committed, and
stays so if the process dies: then nothing is kept in memory until the next process connects or changes something.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tinymlops.stores.database import Transaction
    from tinymlops.stores.online_store import OnlineStore, Snapshot

__all__ = ["Kept", "begin_change", "changing", "end_change", "is_changing"]

T = TypeVar("T")


class Kept(Generic[T]):
    """A value made from the database's rows, kept until a process changes those rows.

    Args:
        make: Rebuilds it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._kept: tuple[int, bytes, T] | None = None

    def read(self, snapshot: Snapshot) -> T:
        """Return the value as of a snapshot of the online store, or later."""
        kept = self._kept
        if kept is not None and kept[0] == snapshot.version and kept[1]:
            return kept[2]
        token = snapshot.token
        made = kept[2] if kept is not None and token == kept[1] and token else self._make()
        # A change that was committed meanwhile has another token, and is read the next time.
        self._kept = (snapshot.version, token, made)
        return made


def begin_change(online: OnlineStore) -> None:
    """Mark a change of what is kept as begun; called inside its transaction, before the commit."""
    online.put_token(b"")


def end_change(online: OnlineStore) -> None:
    """Mark the change as committed."""
    online.put_token(secrets.token_bytes(8))


def is_changing(snapshot: Snapshot) -> bool:
    """Return whether a change was begun and not ended: it is being committed, or its process has crashed."""
    return not snapshot.token


@contextmanager
def changing(write: AbstractContextManager[Transaction], online: OnlineStore) -> Iterator[Transaction]:
    """Write in one transaction what processes keep: every read that begins after the block sees it.

    Args:
        write: Gives the transaction, and commits it.
        online: Where the token is.
    """
    begun = False
    try:
        with write as tx:
            yield tx
            begin_change(online)
            begun = True
    finally:
        if begun:
            end_change(online)
