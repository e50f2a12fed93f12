"""The connector of an address, by its kind; and, for sinks alone, what writes to it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.connectors.addresses import Address
    from tinymlops.connectors.connector import Connector
    from tinymlops.connectors.writing import Target, Writing

__all__ = ["connector_of", "writing_to"]


def connector_of(address: Address, *, timeout: int) -> Connector:
    """Return what reads a database.

    Args:
        address: Where it is.
        timeout: Microseconds after which it gives up a statement.
    """
    if address.kind == "sqlite":
        from tinymlops.connectors.sqlite import SQLite

        return SQLite(address, timeout=timeout)
    if address.kind == "s3":
        from tinymlops.connectors.objects import Objects

        return Objects(address)
    from tinymlops.connectors.postgres import PostgreSQL

    return PostgreSQL(address, timeout=timeout)


@contextmanager
def writing_to(address: Address, target: Target, *, timeout: int) -> Iterator[Writing]:
    """Open a database to be written to.

    Args:
        address: Where it is.
        target: The table, and what is written.
        timeout: Microseconds after which it gives up a statement.

    Raises:
        DefinitionError: If it is of a kind that is only read, and all that `Writing` raises.
    """
    from tinymlops.connectors.writing import Writing

    if address.kind == "sqlite":
        from tinymlops.connectors.sqlite_writer import open_sqlite

        with open_sqlite(address) as file:
            yield Writing(file, target)
    elif address.kind == "postgresql":
        from tinymlops.connectors.postgres_writer import open_postgres

        with open_postgres(address, timeout=timeout) as server:
            yield Writing(server, target)
    else:
        raise DefinitionError(
            f"connection {address.name!r} is an object store, which sinks do not write to",
            hint="write to PostgreSQL or SQLite",
        )
