"""Update views in the online store with new rows: compute first, then write if nothing has moved.

All views move to one sequence in one write. New rows are added to their keys. A row that takes back or replaces another
may make a row win again that was not kept, so its key is rewritten from history. User code (row-wise transformations)
runs before the store is opened; if another process has moved a view meanwhile, nothing is written and the work starts
over.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import polars as pl

from tinymlops.errors import DataError, DefinitionError, TinyMLOpsError
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.definitions.specs import ViewSpec
from tinymlops.features.history.generations import place_of, span_of
from tinymlops.features.history.sources import SYSTEM
from tinymlops.features.history.stored import live_segments, newest_rebuild, segments_of, sources_after, stored_rows
from tinymlops.features.online.arranging import arranged, filtered, merged, needed
from tinymlops.features.online.variants import Description, KeyRows, State, Variant, packed, states
from tinymlops.kernels.entries import EVENT
from tinymlops.records import SourceState
from tinymlops.registry.pushes import brings_known_events
from tinymlops.stores.coverage import Coverage
from tinymlops.stores.online_store import Change

if TYPE_CHECKING:
    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.stores.online_store import Snapshot

__all__ = ["Judge", "Part", "changed", "follow_views", "origin_of", "written_anew"]

R = TypeVar("R")
Computed = Callable[["Snapshot"], Change | None]
"""Returns the change of a view, given the store as it was when it was computed; None removes the view."""
Judge = Callable[["Context", ViewSpec, int], None]
"""Raises a DataError where a view in force must not take the rows after a sequence: it keeps what it has."""
_NOTHING: Mapping[int, int] = {}


def follow_views(
    context: Context, reveal: Mapping[int, int] = _NOTHING, *, judge: Judge | None = None
) -> dict[bytes, TinyMLOpsError]:
    """Bring all views to the workspace's sequence.

    Args:
        context: The workspace's state.
        judge: Asks the checks on a view in force before it takes new rows.
        reveal: Hidden views that are to be read from now on: the stamp, and from when on reads are answered.

    Returns:
        The errors of views that could not follow, by their name in the store.
    """
    online = context.environment.online
    while True:
        with online.read() as snapshot:
            found = _to_follow(snapshot, reveal)
        computed, failed = _compute(context, found, judge)
        known = {state.variant.name: coverage for state, coverage in found}
        with online.read() as snapshot:
            if known != {view: snapshot.coverage(view) for view in known}:
                continue
            batch = {view: change(snapshot) for view, change in computed.items()}
        batch = {view: change for view, change in batch.items() if change is None or _moves(change, known[view])}
        if not batch or online.write(batch, if_covered=known):
            return failed


def _to_follow(snapshot: Snapshot, reveal: Mapping[int, int]) -> list[tuple[State, Coverage]]:
    """Return the views to update, as they will be and as they are; hidden ones belong to their writer."""
    found = []
    for state in states(snapshot):
        coverage = state.coverage
        if not coverage.is_hidden:
            found.append((state, coverage))
        elif coverage.stamp in reveal:
            found.append((state._replace(coverage=coverage._replace(at=reveal[coverage.stamp])), coverage))
    return found


def _moves(change: Change, known: Coverage) -> bool:
    return change.coverage != known or bool(change.newest or change.full or change.gone)


class _New(NamedTuple):
    """The new rows: up to which sequence, and which sources have rows that a view lacks."""

    sequence: int
    sources: set[str]


class Origin(NamedTuple):
    """The origin of a view's rows; if it has changed, the view is rewritten."""

    segment: int
    """The newest file of a rebuilt source, which has one at a time; 0 for any other."""
    begins: int
    """The sequence after which the generation of any other source begins; 0 for a rebuilt one."""


def _compute(
    context: Context, found: Sequence[tuple[State, Coverage]], judge: Judge | None
) -> tuple[dict[bytes, Computed], dict[bytes, TinyMLOpsError]]:
    """Compute the changes that bring views up to date; also return the errors of those that cannot be."""
    work = _Work(context)
    origins = {
        state.variant.name: work.attempt(state, partial(origin_of, context, state.variant)) for state, _ in found
    }
    sequence = context.environment.database.sequence()  # after the origins, so that these are not newer
    after = min((state.coverage.sequence for state, _ in found), default=sequence)
    new = _New(sequence, sources_after(context, after))
    for state, _ in found:
        view = state.variant.name
        origin = origins[view]
        if origin is not None and work.passes(state, new, judge):
            change = work.attempt(state, partial(_following, context, state, origin, new))
            if change is not None:
                work.computed[view] = change
    return work.computed, work.failed


