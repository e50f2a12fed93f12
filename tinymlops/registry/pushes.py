"""Pushed rows: those in their table, those that compaction moved out of it, and those a push is compared with.

`place` is the name that a source's rows are stored under.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.records import MovedEvent, PushBatch, PushedRow
from tinymlops.stores.rows import codec_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = [
    "brings_known_events",
    "count_pushed",
    "extent_of_pushed",
    "latest_versions",
    "move_pushed",
    "places_pushed_after",
    "pushed_ahead",
    "pushed_at",
    "pushed_rows",
    "pushed_values",
    "times_of_pushes",
]

_GREATEST = 2**63 - 1
_SOURCE, _EVENT_ID, _DIGEST, _DELETED = (
    PushedRow.__struct_fields__.index(name) for name in ("source", "event_id", "digest", "deleted")
)
_LOOKED_AT = 100_000
"""Pushed rows of which the times are looked at."""
_WITH_IDS = "WHERE source = ? AND event_id IN (SELECT value FROM json_each(?))"
# A source that was ever ingested has ids in files, where no index finds them.
_BRINGS_KNOWN = f"""SELECT EXISTS (SELECT 1 FROM {PushedRow.table} AS new WHERE source = ?1 AND n > ?2 AND (
    EXISTS (SELECT 1 FROM ingestions WHERE source = ?1)
    OR EXISTS (SELECT 1 FROM {MovedEvent.table} AS old WHERE old.source = new.source AND old.event_id = new.event_id)
    OR EXISTS (SELECT 1 FROM {PushedRow.table} AS old WHERE old.source = new.source AND old.event_id = new.event_id
        AND old.n <= ?2)))"""


def pushed_rows(database: Database, place: str, *, up_to: int) -> list[PushedRow]:
    """Return a source's pushed rows up to a sequence."""
    return database.select(PushedRow, "WHERE source = ? AND n <= ?", (place, up_to))


def pushed_values(
    database: Database, place: str, *, after: int = 0, up_to: int | None = None
) -> Sequence[Sequence[Any]]:
    """Return a source's pushed rows after one sequence and up to another, in order.

    Returns:
        For each the values in the order of the fields, then its checksum.
    """
    bound = place, after, _GREATEST if up_to is None else up_to
    codec = codec_for(PushedRow)
    return codec.all_checked(database.rows(f"{codec.select} WHERE source = ? AND n > ? AND n <= ? ORDER BY n", bound))


def extent_of_pushed(database: Database, place: str, *, up_to: int | None = None) -> tuple[int, int | None]:
    """Return how many pushed rows a source has, and their greatest sequence; read from an index, without checksums.

    Args:
        database: The workspace's database.
        place: The place of the source.
        up_to: Only rows up to this sequence; None for all.
    """
    sql = f"SELECT count(*), max(n) FROM {PushedRow.table} WHERE source = ? AND n <= ?"
    ((count, newest),) = database.rows(sql, (place, _GREATEST if up_to is None else up_to))
    return count, newest


def pushed_at(database: Database, place: str, sequences: Sequence[int]) -> list[int]:
    """Return which of these sequences are rows of a source in the table, in order; read from an index, without checksums."""
    sql = f"SELECT n FROM {PushedRow.table} WHERE source = ? AND n IN (SELECT value FROM json_each(?)) ORDER BY n"
    return [n for (n,) in database.rows(sql, (place, msgspec.json.encode(sequences).decode()))]


def times_of_pushes(database: Database, place: str, *, limit: int) -> list[int]:
    """Return when rows of a source in the table were pushed, the last first, microseconds UTC; rows of one push have one time."""
    newest = f"SELECT created FROM {PushedRow.table} WHERE source = ? ORDER BY n DESC LIMIT {_LOOKED_AT}"
    rows = database.rows(f"SELECT DISTINCT created FROM ({newest}) ORDER BY created DESC LIMIT ?", (place, limit))
    return [created for (created,) in rows]


def places_pushed_after(database: Database, sequence: int) -> set[str]:
    """Return the places of the sources that have pushed rows of a greater sequence."""
    codec = codec_for(PushedRow)
    return {row[_SOURCE] for row in codec.all_checked(database.rows(f"{codec.select} WHERE n > ?", (sequence,)))}


def brings_known_events(database: Database, place: str, *, after: int) -> bool:
    """Return whether a pushed row after a sequence may have the id of one before.

    The new rows were read with their checksums before. For the old ones only the index is read, which `doctor` checks.
    """
    ((found,),) = database.rows(_BRINGS_KNOWN, (place, after))
    return bool(found)


def latest_versions(
    tx: Transaction, place: str, event_ids: Sequence[str | None]
) -> tuple[list[PushedRow], list[MovedEvent]]:
    """Return the pushed rows of events, in order, and what compaction left of events."""
    bound = place, msgspec.json.encode(event_ids).decode()
    return tx.select(PushedRow, f"{_WITH_IDS} ORDER BY n", bound), tx.select(MovedEvent, _WITH_IDS, bound)


def pushed_ahead(tx: Transaction, place: str, moment: int) -> list[PushedRow]:
    """Return the pushed rows of a source that count only after a time, microseconds UTC, in order."""
    return tx.select(PushedRow, "WHERE source = ? AND created > ? ORDER BY n", (place, moment))


def count_pushed(tx: Transaction, place: str, *, up_to: int) -> int:
    """Return how many pushed rows a source has up to a sequence."""
    ((count,),) = tx.execute(f"SELECT count(*) FROM {PushedRow.table} WHERE source = ? AND n <= ?", (place, up_to))
    return int(count)


def move_pushed(tx: Transaction, place: str, *, up_to: int, batches_before: int) -> int:
    """Delete rows that were moved to a file, except what later pushes are compared with.

    Args:
        tx: The transaction that names the file that holds them now.
        place: The place of the source.
        up_to: The greatest sequence of them.
        batches_before: Batches of any source before this time, microseconds UTC, are forgotten.

    Returns:
        How many of them are later versions of an event.
    """
    of = place, up_to
    before = _count_moved(tx, place)
    codec = codec_for(PushedRow)
    rows = codec.all_checked(tx.execute(f"{codec.select} WHERE source = ? AND n <= ? ORDER BY n", of))
    moved = [
        MovedEvent(source=place, event_id=row[_EVENT_ID], digest=row[_DIGEST], deleted=bool(row[_DELETED]))
        for row in rows
        if row[_EVENT_ID] is not None
    ]
    tx.put_many(moved)
    after = _count_moved(tx, place)
    tx.execute(f"DELETE FROM {PushedRow.table} WHERE source = ? AND n <= ?", of)
    tx.execute(f"DELETE FROM {PushBatch.table} WHERE at < ?", (batches_before,))
    return len(moved) - (after - before)


def _count_moved(tx: Transaction, place: str) -> int:
    ((count,),) = tx.execute(f"SELECT count(*) FROM {MovedEvent.table} WHERE source = ?", (place,))
    return int(count)
