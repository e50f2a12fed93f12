"""Labels: the outcome of each spine row over the window after it, and whether it can be known yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError, LeakageError
from tinymlops.features.compute.aggregates import compute
from tinymlops.features.compute.arranged import history_of
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.expressions import columns_of, with_window
from tinymlops.features.definitions.specs import EntitySpec, LabelSpec, SourceSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.prepared import history_from_store
from tinymlops.features.history.stored import known_columns, newest_progress, state_of, stored_rows
from tinymlops.features.join.record_times import delay_micros
from tinymlops.registry.history import said_complete_until

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context

__all__ = ["complete_until", "known_after", "outcomes_of"]


def outcomes_of(
    context: Context,
    label: LabelSpec,
    spine: pl.DataFrame,
    time: Array,
    *,
    complete: int,
    as_of: int | None = None,
    rows: pl.DataFrame | None = None,
) -> tuple[pl.Series, Array]:
    """Return each row's outcome over `(t + gap, t + gap + horizon]`, and whether it can be known.

    Args:
        context: The workspace's state.
        label: The label.
        spine: The key columns of the label's entity.
        time: int64[m] spine times, microseconds UTC.
        complete: Until when the label's source is complete, as `complete_until` returns it.
        as_of: Use only rows with a sequence up to this one; None for all.
        rows: The rows of the label's source to read, as a label reads them; None for those of history.

    Raises:
        DataError: If the spine lacks a key column.
    """
    entity = context.definitions.get(EntitySpec, label.entity)
    source = context.definitions.get(SourceSpec, label.source)
    missing = [column for column in entity.key if column not in spine.columns]
    if missing:
        raise DataError(
            f"the spine has no column {missing[0]!r}, the key of label {label.name!r}",
            hint=f"let the spine source return {missing[0]!r}",
        )
    keys = [spine[column] for column in entity.key]
    columns = columns_of(label.expression)
    if rows is None:
        history = history_from_store(context, source, entity, keys, columns, outcome=True, as_of=as_of)
    else:
        origin, key = graph.origin(context.definitions, source), context.definitions.key_columns(entity, source)
        history = history_of(rows, origin, key, keys, outcome=True)
    windowed = with_window(label.expression, label.horizon)
    end = time + (label.gap + label.horizon)
    # A window is [end - w, end) and the look-ahead (t + gap, end]: one microsecond later they are the same.
    outcome = compute(history, {label.name: windowed}, end + 1, strict=True, ttl=None)[label.name]
    return outcome, time + known_after(context, label, as_of=as_of) <= complete


def known_after(context: Context, label: LabelSpec, *, as_of: int | None = None) -> int:
    """Return how long after a spine row its outcome can be known, microseconds: the window, and how late rows may come.

    Args:
        context: The workspace's state.
        label: The label.
        as_of: By rows with a sequence up to this one; None for all.
    """
    origin = graph.origin(context.definitions, context.definitions.get(SourceSpec, label.source))
    return label.gap + label.horizon + _longest_delay(context, origin, as_of)


def _longest_delay(context: Context, origin: SourceSpec, as_of: int | None) -> int:
    """Return how long after its event a row may still come, microseconds: for a column of delays, the greatest one."""
    if origin.delay_column is None:
        return origin.delay
    rows = stored_rows(context, origin.name, [origin.delay_column], as_of=as_of)
    return int(delay_micros(rows[origin.delay_column]).max(initial=0))


def complete_until(context: Context, label: LabelSpec, *, as_of: int | None = None) -> int:
    """Return until when a label's source is complete, microseconds UTC: as the user declared, or its newest event.

    An event after the clock's time does not count.

    Args:
        context: The workspace's state.
        label: The label.
        as_of: As known at this sequence; None for now.

    Raises:
        NotFoundError: If a source under it was never ingested.
        LeakageError: If it is unknown.
    """
    bases = graph.base_sources(context.definitions, label.source)
    for name in bases:
        source = context.definitions.get(SourceSpec, name)
        if not source.in_place:
            known_columns(source, state_of(context, name))
    known = [
        _said_or_seen(context, name, as_of) for name in bases if context.definitions.get(SourceSpec, name).timestamp
    ]
    if not known or None in known:
        raise LeakageError(
            f"it is unknown until when source {label.source!r} is complete",
            hint="ingest or push its rows, or call ws.ingest(complete_until=...)",
        )
    return min(value for value in known if value is not None)


def _said_or_seen(context: Context, source: str, as_of: int | None) -> int | None:
    database = context.environment.database
    until = database.sequence() if as_of is None else as_of
    said = said_complete_until(database, place_of(database, source), up_to=until)
    if said is not None and not context.definitions.get(SourceSpec, source).in_place:
        return said
    newest = newest_progress(context, source, as_of=as_of)
    return None if newest is None else min(newest, context.now())