class _Work:
    """The result for each view, and the errors of those that failed."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.computed: dict[bytes, Computed] = {}
        self.failed: dict[bytes, TinyMLOpsError] = {}

    def attempt(self, state: State, step: Callable[[], R]) -> R | None:
        """Run a step for a view; None if it fails."""
        try:
            return step()
        except (DataError, DefinitionError) as error:
            if _is_in_force(self._context, state.variant):
                self.failed[state.variant.name] = error
            else:
                # Its code is gone, so it cannot be brought up to date: a request for it reads history.
                self.computed[state.variant.name] = _removed
            return None

    def passes(self, state: State, new: _New, judge: Judge | None) -> bool:
        """Return whether a view may take its new rows."""
        place = place_of(self._context.environment.database, state.variant.sources[-1].name)
        if judge is None or place not in new.sources or not _is_in_force(self._context, state.variant):
            return True
        view = self._context.definitions.get(ViewSpec, state.variant.view.name)
        self.attempt(state, lambda: judge(self._context, view, state.coverage.sequence))
        return state.variant.name not in self.failed


def _removed(_: Snapshot) -> None:
    return None


def _following(context: Context, state: State, origin: Origin, new: _New) -> Computed:
    """Compute the change that brings a view up to date. The time from which reads are answered stays."""
    variant, coverage = state.variant, state.coverage
    source = variant.sources[-1]
    rewritten = partial(_rewritten, context, variant, origin, new.sequence, coverage.at)
    if _reads_others(state, origin):
        return rewritten()
    frame = pl.DataFrame()
    if place_of(context.environment.database, source.name) in new.sources:
        frame = _history(context, variant, after=coverage.sequence, as_of=new.sequence)
    if not frame.height:
        return partial(_added, state, new.sequence, [], None)
    keys = _changed_keys(context, variant, frame, coverage.sequence)
    layout, rows = arranged(variant, frame.join(keys, on=variant.key, how="anti", maintain_order="left"))
    if layout != state.layout:
        return rewritten()
    whole = None
    if keys.height:
        everything = _history(context, variant, as_of=new.sequence)
        layout, whole = arranged(variant, everything.join(keys, on=variant.key, how="semi", maintain_order="left"))
        if layout != state.layout:
            return rewritten()
        whole = filtered(whole, needed(whole, layout, variant.view, coverage.at))  # a key may have no rows left
    return partial(_added, state, new.sequence, [rows], whole)


class Part(NamedTuple):
    """Rows that replace those that their keys had, or those in the newest entry."""

    rows: KeyRows
    """A key without rows is removed."""
    full: Array
    """int64[K], full entries of each key in the store."""
    before: Array
    """int64[K], how many of them stay."""
    known: int
    """How many of the keys had rows."""


def _added(state: State, sequence: int, new: Sequence[KeyRows], whole: KeyRows | None, snapshot: Snapshot) -> Change:
    parts = [_appended(snapshot, state, rows) for rows in new]
    if whole is not None:
        old, full = _newest_rows(snapshot, state, whole.keys)
        parts.append(Part(whole, full, np.zeros_like(full), _count_keys(old)))
    return changed(state, parts, sequence=sequence)


def _appended(snapshot: Snapshot, state: State, new: KeyRows) -> Part:
    """Add rows to the newest entries of their keys, or, for a row that comes before those, to all of the key's."""
    variant, layout = state.variant, state.layout
    old, full = _newest_rows(snapshot, state, new.keys)
    before = full
    if full.any():
        begins = np.minimum(old.offsets[:-1], max(old.columns.shape[1] - 1, 0))
        # A newest entry has rows, so the first of a key that has full ones is its own.
        late = (full > 0) & (new.columns[EVENT][new.offsets[:-1]] <= old.columns[EVENT][begins])
        if late.any():
            before = np.where(late, 0, full)
            old, _ = variant.rows(snapshot, layout, new.keys, whole=late)
    return Part(merged(old, new), full, before, _count_keys(old))


def _newest_rows(snapshot: Snapshot, state: State, keys: list[bytes]) -> tuple[KeyRows, Array]:
    return state.variant.rows(snapshot, state.layout, keys, whole=np.zeros(len(keys), np.bool_))


def _count_keys(rows: KeyRows) -> int:
    """Return how many keys have rows."""
    return int((np.diff(rows.offsets) > 0).sum())


