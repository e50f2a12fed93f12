"""What the catalog costs: one function for each figure.

python benchmarks/catalog_search.py            # search over 10,000 definitions; statistics of an ingest of 2M rows
python benchmarks/catalog_search.py --quick    # small sizes, to see that it works
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import tinymlops as tm
from harness import Report
from tinymlops.features.intake.statistics import describe

if TYPE_CHECKING:
    from collections.abc import Callable

TIME = pl.Datetime("us", "UTC")
NOW = datetime(2024, 1, 1, tzinfo=UTC)
STEMS = [
    "late",
    "early",
    "mean",
    "count",
    "rainy",
    "windy",
    "cold",
    "warm",
    "first",
    "last",
    "gross",
    "net",
    "paid",
    "open",
]
ENDINGS = ["", "ly", "ness", "able", "er", "ward"]
NOUNS = [
    *("arrival", "departure", "flight", "airport", "customer", "order", "payment", "refund", "basket", "click"),
    *("session", "weather", "carrier", "plane", "route", "booking", "seat", "crew", "gate", "delay"),
]
QUESTIONS = {
    "two words": "late arrivals",
    "a word that half of them have": "customer",
    "a misspelled word": "arival",
    "two misspelled words": "depature delaay",
    "words that none has": "zzzzz qqqq",
}


def search(definitions: int, runs: int) -> dict[str, float]:
    """Return the seconds of searches in a workspace of so many views, each with a docstring of 30 words and three features."""
    project, draw = tm.Project("wide"), random.Random(1)
    customer = project.entity("customer", key="customer")
    words = [stem + ending for stem in STEMS for ending in ENDINGS]

    for number in range(definitions):

        def view(rows: tm.Rows) -> tm.Features:
            names = [f"{draw.choice(NOUNS)}_{draw.choice(words)}_{days}d" for days in (1, 7, 30)]
            return {name: rows["amount"].sum(window="1d") for name in names}

        view.__name__ = f"{draw.choice(words)}_{draw.choice(NOUNS)}_{number}"
        view.__doc__ = " ".join(draw.choice(words + NOUNS) for _ in range(30))
        project.feature_view(entity=customer)(view)

    @project.source(timestamp="at")
    def rows() -> tm.Schema:
        return {"customer": str, "at": datetime, "amount": float}

    with tempfile.TemporaryDirectory() as folder, tm.connect(Path(folder) / "wide.tm", create=True) as ws:
        ws.apply(project)
        taken = {"the first, which makes the index": seconds_of(lambda: ws.search("late"))}
        for what, text in QUESTIONS.items():
            taken[what] = median(seconds_of(lambda text=text: ws.search(text)) for _ in range(runs))
    return taken


def statistics(rows: int, runs: int) -> tuple[float, float]:
    """Return the seconds of an ingest of seven columns, two of them text, and those that its statistics take of it."""
    draw = np.random.default_rng(1)
    emails = pl.Series(draw.integers(0, rows // 20, rows)).cast(pl.String) + "@example.org"
    frame = pl.DataFrame(
        {
            "order": np.arange(rows),
            "customer": draw.integers(0, rows // 20, rows),
            "at": pl.Series(draw.integers(1_600_000_000_000_000, 1_700_000_000_000_000, rows)).cast(TIME),
            "amount": draw.normal(size=rows),
            "items": draw.integers(0, 50, rows),
            "status": draw.choice(["paid", "open", "late"], rows),
            "email": emails,
        }
    )
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order")
    def orders() -> pl.DataFrame:
        return frame

    def ingest() -> None:
        with tempfile.TemporaryDirectory() as folder, tm.connect(Path(folder) / "shop.tm", create=True) as ws:
            ws.apply(project)
            ws.ingest()

    def look() -> None:
        describe(frame, source="orders", identifying={"order"}, at=NOW)

    return min(seconds_of(ingest) for _ in range(runs)), min(seconds_of(look) for _ in range(runs))


def seconds_of(work: Callable[[], Any]) -> float:
    """Return how long some work takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def tell(report: Report, what: str, seconds: float) -> None:
    """Print a figure and keep it."""
    report.rows.append({"what": what, "seconds": seconds})
    report.say(f"  {what:60}{seconds * 1e3:10.1f} ms")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--runs", type=int, default=9, help="timed runs of each")
    options = parser.parse_args()
    report = Report("catalog_search")
    definitions, rows = (200, 20_000) if options.quick else (10_000, 2_000_000)
    report.say(f"\nsearch over {definitions:,} definitions, median of {options.runs}")
    for what, seconds in search(definitions, options.runs).items():
        tell(report, what if what not in QUESTIONS else f"{what}: {QUESTIONS[what]!r}", seconds)
    whole, part = statistics(rows, 3)
    report.say(f"\nan ingest of {rows:,} rows, the best of 3")
    tell(report, "the ingest, its statistics included", whole)
    tell(report, f"its statistics: {part / whole:.1%}", part)
    report.save()


if __name__ == "__main__":
    main()
