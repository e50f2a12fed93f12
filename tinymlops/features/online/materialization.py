"""`materialize`: keep in the online store what any read from now on can ask of a view, and let it follow.

For each key of a view that is the newest visible row of each expression, every row not yet available, and the rows
of the longest window. A key with late rows or corrections is kept whole.

Once materialized, a view follows every push and ingest (`catch_up`): all views move to one sequence in one
transaction. New rows are added to their keys. A row that takes back or replaces another may let one win again that
was not kept, so its key is written anew from history.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DataError, DefinitionError, TinyMLOpsError
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.definitions.specs import ViewSpec
from tinymlops.features.history.generations import place_of, span_of
from tinymlops.features.history.sources import SYSTEM
from tinymlops.features.history.stored import live_segments, newest_rebuild, segments_of, sources_after, stored_rows
from tinymlops.features.online.arranging import arranged, filtered, merged, needed, with_keys
from tinymlops.features.online.entries import Covered, Entry, Rows, State, Variant, states
from tinymlops.kernels.entries import EVENT
from tinymlops.records import SourceState

if TYPE_CHECKING:
    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.stores._entries import Reader, Writer

__all__ = ["Covered", "catch_up", "covered", "materialize"]

_AT_ONCE = 20_000
"""Keys that are trimmed together."""


def materialize(context: Context, view: ViewSpec) -> Covered:
    """Bring a view up to date in the online store, and drop rows that no read from now on can use.

    Returns:
        What is covered now.

    Raises:
        DataError: If what the view computes does not fit its rows.
    """
    variant = Variant.of(context.definitions, view)
    online, now = context.environment.online, context.now()
    known = covered(context, view)
    if known is not None and known.at <= now:
        failed = online.update(partial(_follow_all, context))
        if variant.id in failed:
            raise failed[variant.id]
        with online.read() as tx:
            state = variant.state(tx)
            trimmed = [] if state is None else list(_trimmed(tx, variant, state, now))
        if state is not None:
            return online.update(partial(_put_trimmed, variant, state, trimmed, now))
    # Outside the transaction, for which others wait: what is stored meanwhile is caught up with inside.
    state, entries = _from_history(context, variant, now)

    def write(tx: Writer) -> Covered:
        _put_all(tx, variant, state, entries)
        failed = _follow_all(context, tx)
        if variant.id in failed:
            raise failed[variant.id]
        found = variant.state(tx)
        assert found is not None, "it was written"
        return found.covered

    return online.update(write)


def catch_up(context: Context) -> None:
    """Let every materialized view take the rows that it does not have yet, all in one transaction.

    Raises:
        TinyMLOpsError: The first of those views that could not follow; the others did.
    """
    online, database = context.environment.online, context.environment.database
    with online.read() as tx:
        behind = any(state.covered.sequence != database.sequence() for state in states(tx))
    failed = online.update(partial(_follow_all, context)) if behind else {}
    for error in failed.values():
        raise error


def covered(context: Context, view: ViewSpec) -> Covered | None:
    """Return what the online store holds of a view; None if nothing."""
    variant = Variant.of(context.definitions, view)
    with context.environment.online.read() as tx:
        state = variant.state(tx)
    return None if state is None else state.covered


class _New(NamedTuple):
    """Where the rows of a source end, and which sources have rows that some view has not."""

    sequence: int
    sources: set[str]


def _follow_all(context: Context, tx: Writer) -> dict[str, TinyMLOpsError]:
    """Bring all views to the workspace's sequence; return why some could not, by the id of the variant."""
    failed: dict[str, TinyMLOpsError] = {}
    found = states(tx)
    sequence = context.environment.database.sequence()
    after = min((state.covered.sequence for state in found), default=sequence)
    new = _New(sequence, sources_after(context, after))
    for state in found:
        try:
            write = _following(context, state, new, tx)
        except (DataError, DefinitionError) as error:
            if _is_in_force(context, state.variant):
                failed[state.variant.id] = error
                continue
            # Its code is gone, so nobody can bring it up to date: whoever still asks for it reads history.
            write = state.variant.clear
        write(tx)
    return failed


