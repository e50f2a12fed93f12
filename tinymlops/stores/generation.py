"""What processes keep in memory of the database, and the token that tells them to read it again.

The online store holds the token, for there it is read in the same transaction as the features. It is another one after
every change of what is kept: definitions, model versions and aliases. It is empty while a change is being committed, and
stays so if the process dies: then nobody keeps anything until the next one connects or changes something.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tinymlops.stores._entries import Reader
    from tinymlops.stores.database import Database, Transaction
    from tinymlops.stores.online import OnlineStore

__all__ = ["Kept", "begin_change", "changing", "end_change", "is_changing"]

T = TypeVar("T")

_TOKEN = b"g"


class Kept(Generic[T]):
    """Something made of the database's rows, kept as long as nobody changes what processes keep.

    Args:
        make: Makes it anew.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._kept: tuple[int, bytes, T] | None = None

    def read(self, tx: Reader) -> T:
        """Return it as it is at the moment of a transaction, or later."""
        kept = self._kept
        if kept is not None and kept[0] == tx.version and kept[1]:
            return kept[2]
        token = tx.get(_TOKEN) or b""
        made = kept[2] if kept is not None and token == kept[1] and token else self._make()
        # A change that was committed meanwhile has another token, and is read the next time.
        self._kept = (tx.version, token, made)
        return made


def begin_change(online: OnlineStore) -> None:
    """Say that what is kept is about to change: to be called before the commit, inside its transaction."""
    online.update(lambda tx: tx.put(_TOKEN, b""))


def end_change(online: OnlineStore) -> None:
    """Say that the change is committed."""
    online.update(lambda tx: tx.put(_TOKEN, secrets.token_bytes(8)))


def is_changing(tx: Reader) -> bool:
    """Say whether a change was begun and not ended: it is being committed, or its process is gone."""
    return not tx.get(_TOKEN)


@contextmanager
def changing(database: Database, online: OnlineStore, *, actor: str) -> Iterator[Transaction]:
    """Write in one transaction what processes keep: every read that begins after the block sees it.

    Args:
        database: Where it is written.
        online: Where the token is.
        actor: Who is written into the audit log.
    """
    begun = False
    try:
        with database.write(actor=actor) as tx:
            yield tx
            begin_change(online)
            begun = True
    finally:
        if begun:
            end_change(online)
