"""The definitions in force, kept in memory as long as nobody changes them, and what the online store says of that.

The online store holds a token that is another one after every change. It is empty while a change is being committed,
and stays so if the process dies: then nobody keeps anything until the next one connects or applies.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tinymlops.errors import IntegrityError
from tinymlops.features.context import load_definitions
from tinymlops.features.definitions.definitions import Definitions

if TYPE_CHECKING:
    from tinymlops.registry.catalog import Catalog
    from tinymlops.stores._entries import Reader
    from tinymlops.stores.environment import Environment
    from tinymlops.stores.online import OnlineStore

__all__ = [
    "EXPRESSIONS",
    "InForce",
    "begin_change",
    "end_change",
    "has_old_values",
    "has_other_views",
    "is_behind",
    "mend",
]

_TOKEN = b"g"
_PATIENCE = 60.0
EXPRESSIONS = b"x", b"2"
"""What the online store holds where the expressions of its views were computed as they are now: with integers that never
wrap around, and without infinities."""


class InForce:
    """The definitions in force.

    Args:
        catalog: Where they are.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._kept: tuple[int, bytes, Definitions] = (-1, b"", Definitions([]))

    def read(self, tx: Reader) -> Definitions:
        """Return the definitions that are in force at the moment of a transaction, or later."""
        version, kept, definitions = self._kept
        if version == tx.version and kept:
            return definitions
        token = tx.get(_TOKEN) or b""
        if token != kept or not token:
            definitions = load_definitions(self._catalog)
        # A change that was committed meanwhile has another token, and is read the next time.
        self._kept = (tx.version, token, definitions)
        return definitions


def begin_change(online: OnlineStore) -> None:
    """Say that definitions are about to change: to be called before the commit, inside its transaction."""
    online.update(lambda tx: tx.put(_TOKEN, b""))


def end_change(online: OnlineStore) -> None:
    """Say that the change is committed."""
    online.update(lambda tx: tx.put(_TOKEN, secrets.token_bytes(8)))


def mend(environment: Environment) -> None:
    """End what a process began that is gone, or begin with a token where there is none."""
    with environment.online.read() as tx:
        if tx.get(_TOKEN):
            return
    with environment.write_lock.exclusive(deadline=_PATIENCE):  # nobody is inside a change
        end_change(environment.online)


def is_behind(environment: Environment) -> bool:
    """Say whether some view in the online store has not all rows; known without loading what could bring them.

    Raises:
        IntegrityError: If a view has rows that the database no longer has.
    """
    with environment.online.read() as tx:
        covered = [int.from_bytes(value[:8], "little") for _, value in tx.scan(b"c", b"d")]
    sequence = environment.database.sequence()  # after the views, which may follow a commit in between
    if max(covered, default=0) > sequence:
        raise IntegrityError(
            f"{environment.database.path} has come to sequence {sequence}, and the online store has rows up to "
            f"{max(covered)}: what was committed after that is gone, most likely with a damaged write-ahead log",
            hint="restore the workspace from a backup; to go on without what is lost, remove the directory "
            f"{environment.online.path}",
        )
    return any(sequence != one for one in covered)


def has_old_values(environment: Environment) -> bool:
    """Say whether views in the online store may hold what expressions gave before; where there are none, remember that."""
    name, value = EXPRESSIONS
    with environment.online.read() as tx:
        if tx.get(name) == value:
            return False
        found = any(True for _ in tx.scan(b"c", b"d"))
    if not found:
        environment.online.update(lambda tx: tx.put(name, value))
    return found


def has_other_views(environment: Environment) -> bool:
    """Say whether the online store holds others than are remembered, most likely none after a crash of the machine."""
    with environment.online.read() as tx:
        held = {key[1:].hex() for key, _ in tx.scan(b"c", b"d")}
    return held != environment.online.remembered().keys()  # after the store, which is written after the file
