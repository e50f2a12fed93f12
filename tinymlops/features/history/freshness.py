"""Measured freshness: how long after its event a row became known, and how old the newest rows are.

The delay of a row is its created time less its event time. Where its source sends no created time it is the ingest's
time instead, for rows that are new: what the first ingest brings says nothing about that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.features.history.generations import place_of
from tinymlops.records import SourceDelay, SourceState
from tinymlops.times import format_duration, from_micros, to_micros

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = [
    "BIN_WIDTH",
    "ENOUGH",
    "Freshness",
    "ages_of",
    "delays_in",
    "freshness_of",
    "merged",
    "newest_event",
    "quantile",
    "shortened_duration",
]

ENOUGH = 20
"""Rows from which on quantiles are told."""
_PER_DOUBLING = 6
"""Bins between a delay and its double: one bin is 12 % wide."""
BIN_WIDTH: float = 2 ** (1 / _PER_DOUBLING)
"""How many times too great a quantile may be."""
_LEAST = 1_000
"""Microseconds: delays below count as none."""


class Freshness(NamedTuple):
    """How fresh a source is."""

    rows: int
    """Whose delay was measured."""
    p50: int | None
    """Microseconds in which half of the rows are known; None for too few."""
    p95: int | None


def delays_in(
    source: SourceSpec, rows: pl.DataFrame, known: pl.Series | None, at: datetime, *, first: bool
) -> dict[str, int]:
    """Count the delays of rows that one ingest brings.

    Args:
        source: Whose rows.
        rows: Those that are stored, with their times.
        known: The ids among them that history has: a correction comes late by its nature.
        at: When they are ingested.
        first: Whether history has no rows yet.

    Returns:
        Bin to count.
    """
    import polars as pl

    if source.timestamp is None or (source.created is None and first) or not rows.height:
        return {}
    fresh = rows.filter(~pl.col("__deleted"))
    if source.id is not None:
        if known is not None:
            fresh = fresh.join(known.to_frame(source.id), on=source.id, how="anti")
        fresh = fresh.unique(source.id, keep="first", maintain_order=True)
    created = pl.col("__created") if source.created is not None else pl.lit(to_micros(at))
    delays = fresh.select((created - pl.col("__event")).alias("delay")).drop_nulls()
    binned = delays.select(
        pl.when(pl.col("delay") < _LEAST)
        .then(-1)
        .otherwise(((pl.col("delay").clip(_LEAST) / _LEAST).log(2) * _PER_DOUBLING).floor())
        .cast(pl.Int64)
        .alias("bin")
    )
    return {str(place): count for place, count in binned["bin"].value_counts().sort("bin").iter_rows()}


def merged(tx: Transaction | Database, place: str, counts: dict[str, int], at: datetime) -> SourceDelay | None:
    """Return the counts of a source with more added to them; None if there is nothing to add."""
    if not counts:
        return None
    before = tx.get(SourceDelay, source=place)
    bins = {} if before is None else before.bins
    both = {place: bins.get(place, 0) + counts.get(place, 0) for place in {**bins, **counts}}
    return SourceDelay(source=place, bins=dict(sorted(both.items(), key=lambda one: int(one[0]))), at=at)


def quantile(bins: dict[str, int], share: float) -> int | None:
    """Return the delay in which a share of the rows is known, in microseconds; None for fewer than `ENOUGH` rows.

    It is the upper end of a bin, so at most 12 % too great.

    Example:
        >>> quantile({"-1": 50, "0": 50}, 0.5)
        0
    """
    total = sum(bins.values())
    if total < ENOUGH:
        return None
    wanted, seen = math.ceil(share * total), 0
    for place in sorted(map(int, bins)):
        seen += bins[str(place)]
        if seen >= wanted:
            return 0 if place < 0 else math.ceil(_LEAST * 2 ** ((place + 1) / _PER_DOUBLING))
    return None


def freshness_of(context: Context, source: SourceSpec) -> Freshness:
    """Return how fresh a source is, as its ingests measured it."""
    database = context.environment.database
    found = database.get(SourceDelay, source=place_of(database, source.name))
    bins = {} if found is None else found.bins
    return Freshness(sum(bins.values()), quantile(bins, 0.5), quantile(bins, 0.95))


def ages_of(context: Context) -> dict[str, float]:
    """Return the seconds since rows of each source were last ingested; pushed sources are not read, so they have no age."""
    from tinymlops.features.definitions.specs import SourceSpec

    database, now, found = context.environment.database, context.now(), dict[str, float]()
    for source in context.definitions.of(SourceSpec).values():
        state = database.get(SourceState, source=place_of(database, source.name))
        if source.via != "push" and not source.row_wise and state is not None and state.ingested_at is not None:
            found[source.name] = max(now - to_micros(state.ingested_at), 0) / 1_000_000
    return found


def newest_event(state: SourceState | None) -> datetime | None:
    """Return the greatest event time of a source's rows."""
    return None if state is None or state.max_event is None else from_micros(state.max_event)


def shortened_duration(micros: int) -> str:
    """Write a duration in its two greatest units, rounded up.

    Example:
        >>> shortened_duration(7_384_000_001)
        '2h4m'
    """
    units = [unit for unit in (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1_000) if unit <= micros]
    least = units[min(1, len(units) - 1)] if units else 1
    return format_duration(-(-micros // least) * least)
