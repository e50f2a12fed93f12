"""How a view's rows become known, and how much depends on it: the part of a build report about each view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tinymlops.features.compute.views import ComputePlan, compute_view, plan_view
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import FeatureRequest, Known, SourceSpec, ViewSpec
from tinymlops.features.history.corrections import Commits
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.stored import stored_rows
from tinymlops.kernels.records import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.features.history.historical import FeatureColumns

__all__ = ["Knowledge", "knowledge_of"]


class Knowledge(msgspec.Struct, frozen=True):
    """How a view's rows became known."""

    known: Known
    """`event`: from their created time on; `observed`: by their event time, and a correction from its commit on; `latest`:
    the final version, whenever it was stored."""
    cells_changed: int
    """How many cells of the spine another mode would change: for `latest`, those that `observed` would."""
    committed_after: int = 0
    """How many cells depend on rows that were committed after the spine row's time: a first snapshot of a table that
    changes shows its last state; a change log or `created=` avoids that."""


def knowledge_of(
    context: Context,
    spine: pl.DataFrame,
    time: Array,
    requests: Sequence[FeatureRequest],
    table: FeatureColumns,
    *,
    spine_source: str,
    as_of: int,
) -> dict[str, Knowledge]:
    """Return how each view's rows were dated (`known=`), and compare its features with those of other modes.

    Args:
        context: The workspace's state.
        spine: As for `features_for`.
        time: As for `features_for`.
        requests: The computed features; on-demand views follow from the others.
        table: The result.
        spine_source: As for `features_for`.
        as_of: As for `features_for`.
    """
    found: dict[str, Knowledge] = {}
    for request in requests:
        if request.on_demand:
            continue
        reader = context.for_request(request)
        view = reader.definitions.get(ViewSpec, request.view)
        origin = graph.origin(reader.definitions, reader.definitions.get(SourceSpec, view.source))
        plan = plan_view(context.definitions, request, spine_source=spine_source)
        asked = _Asked(reader, spine, time, request, table, plan)
        rows = stored_rows(reader, view.source, as_of=as_of)
        changed, after = _changed(asked, origin, rows, as_of), _committed_after(asked, origin, rows)
        before = found.get(title_of(request), Knowledge(origin.knowledge, 0))
        found[title_of(request)] = Knowledge(
            origin.knowledge, before.cells_changed + changed, before.committed_after + after
        )
    return found


class _Asked:
    """The result of one view, and how to compute it from other rows."""

    def __init__(
        self,
        context: Context,
        spine: pl.DataFrame,
        time: Array,
        request: FeatureRequest,
        table: FeatureColumns,
        plan: ComputePlan,
    ) -> None:
        self.context, self.time, self.request = context, time, request
        self._spine, self._table, self._plan = spine, table, plan

    def differing(self, rows: pl.DataFrame, origin: SourceSpec) -> int:
        """Count the cells that change if the rows are read by another definition of their source."""
        plan = msgspec.structs.replace(self._plan, source=origin)
        other = compute_view(plan, rows, self._spine, self.time)
        return sum(int(values.ne_missing(self._table.columns[name]).sum()) for name, values in other.columns.items())


def _changed(asked: _Asked, origin: SourceSpec, rows: pl.DataFrame, as_of: int) -> int:
    """Count the cells that another mode would change; late rows change cells by `event`, only corrections the others."""
    if origin.knowledge == "event":
        # Created times only decide which version is the greater: all of them are before any event.
        order = rows["__created"].rank("dense").cast(pl.Int64).fill_null(0)
        return asked.differing(rows.with_columns((order + (NEVER + 1)).alias("__created")), origin)
    if origin.knowledge == "observed":
        if rows["__created"].null_count() == rows.height:
            return 0
        latest = msgspec.structs.replace(origin, known=msgspec.UNSET)
        return asked.differing(rows.with_columns(pl.lit(None, pl.Int64).alias("__created")), latest)
    if origin.id is None or origin.timestamp is None or origin.inputs or origin.in_place:
        return 0  # of rows in place nobody saw a change
    observed = msgspec.structs.replace(origin, known="observed")
    view = asked.context.definitions.get(ViewSpec, asked.request.view)
    every = [observed if spec is origin else spec for spec in asked.context.definitions.all]
    rows = stored_rows(asked.context.with_definitions(Definitions(every)), view.source, as_of=as_of)
    return 0 if rows["__created"].null_count() == rows.height else asked.differing(rows, observed)


def _committed_after(asked: _Asked, origin: SourceSpec, rows: pl.DataFrame) -> int:
    """Count the cells that would change if each row counted from its commit at the earliest."""
    time = asked.time
    if origin.via == "push" or origin.timestamp is None or not rows.height or not time.size or origin.in_place:
        return 0  # a pushed row counts from its commit, and rows in place have none
    database = asked.context.environment.database
    commits = pl.Series(Commits(database, place_of(database, origin.name)).times_of(rows["__sequence"]))
    if commits.max() <= int(time.min()):  # type: ignore[operator]  # there are rows
        return 0
    known = rows.with_columns(pl.max_horizontal("__created", commits).alias("__created"))
    known = known.filter(pl.col("__created") <= int(time.max()))
    by_commit = msgspec.structs.replace(origin, created="__created", known=msgspec.UNSET)
    return asked.differing(known, by_commit)
