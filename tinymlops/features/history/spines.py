"""The rows of a training set's spine: who is asked about, when, and with which request fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec, TrainingSetSpec
from tinymlops.features.history.computing import available_at
from tinymlops.features.history.stored import current_rows, stored_rows

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = ["spine_of"]


def spine_of(context: Context, training_set: TrainingSetSpec, *, as_of: int, fields_as_known: bool) -> pl.DataFrame:
    """Return the rows of a spine in their final versions, and their request fields as they were known at each time.

    Args:
        context: The workspace's state.
        training_set: Whose spine.
        as_of: By the rows up to this sequence.
        fields_as_known: Whether request fields come from the version that was visible at the row's time, or else the
            first; if not, from the final one.
    """
    spine = current_rows(context, training_set.spine, as_of=as_of, role="spine")
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, training_set.spine))
    views = [request.view for request in training_set.features if request.on_demand]
    fields = {name for view in views for name in context.definitions.get(OnDemandSpec, view).request}
    wanted = sorted(fields & set(spine.columns))
    if not fields_as_known or source.id is None or not wanted:
        return spine
    versions = stored_rows(context, training_set.spine, as_of=as_of, role="spine").filter(~pl.col("__deleted"))
    if versions[source.id].n_unique() + versions[source.id].null_count() >= versions.height:
        return spine
    return _with_fields(spine, versions, source, wanted)


def _with_fields(spine: pl.DataFrame, versions: pl.DataFrame, source: SourceSpec, fields: list[str]) -> pl.DataFrame:
    assert source.id is not None, "versions are of events with ids"
    event = versions["__event"].to_numpy()
    versions = versions.select(source.id, "__created", "__sequence", *fields).with_columns(
        __from=pl.Series(available_at(versions, source, event))
    )
    asked = spine.select(source.id, __at="__event").with_row_index("__row")
    pairs = asked.join(versions, on=source.id).sort("__created", "__sequence", nulls_last=False)
    visible = pairs.filter(pl.col("__from") <= pl.col("__at")).unique("__row", keep="last", maintain_order=True)
    others = pairs.join(visible, on="__row", how="anti").unique("__row", keep="first", maintain_order=True)
    chosen = pl.concat([visible, others]).select("__row", *fields)
    kept = spine.with_row_index("__row").join(chosen.select("__row"), on="__row", how="anti")
    found = pl.concat([chosen, kept.select("__row", *fields)]).sort("__row")
    return spine.with_columns(found.select(fields))
