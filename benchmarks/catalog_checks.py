"""What the catalog and the checks on data cost: one function for each figure.

Run it alone: `python benchmarks/catalog_checks.py [ROWS]`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tinymlops as tm
from ingest import write_rows

ROWS = 10_000_000
ROUNDS = 3


def checks_on_ingest(rows: int) -> dict[str, float]:
    """Ingest rows without checks, with ten that ask each row, and with those that are told apart: seconds of the best round."""
    suites = {
        "none": [],
        "ten row-wise": [
            tm.not_null("id"),
            tm.not_null("customer"),
            tm.not_null("amount"),
            tm.between("amount", 0, 1e5),
            tm.between("id", 0),
            tm.between("customer", 0, 1_000_000),
            tm.one_of("paid", [True, False]),
            tm.one_of("kind", [f"kind {n}" for n in range(50)]),
            tm.Rows()["amount"] >= 0,
            tm.Rows()["customer"] >= 0,
        ],
        "unique": [tm.unique("id")],
        "matches": [tm.matches("kind", r"kind \d+")],
        "same distribution": [tm.same_distribution("amount", as_of="30d")],
    }
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "rows.parquet", rows)
        best = dict.fromkeys(suites, float("inf"))
        for number in range(ROUNDS):
            for name, suite in suites.items():
                seconds = _ingested(Path(folder), f"{name.replace(' ', '_')}_{number}.tm", suite)
                best[name] = min(best[name], seconds)
    return best


def _ingested(folder: Path, workspace: str, suite: list[object]) -> float:
    project = tm.Project("bench")

    @project.source(timestamp="at", id="id")
    def events() -> str:
        return "select * from read_parquet('rows.parquet')"

    if suite:
        project.check(events, *suite, action="quarantine")
    with tm.connect(folder / workspace, create=True, root=folder) as ws:
        ws.apply(project)
        begun = time.perf_counter()
        ws.ingest()
        return time.perf_counter() - begun


def told(name: str, measure: Callable[[], dict[str, float]]) -> None:
    """Print what was measured, beside the first of it."""
    print(name)
    found = measure()
    first = next(iter(found.values()))
    for what, seconds in found.items():
        print(f"  {what:<20} {seconds:8.2f} s  {seconds / first - 1:+.1%}")


def main(rows: int) -> None:
    """Measure everything."""
    told(f"ingest of {rows:,} rows with checks", lambda: checks_on_ingest(rows))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
