"""`materialize`: keep in the online store what any read from now on can ask of a view, and let it follow.

For each key of a view that is the newest visible row of each expression, every row not yet available, and the rows
of the longest window. A key with late rows or corrections is kept whole. The rows are stored as they are, and read
back through the same code as history, so that online and offline cannot differ.

Once materialized, a view follows every push and ingest (`catch_up`): new rows are added to their keys. A row that
takes back or replaces another may let one win again that was not kept, so its key is written anew from history.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DefinitionError
from tinymlops.features.computing import Array, history_of, kept_rows
from tinymlops.features.entries import Covered, State, Variant, head_of, states
from tinymlops.features.expressions import columns_of
from tinymlops.features.sources import SYSTEM, live_segments, stored_rows
from tinymlops.features.specs import ViewSpec

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.stores._entries import Writer

Entry = tuple[bytes, bytes]

__all__ = ["Covered", "catch_up", "covered", "materialize", "online_rows"]


def materialize(context: Context, view: ViewSpec) -> Covered:
    """Bring a view up to date in the online store, and drop rows that no read from now on can use.

    Returns:
        What is covered now.
    """
    variant = Variant.of(context.definitions, view)
    online, now = context.environment.online, context.now()
    known = covered(context, view)
    if known is not None and known.at <= now:
        trimmed = online.update(partial(_trim, context, variant))
        if trimmed is not None:
            return trimmed
    # Outside the transaction, for which others wait: what is stored meanwhile is caught up with inside.
    state, entries = _from_history(context, variant, now)

    def write(tx: Writer) -> Covered:
        _put_all(tx, variant, state, entries)
        return _follow(context, variant, state, tx).covered

    return online.update(write)


def catch_up(context: Context, source: str) -> None:
    """Let every materialized view over a source take the rows that it does not have yet.

    Args:
        context: The workspace's state.
        source: Whose rows are new: one that was ingested or pushed to, or a transformation that was rebuilt.
    """
    with context.environment.online.read() as tx:
        found = [state.variant for state in states(tx)]
    for variant in found:
        if variant.sources[-1].name != source:
            continue
        try:
            context.environment.online.update(partial(_catch_up, context, variant))
        except DefinitionError:
            if _is_in_force(context, variant):
                raise
            # Its code is gone, so nobody can bring it up to date: whoever still asks for it reads history.
            context.environment.online.update(variant.clear)


def covered(context: Context, view: ViewSpec) -> Covered | None:
    """Return what the online store holds of a view; None if nothing."""
    variant = Variant.of(context.definitions, view)
    with context.environment.online.read() as tx:
        state = variant.state(tx)
    return None if state is None else state.covered


def online_rows(
    context: Context, view: ViewSpec, keys: Sequence[pl.Series], now: int
) -> tuple[pl.DataFrame, int] | None:
    """Return the stored rows of these keys.

    Args:
        context: The workspace's state.
        view: Whose rows.
        keys: The key columns of the request.
        now: The time of the read, microseconds UTC.

    Returns:
        The rows as in history, and the sequence they cover; None if the view was never materialized, or only for
        reads at a later time.
    """
    variant = Variant.of(context.definitions, view)
    wanted = pl.DataFrame([series.alias(str(i)) for i, series in enumerate(keys)]).drop_nulls().unique()
    with context.environment.online.read() as tx:
        state = variant.state(tx)
        if state is None or state.covered.at > now:
            return None
        rows, _ = variant.rows_of(tx, state, wanted.rows())
    return rows, state.covered.sequence


def _from_history(context: Context, variant: Variant, at: int) -> tuple[State, list[Entry]]:
    """Compute what the online store must hold for reads at a moment and later."""
    segment = _newest_segment(context, variant)
    sequence = context.environment.database.sequence()
    rows = _history(context, variant).filter(pl.col("__sequence") <= sequence).drop_nulls(variant.key)
    rows = _needed(variant, rows.select(_used_columns(variant, rows)), at)
    entries = list(variant.packed(rows))
    state = State(Covered(variant.view.name, sequence, at, len(entries)), variant.lineage, segment, head_of(rows))
    return state, entries


def _history(context: Context, variant: Variant, *, after: int = 0) -> pl.DataFrame:
    """Return the view's source's rows, under the definitions that it was materialized with."""
    return stored_rows(context.with_definitions(variant.definitions), variant.sources[0].name, after=after)


def _put_all(tx: Writer, variant: Variant, state: State, entries: Sequence[Entry]) -> None:
    variant.clear(tx)
    for key, value in entries:
        tx.put(key, value)
    variant.put_state(tx, state)


def _catch_up(context: Context, variant: Variant, tx: Writer) -> None:
    state = variant.state(tx)
    if state is not None:
        _follow(context, variant, state, tx)


def _follow(context: Context, variant: Variant, state: State, tx: Writer) -> State:
    """Take every row after the covered sequence; the moment from which reads are answered stays."""
    at, after = state.covered.at, state.covered.sequence
    rebuilt = bool(variant.sources[-1].inputs) and _newest_segment(context, variant) != state.segment
    sequence = context.environment.database.sequence()
    new = _history(context, variant, after=after).filter(pl.col("__sequence") <= sequence).drop_nulls(variant.key)
    new = new.select(_used_columns(variant, new))
    if rebuilt or (new.height and head_of(new) != state.head):
        state, entries = _from_history(context, variant, at)
        _put_all(tx, variant, state, entries)
        return state
    keys = state.covered.keys
    if new.height:
        old, before = variant.rows_of(tx, state, new.select(variant.key).unique().rows())
        rows = _merged(context, variant, old, new, state, sequence)
        keys += _replace(tx, variant, new, rows) - before
    return _moved(tx, variant, state, sequence=sequence, keys=keys)


def _merged(
    context: Context, variant: Variant, old: pl.DataFrame, new: pl.DataFrame, state: State, sequence: int
) -> pl.DataFrame:
    """Return the rows of the keys that have new ones: the stored and the new, or what history says."""
    together = pl.concat([old, new])
    changed = _changed_keys(context, variant, new, state.covered.sequence)
    if not changed.height:
        return together
    history = _history(context, variant).filter(pl.col("__sequence") <= sequence).select(new.columns)
    anew = _needed(variant, history.join(changed, on=variant.key, how="semi", maintain_order="left"), state.covered.at)
    return pl.concat([together.join(changed, on=variant.key, how="anti", maintain_order="left"), anew])


def _changed_keys(context: Context, variant: Variant, new: pl.DataFrame, after: int) -> pl.DataFrame:
    """Return the keys that have a delete, or another version of an event from before: trimmed rows may win again."""
    source = variant.sources[-1]
    changed = new["__deleted"]
    if source.id is not None and _has_corrections(context, source.name, after):
        reader = context.with_definitions(variant.definitions)
        known = stored_rows(reader, source.name, [source.id]).filter(pl.col("__sequence") <= after)
        changed = changed | new[source.id].is_in(known[source.id].drop_nulls().implode())
    return new.filter(changed).select(variant.key).unique()


def _has_corrections(context: Context, source: str, after: int) -> bool:
    """Say whether a row after a sequence may have the id of one before: cheap where none does."""
    if any(segment.corrections and segment.last > after for segment in live_segments(context, source)):
        return True
    # A source that once was ingested has ids in files, where no index finds them.
    known = (
        "EXISTS (SELECT 1 FROM ingestions WHERE source = ?1) "
        "OR EXISTS (SELECT 1 FROM moved_events AS old WHERE old.source = new.source AND old.event_id = new.event_id) "
        "OR EXISTS (SELECT 1 FROM pushed_rows AS old WHERE old.source = new.source "
        "AND old.event_id = new.event_id AND old.n <= ?2)"
    )
    sql = f"SELECT EXISTS (SELECT 1 FROM pushed_rows AS new WHERE source = ?1 AND n > ?2 AND ({known}))"
    ((found,),) = context.environment.database.rows(sql, (source, after))
    return bool(found)


def _replace(tx: Writer, variant: Variant, affected: pl.DataFrame, rows: pl.DataFrame) -> int:
    """Write the rows of the affected keys in place of those they had; return how many keys have any."""
    variant.clear_keys(tx, affected.select(variant.key).unique().rows())
    entries = list(variant.packed(rows))
    for key, value in entries:
        tx.put(key, value)
    return len(entries)


def _trim(context: Context, variant: Variant, tx: Writer) -> Covered | None:
    """Follow, and drop what no read from now on can use; reads before now then need history."""
    known = variant.state(tx)
    if known is None:
        return None
    state = _follow(context, variant, known, tx)
    now = context.now()
    rows = variant.all_rows(tx, state)
    keep = _is_needed(variant, rows, now)
    affected = rows.filter(~keep).select(variant.key).unique()
    if not affected.height:
        return state.covered
    left = rows.filter(keep).join(affected, on=variant.key, how="semi", maintain_order="left")
    keys = state.covered.keys - affected.height + _replace(tx, variant, affected, left)
    return _moved(tx, variant, state, at=now, keys=keys).covered


def _moved(tx: Writer, variant: Variant, state: State, **changes: int) -> State:
    state = msgspec.structs.replace(state, covered=msgspec.structs.replace(state.covered, **changes))
    variant.put_state(tx, state)
    return state


def _needed(variant: Variant, rows: pl.DataFrame, at: int) -> pl.DataFrame:
    """Leave out the rows that no read at a moment or later can use."""
    return rows.filter(_is_needed(variant, rows, at))


def _is_needed(variant: Variant, rows: pl.DataFrame, at: int) -> pl.Series:
    history = history_of(rows, variant.sources[-1], variant.key, [rows[column] for column in variant.key])
    keep: Array = np.zeros(rows.height, np.bool_)
    keep[history.order] = kept_rows(history, variant.view.features, at, ttl=variant.view.ttl)
    return pl.Series(keep)


def _used_columns(variant: Variant, rows: pl.DataFrame) -> list[str]:
    """Return the columns that a read of the view looks at, in an order of their own."""
    source = variant.sources[-1]
    used = {*variant.key, *SYSTEM} | {column for column in (source.id, source.delay_column) if column}
    for feature in variant.view.features.values():
        used |= columns_of(feature)
    return sorted(used & set(rows.columns))


def _newest_segment(context: Context, variant: Variant) -> int:
    """Return the newest file of the source whose rows the view has; a rebuilt source has one at a time."""
    return max((segment.id or 0 for segment in live_segments(context, variant.sources[-1].name)), default=0)


def _is_in_force(context: Context, variant: Variant) -> bool:
    view = context.definitions.of(ViewSpec).get(variant.view.name)
    return view is not None and Variant.of(context.definitions, view).lineage == variant.lineage
