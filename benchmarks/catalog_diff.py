"""What the difference of two builds costs beyond building both again: 1,000,000 rows, 20 features, four causes at once.

Run it alone: `python benchmarks/catalog_diff.py`. The target is 5 seconds beyond the two rebuilds.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

import tinymlops as tm
from harness import Report

ROWS, RECORDS, KEYS, COLUMNS = 1_000_000, 2_000_000, 50_000, 10
ALLOWED = 5.0
START = datetime(2024, 1, 1, tzinfo=UTC)
FRAMES: dict[str, pl.DataFrame] = {}


def project_of(window: str) -> tm.Project:
    """Return a training set of ten newest values and ten sums, the first of which has this window."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order", known="latest")
    def orders() -> pl.DataFrame:
        return FRAMES["orders"]

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return FRAMES["visits"]

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        values = {f"last_{n}": orders[f"v{n}"].last() for n in range(COLUMNS)}
        sums = {f"sum_{n}": orders[f"v{n}"].sum(window="30d" if n else window) for n in range(COLUMNS)}
        return {**values, **sums}

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["v0"].sum()

    project.training_set("buyers", spine=visits, label=buys, features=[spending])
    return project


def prepare(share: float) -> None:
    """Make the tables as they are first, and with a share of orders new, corrected and deleted."""
    rng = np.random.default_rng(7)

    def times(count: int) -> pl.Series:
        micros = rng.integers(0, 90 * 86_400_000_000, count)
        return pl.Series(micros).cast(pl.Duration("us")) + pl.Series([START]).dt.cast_time_unit("us")[0]

    def table(first: int, count: int) -> pl.DataFrame:
        values = {f"v{n}": rng.normal(size=count).round(3) for n in range(COLUMNS)}
        keys = {"order": np.arange(first, first + count), "customer": rng.integers(0, KEYS, count)}
        return pl.DataFrame({**keys, **values}).with_columns(times(count).alias("at"))

    orders = table(0, RECORDS)
    changed = int(RECORDS * share)
    FRAMES["orders"] = orders
    corrected = orders.head(changed).with_columns(pl.col("v1") + 1.0)
    FRAMES["later"] = pl.concat([corrected, orders[2 * changed :], table(RECORDS, changed)])
    visits = pl.DataFrame({"visit": np.arange(ROWS), "customer": rng.integers(0, KEYS, ROWS)})
    FRAMES["visits"] = visits.with_columns((times(ROWS) + timedelta(days=20)).alias("at"))


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measured(report: Report, share: float) -> float:
    """Build, change and build again; return the seconds of the difference beyond those of the two rebuilds."""
    prepare(share)
    clock = tm.ReplayClock(START + timedelta(days=200))
    with tempfile.TemporaryDirectory() as folder, tm.connect(Path(folder) / "big.tm", create=True, clock=clock) as ws:
        ws.apply(project_of("7d"))
        ws.ingest(complete_until=clock())
        first = ws.get_training_data("buyers").build_id
        clock.advance(timedelta(days=1))
        FRAMES["orders"] = FRAMES["later"]
        ws.ingest("orders", full=True)
        ws.apply(project_of("10d"))
        second = ws.get_training_data("buyers").build_id
        rebuilt = seconds(lambda: (ws.reproduce(first), ws.reproduce(second)))
        begun = time.perf_counter()
        diff = ws.diff(first, second)
        taken = time.perf_counter() - begun
    beyond = taken - rebuilt
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    report.say(f"{share:.1%} of {RECORDS:,} orders new, as many corrected and deleted; {diff.changed:,} cells changed")
    report.say(f"  {diff.by_cause}")
    report.say(
        f"  two rebuilds {rebuilt:.1f} s, diff {taken:.1f} s: {beyond:+.1f} s beyond them (allowed {ALLOWED:.0f} s)"
    )
    report.say(f"  peak memory {peak:.1f} GB, with what builds and ingests took")
    report.rows.append(
        {"share": share, "changed": diff.changed, "rebuilds": rebuilt, "diff": taken, "beyond": beyond, "peak_gb": peak}
    )
    return beyond


def main() -> None:
    """Run the benchmark."""
    report = Report("catalog_diff")
    for share in (0.001, 0.05):
        measured(report, share)
    report.save()


if __name__ == "__main__":
    main()
