"""The rows of a source that stand behind the features of one moment: which counted, when they were, and since when known.

They are chosen by the plain rule of `visible`, and by what each expression says of windows, conditions and nulls. A feature
that is computed from these rows alone is the feature that is computed from all rows.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops._status import Status
from tinymlops.features.compute.arranged import history_of, key_columns
from tinymlops.features.compute.evaluating import evaluate
from tinymlops.features.compute.statuses import cell_statuses
from tinymlops.features.compute.views import plan_view
from tinymlops.features.definitions.expressions import Aggregate, aggregates_in, feature_of
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import ViewSpec
from tinymlops.features.law.visible import ALWAYS, Records, of_rows, visible
from tinymlops.keys import encode
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.features.compute.views import ComputePlan
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import FeatureRequest

__all__ = ["BehindFeature", "BehindView", "ShownRow", "columns_behind", "rows_behind"]

_EDGE = 3
"""Rows that are shown of the newest and of the oldest."""


class BehindFeature(NamedTuple):
    """The rows that one feature is computed from."""

    name: str
    column: str
    """As it is called in the answer: with the prefix of its role."""
    said: str
    """How it is computed, in words."""
    total: int
    first_at: datetime | None
    """Event time of the oldest of them; None without any, and of rows without a time."""
    last_at: datetime | None
    status: str
    """Of the cell, such as `EXPIRED`; a name of `tm.Status`."""


class ShownRow(NamedTuple):
    """A row that counted."""

    event_at: datetime | None
    known_from: datetime | None
    """Since when it could be known; None of a row that always could."""
    sequence: int
    values: dict[str, Any]
    """The id, and the columns that the features read."""
    features: list[str]
    """Names of the features that it counts for."""


class BehindView(NamedTuple):
    """The rows behind the features of one view."""

    title: str
    """The view, with its version if one was named."""
    view: str
    source: str
    origin: str
    """The source whose ids and times the rows have, where a row-wise transformation was made of it."""
    is_rebuilt: bool
    """Whether the rows are those of a transformation that is computed from all rows of its inputs."""
    features: list[BehindFeature]
    total: int
    rows: list[ShownRow]
    """The newest first; of many, the newest and the oldest few."""
    gap: int
    """Rows that are left out between the newest and the oldest."""


class _Own:
    """The rows of one key.

    Args:
        rows: As they are stored.
        records: The same, as the plain rule has them.
        time: By which they are seen.
    """

    def __init__(self, rows: pl.DataFrame, records: Records, time: int) -> None:
        self.rows, self.records, self._time = rows, records, time
        self._seen: dict[bool, tuple[list[int], list[float]]] = {}

    def seen(self, *, strict: bool, span: int | None, past: bool) -> list[int]:
        """Return the places of the rows that are the facts, the oldest event first.

        Args:
            strict: Whether a row that becomes known at the very time is left out.
            span: Their greatest age; None for any.
            past: Whether events of the very time, and later ones, are left out.
        """
        if strict not in self._seen:
            found = visible(self.records, range(len(self.records.event)), self._time, strict=strict)
            found.sort(key=self.order)
            self._seen[strict] = found, [self.records.event[place] for place in found]
        places, events = self._seen[strict]
        first = 0 if span is None else bisect_left(events, self._time - span)
        return places[first : bisect_left(events, self._time) if past else None]

    def order(self, place: int) -> tuple[float, tuple[float, int]]:
        """Return what says which of two rows is the newer one."""
        return self.records.event[place], self.records.order[place]


def columns_behind(context: Context, request: FeatureRequest) -> tuple[str, list[str]]:
    """Return the source that a request for a view reads, and the columns that tell which of its rows counted.

    Args:
        context: The workspace's state.
        request: For a feature view.
    """
    plan = plan_view(context.definitions, request, spine_source=None)
    reader = context.for_request(request).definitions
    own = (plan.source.id, plan.source.delay_column)
    names = dict.fromkeys([*plan.key, *(one for one in own if one is not None), *sorted(plan.columns)])
    return reader.get(ViewSpec, request.view).source, list(names)


def rows_behind(
    context: Context,
    request: FeatureRequest,
    spine: pl.DataFrame,
    time: int,
    rows: pl.DataFrame,
    *,
    spine_source: str | None,
) -> BehindView:
    """Return the rows behind the features of one view, for one row of a spine.

    Args:
        context: The workspace's state.
        request: For a feature view.
        spine: One row, with the columns of the key.
        time: Of the row, microseconds UTC.
        rows: Of the source that the view reads: the columns of `columns_behind`, and `__event`, `__created`, `__sequence` and
            `__deleted`.
        spine_source: The source the spine comes from, if any: with one that the view reads too, a row does not see itself.

    Raises:
        DataError: If the spine lacks a column of the key, or it is of another type than that of the rows.
    """
    plan = plan_view(context.definitions, request, spine_source=spine_source)
    keys = plan.keys_of(spine)
    own = _own(plan, rows, keys, time)
    found: dict[str, set[int]] = {name: set() for name in plan.features}
    for name, aggregate in aggregates_in(plan.features).items():
        found[feature_of(name)].update(_counted(plan, aggregate, own))
    every = sorted(set().union(*found.values()), key=own.order, reverse=True)
    shown = every if len(every) <= 2 * _EDGE else [*every[:_EDGE], *every[-_EDGE:]]
    return BehindView(
        title=title_of(request),
        view=request.view,
        source=context.for_request(request).definitions.get(ViewSpec, request.view).source,
        origin=plan.source.name,
        is_rebuilt=bool(plan.source.inputs),
        features=[_feature(plan, name, places, own, keys, time) for name, places in found.items()],
        total=len(every),
        rows=[_row(plan, own, place, [name for name, places in found.items() if place in places]) for place in shown],
        gap=len(every) - len(shown),
    )


def _own(plan: ComputePlan, rows: pl.DataFrame, keys: list[pl.Series], time: int) -> _Own:
    """Return the rows of a key; where all expressions are windows, those that a window may reach."""
    own = _of_key(plan, rows, keys)
    windows = [one.window for one in aggregates_in(plan.features).values()]
    if None not in windows:
        reach = max(window for window in windows if window is not None)
        may = pl.col("__event").is_between(time - reach, time)
        # Of an id with several versions, each may end another, wherever its own event is.
        own = own.filter(may if plan.source.id is None else may | pl.col(plan.source.id).is_duplicated())
    return _Own(own, of_rows(own, plan.source), time)


def _of_key(plan: ComputePlan, rows: pl.DataFrame, keys: list[pl.Series]) -> pl.DataFrame:
    wanted = pl.DataFrame([one.alias(name) for name, one in zip(plan.key, keys, strict=True)])
    if all(wanted.schema[name] == rows.schema.get(name) and not wanted.schema[name].is_float() for name in plan.key):
        return rows.join(wanted, on=list(plan.key), how="semi", maintain_order="left")
    of_spine, of_rows, _ = encode(keys, key_columns(rows, plan.source, plan.key), plan.key)
    return rows.filter(pl.Series((of_rows == of_spine[0]) & (of_rows >= 0)))


def _counted(plan: ComputePlan, aggregate: Aggregate, own: _Own) -> list[int]:
    """Return the places of the rows that one aggregate is computed from, the oldest event first."""
    window, deleted = aggregate.window, own.records.deleted
    is_window = window is not None
    places = own.seen(strict=plan.strict or is_window, span=window if is_window else plan.ttl, past=is_window)
    kept = _kept(aggregate, own.rows)
    if aggregate.function not in ("first", "last"):
        return [place for place in places if (kept is None or kept[place]) and not deleted[place]]
    return _picked(aggregate, own, [place for place in places if kept is None or kept[place] or deleted[place]])


def _picked(aggregate: Aggregate, own: _Own, places: list[int]) -> list[int]:
    """Return the row that a `first` or `last` takes; none where the newest fact is a delete."""
    deleted = own.records.deleted
    if aggregate.function == "first":  # state begins anew after a delete
        begins = max((number for number, place in enumerate(places) if deleted[place]), default=-1)
        return places[begins + 1 : begins + 2]
    return [place for place in places[-1:] if not deleted[place]]


def _kept(aggregate: Aggregate, rows: pl.DataFrame) -> list[bool] | None:
    """Say of each row whether the condition takes it, and whether it has a value where nulls are passed over; None for all."""
    parts = [] if aggregate.where is None else [evaluate(aggregate.where, rows).series.fill_null(value=False)]
    passes_nulls = aggregate.function not in ("first", "last") or aggregate.skip_nulls
    if passes_nulls and aggregate.operand is not None:
        parts.append(evaluate(aggregate.operand, rows).series.is_not_null())
    if not parts or all(part.all() for part in parts):
        return None
    return reduce(and_, parts).to_list()


def _feature(
    plan: ComputePlan, name: str, places: set[int], own: _Own, keys: list[pl.Series], time: int
) -> BehindFeature:
    events = [own.records.event[place] for place in places]
    first, last = (_moment(edge(events, default=None)) for edge in (min, max))
    status = _status(plan, plan.features[name], own, keys, time)
    return BehindFeature(name, plan.prefix + name, repr(plan.features[name])[1:-1], len(places), first, last, status)


def _status(plan: ComputePlan, feature: Aggregate, own: _Own, keys: list[pl.Series], time: int) -> str:
    """Return the status of a cell, as an answer has it; windows have a value of what they hold, if it is nothing."""
    if any(key.is_null().any() for key in keys):
        return Status.NULL_KEY.name
    if feature.window is not None or feature.function == "combined":
        return Status.PRESENT.name
    history = history_of(own.rows, plan.source, plan.key, keys)
    status, _ = cell_statuses(history, feature, np.array([time], np.int64), strict=plan.strict, ttl=plan.ttl)
    return str(status[0])


def _row(plan: ComputePlan, own: _Own, place: int, features: list[str]) -> ShownRow:
    row = own.rows.row(place, named=True)
    names = [name for name in (plan.source.id, *sorted(plan.columns)) if name is not None]
    return ShownRow(
        event_at=_moment(own.records.event[place]),
        known_from=_moment(own.records.available[place]),
        sequence=row["__sequence"],
        values={name: row[name] for name in dict.fromkeys(names)},
        features=features,
    )


def _moment(time: float | None) -> datetime | None:
    return None if time is None or time in (ALWAYS, float("inf")) else from_micros(int(time))
