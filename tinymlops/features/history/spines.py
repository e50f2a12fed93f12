"""The rows of a training set's spine: keys, prediction times and request fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops.features.compute.arranged import available_at, numbered
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec, TrainingSetSpec
from tinymlops.features.history.stored import current_rows, stored_rows
from tinymlops.kernels.asof import latest
from tinymlops.kernels.records import NEVER, arrange

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = ["spine_of"]


def spine_of(context: Context, training_set: TrainingSetSpec, *, as_of: int, fields_as_known: bool) -> pl.DataFrame:
    """Return the rows of a spine in their final versions, and their request fields as they were known at each time.

    Args:
        context: The workspace's state.
        training_set: The training set.
        as_of: Use the rows up to this sequence.
        fields_as_known: Whether request fields come from the version that was visible at the row's time, or if there
            was none, from the first; otherwise from the final one.
    """
    spine = current_rows(context, training_set.spine, as_of=as_of, role="spine")
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, training_set.spine))
    fields = {
        name
        for request in training_set.features
        if request.on_demand
        for name in _fields_of(context.definitions.for_request(request).get(OnDemandSpec, request.view))
    }
    wanted = sorted(fields & set(spine.columns))
    if not fields_as_known or source.id is None or not wanted:
        return spine
    versions = stored_rows(context, training_set.spine, as_of=as_of, role="spine").filter(~pl.col("__deleted"))
    if not versions[source.id].drop_nulls().is_duplicated().any():
        return spine
    return _with_fields(spine, versions, source, wanted)


def _fields_of(on_demand: OnDemandSpec) -> tuple[str, ...]:
    """Return the request fields of an on-demand view that are no keys, which stay those of the row's final version."""
    key = () if on_demand.nearest is msgspec.UNSET else on_demand.nearest.key
    return tuple(name for name in on_demand.request if name not in key)


def _with_fields(spine: pl.DataFrame, versions: pl.DataFrame, source: SourceSpec, fields: list[str]) -> pl.DataFrame:
    """Take fields from each row's version that was visible at its time, or else the first; rows without id keep theirs."""
    assert source.id is not None, "versions are of events with ids"
    codes = numbered(pl.concat([versions[source.id], spine[source.id]]))
    of_versions, of_spine = codes[: versions.height], codes[versions.height :]
    records, order = arrange(
        of_versions,
        np.zeros(versions.height, np.int64),  # versions of one event are distinguished by when they were stored
        available_at(versions, source, versions["__event"].to_numpy()),
        versions["__created"].fill_null(NEVER).to_numpy(),
        versions["__sequence"].to_numpy(),
        keys=int(codes.max(initial=-1)) + 1,
        ids=of_versions,
    )
    visible = latest(records, of_spine, spine["__event"].to_numpy(), strict=False)
    has_versions = (of_spine >= 0) & (np.diff(records.offsets)[of_spine] > 0)
    chosen = np.where(visible >= 0, visible, records.offsets[of_spine])
    place = np.arange(versions.height, versions.height + spine.height)
    place[has_versions] = order[chosen[has_versions]]
    return spine.with_columns(pl.concat([versions.select(fields), spine.select(fields)])[place])
