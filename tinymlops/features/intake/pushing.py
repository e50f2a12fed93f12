"""`push`: rows that arrive by themselves, durable in one transaction, and in the online store right after it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from tinymlops._time import from_micros, to_micros
from tinymlops.errors import ConflictError, DataError, NotFoundError, near
from tinymlops.features.definitions import specs
from tinymlops.features.definitions.specs import EntitySpec, LabelSpec, SourceSpec, ViewSpec
from tinymlops.features.history.deletes import refuse_deletes
from tinymlops.features.history.payloads import digest_of, to_ids, to_payloads
from tinymlops.features.history.sources import known_columns, require_same_types, with_times
from tinymlops.features.intake.accepting import accepted
from tinymlops.features.intake.computable import require_computable
from tinymlops.features.intake.row_wise import check_row_wise
from tinymlops.features.online.materialization import catch_up
from tinymlops.records import MovedEvent, PushBatch, PushedRow, SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.frames import Frame
    from tinymlops.stores.database import Transaction

__all__ = ["Pushed", "push", "require_batch_id"]


class Pushed(msgspec.Struct, frozen=True):
    """What became of the rows of a push."""

    source: str
    rows_new: int
    rows_corrected: int
    """New versions of events that were known, deletes included."""
    rows_known: int
    """Already there: nothing was stored for them."""
    sequence: int
    """The workspace's sequence after it."""
    online: Literal["current", "behind"]
    """Whether the online store has followed; if not, it will with the next push, ingest or materialize."""
    batch_id: str | None = None
    """Names the batch: the same rows with it again change nothing. None where none was given and each row has an id."""

    def __repr__(self) -> str:
        batch = f", batch {self.batch_id}" if self.batch_id is not None else ""
        return (
            f"<pushed to {self.source}: {self.rows_new:,} new, {self.rows_corrected:,} corrected, "
            f"{self.rows_known:,} known; Q={self.sequence}, online {self.online}{batch}>"
        )


_WITH_IDS = "WHERE source = ? AND event_id IN (SELECT value FROM json_each(?))"


class _Row(NamedTuple):
    """One row as it will be stored, but for what the commit says."""

    event_id: str | None
    payload: bytes
    digest: bytes
    event: int | None
    deleted: bool


def push(context: Context, name: str, rows: Frame, *, batch_id: str | None = None) -> Pushed:
    """Add rows to a source that takes pushes, all or none.

    Where the source has an id, a row whose id and content are known is not stored again, and a known id with other
    content is a new version. A batch id that was pushed before makes the whole push a replay, which stores nothing.

    Args:
        context: The workspace's state.
        name: The source's.
        rows: Any table, or a list of dicts; a boolean column `deleted` marks deletes.
        batch_id: Names the batch; None to have one made up where the source has no id, which the result then holds.

    Raises:
        NotFoundError: If there is no such source, with the near match.
        DataError: If the source takes no pushes, a row does not fit its schema, or an integer that is computed of it
            does not fit 64 bits.
        DefinitionError: If a transformation over it only says that it is row-wise, as far as the first rows tell.
        ConflictError: If the batch id was used for other rows.
    """
    source = _pushed_source(context, name)
    if source.id is None and batch_id is None:
        batch_id = secrets.token_hex(16)
    frame = with_times(accepted(rows, source, _key_columns(context, source)), source)
    refuse_deletes(context.definitions, source, frame)
    if name not in context.definitions.checked and frame.height > 1:
        check_row_wise(context, source, frame)
        context.definitions.checked.add(name)
    require_computable(context, source, frame)
    with context.environment.database.write(actor="local") as tx:
        state = tx.get(SourceState, source=name)
        if state is not None:
            require_same_types(name, state.columns, source.columns)
        counts = _store(context, tx, source, state, frame, batch_id)
        sequence = tx.sequence()
    return Pushed(name, *counts, sequence=sequence, online=_follow(context), batch_id=batch_id)


def require_batch_id(context: Context, name: str, batch_id: str | None) -> None:
    """Refuse what could be stored twice: one made up here would not be there when the client tries again.

    Raises:
        DataError: If the source has no id, and the batch has none either.
    """
    source = context.definitions.of(SourceSpec).get(name)
    if batch_id is None and source is not None and source.via == "push" and source.id is None:
        raise DataError(
            f"source {name!r} has no id, so a push to it needs a batch_id: without one, a retry would be stored twice",
            hint="send a batch_id, any text that names this batch, and the same one when you try again",
        )


def _pushed_source(context: Context, name: str) -> SourceSpec:
    known = context.definitions.of(SourceSpec)
    if name not in known:
        raise NotFoundError(f"there is no source {name!r}", hint=near(name, known))
    if known[name].via != "push":
        raise DataError(
            f"source {name!r} takes no pushes: its rows come by {'transformation' if known[name].inputs else 'ingest'}",
            hint="declare it with a schema: def name() -> tm.Schema",
        )
    return known[name]


