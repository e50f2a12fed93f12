"""Runs, curves and predictions for `benchmarks/pages.py`: many rows as they are stored, written in few commits."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.records import FeatureField, LoggedModel, ModelVersion, Prediction, RequestField, RunRow, Signature
from tinymlops.registry.predictions import log_predictions
from tinymlops.registry.runs.points import points_of
from tinymlops.registry.runs.summaries import summary_of
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tinymlops as tm

__all__ = ["FIRST", "LONG", "PREDICTED", "add_curves", "add_predictions", "add_runs"]

LONG, FIRST = "f" * 32, f"{0:032x}"
"""Ids of the run with long curves, and of the first of the many."""
PREDICTED = f"{0:032x}"
_METRICS, _BATCH = 20, 20_000


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
                    id=f"{number:032x}",
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
                sums.append(summary_of(f"{number:032x}", f"m{metric}", points))
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


def add_predictions(ws: tm.Workspace, sizes: Any) -> None:
    """A model's version, and predictions of it."""
    database, now = ws._environment.database, system_clock()  # noqa: SLF001 - rows as a server leaves them
    signature = Signature(
        [FeatureField("last", "Float64", "v0_0:f0")], [RequestField("customer", "Int64", "key")], "regression"
    )
    logged = LoggedModel(
        run=FIRST, name="model", flavor="skops", sha256="0" * 64, bytes=1, model_class="M", signature=signature, at=now
    )
    version = ModelVersion(
        name="delay", version=1, run=FIRST, logged_name="model", manifest_sha256="0" * 64, registered_at=now
    )
    with database.write(actor=None) as tx:
        tx.put(logged)
        tx.put(version)

    def made(start: int) -> Iterator[Prediction]:
        for number in range(start, min(start + _BATCH, sizes.predictions)):
            yield Prediction(
                id=f"{number:032x}",
                model="delay",
                version=1,
                at=now - timedelta(seconds=sizes.predictions - number),
                sequence=1,
                request={"customer": number % 10_000},
                features={"last": float(number % 97)},
                output={"prediction": float(number % 13)},
            )

    for start in range(0, sizes.predictions, _BATCH):
        log_predictions(database, made(start))
