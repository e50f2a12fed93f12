"""The best of several runs or groups by a metric, with a warning of luck: the best of many is good by chance, too."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.goals import goal_of
from tinymlops.registry.run_search import Field, parse_field
from tinymlops.training.uncertainty import Luck, luck_of_best, pooled_sd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs

__all__ = ["Best", "best_of", "best_run", "goal_in", "metric_field", "values_of"]


class Best(msgspec.Struct, frozen=True):
    """The best of several by a metric."""

    name: str
    """Of the best run, with its id, or of the best group."""
    metric: str
    goal: str
    """`min` or `max`."""
    luck: Luck

    def __repr__(self) -> str:
        return self.note()

    def note(self) -> str:
        """Say in a sentence which one is the best and how much its lead is worth."""
        luck = self.luck
        first = f"{self.name} is the best of {luck.n} by {self.metric} ({self.goal}): {luck.best:.6g}"
        if luck.lead is None:
            return first
        if luck.expected is None:
            return f"{first}, {luck.lead:.3g} ahead; without several seeds of each the part of luck in it is not known"
        by_luck = (
            f"luck alone puts the best of {luck.n} about {luck.expected:.3g} above their mean (noise {luck.noise:.3g})"
        )
        verdict = "its lead is within that" if luck.within_noise else "its lead is more than that"
        return f"{first}, {luck.lead:.3g} ahead; {by_luck}: {verdict}"


def metric_field(metric: str) -> Field:
    """Read the name of a metric, with or without a part, such as "auc" or "auc.best"."""
    if not isinstance(metric, str):
        raise DataError(f"{metric!r} is not the name of a metric", hint='such as "auc" or "auc.best"')
    return parse_field(metric if metric.startswith("metrics.") else f"metrics.{metric}")


def values_of(noun: Runs, runs: Sequence[Run], field: Field) -> dict[str, float]:
    """Return the value of a metric by the run's id; runs without one are left out.

    Raises:
        NotFoundError: If none has the metric, with the near match.
    """
    parts = noun.metric_parts([run.id for run in runs], [field.part])
    found = {run: metrics[field.name][0] for run, metrics in parts.items() if field.name in metrics}
    if not found:
        known = {name for metrics in parts.values() for name in metrics}
        raise NotFoundError(f"none of these runs has a metric {field.name!r}", hint=near(field.name, known))
    return {run: value for run, value in found.items() if value is not None}


def goal_in(noun: Runs, runs: Sequence[str], name: str) -> str:
    """Return whether the least or the greatest value of a metric is the best: `min` or `max`; without a run, by its name."""
    goals = (one.goal for run in runs for one in noun.summaries(run).get(run, ()) if one.name == name)
    return next(goals, goal_of(name))


def best_run(noun: Runs, runs: Sequence[Run], metric: str, noise: float | None) -> Best:
    """Return the best of some runs; `RunComparison.best` says how."""
    field = metric_field(metric)
    values = values_of(noun, runs, field)
    if noise is None:
        groups: dict[str, list[float]] = defaultdict(list)
        for run in runs:
            if run.group is not None and math.isfinite(values.get(run.id, math.nan)):
                groups[run.group].append(values[run.id])
        noise = pooled_sd(list(groups.values()))
    named = {f"{run.name} {run.id[:8]}": values[run.id] for run in runs if run.id in values}
    return best_of(named, metric, goal_in(noun, list(values), field.name), noise)


def best_of(values: Mapping[str, float], metric: str, goal: str, noise: float | None) -> Best:
    """Return the best of some values by name; NaN is never the best.

    Raises:
        DataError: If all are NaN.
    """
    numbers = {name: value for name, value in values.items() if not math.isnan(value)}
    if not numbers:
        raise DataError(f"{metric} is a number in none of them: there is no best one")
    name = (min if goal == "min" else max)(numbers, key=lambda one: numbers[one])
    return Best(name, metric, goal, luck_of_best(list(numbers.values()), noise, goal=goal))
