"""Which rows of a read count: those with an event time that, under a replay clock, could be known by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tinymlops._warn import warn
from tinymlops.features.definitions.specs import EntitySpec
from tinymlops.features.join.record_times import delay_micros
from tinymlops.kernels.records import NEVER, available_from

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["SHOWN_ROWS", "available", "entity_keys", "with_event_time"]

SHOWN_ROWS = 5
"""The most row numbers, or values, that a warning names."""


def with_event_time(frame: pl.DataFrame, source: SourceSpec) -> tuple[pl.DataFrame, pl.Series]:
    """Leave out rows without an event time, with a warning; return their numbers, from 0 in the order they were read."""
    missing = frame["__event"].is_null()
    timeless = missing.arg_true()
    if source.timestamp is None or not len(timeless):
        return frame, timeless.clear()
    first = ", ".join(map(str, timeless.head(SHOWN_ROWS)))
    more = ", ..." if len(timeless) > SHOWN_ROWS else ""
    warn(
        f"source {source.name!r}: {len(timeless):,} of {frame.height:,} rows have no time in {source.timestamp!r} and were "
        f"left out: rows {first}{more}, counted from 0"
    )
    return frame.filter(~missing), timeless


def available(context: Context, frame: pl.DataFrame, source: SourceSpec) -> tuple[pl.DataFrame, int]:
    """Under a replay clock, leave out rows that could not be known by then; return how many there were."""
    if not context.replays or source.timestamp is None:
        return frame, 0
    wait = source.delay if source.delay_column is None else delay_micros(frame[source.delay_column])
    available = available_from(frame["__event"].to_numpy(), wait, frame["__created"].fill_null(NEVER).to_numpy())
    kept = frame.filter(pl.Series(available <= context.now()))
    return kept, frame.height - kept.height


def entity_keys(context: Context, source: SourceSpec) -> list[str]:
    """Return a source's columns that may hold the key of an entity."""
    entities = context.definitions.of(EntitySpec).values()
    return sorted({column for entity in entities for column in context.definitions.key_columns(entity, source)})
