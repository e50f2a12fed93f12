"""The latest version of pushed events: a push is compared with it, and takes it back when a key changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tinymlops.features.history.payloads import stored_dtype, to_ids, to_payloads
from tinymlops.registry.pushes import latest_versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.records import MovedEvent
    from tinymlops.stores.transaction import Transaction

__all__ = ["Event", "LatestEvents"]


class Event(NamedTuple):
    """The latest version of an event."""

    digest: bytes
    deleted: bool
    created: int
    payload: bytes
    sequence: int


class LatestEvents:
    """Events of a source that were pushed before; to be used inside the transaction.

    Args:
        context: The workspace's state.
        tx: The transaction.
        source: A source that takes pushes and has an id.
        place: The name that its rows are stored under.
        columns: All of its columns, in payload order.
    """

    def __init__(
        self, context: Context, tx: Transaction, source: SourceSpec, place: str, columns: Mapping[str, str]
    ) -> None:
        self._context, self._tx, self._source, self._place, self._columns = context, tx, source, place, columns

    def of(self, event_ids: Sequence[str | None]) -> dict[str | None, Event]:
        """Return the latest version of events, by their ids."""
        pushed, left = latest_versions(self._tx, self._place, event_ids)
        found: dict[str | None, Event] = {}
        for row in pushed:
            found[row.event_id] = Event(row.digest, row.deleted, row.created, row.payload, row.n)
        moved = [one for one in left if one.event_id not in found]
        return {**self._in_files(moved), **found} if moved else found

    def taken_back(self, known: Event, payload: bytes, keys: Sequence[str] | None) -> bytes | None:
        """Return the delete of the version before, at the time of the new one; None if its key stays.

        Args:
            known: The version before.
            payload: The payload of the new one.
            keys: The columns that hold keys; None to take back every changed event.
        """
        width = len(self._columns)
        decode = msgspec.msgpack.Decoder(list[Any]).decode
        before, after = ([*values, *[None] * (width - len(values))] for values in map(decode, (known.payload, payload)))
        places = {name: place for place, name in enumerate(self._columns)}
        if keys is not None and all(before[places[key]] == after[places[key]] for key in keys if key in places):
            return None
        for name in (self._source.timestamp, self._source.delay_column):
            if name is not None:
                before[places[name]] = after[places[name]]
        while before and before[-1] is None:
            before.pop()
        return msgspec.msgpack.encode(before)

    def _in_files(self, moved: Sequence[MovedEvent]) -> dict[str | None, Event]:
        """Return events whose rows compaction has moved, read from the files."""
        import polars as pl

        from tinymlops.records import Segment
        from tinymlops.stores import segments

        assert self._source.id is not None, "they are told apart by it"
        wanted = {one.event_id: one for one in moved}
        live = self._tx.list(Segment, where={"source": self._place, "dead_at": None}, order="id")
        directory = self._context.environment.segments_dir / self._place
        rows = segments.read([(directory / one.sha256, one.base) for one in live], list(self._columns))
        ids, dtype = self._source.id, rows.schema[self._source.id]
        values = pl.Series(ids, [msgspec.json.decode(event_id) for event_id in wanted], dtype=stored_dtype(dtype))
        rows = rows.join(values.cast(dtype).to_frame(), on=ids, how="semi").sort("__sequence").unique(ids, keep="last")
        payloads = to_payloads(rows, self._columns)
        return {
            event_id: Event(wanted[event_id].digest, wanted[event_id].deleted, created, payload, sequence)
            for event_id, created, payload, sequence in zip(
                to_ids(rows[ids]), rows["__created"], payloads, rows["__sequence"], strict=True
            )
        }
