"""The definitions in force, kept in memory as long as nobody changes them, and what connecting finds in the online store."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tinymlops._keys import FORMAT
from tinymlops.errors import IntegrityError
from tinymlops.features.context import load_definitions
from tinymlops.stores.generation import Kept, end_change, is_changing

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.registry.catalog import Catalog
    from tinymlops.stores._entries import Reader, Writer
    from tinymlops.stores.environment import Environment
    from tinymlops.stores.online import OnlineStore

__all__ = ["drop_other_format", "has_other_views", "in_force", "is_behind", "mend", "put_format"]

_FORMAT = b"v"
_PATIENCE = 60.0


def in_force(catalog: Catalog) -> Kept[Definitions]:
    """Return the definitions in force, read from the catalog when they have changed."""
    return Kept(partial(load_definitions, catalog))


def put_format(tx: Writer) -> None:
    """Say how the store's views are written: their keys, and what their expressions gave."""
    tx.put(_FORMAT, FORMAT.to_bytes(4, "big"))


def drop_other_format(online: OnlineStore) -> None:
    """Throw away views that another version wrote in another way: they are then lost, and come back as such."""
    with online.read() as tx:
        if not _has_other_format(tx):
            return
    online.update(lambda tx: tx.clear() if _has_other_format(tx) else None)


def _has_other_format(tx: Reader) -> bool:
    written = tx.get(_FORMAT)
    if written == FORMAT.to_bytes(4, "big"):
        return False
    return written is not None or any(True for _ in tx.scan(b"c", b"d"))


def mend(environment: Environment) -> None:
    """End what a process began that is gone, or begin with a token where there is none."""
    with environment.online.read() as tx:
        if not is_changing(tx):
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


def has_other_views(environment: Environment) -> bool:
    """Say whether the online store holds others than are remembered, most likely none after a crash of the machine."""
    with environment.online.read() as tx:
        held = {key[1:].hex() for key, _ in tx.scan(b"c", b"d")}
    return held != environment.online.remembered().keys()  # after the store, which is written after the file
