"""Create `meta.db`, and check it before it is used: it is complete and undamaged, or it is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING

from tinymlops.errors import IntegrityError
from tinymlops.stores._sqlite import connected, prepare, translated
from tinymlops.stores._verify import read_counter, require_indexes, require_schema
from tinymlops.stores.migrations import SCHEMA_VERSION, migrate
from tinymlops.stores.publish import fsync, fsync_directory
from tinymlops.stores.transaction import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tinymlops.stores._commits import LastCommit

__all__ = ["build", "upgrade", "version_of"]


def build(path: Path, last: LastCommit, first: Callable[[Transaction], object]) -> None:
    """Create the file; the caller holds the write lock.

    Args:
        path: Where it appears once it is complete.
        last: The number of the last commit beside it, which starts over.
        first: Writes what must be in it from the beginning.
    """
    building = path.with_name(path.name + ".building")
    for suffix in ("", "-wal", "-shm"):
        building.with_name(building.name + suffix).unlink(missing_ok=True)
    last.forget()
    # Its log and its index of the log take its mode, whatever the umask says.
    building.touch(mode=0o600)
    building.chmod(0o600)
    building.write_bytes(_empty())
    with translated(path, "the database"), closing(connected(building)) as connection:
        prepare(connection)
        connection.execute("PRAGMA synchronous = OFF")  # it is synced once, when it is complete
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        first(Transaction(connection, building, actor="tinymlops"))
        connection.execute("COMMIT")
        # Closing does so too, but reports nothing where the disk is full: the renamed file would lack its content.
        ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert not busy, "no other process knows the file"
    with building.open("rb") as file:
        fsync(file.fileno())
    building.rename(path)
    fsync_directory(path.parent)


@cache
def _empty() -> bytes:
    """Return the content of a new file; made in memory, and once, as whoever tests features makes many workspaces."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        return connection.serialize()


def upgrade(connection: sqlite3.Connection, path: Path, last: LastCommit) -> None:
    """Prepare the first connection of a process, migrate an older schema and check what a flipped bit may have changed.

    Raises:
        IntegrityError: If the file is damaged, has lost commits, or was written by a newer tinymlops.
    """
    prepare(connection)
    # It is in this mode already, unless a byte of the file's header was flipped.
    connection.execute("PRAGMA journal_mode = WAL").close()
    if version_of(connection, path) < SCHEMA_VERSION:
        migrate(connection)
    require_schema(connection, path)
    require_indexes(connection, path)
    last.require(read_counter(connection, "commits"))


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the schema.

    Raises:
        IntegrityError: If it is that of a newer tinymlops.
    """
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    if version > SCHEMA_VERSION:
        raise IntegrityError(
            f"{path} has schema {version}, and this tinymlops knows only {SCHEMA_VERSION}",
            hint="pip install --upgrade tinymlops",
        )
    return int(version)
