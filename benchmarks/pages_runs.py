"""Runs and curves for `benchmarks/pages.py`: many rows as they are stored, written in few commits."""

from __future__ import annotations

import hashlib
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.records import RunRow
from tinymlops.registry.runs.points import points_of
from tinymlops.registry.runs.summaries import summary_of
from tinymlops.times import system_clock

if TYPE_CHECKING:
    import tinymlops as tm

__all__ = ["LONG", "add_curves", "add_runs", "run_id"]

_METRICS = 20


def run_id(number: int) -> str:
    """Return the id of one of the many runs: as random as those that runs get.

    Args:
        number: From 0 on.
    """
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


LONG = run_id(-1)
"""The id of the run with long curves."""


def add_runs(ws: tm.Workspace, sizes: Any) -> None:
    """Runs in groups of five seeds, each with params and twenty metrics."""
    chance, now = random.Random(7), system_clock()
    for start in range(0, sizes.tracked, 1_000):
        rows, sums = [], []
        for number in range(start, min(start + 1_000, sizes.tracked)):
            begun = now + timedelta(seconds=number - sizes.tracked)
            params = {"depth": number % 10, "rate": chance.random(), "seed": number % 5, "kind": "abc"[number % 3]}
            rows.append(
                RunRow(
                    id=run_id(number),
                    name=f"run-{number}",
                    status="finished",
                    params=params,
                    tags={"team": "growth"},
                    group=f"group-{number // 5}",
                    started_at=begun,
                    ended_at=begun + timedelta(minutes=1),
                )
            )
            for metric in range(_METRICS):
                value = chance.random()
                points = points_of([0.0, 1.0], [value, value * 0.9], [0, 1], 0)
                sums.append(summary_of(run_id(number), f"m{metric}", points))
        with ws._environment.database.write(actor=None) as tx:  # noqa: SLF001 - rows as runs leave them
            tx.put_many(rows)
            tx.put_many(sums)


def add_curves(ws: tm.Workspace, sizes: Any) -> None:
    """A run with three curves, each of many points."""
    ws.runs.start("long", id=LONG, origin="benchmark", patch=False)
    steps, at = np.arange(sizes.points, dtype=float), np.arange(sizes.points)
    for number in range(3):
        values = np.random.default_rng(number).normal(size=sizes.points).cumsum()
        ws.runs.log_points(LONG, {f"loss{number}": points_of(steps, values, at, 0)})
    ws.runs.finish(LONG)
