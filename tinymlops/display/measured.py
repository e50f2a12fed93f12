"""The metrics of a model, each with its interval where that follows from what is kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tinymlops.records import Evaluation

__all__ = ["MeasuredMetric", "measured", "wilson"]

_Z = 1.959964
"""The 0.975 quantile of the normal distribution."""


class MeasuredMetric(NamedTuple):
    """A metric of a model."""

    name: str
    value: float
    low: float | None
    """The lower end of the 95 % interval, where it follows from what is kept."""
    high: float | None


def measured(evaluation: Evaluation | None) -> list[MeasuredMetric]:
    """Return the metrics of an evaluation; of a share of rows with its interval."""
    if evaluation is None:
        return []
    found = []
    for name, value in evaluation.metrics.items():
        ends = wilson(value, evaluation.rows) if name == "accuracy" else None
        found.append(MeasuredMetric(name, value, *(ends or (None, None))))
    return found


def wilson(share: float, rows: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a share of rows; None without any.

    Source: Wilson, Probable inference, JASA 22 (1927).

    Example:
        >>> [round(end, 3) for end in wilson(0.5, 100)]
        [0.404, 0.596]
    """
    if rows <= 0 or not 0 <= share <= 1:
        return None
    middle = share + _Z**2 / (2 * rows)
    half = _Z * math.sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2))
    whole = 1 + _Z**2 / rows
    return max((middle - half) / whole, 0.0), min((middle + half) / whole, 1.0)
