"""The checks on a feature view: asked of the features of every known key as of now, when it is materialized.

A view that is online follows its source. Checks whose action is "fail" are asked before it takes new rows: rules about a row of
the keys that have some, and all rules of every key where one is about the keys together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from tinymlops.features.definitions.data_checks import checks_on
from tinymlops.features.definitions.rules import RowRule, SameDistribution, Volume
from tinymlops.features.definitions.specs import EntitySpec, FeatureRequest, SourceSpec
from tinymlops.features.history.historical import features_for
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.intake.distribution import compared
from tinymlops.features.intake.looking import Looked, Verdict, asked, numbered
from tinymlops.registry.checks import list_results

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.rules import AnyRule
    from tinymlops.features.definitions.specs import CheckSpec, ViewSpec
    from tinymlops.records import CheckResult

__all__ = ["check_view", "judge_view", "look_at_view"]

_REMEMBERED = 100
"""Results of a view among which the last of each rule is looked for."""


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


def judge_view(context: Context, view: ViewSpec, after: int) -> None:
    """Refuse to let a view in the online store take the rows after a sequence, if a check with action "fail" does.

    What a rule says is kept where it differs from what it said last.

    Raises:
        DataError: If one does: the view keeps what it has.
    """
    specs = [spec for spec in checks_on(context.definitions, view) if spec.action == "fail"]
    if not specs:
        return
    of_rows = all(isinstance(rule, RowRule) for spec in specs for rule in spec.rules)
    keys = _keys(context, view, after=after if of_rows else 0)
    if not keys.height:
        return
    decision = _look(context, view, specs, keys, "follow").decide(context.environment.database)
    last: dict[tuple[str, str], CheckResult] = {}
    for one in list_results(context.environment.database, view.name, limit=_REMEMBERED):
        last.setdefault((one.definition, one.rule), one)
    results = [one for one in decision.kept.results if _is_news(one, last.get((one.definition, one.rule)))]
    if results:
        with context.scope.write(audit=None) as tx:
            replace(decision.kept, results=results).record(tx, tx.sequence())
    if decision.refusal is not None:
        raise decision.refusal


def _is_news(result: CheckResult, last: CheckResult | None) -> bool:
    if last is None:
        return result.passed is False
    return (result.passed, result.failed) != (last.passed, last.failed) and (not result.passed or last.passed is False)


def look_at_view(context: Context, view: ViewSpec, *, moment: str) -> Looked | None:
    """Ask the checks on a view; None if there are none. The arguments and errors are those of `check_view`."""
    specs = checks_on(context.definitions, view)
    return _look(context, view, specs, _keys(context, view), moment) if specs else None


def _look(context: Context, view: ViewSpec, specs: list[CheckSpec], keys: pl.DataFrame, moment: str) -> Looked:
    """Ask checks on a view about the features of some keys."""

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


def _keys(context: Context, view: ViewSpec, *, after: int = 0) -> pl.DataFrame:
    """Return every key that the view's source has rows of, after a sequence."""
    entity = context.definitions.get(EntitySpec, view.entity)
    columns = context.definitions.key_columns(entity, context.definitions.get(SourceSpec, view.source))
    keys = stored_rows(context, view.source, after=after).select(columns).drop_nulls().unique().sort(columns)
    keys.columns = list(entity.key)
    return keys


def _features(context: Context, view: ViewSpec, keys: pl.DataFrame, at: int) -> pl.DataFrame:
    """Return the features of keys as they were known at a moment, microseconds UTC."""
    table = features_for(context, keys, np.full(keys.height, at, np.int64), [FeatureRequest(view=view.name)])
    return keys.with_columns(*table.columns.values())