def _following(context: Context, state: State, new: _New, tx: Reader) -> Callable[[Writer], None]:
    """Compute what brings a view up to date; return what writes it. The moment from which reads are answered stays."""
    variant, covered = state.variant, state.covered
    source = variant.sources[-1]
    if _is_rebuilt(context, state) or _begins_anew(context, state):
        return _rewritten(context, variant, covered.at)
    frame = pl.DataFrame()
    if place_of(context.environment.database, source.name) in new.sources:
        frame = _history(context, variant, after=covered.sequence, as_of=new.sequence)
    if not frame.height:
        return partial(_move, variant=variant, state=state, sequence=new.sequence)
    changed = _changed_keys(context, variant, frame, covered.sequence)
    layout, rows = arranged(variant, frame.join(changed, on=variant.key, how="anti", maintain_order="left"))
    if layout != state.layout:
        return _rewritten(context, variant, covered.at)
    parts = [_appended(tx, state, rows)]
    if changed.height:
        whole = _history(context, variant, as_of=new.sequence)
        whole = whole.join(changed, on=variant.key, how="semi", maintain_order="left")
        layout, rows = arranged(variant, whole)
        rows = filtered(rows, needed(rows, layout, variant.view, covered.at))  # which leaves a key of which nothing is
        _, full = variant.rows(tx, layout, rows.keys, whole=np.zeros(len(rows.keys), np.bool_))
        parts.append(_Part(rows, full, np.zeros_like(full), _count_known(tx, variant, rows.keys)))
    return partial(_put_parts, variant=variant, state=state, parts=parts, sequence=new.sequence)


class _Part(NamedTuple):
    """Rows to be written."""

    rows: Rows
    full: Array
    """int64[K], full entries of each key in the store."""
    before: Array
    """int64[K], those of them that stay."""
    known: int
    """How many of the keys had rows."""


def _appended(tx: Reader, state: State, new: Rows) -> _Part:
    """Add rows to the newest entries of their keys, or, for a row that comes before those, to all of the key's."""
    variant, layout = state.variant, state.layout
    old, full = variant.rows(tx, layout, new.keys, whole=np.zeros(len(new.keys), np.bool_))
    before = full
    if full.any():
        begins = np.minimum(old.offsets[:-1], max(old.columns.shape[1] - 1, 0))
        # A newest entry has rows, so the first of a key that has full ones is its own.
        late = (full > 0) & (new.columns[EVENT][new.offsets[:-1]] <= old.columns[EVENT][begins])
        if late.any():
            before = np.where(late, 0, full)
            old, _ = variant.rows(tx, layout, new.keys, whole=late)
    return _Part(merged(old, new), full, before, int((np.diff(old.offsets) > 0).sum()))


def _put_parts(
    tx: Writer, variant: Variant, state: State, parts: Sequence[_Part], sequence: int, **changes: int
) -> None:
    keys = state.covered.keys
    for part in parts:
        variant.put_rows(tx, part.rows, part.full, part.before)
        keys += int((np.diff(part.rows.offsets) > 0).sum()) - part.known
    _move(tx, variant, state, sequence=sequence, keys=keys, **changes)


def _put_all(tx: Writer, variant: Variant, state: State, entries: Sequence[Entry]) -> None:
    variant.clear(tx)
    variant.put_entries(tx, entries)
    variant.put_state(tx, state)


def _move(tx: Writer, variant: Variant, state: State, **changes: int) -> None:
    covered = msgspec.structs.replace(state.covered, **changes)
    variant.put_moment(tx, msgspec.structs.replace(state, covered=covered))


def _count_known(tx: Reader, variant: Variant, keys: list[bytes]) -> int:
    return sum(variant.has(tx, key) for key in keys)


def _rewritten(context: Context, variant: Variant, at: int) -> Callable[[Writer], None]:
    state, entries = _from_history(context, variant, at)
    return partial(_put_all, variant=variant, state=state, entries=entries)


def _from_history(context: Context, variant: Variant, at: int) -> tuple[State, list[Entry]]:
    """Compute what the online store must hold for reads at a moment and later."""
    segment, begins = _newest_segment(context, variant), _begins(context, variant)
    sequence = context.environment.database.sequence()
    layout, rows = arranged(variant, _history(context, variant, as_of=sequence), at=at)
    entries = sorted(variant.entries(rows, np.zeros(len(rows.keys), np.int64)))  # LMDB fills its pages in order
    covered = Covered(variant.view.name, sequence, at, len(rows.keys))
    rebuilt = newest_rebuild(context.with_definitions(variant.definitions), variant.sources[-1].name)
    return State(covered, variant.lineage, segment, layout, secrets.randbits(63), rebuilt, begins), entries


def _history(context: Context, variant: Variant, *, after: int = 0, as_of: int) -> pl.DataFrame:
    """Return what the view uses of its source's rows, under the definitions that it was materialized with."""
    reader = context.with_definitions(variant.definitions)
    rows = stored_rows(reader, variant.sources[0].name, after=after, as_of=as_of)
    return rows.select(_used_columns(variant, rows)).drop_nulls(variant.key)


