"""Features over a range of time without a spine: the spine is made of the rows that the views have themselves."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.compute.arranged import ALWAYS, key_columns
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import EntitySpec, FeatureRequest, OnDemandSpec, SourceSpec, ViewSpec
from tinymlops.features.history.stored import final_versions, stored_rows
from tinymlops.times import from_micros, parse_duration, parse_instant, parse_zone, to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context

__all__ = ["Range", "range_asked_for", "spine_of_range"]

_EVENT = "__event"
_MOST_ROWS = 2**28


class Range(NamedTuple):
    """A range of time; all in microseconds, UTC."""

    start: int
    end: int
    """Not in it."""
    every: int | None
    """From one moment to the next; None for the moments at which something changed."""


def range_asked_for(
    start: datetime | date | str | None,
    end: datetime | date | str | None,
    every: str | timedelta | None,
    *,
    tz: str | None,
    has_spine: bool,
) -> Range | None:
    """Read a range as a user gives it; None where there is a spine instead.

    Raises:
        DefinitionError: If there are both a spine and a range or neither, only one end is given, or the range is empty.
        DataError: If an end is not a time, or has no zone and none is given.
    """
    if has_spine:
        if (start, end, every) != (None, None, None):
            raise DefinitionError(
                "a spine says itself at which times", hint="leave out start, end and every, or the spine"
            )
        return None
    if start is None or end is None:
        raise DefinitionError(
            f"without a spine a range of time is needed, with both ends, and not start={start!r} and end={end!r}",
            hint='pass a spine, or write start="2024-01-01T00:00:00Z", end="2024-02-01T00:00:00Z"',
        )
    zone = None if tz is None else parse_zone(tz)
    first, last = (
        to_micros(parse_instant(value, name=name, zone=zone)) for name, value in (("start", start), ("end", end))
    )
    if first >= last:
        raise DefinitionError(f"start={start!r} is not before end={end!r}", hint="the end itself is not in the range")
    return Range(first, last, None if every is None else parse_duration(every, name="every"))


def spine_of_range(
    context: Context, requests: Sequence[FeatureRequest], within: Range, *, timestamp: str, as_of: int
) -> pl.DataFrame:
    """Return the keys and times of a range, by the rows that views have.

    Only final versions of rows with an event time and a whole key count. What was deleted by its id never was. A delete
    without an id counts, for it is a change.

    Args:
        context: The workspace's state.
        requests: What is asked for.
        within: Which time.
        timestamp: What to call the column of times.
        as_of: By the rows up to this sequence.

    Returns:
        The key columns and the times, each pair once, sorted by time and then by key. Without `every` a pair is a key and an
        event time of it; with `every` it is a key and a moment of the grid that is not before the key's first event time. Rows
        of a static source have no event time: they give no pair without `every`, and their keys stand at every moment
        with it.

    Raises:
        DefinitionError: If the views have different key columns, or a request field is needed.
        DataError: If a column would occur twice, or the grid has too many rows.
    """
    on = _key_of(context, requests)
    if timestamp in on:
        raise DataError(
            f"the times would be called {timestamp!r}, which is a key column", hint='name them: timestamp="..."'
        )
    events = _events(context, requests, on, as_of)
    if within.every is None:
        found = events.filter(pl.col(_EVENT) >= within.start, pl.col(_EVENT) < within.end).unique()
    else:
        found = _on_grid(events, within, on, within.every)
    found = found.sort(_EVENT, *on)
    return found.with_columns(pl.col(_EVENT).cast(pl.Datetime("us", "UTC"))).rename({_EVENT: timestamp})


def _key_of(context: Context, requests: Sequence[FeatureRequest]) -> tuple[str, ...]:
    """Return the key columns of the spine, which all views must share."""
    found: dict[frozenset[str], tuple[str, tuple[str, ...]]] = {}
    for request in requests:
        definitions = context.definitions.for_request(request)
        if request.on_demand:
            _refuse_fields(definitions.get(OnDemandSpec, request.view))
            continue
        view = definitions.get(ViewSpec, request.view)
        on = request.on or definitions.get(EntitySpec, view.entity).key
        found.setdefault(frozenset(on), (view.name, on))
    if not found:
        raise DefinitionError("no feature view is asked for", hint="ask for at least one, or pass a spine")
    if len(found) > 1:
        (one, its), (other, others), *_ = found.values()
        raise DefinitionError(
            f"views {one!r} and {other!r} have different keys ({', '.join(its)}; {', '.join(others)}): a range of time says "
            "of which entity rows are for one key alone",
            hint="ask for each by itself, or pass a spine that has both keys",
        )
    ((_, on),) = found.values()
    return on


def _refuse_fields(view: OnDemandSpec) -> None:
    if view.request:
        raise DefinitionError(
            f"on-demand view {view.name!r} needs request fields ({', '.join(view.request)}), which a range of time does "
            "not have",
            hint="leave the view out, or pass a spine with these columns",
        )


def _events(context: Context, requests: Sequence[FeatureRequest], on: tuple[str, ...], as_of: int) -> pl.DataFrame:
    """Return keys and event times of the rows that views read, each pair perhaps several times."""
    parts: dict[tuple[str, str, tuple[str, ...]], pl.DataFrame] = {}
    for request in requests:
        if request.on_demand:
            continue
        reader = context.for_request(request)
        definitions = reader.definitions
        view = definitions.get(ViewSpec, request.view)
        source = definitions.get(SourceSpec, view.source)
        entity = definitions.get(EntitySpec, view.entity)
        key = definitions.key_columns(entity, source)
        names = request.on or entity.key
        part = (title_of(request), source.name, names) if reader is not context else ("", source.name, names)
        if part not in parts:
            parts[part] = _of_source(reader, source, dict(zip(names, key, strict=True)), as_of).select(*on, _EVENT)
    return pl.concat(parts.values(), how="vertical_relaxed")


def _of_source(context: Context, source: SourceSpec, key: dict[str, str], as_of: int) -> pl.DataFrame:
    origin = graph.origin(context.definitions, source)
    wanted = list(dict.fromkeys([*key.values(), *([origin.id] if origin.id else [])]))
    rows = final_versions(stored_rows(context, source.name, None if source.row_wise else wanted, as_of=as_of), origin)
    if origin.id is not None:
        rows = rows.filter(~pl.col("__deleted") | pl.col(origin.id).is_null())
    if origin.timestamp is None:
        rows = rows.with_columns(pl.lit(ALWAYS).alias(_EVENT))
    keys = [
        _plain(series.alias(name)) for name, series in zip(key, key_columns(rows, source, [*key.values()]), strict=True)
    ]
    return pl.DataFrame([*keys, rows[_EVENT]]).drop_nulls()


def _plain(series: pl.Series) -> pl.Series:
    """Make categories text, so that those of two sources can be put together."""
    return series.cast(pl.String) if isinstance(series.dtype, pl.Enum | pl.Categorical) else series


def _on_grid(events: pl.DataFrame, within: Range, on: tuple[str, ...], every: int) -> pl.DataFrame:
    """Return each key at each moment of a grid from its first event time on."""
    firsts = events.group_by(on).agg(pl.col(_EVENT).min()).filter(pl.col(_EVENT) < within.end)
    moments = -((within.start - within.end) // every)
    # Event times may lie near the ends of 64 bits; within the range nothing overflows.
    late = np.maximum(firsts[_EVENT].to_numpy(), within.start) - within.start
    first = (late + (every - 1)) // every
    counts = np.maximum(moments - first, 0)
    if int(counts.sum()) > _MOST_ROWS:
        raise DataError(
            f"a row every {every:,} microseconds from {from_micros(within.start).isoformat()} on makes {int(counts.sum()):,} "
            f"rows of {firsts.height:,} keys",
            hint="make every= longer, or the range shorter",
        )
    place = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    at = within.start + every * (np.repeat(first, counts) + place)
    keys = firsts.select(on)[np.repeat(np.arange(firsts.height), counts)]
    return keys.with_columns(pl.Series(_EVENT, at, dtype=pl.Int64))
