"""The features of every key that a view's source knows, as of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinymlops.features.definitions.specs import EntitySpec, FeatureRequest, SourceSpec, ViewSpec
from tinymlops.features.history.historical import features_for
from tinymlops.features.history.in_place import reading_once
from tinymlops.features.history.stored import stored_rows

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.context import Context

__all__ = ["newest_values"]


def newest_values(context: Context, view: ViewSpec) -> pl.DataFrame:
    """Return the keys of a view, in order, each with its features as of now.

    Args:
        context: The workspace's state.
        view: In force.
    """
    entity = context.definitions.get(EntitySpec, view.entity)
    source = context.definitions.get(SourceSpec, view.source)
    columns = context.definitions.key_columns(entity, source)
    with reading_once():
        keys = stored_rows(context, source.name, columns).select(columns).drop_nulls().unique().sort(columns)
        keys.columns = list(entity.key)
        now = np.full(keys.height, context.now(), np.int64)
        table = features_for(context, keys, now, [FeatureRequest(view=view.name)])
    return keys.with_columns(*table.columns.values())
