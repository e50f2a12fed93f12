"""Sliding windows before each spine row, against the queries a user would write instead.

    python benchmarks/windows.py            # 10M events x 1M spine rows with 100, 1,000 and 100,000 events per key
    python benchmarks/windows.py --quick    # 100k x 10k

Windows of 1h, 1d, 7d and 30d, of each count, sum, mean, min and max of a float64 column: 20 columns, unsorted events.
Each peer runs in a process of its own: one run to warm up ("first"), then the median ("seconds"). Nulls, counts, minima
and maxima are compared bit by bit. Our sums are the exact sums rounded once; peers add in some order, so theirs may differ
in the last bits: how many do is said. A peer is left out where its plan would make more pairs of spine row and event than
`--most-pairs`.
"""

from __future__ import annotations

import argparse

from harness import Report, fail_if_wrong
from peers import WINDOWS, Entry, Task
from tables import Shape, make, remove

SPANS = ("1h", "1d", "7d", "30d")
FUNCTIONS = ("count", "sum", "mean", "min", "max")
PER_KEY = [100, 1_000, 100_000]
SIZE = "10000000x1000000"
QUICK_SIZE = "100000x10000"
PAIRING = ("DuckDB range join", "Polars join + group")
"""Their plans make every pair of spine row and event of a key before times are looked at."""


def pairs(entry: Entry, shape: Shape) -> float:
    """Return how many pairs of spine row and event a peer makes."""
    return shape.spine * shape.records / shape.key_count if entry.name in PAIRING else 0.0


def run(report: Report, shape: Shape, runs: int, most_pairs: float) -> None:
    """Measure everybody at one shape."""
    task = Task(str(make(shape)), keys=shape.keys, values=shape.values, windows=SPANS, functions=FUNCTIONS)
    report.say(
        f"\n{shape.records:,} events x {shape.spine:,} spine rows, {shape.records // shape.key_count:,} events per key,"
        f" {len(SPANS)} windows x {len(FUNCTIONS)} functions, median of {runs} after one to warm up"
    )
    for entry in WINDOWS:
        if pairs(entry, shape) > most_pairs:
            report.say(f"{entry.name:34}left out: {pairs(entry, shape):.1e} pairs")
    # The minimum: read every event and spine row once, and write every answer.
    least = shape.records * 24 + shape.spine * (16 + 8 * len(task.columns))
    report.compare(
        [entry for entry in WINDOWS if pairs(entry, shape) <= most_pairs], task, runs=runs, spine=shape.spine,
        least_bytes={WINDOWS[0].name: least, WINDOWS[1].name: least},
        records=shape.records, spine_rows=shape.spine, per_key=shape.per_key,
    )  # fmt: skip


def flatness(report: Report) -> None:
    """Print how much slower many events per key are than few."""
    for entry in WINDOWS:
        rows = [row for row in report.rows if row["peer"] == entry.name and "seconds" in row]
        if len(rows) > 1:
            few, many = rows[0], rows[-1]
            report.say(
                f"{entry.name:34}{many['seconds'] / few['seconds']:.1f}x as long with {many['per_key']:,}"
                f" events per key as with {few['per_key']:,}"
            )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it works")
    parser.add_argument("--size", default=SIZE, metavar="RECORDSxSPINE")
    parser.add_argument("--per-key", type=int, nargs="+", default=PER_KEY, help="events per key")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each peer")
    parser.add_argument("--most-pairs", type=float, default=2e9)
    parser.add_argument("--keep", action="store_true", help="keep the tables under results/data")
    options = parser.parse_args()
    records, spine = map(int, (QUICK_SIZE if options.quick else options.size).split("x"))
    report = Report("windows")
    for per_key in options.per_key:
        shape = Shape(records, spine, per_key=per_key, values=("amount",))
        run(report, shape, options.runs, options.most_pairs)
        report.save()
        if not options.keep:
            remove(shape)
    report.say()
    flatness(report)
    report.save()
    fail_if_wrong(report)


if __name__ == "__main__":
    main()
