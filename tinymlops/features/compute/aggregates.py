"""Compute the features of one view for spine rows: the one place where the point-in-time rule meets expressions.

Training sets, historical reads and labels come through here; every time is int64 microseconds UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.features.compute.combining import combined
from tinymlops.features.definitions.expressions import Aggregate, aggregates_in, feature_of
from tinymlops.features.join.gathering import gather
from tinymlops.kernels import asof, windows
from tinymlops.times import format_duration, from_micros

if TYPE_CHECKING:
    from tinymlops.features.compute.arranged import Array, History

__all__ = ["compute", "too_great", "winners_of"]


def compute(
    history: History,
    features: Mapping[str, Aggregate],
    time: Array,
    *,
    strict: bool,
    ttl: int | None,
) -> dict[str, pl.Series]:
    """Compute features for spine rows.

    Args:
        history: The rows, arranged for the spine's keys.
        features: Name to expression.
        time: int64[m] spine times.
        strict: Whether to leave out a row known at exactly the spine time; windows always leave it out.
        ttl: Greatest age of a value without a window.

    Returns:
        Name to m values.

    Raises:
        DataError: If a sum does not fit its type, naming key row and time, or a window has deletes without id.
    """
    aggregates = aggregates_in(features)
    for name, aggregate in aggregates.items():
        if aggregate.window is not None:
            history.require_named_deletes(feature_of(name))
        history.require_values(feature_of(name), aggregate)
    columns = _picks(history, aggregates, time, strict=strict, ttl=ttl)
    windowed = {name: aggregate for name, aggregate in aggregates.items() if name not in columns}
    if windowed:
        columns |= _reductions(history, windowed, time)
    for name, feature in features.items():
        if feature.parts is not msgspec.UNSET:
            parts = [columns[f"{name}:{place}"] for place in range(len(feature.parts))]
            values, lost = combined(name, feature, parts, time)
            columns[name] = values.alias(name)
            history.lose(name, lost)
    return {name: columns[name] for name in features}


def _reductions(history: History, features: Mapping[str, Aggregate], time: Array) -> dict[str, pl.Series]:
    """Reduce windows; features with the same operand and window share their work."""
    spine = windows.Spine(history.timeline, history.spine_key, time)
    found: dict[int, windows.Window] = {}
    reductions: dict[tuple[int, int], windows.Reduction] = {}
    columns = {}
    for name, feature in features.items():
        assert feature.window is not None
        if feature.window not in found:
            found[feature.window] = spine.window(feature.window)
        operand = history.operand(feature)
        reduction = windows.Reduction(operand, found[feature.window])
        reduction = reductions.setdefault((id(operand), feature.window), reduction)
        columns[name] = _reduce(reduction, name, feature, time).alias(name)
    return columns


def winners_of(history: History, feature: Aggregate, time: Array, *, strict: bool, ttl: int | None) -> Array:
    """Return int64[m], the arranged row that a `first` or `last` takes for each spine row, -1 for none."""
    return asof.latest(
        history.records,
        history.spine_key,
        time,
        strict=strict,
        ttl=ttl if feature.window is None else None,
        window=feature.window,
        keep=history.keep(feature),
        oldest=feature.function == "first",
    )


def _picks(
    history: History, features: Mapping[str, Aggregate], time: Array, *, strict: bool, ttl: int | None
) -> dict[str, pl.Series]:
    """Gather the values of all `first` and `last`, of any type: features with the same winner are copied together."""
    winners: dict[bytes, Array] = {}
    tables: dict[bytes, list[pl.Series]] = {}
    for name, feature in features.items():
        if feature.function not in ("first", "last"):
            continue
        assert feature.operand is not None
        apart = feature.operand if feature.skip_nulls else None
        which = msgspec.json.encode((feature.function, feature.window, feature.where, apart))
        if which not in winners:
            winners[which] = _values_only(history, winners_of(history, feature, time, strict=strict, ttl=ttl))
        tables.setdefault(which, []).append(history.series(feature.operand).alias(name))
    return {
        values.name: values for which, table in tables.items() for values in gather(pl.DataFrame(table), winners[which])
    }


def _values_only(history: History, winner: Array) -> Array:
    """Leave out winners that are deletes: they give null."""
    found = winner >= 0
    if found.any() and not history.is_value.all():
        found[found] = history.is_value[winner[found]]
        return np.where(found, winner, -1)
    return winner


def _reduce(reduction: windows.Reduction, name: str, feature: Aggregate, time: Array) -> pl.Series:
    function = "max" if feature.function == "time_since_last" else feature.function
    try:
        values, valid = reduction.compute(function, None if feature.q is msgspec.UNSET else feature.q)
    except OverflowError as error:
        row = int(error.args[0])
        raise too_great(name, feature, row, int(time[row])) from error
    if feature.function == "time_since_last":
        values = (time - values) / 1_000_000
    series = pl.Series(values)
    return series if valid.all() else series.set(pl.Series(~valid), None)


def too_great(name: str, feature: Aggregate, row: int, time: int) -> DataError:
    """Return the error for a spine row whose value does not fit the feature's type."""
    assert feature.window is not None
    return DataError(
        f"{feature.function} {feature_of(name)!r} over {format_duration(feature.window)} does not fit 64 bits at spine row "
        f"{row}, time {from_micros(time).isoformat()}",
        hint="scale the column down, or make it a float",
    )