def _changed_keys(context: Context, variant: Variant, new: pl.DataFrame, after: int) -> pl.DataFrame:
    """Return the keys that have a delete, or another version of an event from before: trimmed rows may win again."""
    source = variant.sources[-1]
    database = context.environment.database
    changed = new["__deleted"]
    if source.id is not None and _has_corrections(context, source.name, place_of(database, source.name), after):
        reader = context.with_definitions(variant.definitions)
        known = stored_rows(reader, source.name, [source.id]).filter(pl.col("__sequence") <= after)
        changed = changed | new[source.id].is_in(known[source.id].drop_nulls().implode())
    return new.filter(changed).select(variant.key).unique()


def _has_corrections(context: Context, name: str, source: str, after: int) -> bool:
    """Say whether a row after a sequence may have the id of one before: cheap where none does."""
    if any(segment.corrections and segment.last > after for segment in live_segments(context, name)):
        return True
    # A source that once was ingested has ids in files, where no index finds them. The new rows were read with their
    # checksums before; of the old ones only the index is read, which `doctor` compares with them.
    known = (
        "EXISTS (SELECT 1 FROM ingestions WHERE source = ?1) "
        "OR EXISTS (SELECT 1 FROM moved_events AS old WHERE old.source = new.source AND old.event_id = new.event_id) "
        "OR EXISTS (SELECT 1 FROM pushed_rows AS old WHERE old.source = new.source "
        "AND old.event_id = new.event_id AND old.n <= ?2)"
    )
    sql = f"SELECT EXISTS (SELECT 1 FROM pushed_rows AS new WHERE source = ?1 AND n > ?2 AND ({known}))"
    ((found,),) = context.environment.database.rows(sql, (source, after))
    return bool(found)


def _trimmed(tx: Reader, variant: Variant, state: State, now: int) -> Iterator[_Part]:
    """Yield the keys that have rows which no read from now on can use, without those."""
    keys = variant.keys_in(tx)
    while batch := list(islice(keys, _AT_ONCE)):
        rows, full = variant.rows(tx, state.layout, batch)
        keep = needed(rows, state.layout, variant.view, now)
        lost = np.diff(np.append(0, np.cumsum(~keep))[rows.offsets]) > 0
        if lost.any():
            left = with_keys(filtered(rows, keep), lost)
            yield _Part(left, full[lost], np.zeros(int(lost.sum()), np.int64), len(left.keys))


def _put_trimmed(variant: Variant, state: State, parts: Sequence[_Part], now: int, tx: Writer) -> Covered:
    """Write trimmed keys, computed anew if the view has moved since; reads before now then need history."""
    found = variant.state(tx)
    if found is not None and (found.covered, found.stamp) != (state.covered, state.stamp):
        state, parts = found, list(_trimmed(tx, variant, found, now))
    if not parts:
        return state.covered
    _put_parts(tx, variant, state, parts, state.covered.sequence, at=now)
    found = variant.state(tx)
    assert found is not None, "it was written"
    return found.covered


def _used_columns(variant: Variant, rows: pl.DataFrame) -> list[str]:
    """Return the columns that a read of the view looks at, in an order of their own."""
    source = variant.sources[-1]
    used = {*variant.key, *SYSTEM} | {column for column in (source.id, source.delay_column) if column}
    for feature in variant.view.features.values():
        used |= columns_of(feature)
    return sorted(used & set(rows.columns))


def _is_rebuilt(context: Context, state: State) -> bool:
    """Say whether the view's source is a transformation that was computed anew."""
    return bool(state.variant.sources[-1].inputs) and _newest_segment(context, state.variant) != state.segment


def _begins_anew(context: Context, state: State) -> bool:
    """Say whether the view's source has begun another generation of rows since."""
    return not state.variant.sources[-1].inputs and _begins(context, state.variant) != state.begins


def _begins(context: Context, variant: Variant) -> int:
    """Return the sequence after which the generation of rows begins that the view reads."""
    database, source = context.environment.database, variant.sources[-1]
    place = place_of(database, source.name)
    return span_of(database, source, place, database.get(SourceState, source=place)).begins


def _newest_segment(context: Context, variant: Variant) -> int:
    """Return the newest file of the source whose rows the view has; a rebuilt source has one at a time."""
    reader, source = context.with_definitions(variant.definitions), variant.sources[-1]
    return max((segment.id or 0 for segment in segments_of(reader, source)), default=0)


def _is_in_force(context: Context, variant: Variant) -> bool:
    view = context.definitions.of(ViewSpec).get(variant.view.name)
    return view is not None and Variant.of(context.definitions, view).id == variant.id
