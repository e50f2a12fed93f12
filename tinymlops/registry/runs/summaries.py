"""One metric of one run in sum: made from its points, and carried on where new points follow the old ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from tinymlops.goals import goal_of
from tinymlops.records import MetricSummary
from tinymlops.times import from_micros, to_micros

if TYPE_CHECKING:
    from tinymlops.registry.runs.points import Points

__all__ = ["carried_on", "follows", "summary_of"]


class _Extremes(NamedTuple):
    min: float | None
    min_step: float | None
    max: float | None
    max_step: float | None


def summary_of(run: str, name: str, points: Points, *, goal: str | None = None, chunks: int = 0) -> MetricSummary:
    """Return the sum of a metric.

    Args:
        run: The run's id.
        name: The metric's name.
        points: Those that count, in order; at least one.
        goal: `min` or `max`; None for the one that the name stands for.
        chunks: Chunks that are not sealed yet.
    """
    goal = goal or goal_of(name)
    extremes, nans = _extremes(points)
    return _with_best(
        MetricSummary(
            run=run,
            name=name,
            count=points.size,
            step=float(points.steps[-1]),
            last=float(points.values[-1]),
            at=from_micros(int(points.times[-1])),
            **extremes._asdict(),
            best=None,
            best_step=None,
            goal=goal,
            nans=nans,
            session=int(points.sessions[-1]),
            chunks=chunks,
        )
    )


def follows(points: Points, before: MetricSummary) -> bool:
    """Whether all these points, which are in order, come after the last one of a sum: then it can be carried on."""
    first = (float(points.steps[0]), int(points.sessions[0]), int(points.times[0]))
    if points.sessions[0] != before.session and first[0] <= before.step:
        return False
    return first > (before.step, before.session, to_micros(before.at))


def carried_on(before: MetricSummary, points: Points) -> MetricSummary:
    """Return the sum of the points before and of these, which follow them."""
    new = summary_of(before.run, before.name, points, goal=before.goal)
    least, greatest = before, before
    if new.min is not None and (before.min is None or new.min < before.min):
        least = new
    if new.max is not None and (before.max is None or new.max > before.max):
        greatest = new
    return _with_best(
        msgspec.structs.replace(
            new,
            count=before.count + new.count,
            min=least.min,
            min_step=least.min_step,
            max=greatest.max,
            max_step=greatest.max_step,
            nans=before.nans + new.nans,
            chunks=before.chunks,
        )
    )


def _with_best(summary: MetricSummary) -> MetricSummary:
    best = (summary.min, summary.min_step) if summary.goal == "min" else (summary.max, summary.max_step)
    return msgspec.structs.replace(summary, best=best[0], best_step=best[1])


def _extremes(points: Points) -> tuple[_Extremes, int]:
    """Return the least and the greatest value with the first step of each, and how many are NaN."""
    if points.size == 1:
        step, value = float(points.steps[0]), float(points.values[0])
        return (_Extremes(None, None, None, None), 1) if math.isnan(value) else (_Extremes(value, step, value, step), 0)
    missing = np.isnan(points.values)
    nans = int(missing.sum())
    if nans == points.size:
        return _Extremes(None, None, None, None), nans
    # NumPy's nanargmin takes NaN for infinity, and so may choose it where nothing is less.
    there = np.flatnonzero(~missing)
    least, greatest = int(there[points.values[there].argmin()]), int(there[points.values[there].argmax()])
    values, steps = points.values, points.steps
    return _Extremes(*(float(one) for one in (values[least], steps[least], values[greatest], steps[greatest]))), nans
