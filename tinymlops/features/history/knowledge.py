"""By what a view's rows count as known, and how much hangs on it: what a build report says of each view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import polars as pl

from tinymlops.features.definitions.specs import FeatureRequest, SourceSpec, ViewSpec
from tinymlops.features.history.historical import features_for
from tinymlops.features.history.stored import stored_rows
from tinymlops.kernels.records import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.history.computing import Array
    from tinymlops.features.history.historical import Table

__all__ = ["Knowledge", "knowledge_of"]


class Knowledge(msgspec.Struct, frozen=True):
    """What a view's rows were known by."""

    known: Literal["event", "latest"]
    """`event`: from their created time on; `latest`: every version, whenever it came, for there is no created time."""
    cells_changed: int
    """How many cells of the spine the other mode would change: of `latest` none, as there is nothing else to go by."""


def knowledge_of(
    context: Context,
    spine: pl.DataFrame,
    time: Array,
    requests: Sequence[FeatureRequest],
    table: Table,
    *,
    spine_source: str,
    as_of: int,
) -> dict[str, Knowledge]:
    """Say for each view what its rows were known by, and compare its features with those of the other mode.

    Args:
        context: The workspace's state.
        spine: As for `features_for`.
        time: As for `features_for`.
        requests: What was computed; on-demand views follow from the others.
        table: What came of it.
        spine_source: As for `features_for`.
        as_of: As for `features_for`.
    """
    found: dict[str, Knowledge] = {}
    for request in requests:
        if request.on_demand:
            continue
        if not _by_event(context, request.view):
            found[request.view] = Knowledge("latest", 0)
            continue

        def as_latest(view: ViewSpec, _keys: Sequence[pl.Series]) -> pl.DataFrame:
            """Let created times only settle which version is the greater, by bringing them all before any event."""
            rows = stored_rows(context, view.source, as_of=as_of)
            order = rows["__created"].rank("dense").cast(pl.Int64).fill_null(0)
            return rows.with_columns((order + (NEVER + 1)).alias("__created"))

        other = features_for(context, spine, time, [request], spine_source=spine_source, rows=as_latest)
        changed = sum(int(values.ne_missing(table.columns[name]).sum()) for name, values in other.columns.items())
        before = found[request.view].cells_changed if request.view in found else 0
        found[request.view] = Knowledge("event", before + changed)
    return found


def _by_event(context: Context, view: str) -> bool:
    definitions = context.definitions
    origin = definitions.origin(definitions.get(SourceSpec, definitions.get(ViewSpec, view).source))
    return origin.via == "push" or origin.created is not None