def changed(state: State, parts: Sequence[Part], **moved: int) -> Change:
    """Return the function that writes parts of a view.

    Args:
        state: The view.
        parts: Parts with different keys.
        moved: Fields of the coverage that change.
    """
    keys, gone, newest, full = state.coverage.keys, [], [], []
    for part in parts:
        keys += _count_keys(part.rows) - part.known
        for place in np.flatnonzero(part.full > part.before).tolist():
            name = part.rows.keys[place]
            gone += [(name, number) for number in range(int(part.before[place]), int(part.full[place]))]
        more_newest, more_full = packed(part.rows, part.before)
        newest += more_newest
        full += more_full
    return Change(state.coverage._replace(keys=keys, **moved), newest, full, gone)


def _rewritten(context: Context, variant: Variant, origin: Origin, sequence: int, at: int) -> Computed:
    change = written_anew(context, variant, origin, sequence, at)
    return lambda _: change


def written_anew(context: Context, variant: Variant, origin: Origin, sequence: int, at: int) -> Change:
    """Compute from history what the online store must hold of a view for reads at a time and later.

    Args:
        context: The workspace's state.
        variant: The view.
        origin: The origin of its rows, found before `sequence` was read.
        sequence: The rows up to this sequence are used.
        at: The time, microseconds UTC.

    Raises:
        DataError: If the view's expressions do not fit its rows.
    """
    layout, rows = arranged(variant, _history(context, variant, as_of=sequence), at=at)
    newest, full = packed(rows, np.zeros(len(rows.keys), np.int64))
    rebuilt = newest_rebuild(context.with_definitions(variant.definitions), variant.sources[-1].name)
    description = Description(variant.lineage, origin.segment, layout, secrets.randbits(63), rebuilt, origin.begins)
    coverage = Coverage(sequence, at, len(rows.keys), description.stamp)
    return Change(coverage, sorted(newest), sorted(full), (), description.encoded(), variant.view.name)


def _history(context: Context, variant: Variant, *, after: int = 0, as_of: int) -> pl.DataFrame:
    """Return the parts of its source's rows that the view uses, by the definitions that it was materialized with."""
    reader = context.with_definitions(variant.definitions)
    rows = stored_rows(reader, variant.sources[0].name, after=after, as_of=as_of)
    return rows.select(_used_columns(variant, rows)).drop_nulls(variant.key)


def _changed_keys(context: Context, variant: Variant, new: pl.DataFrame, after: int) -> pl.DataFrame:
    """Return the keys with a delete or a new version of an earlier event: trimmed rows may win again."""
    source = variant.sources[-1]
    database = context.environment.database
    changed = new["__deleted"]
    if source.id is not None and _has_corrections(context, source.name, place_of(database, source.name), after):
        reader = context.with_definitions(variant.definitions)
        known = stored_rows(reader, source.name, [source.id]).filter(pl.col("__sequence") <= after)
        changed = changed | new[source.id].is_in(known[source.id].drop_nulls().implode())
    return new.filter(changed).select(variant.key).unique()


def _has_corrections(context: Context, name: str, source: str, after: int) -> bool:
    """Return whether a row after a sequence may have the id of one before: cheap where none does."""
    if any(segment.corrections and segment.last > after for segment in live_segments(context, name)):
        return True
    return brings_known_events(context.environment.database, source, after=after)


def _used_columns(variant: Variant, rows: pl.DataFrame) -> list[str]:
    """Return the columns that a read of the view uses, in a fixed order."""
    source = variant.sources[-1]
    used = {*variant.key, *SYSTEM} | {column for column in (source.id, source.delay_column) if column}
    for feature in variant.view.features.values():
        used |= columns_of(feature)
    return sorted(used & set(rows.columns))


def origin_of(context: Context, variant: Variant) -> Origin:
    """Return the present origin of a view's rows."""
    source = variant.sources[-1]
    if source.inputs:
        reader = context.with_definitions(variant.definitions)
        return Origin(max((segment.id or 0 for segment in segments_of(reader, source)), default=0), 0)
    database = context.environment.database
    place = place_of(database, source.name)
    return Origin(0, span_of(database, source, place, database.get(SourceState, source=place)).begins)


def _reads_others(state: State, origin: Origin) -> bool:
    """Return whether the view's source was rebuilt, or has begun another generation of rows, since it was written."""
    description = state.description
    if state.variant.sources[-1].inputs:
        return description.segment != origin.segment
    return description.begins != origin.begins


def _is_in_force(context: Context, variant: Variant) -> bool:
    view = context.definitions.of(ViewSpec).get(variant.view.name)
    return view is not None and Variant.of(context.definitions, view).id == variant.id
