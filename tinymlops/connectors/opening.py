"""The connector of an address, by its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinymlops.connectors.addresses import Address
    from tinymlops.connectors.connector import Connector

__all__ = ["connector_of"]


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
