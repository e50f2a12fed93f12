"""The definitions in force, kept in memory as long as nobody changes them, and what the online store says of that.

The online store holds a token that is another one after every change. It is empty while a change is being committed,
and stays so if the process dies: then nobody keeps anything until the next one connects or applies.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tinymlops.features.context import load_definitions
from tinymlops.features.definitions.definitions import Definitions

if TYPE_CHECKING:
    from tinymlops.registry.catalog import Catalog
    from tinymlops.stores.environment import Environment
    from tinymlops.stores.online import OnlineStore, Snapshot

__all__ = ["InForce", "begin_change", "end_change", "finish_change"]

_PATIENCE = 60.0


class InForce:
    """The definitions in force.

    Args:
        catalog: Where they are.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._kept: tuple[int, bytes, Definitions] = (-1, b"", Definitions([]))

    def read(self, snapshot: Snapshot) -> Definitions:
        """Return the definitions that are in force at the moment of a snapshot, or later."""
        version, kept, definitions = self._kept
        if version == snapshot.version and kept:
            return definitions
        token = snapshot.token
        if token != kept or not token:
            definitions = load_definitions(self._catalog)
        # A change that was committed meanwhile has another token, and is read the next time.
        self._kept = (snapshot.version, token, definitions)
        return definitions


def begin_change(online: OnlineStore) -> None:
    """Say that definitions are about to change: to be called before the commit, inside its transaction."""
    online.put_token(b"")


def end_change(online: OnlineStore) -> None:
    """Say that the change is committed."""
    online.put_token(secrets.token_bytes(8))


def finish_change(environment: Environment) -> None:
    """End the change of a process that crashed, or begin with a token where there is none."""
    with environment.online.read() as snapshot:
        if snapshot.token:
            return
    with environment.write_lock.exclusive(deadline=_PATIENCE):  # nobody is inside a change
        end_change(environment.online)
