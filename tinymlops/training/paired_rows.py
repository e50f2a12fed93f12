"""Two runs on the same rows: the values of one metric, of which each step is a row, matched and tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinymlops.errors import DataError
from tinymlops.training.uncertainty import Paired, paired_bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs

__all__ = ["paired_rows"]


def paired_rows(noun: Runs, runs: Sequence[Run], metric: str) -> Paired:
    """Test whether the values of the second run differ from those of the first one, row by row.

    Args:
        noun: The workspace's runs.
        runs: Two of them.
        metric: One value a row; the step is the row.

    Raises:
        DataError: If there are not two runs, a step has several values, or fewer than two steps are the same.
    """
    if len(runs) != 2:
        raise DataError(f"{len(runs)} runs cannot be paired", hint="compare two: ws.compare([a, b]).paired(...)")
    first, second = (noun.points(run.id, metric) for run in runs)
    for run, points in zip(runs, (first, second), strict=True):
        if len(np.unique(points.steps)) != points.size:
            raise DataError(
                f"{metric} of run {run.name!r} has several values at one step",
                hint="log the loss of each row at a step of its own: run.log_metrics(row_loss=0.3, step=17)",
            )
    _, left, right = np.intersect1d(first.steps, second.steps, return_indices=True)
    if len(left) < 2:
        raise DataError(f"{metric} has {len(left)} steps that are in both runs", hint="log it on the same rows")
    differences = second.values[right] - first.values[left]
    if np.isnan(differences).any():
        raise DataError(f"{metric} is NaN on some rows", hint="leave these rows out of both runs")
    return paired_bootstrap(differences)
