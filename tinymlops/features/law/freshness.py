"""How fresh the rows of sources are: how old the newest event is, and how long after their events rows come."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.generations import place_of
from tinymlops.records import SourceState
from tinymlops.registry.arrivals import arrivals_of
from tinymlops.times import format_duration, from_micros

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tinymlops.features.context import Context

__all__ = ["Freshness", "ages", "freshness_of", "in_place", "late_sources", "rough"]

_TOLERANCE = 1.1
"""Lags are known to a tenth."""
_UNITS = (86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000, 1_000)
_LEAST_UNITS = 10
"""A duration is written in a unit of which it has so many."""


class Freshness(NamedTuple):
    """How fresh the rows of one source are."""

    newest_event: datetime | None
    age: int | None
    """Microseconds from its newest event until now; None where there are no events."""
    p50: int | None
    """Half of the rows came at most so many microseconds after their events; None where none were counted."""
    p95: int | None
    late: str
    """Why its `delay=` is too short; empty if it is not."""
    in_place: bool = False
    """Whether its rows are read where they are: nothing is known of them until they are read."""


def freshness_of(context: Context, source: SourceSpec) -> Freshness:
    """Return how fresh the rows of a source are; no row is read."""
    if source.in_place:
        return Freshness(None, None, None, None, "", in_place=True)
    database = context.environment.database
    place = place_of(database, source.name)
    state = database.get(SourceState, source=place)
    event = None if state is None or source.timestamp is None else state.max_event
    arrivals = arrivals_of(database, place)
    late = ""
    if arrivals is not None and source.delay and arrivals.p95 > source.delay * _TOLERANCE:
        late = (
            f"source {source.name} declares delay={format_duration(source.delay)!r}, and 5 % of its rows come more than "
            f"{rough(arrivals.p95)} after their events"
        )
    return Freshness(
        newest_event=None if event is None else from_micros(event),
        age=None if event is None else max(context.now() - event, 0),
        p50=None if arrivals is None else arrivals.p50,
        p95=None if arrivals is None else arrivals.p95,
        late=late,
    )


def late_sources(context: Context) -> Iterator[str]:
    """Yield what is said of sources that declare a shorter delay than their rows have."""
    for source in context.definitions.of(SourceSpec).values():
        if not source.inputs and (late := freshness_of(context, source).late):
            yield f"{late}: what training takes as known then, production has only later"


def ages(context: Context) -> dict[str, float]:
    """Return for each source how many seconds ago its newest event was."""
    found = {
        source.name: freshness_of(context, source).age
        for source in context.definitions.of(SourceSpec).values()
        if not source.inputs
    }
    return {name: age / 1e6 for name, age in found.items() if age is not None}


def in_place(context: Context) -> list[str]:
    """Return the sources that are read in place, whose age nobody knows without reading them."""
    return [source.name for source in context.definitions.of(SourceSpec).values() if source.in_place]


def rough(micros: int) -> str:
    """Write a duration in few digits.

    Example:
        >>> rough(100_000_001), rough(93_784_000_000), rough(420)
        ('1m40s', '1d2h', '420us')
    """
    unit = next((one for one in _UNITS if micros >= _LEAST_UNITS * one), 1)
    return format_duration(micros // unit * unit)
