"""How far a cursor may go in PostgreSQL: not past the start of a transaction that may still commit.

A row's cursor is the server's time when it was written, or when its transaction began (`now()`), and others see the row only
when that transaction commits, maybe hours later. So what is open is listed *before* the snapshot is taken. A transaction that
the snapshot does not show was either open then, and its start is in the list, or began after the list was made. The earliest
of these times is the floor: every row that the snapshot lacks gets a cursor from the floor on, so a read that begins there
misses none.

Some transactions have no start to be seen: those of other users, unless our user may see them; those that are prepared
(two-phase commit); those of the primary, on a replica. While there is one, nobody can say the floor, and the last one holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["GRACE", "Floor", "floor_of"]

GRACE = 10_000_000
"""Microseconds: a transaction is listed a moment after its start was taken."""
_NOW = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint, pg_is_in_recovery()"
_OPEN = (
    "select virtualtransaction::text, pid from pg_locks "
    "where locktype = 'virtualxid' and granted and mode = 'ExclusiveLock' and pid <> pg_backend_pid()"
)
_STARTS = (
    "select pid, (extract(epoch from xact_start) * 1000000)::bigint from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid() "
    "and coalesce(backend_type, '') not in ('autovacuum worker', 'walsender')"
)
_PREPARED = "select count(*) from pg_prepared_xacts where database = current_database()"

Rows = Callable[[str], list[tuple[Any, ...]]]
"""Runs one statement, outside a transaction."""


class Floor(NamedTuple):
    """How far a cursor may go."""

    micros: int | None
    """Microseconds UTC by the server's clock; None if nobody can say."""
    unknown: str = ""
    """Why not."""
    hint: str = ""


def floor_of(rows: Rows) -> Floor:
    """Return the floor of a snapshot that is taken after this.

    Args:
        rows: Runs one statement, outside a transaction.
    """
    ((now, is_replica),) = rows(_NOW)
    if is_replica:
        return Floor(None, "this server is a replica and does not see what is open at its primary", "read the primary")
    # Open before and after means open meanwhile: then a start that is not shown is hidden, and not one that ended.
    before = set(rows(_OPEN))
    starts: dict[int, int | None] = {pid: start for pid, start in rows(_STARTS)}  # noqa: C416 - typed so
    hidden = {pid for _, pid in before & set(rows(_OPEN)) if pid in starts and starts[pid] is None}
    if hidden:
        return Floor(
            None,
            f"the start of {len(hidden)} open transactions of other users is hidden",
            "grant pg_read_all_stats to the user of this connection",
        )
    ((prepared,),) = rows(_PREPARED)
    if prepared:
        return Floor(
            None,
            f"{prepared} prepared transactions are open, whose start is not known",
            "commit them or roll them back",
        )
    return Floor(min([now, *(start for start in starts.values() if start is not None)]) - GRACE)
