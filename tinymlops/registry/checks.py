"""What checks on data found, and the rows that they keep aside.

A source is named by its place, the name that its rows are stored under; results are of the names that definitions have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import NotFoundError
from tinymlops.records import CheckResult, Quarantine
from tinymlops.stores.rows import codec_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinymlops.records import Record
    from tinymlops.stores.database import Database
    from tinymlops.stores.rows import Value
    from tinymlops.stores.transaction import Transaction

__all__ = ["get_quarantine", "list_quarantines", "list_results", "newest_results", "newest_results_on"]

_NEWEST = f"""WHERE id IN (SELECT max(id) FROM {CheckResult.table} GROUP BY target, definition, rule)
    ORDER BY target, definition, id"""
_NEWEST_AMONG = f"""WHERE id IN (SELECT max(id) FROM {CheckResult.table}
        WHERE id > (SELECT max(id) FROM {CheckResult.table}) - ? GROUP BY target, definition, rule)
    ORDER BY target, definition, id"""
_NEWEST_ON = f"""WHERE id IN (SELECT max(id) FROM {CheckResult.table} WHERE target = ? GROUP BY definition, rule)
    ORDER BY id"""


def list_results(
    database: Database, target: str | None = None, *, limit: int | None = None, before: int | None = None
) -> list[CheckResult]:
    """Return what rules said of batches, the newest first.

    Args:
        database: The workspace's.
        target: Only of this source, transformation or view.
        limit: At most so many; None for all.
        before: Only those before this id.
    """
    asked = {} if target is None else {"target": target}
    return database.select(CheckResult, *_page(CheckResult, asked, before, "-id", limit))


def newest_results(database: Database, *, among: int | None = None) -> list[CheckResult]:
    """Return the last result of every rule that was ever asked, by target.

    Args:
        database: The workspace's.
        among: Only of those that have one among the last so many results: less is read.
    """
    if among is not None:
        return database.select(CheckResult, _NEWEST_AMONG, (among,))
    return database.select(CheckResult, _NEWEST, ())


def newest_results_on(database: Database, target: str) -> list[CheckResult]:
    """Return the last result of every rule that was ever asked about one source, transformation or view."""
    return database.select(CheckResult, _NEWEST_ON, (target,))


def list_quarantines(
    reader: Database | Transaction,
    *,
    place: str | None = None,
    status: str | None = None,
    limit: int | None = None,
    after: int | None = None,
) -> list[Quarantine]:
    """Return batches of rows that were kept aside, in the order in which they came.

    Args:
        reader: The database, or a transaction in which nobody else can change them.
        place: Only of this source.
        status: Only `waiting`, `released` or `dropped` ones.
        limit: At most so many; None for all.
        after: Only those after this id.
    """
    asked = {"source": place, "status": status}
    where = {name: value for name, value in asked.items() if value is not None}
    return reader.select(Quarantine, *_page(Quarantine, where, after, "id", limit))


def get_quarantine(reader: Database | Transaction, number: int) -> Quarantine:
    """Return one batch.

    Raises:
        NotFoundError: If there is none of this number.
    """
    found = reader.get(Quarantine, id=number) if isinstance(number, int) and 0 < number < 2**63 else None
    if found is None:
        raise NotFoundError(f"there is no quarantine {number}", hint="ws.checks.quarantined() lists them")
    return found


def _page(
    cls: type[Record], where: Mapping[str, object], beyond: int | None, order: str, limit: int | None
) -> tuple[str, list[Value]]:
    """Write what follows SELECT, for the records that come after an id in an order of ids."""
    codec = codec_for(cls)
    condition, bound = codec.condition(where)
    if beyond is not None:
        condition += f"{' AND' if where else ' WHERE'} id {'<' if order.startswith('-') else '>'} ?"
        bound.append(beyond)
    return f"{condition}{codec.order(order)} LIMIT ?", [*bound, -1 if limit is None else limit]
