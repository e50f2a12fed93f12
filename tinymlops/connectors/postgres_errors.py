"""What PostgreSQL and libpq say, in errors of ours: no line of them may hold a part of the URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tinymlops.errors import (
    AccessError,
    DataError,
    DefinitionError,
    NotFoundError,
    TinyMLOpsError,
    UnavailableError,
)
from tinymlops.secrets import without_secrets

if TYPE_CHECKING:
    from tinymlops.connectors.addresses import Address

__all__ = ["not_reached", "not_written", "refused"]

_LOGIN = re.compile(r"password|authentication|pg_hba|role .* does not exist|no .*encryption", re.IGNORECASE)
_GONE = ("08", "53", "57", "40")
"""Classes of SQLSTATE: connection, resources, intervention by an operator, conflict with a replica's recovery."""


def not_reached(address: Address, said: str) -> TinyMLOpsError:
    """Return the error for a connection that cannot be made.

    Args:
        address: Where to.
        said: The driver's words.
    """
    reason = _reason(said.rpartition(" failed: ")[2] if " failed: " in said else said.partition("connect: ")[2])
    where = f"the database of connection {address.name!r}"
    if _LOGIN.search(reason):
        return AccessError(
            f"{where} at {address.place} refuses the login: {reason}", hint="correct user and password in its URL"
        )
    if "database" in reason and "does not exist" in reason:
        return NotFoundError(f"{where} at {address.place} is not there: {reason}", hint="correct its name in the URL")
    return UnavailableError(
        f"{where} at {address.place} cannot be reached: {reason}",
        hint="see that it runs and is reached from here, then: tinymlops connections check",
    )


def refused(address: Address, state: str | None, said: str) -> TinyMLOpsError:
    """Return the error for a statement that failed.

    Args:
        address: Where.
        state: Its SQLSTATE; None if the server said nothing any more.
        said: The driver's words.
    """
    reason, hint = _reason(said), _hint(said)
    where = f"connection {address.name!r}"
    if state == "57014":
        return DataError(
            f"{where}: the server ended the statement: {reason}",
            hint="it may take as long as ingest_timeout in the table [sql] of tinymlops.toml says; an index on the cursor's "
            "column makes it short",
        )
    if state is None or state.startswith(_GONE):
        return UnavailableError(
            f"{where}: {address.place} went away while it was read: {reason}", hint="nothing is stored: try again"
        )
    if state == "42501":
        return AccessError(f"{where}: {reason}", hint=hint or "grant its user to read it: grant select on ... to ...")
    if state == "25006":
        return AccessError(f"{where}: {reason}", hint="a source only reads: return a table or a SELECT")
    if state.startswith("42"):
        return DefinitionError(f"{where}: {reason}", hint=hint or "correct the SELECT")
    return DataError(f"{where}: {reason}", hint=hint or "correct the SELECT, or the values that it reads")


def not_written(address: Address, state: str | None, said: str) -> TinyMLOpsError:
    """Return the error for a statement that was to write; the arguments are those of `refused`."""
    reason, hint = _reason(said), _hint(said)
    where = f"connection {address.name!r}"
    if state in ("57014", "55P03"):
        return UnavailableError(
            f"{where}: the server ended the statement: {reason}",
            hint="what was written before stays; see what holds the table, and run the sink again",
        )
    if state is None or state.startswith(_GONE):
        return UnavailableError(
            f"{where}: {address.place} did not take the rows: {reason}",
            hint="whole batches before this one stay: run the sink again, and it goes on behind them",
        )
    if state in ("42501", "25006"):
        return AccessError(
            f"{where}: {reason}",
            hint=hint
            or "a sink needs: grant select, insert, update, delete on its table and on tinymlops_sinks, and to "
            "make them: grant create on schema",
        )
    if state.startswith(("42", "3F")):
        return DefinitionError(f"{where}: {reason}", hint=hint or "correct the table of the sink")
    return DataError(f"{where}: {reason}", hint=hint or "correct the values, or the constraints of the table")


def _reason(said: str) -> str:
    """Return the first line of what the server said, without the driver's words around it."""
    _, found, rest = said.partition("ERROR:  ")
    if not found:
        _, found, rest = said.partition("FATAL:  ")
    line = (rest if found else said).strip().splitlines()
    return without_secrets(line[0].strip()) if line else "it gave no reason"


def _hint(said: str) -> str:
    found = re.search(r"^HINT:\s+(.*)$", said, re.MULTILINE)
    return "" if found is None else without_secrets(found[1])
