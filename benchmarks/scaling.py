"""How the join's time per record grows with the tables, from one Parquet file, on one core and on all.

    python benchmarks/scaling.py            # 1M to 100M records, a spine row for every 10; 9 GB of disk at the largest
    python benchmarks/scaling.py --quick    # 100k to 500k
    python benchmarks/scaling.py --peers    # DuckDB beside it, up to 20M

The tables are written to disk a row group at a time and read from there, by a process of its own for each size and number
of cores: once to warm up, then the median. Sizes differ only in the number of records, keys and spine rows. Draws
`results/scaling.svg`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curve import draw, short
from harness import RESULTS, Report, fail_if_wrong, measure, verdict
from peers import BY_NAME, FROM_FILES, SEGMENTS, Entry, Task
from point_in_time import TTL_MICROS
from tables import Shape, make, remove
from tinymlops_cli.machine import cores

if TYPE_CHECKING:
    from collections.abc import Sequence

OURS = FROM_FILES[0]
PEER = BY_NAME["DuckDB ASOF, Parquet"]
SIZES = [1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 50_000_000, 100_000_000]
QUICK_SIZES = [100_000, 200_000, 500_000]
LARGEST_OF_PEER = 20_000_000
LARGEST_INGESTED = 10_000_000
RECORDS_PER_SPINE_ROW = 10
SPINE_ROW_BYTES = 32
"""What the join keeps for each spine row while records stream by: time, place, and the newest record so far."""


def run(report: Report, records: int, entries: Sequence[tuple[Entry, int]], runs: int) -> None:
    """Measure at one size."""
    shape = Shape(records, max(1, records // RECORDS_PER_SPINE_ROW))
    task = Task(str(make(shape)), keys=shape.keys, values=shape.values, ttl=TTL_MICROS)
    with tempfile.TemporaryDirectory() as folder:
        for entry, cpus in entries:
            row = measure(entry, task, runs=runs, reference=Path(folder) / "answer.npy", cpus=cpus)
            row |= {"records": records, "spine_rows": shape.spine, "cpus": cpus}
            report.rows.append(row)
            report.say(_line(row))


def _line(row: dict[str, Any]) -> str:
    start = f"{short(row['records']):>6}{row['cpus']:>7}  {row['peer']:30}"
    if "failed" in row:
        return f"{start}{row['failed'][:80]}"
    row["nanoseconds_per_record"] = row["seconds"] / row["records"] * 1e9
    row["verdict"] = verdict(row, row["spine_rows"])
    return (
        f"{start}{row['seconds']:9.2f}{row['nanoseconds_per_record']:11.1f}"
        f"{row['cold_seconds'] or 0:9.2f}{row['peak_megabytes']:10.0f}  {row['verdict']}"
    ).rstrip()


def picture(report: Report) -> str:
    """Draw the time per record, with the size at which the spine outgrows each cache."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in report.rows:
        if "nanoseconds_per_record" in row:
            name = f"{row['peer']}, {row['cpus']} core{'s' if row['cpus'] > 1 else ''}"
            curves.setdefault(name, []).append((row["records"], row["nanoseconds_per_record"]))
    marks = {
        f"spine fills {level}": int(size.removesuffix("K")) * 1024 / SPINE_ROW_BYTES * RECORDS_PER_SPINE_ROW
        for level, size in report.facts["caches"].items()
    }
    return draw(
        curves, title="Point-in-time join from one Parquet file", x_label="records (10 to a spine row)",
        y_label="nanoseconds per record", marks=marks,
    )  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="records")
    parser.add_argument("--peers", action="store_true", help=f"also {PEER.name}, up to {LARGEST_OF_PEER:,}")
    parser.add_argument("--runs", type=int, default=3, help="timed runs at each size")
    options = parser.parse_args()
    report = Report("scaling")
    report.say(f"\n{'rows':>6}{'cores':>7}  {'':30}{'seconds':>9}{'ns/record':>11}{'cold':>9}{'peak MB':>10}")
    for records in QUICK_SIZES if options.quick else options.sizes:
        entries = [(OURS, count) for count in sorted({cores(), 1}, reverse=True)]
        entries += [(SEGMENTS, cores())] if records <= LARGEST_INGESTED else []
        entries += [(PEER, cores())] if options.peers and records <= LARGEST_OF_PEER else []
        run(report, records, entries, options.runs)
        remove(Shape(records, max(1, records // RECORDS_PER_SPINE_ROW)))
        report.save()
    if any("nanoseconds_per_record" in row for row in report.rows):
        (RESULTS / "scaling.svg").write_text(picture(report))
    fail_if_wrong(report)


if __name__ == "__main__":
    main()
