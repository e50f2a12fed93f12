"""What checks on data found, and the rows that they keep aside.

A source is named by its place, the name that its rows are stored under; results are of the names that definitions have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import NotFoundError
from tinymlops.records import CheckResult, Quarantine

if TYPE_CHECKING:
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["get_quarantine", "list_quarantines", "list_results", "newest_results"]

_NEWEST = f"""WHERE id IN (SELECT max(id) FROM {CheckResult.table} GROUP BY target, definition, rule)
    ORDER BY target, definition, id"""


def list_results(database: Database, target: str | None = None, *, limit: int | None = None) -> list[CheckResult]:
    """Return what rules said of batches, the newest first.

    Args:
        database: The workspace's.
        target: Only of this source, transformation or view.
        limit: At most so many; None for all.
    """
    where = {} if target is None else {"target": target}
    return database.list(CheckResult, where=where, order="-id", limit=limit)


def newest_results(database: Database) -> list[CheckResult]:
    """Return the last result of every rule that was ever asked, by target."""
    return database.select(CheckResult, _NEWEST, ())


def list_quarantines(
    reader: Database | Transaction, *, place: str | None = None, status: str | None = None
) -> list[Quarantine]:
    """Return batches of rows that were kept aside, in the order in which they came.

    Args:
        reader: The database, or a transaction in which nobody else can change them.
        place: Only of this source.
        status: Only `waiting`, `released` or `dropped` ones.
    """
    asked = {"source": place, "status": status}
    where = {name: value for name, value in asked.items() if value is not None}
    return reader.list(Quarantine, where=where, order="id")


def get_quarantine(reader: Database | Transaction, number: int) -> Quarantine:
    """Return one batch.

    Raises:
        NotFoundError: If there is none of this number.
    """
    found = reader.get(Quarantine, id=number)
    if found is None:
        raise NotFoundError(f"there is no quarantine {number}", hint="ws.checks.quarantined() lists them")
    return found