def _key_columns(context: Context, source: SourceSpec) -> set[str]:
    """Return the source's columns that hold the key of an entity somebody reads it for."""
    definitions = context.definitions
    readers: list[ViewSpec | LabelSpec] = [*definitions.of(ViewSpec).values(), *definitions.of(LabelSpec).values()]
    entities = [definitions.get(EntitySpec, reader.entity) for reader in readers if reader.source == source.name]
    return {column for entity in entities for column in definitions.key_columns(entity, source)} & set(source.columns)


def _store(
    context: Context,
    tx: Transaction,
    source: SourceSpec,
    state: SourceState | None,
    frame: pl.DataFrame,
    batch_id: str | None,
) -> tuple[int, int, int]:
    """Write what is not known yet; return how many rows were new, corrected and known."""
    columns = known_columns(source, state)
    rows = _rows(frame, source, columns)
    created = _commit_time(context, state)
    if not rows or (batch_id is not None and _is_replay(tx, source, batch_id, rows, created)):
        return 0, 0, len(rows)
    fresh, corrected = _unknown(tx, source, rows)
    if not fresh:
        return 0, 0, len(rows)
    base = tx.take_sequence(len(fresh))
    tx.insert_many(
        PushedRow(
            n=base + i,
            source=source.name,
            event_id=row.event_id,
            payload=row.payload,
            digest=row.digest,
            event=row.event,
            created=created,
            deleted=row.deleted,
        )
        for i, row in enumerate(fresh, start=1)
    )
    events = [row.event for row in fresh if row.event is not None]
    greatest = [state.max_event] if state is not None and state.max_event is not None else []
    tx.put(
        SourceState(
            source=source.name,
            definition=specs.fingerprint(source),
            columns=columns,
            rows=len(fresh) + (state.rows if state is not None else 0),
            max_event=max([*events, *greatest], default=None),
            complete_until=state.complete_until if state is not None else None,
            quarantined=state.quarantined if state is not None else 0,
            ingested_at=from_micros(created),
        )
    )
    tx.audit("push", source.name, rows=len(fresh), batch_id=batch_id)
    return len(fresh) - corrected, corrected, len(rows) - len(fresh)


def _rows(frame: pl.DataFrame, source: SourceSpec, columns: Iterable[str]) -> list[_Row]:
    ids: Sequence[str | None] = [None] * frame.height if source.id is None else to_ids(frame[source.id])
    payloads = to_payloads(frame, columns)
    return [
        _Row(*row)
        for row in zip(ids, payloads, map(digest_of, payloads), frame["__event"], frame["__deleted"], strict=True)
    ]


def _is_replay(tx: Transaction, source: SourceSpec, batch_id: str, rows: Sequence[_Row], at: int) -> bool:
    """Say whether the batch was pushed before; if not, keep in mind that it was now.

    Raises:
        ConflictError: If it was, with other rows: taking it for a replay would lose these.
    """
    digest = digest_of(b"".join(sorted(row.digest + bytes([row.deleted]) for row in rows)))
    known = tx.get(PushBatch, source=source.name, batch_id=batch_id)
    if known is None:
        tx.insert(PushBatch(source=source.name, batch_id=batch_id, digest=digest, at=at))
    elif known.digest != digest:
        raise ConflictError(
            f"batch {batch_id!r} was pushed to source {source.name!r} before, with other rows",
            hint="give each batch an id of its own",
        )
    return known is not None


def _unknown(tx: Transaction, source: SourceSpec, rows: Sequence[_Row]) -> tuple[list[_Row], int]:
    """Return the rows to be stored, and how many of them are new versions of known events."""
    if source.id is None:
        return list(rows), 0
    bound = source.name, msgspec.json.encode([row.event_id for row in rows]).decode()
    # In this order the latest version comes last: what has moved into segments is older than what has not.
    latest: dict[str | None, tuple[bytes, bool]] = {
        moved.event_id: (moved.digest, moved.deleted) for moved in tx.select(MovedEvent, _WITH_IDS, bound)
    }
    for known in tx.select(PushedRow, f"{_WITH_IDS} ORDER BY n", bound):
        latest[known.event_id] = known.digest, known.deleted
    fresh, corrected = [], 0
    for row in rows:
        content = row.digest, row.deleted
        if latest.get(row.event_id) == content:
            continue
        corrected += row.event_id in latest
        latest[row.event_id] = content
        fresh.append(row)
    return fresh, corrected


def _commit_time(context: Context, state: SourceState | None) -> int:
    """Return the clock's time, but none before the last push: of two versions the later one must stay the greater."""
    last = to_micros(state.ingested_at) if state is not None and state.ingested_at is not None else 0
    return max(context.now(), last)


def _follow(context: Context) -> Literal["current", "behind"]:
    """Let the online store follow; the rows are durable, so nothing that goes wrong here may look like a failed push."""
    try:
        catch_up(context)
    except Exception:  # noqa: BLE001  # of whatever kind: the caller would send committed rows again
        return "behind"
    return "current"
