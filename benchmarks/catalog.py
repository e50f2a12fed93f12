"""What definitions cost once there are many of them: every figure of the catalog beside what it may be.

python benchmarks/catalog.py                  # all of them
python benchmarks/catalog.py plan lineage     # some of them
python benchmarks/catalog.py --quick          # small sizes, to see that it works

Each part is a module that runs alone too.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

import catalog_checks
import catalog_diff
import catalog_lineage
import catalog_lint
import catalog_plan
import catalog_search
from harness import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SEARCH_MS = 50.0
CHECKS_PERCENT = 15.0


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    found: float
    unit: str
    most: float | None
    """What it may be; None if nothing is said about it."""


def plan(*, quick: bool) -> Iterator[Figure]:
    """`plan` and `apply` of 1,000 definitions."""
    definitions, taken = catalog_plan.figures(sources=10 if quick else catalog_plan.SOURCES)
    for what, ms in taken.items():
        most = catalog_plan.ALLOWED_MS if what.startswith("plan, ") else None
        yield Figure(f"{what}, {definitions:,} definitions", ms, "ms", most)


def lineage(*, quick: bool) -> Iterator[Figure]:
    """Lineage over 10,000 nodes."""
    nodes, taken = catalog_lineage.figures(sources=10 if quick else catalog_lineage.SOURCES)
    for what, ms in taken.items():
        most = None if what.startswith("the first") else catalog_lineage.LINEAGE_MS
        yield Figure(f"lineage, {nodes:,} nodes: {what}", ms, "ms", most)


def search(*, quick: bool) -> Iterator[Figure]:
    """Search over 10,000 definitions, and the statistics of an ingest of two million rows."""
    definitions = 200 if quick else 10_000
    for what, seconds in catalog_search.search(definitions, 3 if quick else 9).items():
        most = None if what.startswith("the first") else SEARCH_MS
        yield Figure(f"search, {definitions:,} definitions: {what}", seconds * 1e3, "ms", most)
    rows = 20_000 if quick else 2_000_000
    whole, part = catalog_search.statistics(rows, 3)
    yield Figure(f"statistics, of an ingest of {rows:,} rows", part / whole * 100, "%", None)


def lint(*, quick: bool) -> Iterator[Figure]:
    """The linter on the flights example."""
    rows = 10 if quick else 200
    yield Figure(
        f"lint of flights, {rows} rows replayed", catalog_lint.lint_of_flights(rows), "s", catalog_lint.LINT_SECONDS
    )


def checks(*, quick: bool) -> Iterator[Figure]:
    """Checks on an ingest."""
    rows = 100_000 if quick else catalog_checks.ROWS
    taken = catalog_checks.checks_on_ingest(rows)
    without = taken.pop("none")
    yield Figure(f"ingest of {rows:,} rows without checks", without, "s", None)
    for what, seconds in taken.items():
        most = CHECKS_PERCENT if what == "ten row-wise" else None
        yield Figure(f"checks on it: {what}", (seconds / without - 1) * 100, "%", most)


def diff(*, quick: bool) -> Iterator[Figure]:
    """The difference of two builds, beyond the two rebuilds that it needs."""
    if quick:
        catalog_diff.ROWS, catalog_diff.RECORDS = 10_000, 20_000
    beyond = catalog_diff.measured(Report("catalog_diff"), 0.001)
    yield Figure(f"difference of two builds of {catalog_diff.ROWS:,} rows", beyond, "s", catalog_diff.ALLOWED)


PARTS: dict[str, Callable[..., Iterator[Figure]]] = {
    "plan": plan,
    "lineage": lineage,
    "search": search,
    "lint": lint,
    "checks": checks,
    "diff": diff,
}
"""A part is a line here, and a function above that calls its module."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; none for all")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    report = Report("catalog")
    report.say(f"\n{'':66}{'found':>12}{'at most':>12}")
    for name in options.parts or PARTS:
        for figure in PARTS[name](quick=options.quick):
            report.rows.append({"part": name, **figure._asdict()})
            report.say(line_of(figure))
    report.save()


def line_of(figure: Figure) -> str:
    """Write a figure as a line of the table."""
    most = "" if figure.most is None else f"{figure.most:,.0f} {figure.unit}"
    over = "  OVER" if figure.most is not None and figure.found > figure.most else ""
    return f"{figure.what:66}{figure.found:>9,.1f} {figure.unit:<2}{most:>12}{over}"


if __name__ == "__main__":
    main()
