"""Compute one view: its plan, which is data, the rows of its source and a spine go in, and columns come out.

A plan is self-contained: it can be pickled and computed in another process, which needs no workspace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.errors import DataError, near
from tinymlops.features.compute.aggregates import compute
from tinymlops.features.compute.arranged import history_of
from tinymlops.features.compute.statuses import cell_statuses
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.expressions import Aggregate, columns_of
from tinymlops.features.definitions.specs import EntitySpec, SourceSpec, ViewSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from tinymlops.features.compute.arranged import Array, History
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import FeatureRequest

__all__ = [
    "ComputePlan",
    "ViewColumns",
    "asked_of",
    "compute_arranged",
    "compute_view",
    "is_strict",
    "no_key",
    "plan_view",
]


class ComputePlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that the features of one view depend on, except its rows and the spine."""

    view: str
    features: dict[str, Aggregate]
    """The requested features, in order."""
    prefix: str
    """Put before the name of each column."""
    source: SourceSpec
    """The source whose times and ids the rows have."""
    key: tuple[str, ...]
    """The columns of the rows that hold the entity's key."""
    on: tuple[str, ...]
    """The columns of the spine that hold it."""
    strict: bool
    """Whether to leave out a row known at exactly the spine time."""
    ttl: int | None
    """Greatest age of a value without a window, microseconds."""

    @property
    def columns(self) -> set[str]:
        """The columns of the rows that the features read."""
        return set().union(*map(columns_of, self.features.values()))

    def keys_of(self, spine: pl.DataFrame) -> list[pl.Series]:
        """Return the spine's key columns.

        Raises:
            DataError: If one is missing.
        """
        for column in self.on:
            if column not in spine.columns:
                raise no_key(column, self.view, spine.columns)
        return [spine[column] for column in self.on]


class ViewColumns(NamedTuple):
    """The features of one view for the rows of a spine."""

    columns: dict[str, pl.Series]
    details: dict[str, pl.Series]
    """`<column>_status` and `<column>_event_time`, if requested."""
    not_finite: dict[str, int]
    """Column to the number of values that are null because the result is NaN or infinite; only columns with any."""


def plan_view(definitions: Definitions, request: FeatureRequest, *, spine_source: str | None) -> ComputePlan:
    """Make the plan for a request of a view's features.

    Args:
        definitions: The definitions to read the request by.
        request: A request for a feature view.
        spine_source: The source that the spine comes from, if any: a view that shares a base source with it sees only
            what was known strictly before each row.

    Raises:
        NotFoundError: If a name is unknown.
    """
    reader = definitions.for_request(request)
    view = reader.get(ViewSpec, request.view)
    entity = reader.get(EntitySpec, view.entity)
    source = reader.get(SourceSpec, view.source)
    return ComputePlan(
        view=view.name,
        features=asked_of(view, request),
        prefix=request.prefix,
        source=graph.origin(reader, source),
        key=tuple(reader.key_columns(entity, source)),
        on=request.on or entity.key,
        strict=is_strict(definitions, request, spine_source),
        ttl=view.ttl,
    )


def compute_view(
    plan: ComputePlan, rows: pl.DataFrame, spine: pl.DataFrame, time: Array, *, details: bool = False
) -> ViewColumns:
    """Compute the features of one view for the rows of a spine.

    Args:
        plan: The plan.
        rows: All rows of its source that have a key of the spine: the user's columns, and `__event`, `__created`,
            `__sequence` and `__deleted`.
        spine: The columns that hold the key, m rows.
        time: int64[m] spine times, microseconds UTC.
        details: Whether to return the status of each cell as well.

    Raises:
        DataError: If a column is missing or has the wrong type, or a value does not fit its type.
    """
    history = history_of(rows, plan.source, plan.key, plan.keys_of(spine))
    return compute_arranged(plan, history, time, details=details)


def compute_arranged(plan: ComputePlan, history: History, time: Array, *, details: bool = False) -> ViewColumns:
    """Compute the features of one view as `compute_view` does, from rows that are already arranged for the spine."""
    columns, reasons = {}, {}
    for name, values in compute(history, plan.features, time, strict=plan.strict, ttl=plan.ttl).items():
        column = plan.prefix + name
        columns[column] = values.alias(column)
        if details:
            status, event = cell_statuses(history, plan.features[name], time, strict=plan.strict, ttl=plan.ttl)
            reasons[f"{column}_status"] = status.alias(f"{column}_status")
            reasons[f"{column}_event_time"] = event.alias(f"{column}_event_time")
    return ViewColumns(columns, reasons, {plan.prefix + name: count for name, count in history.not_finite.items()})


def asked_of(view: ViewSpec, request: FeatureRequest) -> dict[str, Aggregate]:
    """Return the features of a view that are requested."""
    return {name: view.features[name] for name in request.features or view.features}


def is_strict(definitions: Definitions, request: FeatureRequest, spine_source: str | None) -> bool:
    """Return whether a row must not see itself: the spine and the feature share a source anywhere in their lineage.

    A source that was renamed since is the same, so those of another version are compared by where their rows are.
    """
    if spine_source is None:
        return False
    reader, places = definitions.for_request(request), definitions.places
    own = graph.base_sources(reader, reader.get(ViewSpec, request.view).source)
    spine = graph.base_sources(definitions, spine_source)
    return not {places.get(name, name) for name in own}.isdisjoint(places.get(name, name) for name in spine)


def no_key(column: str, view: str, columns: Sequence[str]) -> DataError:
    """Return the error for a spine without a column of a view's key."""
    return DataError(f"the spine has no column {column!r}, the key of {view!r}", hint=near(column, columns))
