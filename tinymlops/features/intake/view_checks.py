"""The checks on a feature view: asked of the features of every known key as of now, when it is materialized."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tinymlops.features.definitions.data_checks import checks_on
from tinymlops.features.definitions.rules import SameDistribution, Volume
from tinymlops.features.definitions.specs import EntitySpec, FeatureRequest, SourceSpec
from tinymlops.features.history.historical import features_for
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.intake.distribution import compared
from tinymlops.features.intake.looking import Looked, Verdict, asked, numbered

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.rules import AnyRule
    from tinymlops.features.definitions.specs import CheckSpec, ViewSpec

__all__ = ["check_view", "look_at_view"]


def check_view(context: Context, view: ViewSpec) -> None:
    """Ask the checks on a view, keep what they say, and warn of what does not pass.

    Raises:
        DataError: If one refuses what would be materialized, reads a feature that is not there, or cannot be computed.
        NotFoundError: If the view's source was never ingested.
    """
    looked = look_at_view(context, view, moment="materialize")
    if looked is None:
        return
    decision = looked.decide(context.environment.database)
    decision.refuse(context)
    with context.scope.write(audit=None) as tx:
        decision.kept.record(tx, tx.sequence())
    decision.tell()


def look_at_view(context: Context, view: ViewSpec, *, moment: str) -> Looked | None:
    """Ask the checks on a view; None if there are none. The arguments and errors are those of `check_view`."""
    specs = checks_on(context.definitions, view)
    if not specs:
        return None
    keys = _keys(context, view)

    def of_batch(spec: CheckSpec, rule: AnyRule, frame: pl.DataFrame) -> Verdict:
        if isinstance(rule, Volume):
            low, high = rule.min_rows, rule.max_rows
            passed = (low is None or frame.height >= low) and (high is None or frame.height <= high)
            return Verdict(spec, rule, frame.height, passed=passed, detail=f"it has {numbered(frame.height, 'key')}")
        assert isinstance(rule, SameDistribution), "a view has no events to be fresh"
        said = compared(frame[rule.column], _features(context, view, keys, context.now() - rule.as_of)[rule.column])
        return Verdict(spec, rule, frame.height, passed=said.passed, detail=said.detail)

    frame = _features(context, view, keys, context.now()).with_columns(
        pl.lit(value=False).alias("__deleted"), pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__sequence")
    )
    return Looked(context, view, frame, asked(view.name, specs, frame, frame.height, of_batch), moment)


def _keys(context: Context, view: ViewSpec) -> pl.DataFrame:
    """Return every key that the view's source knows."""
    entity = context.definitions.get(EntitySpec, view.entity)
    columns = context.definitions.key_columns(entity, context.definitions.get(SourceSpec, view.source))
    keys = stored_rows(context, view.source).select(columns).drop_nulls().unique().sort(columns)
    keys.columns = list(entity.key)
    return keys


def _features(context: Context, view: ViewSpec, keys: pl.DataFrame, at: int) -> pl.DataFrame:
    """Return the features of keys as they were known at a moment, microseconds UTC."""
    table = features_for(context, keys, np.full(keys.height, at, np.int64), [FeatureRequest(view=view.name)])
    return keys.with_columns(*table.columns.values())
