"""Point-in-time joins, in memory and from files, against the joins a user would write instead.

    python benchmarks/point_in_time.py            # 1M records x 100k spine rows, and 10M x 1M
    python benchmarks/point_in_time.py --quick    # 100k x 10k
    python benchmarks/point_in_time.py --only memory --kinds string --sizes 10000000x1000000

Records of 8 float64 columns, unsorted, ttl of 7 days. Each join runs in a process of its own: one run to warm up
("first"), then the median of the others ("seconds"); where files are read, one more with their pages out of the cache
("cold"). "peak MB" is the most memory the process held in these runs, what it had loaded before included. Every answer
is compared with ours bit by bit: the ratio of a wrong one stands in brackets. Peers may return the rows in any order;
ours come back in the spine's.
"""

from __future__ import annotations

import argparse
import math
import os

from harness import Report, fail_if_wrong
from peers import FEAST_DASK, FROM_FILES, IN_MEMORY, SEGMENTS, Task
from tables import KEYS, Shape, make, remove

TTL_MICROS = 7 * 86_400_000_000
SIZES = ["1000000x100000", "10000000x1000000"]
QUICK_SIZES = ["100000x10000"]
DASK_RECORDS = 1_000_000
"""Feast's Dask store takes minutes beyond."""
LINE = 64
"""Bytes of a cache line: what a read at random costs, however little of it is used."""


def touched(shape: Shape, task: Task) -> dict[str, float]:
    """Return how many bytes each of our paths must move to and from memory; a random read costs a whole cache line.

    In memory: each record's key and time, once as given and twice as dealt out to parts of the spine; the spine's own,
    the same, and its best record so far, written and read; per answer and column one line of the records and eight
    bytes written. From a file: the file, its keys and times once more, its columns decoded, and the same again. Over
    segments: a search in the rows of a key, one line per halving until they share one, then rows side by side.
    """
    records, spine, columns = shape.records, shape.spine, len(shape.values)
    streamed = records * 3 * 16 + spine * (3 * 16 + 2 * 24 + columns * (LINE + 8))
    file = os.path.getsize(task.records)
    halvings = max(1, math.ceil(math.log2(max(2, shape.per_key * 8 / LINE))))
    row = math.ceil(columns * 8 / LINE) * LINE
    return {
        IN_MEMORY[0].name: streamed,
        FROM_FILES[0].name: streamed + file * (1 + 2 / (2 + columns)) + records * 8 * (2 + columns),
        SEGMENTS.name: spine * (16 + halvings * LINE + row + columns * 8),
    }


def run(report: Report, shape: Shape, place: str, runs: int) -> None:
    """Measure everybody at one shape of tables, in memory or from files."""
    folder = make(shape)
    task = Task(str(folder), keys=shape.keys, values=shape.values, ttl=TTL_MICROS)
    report.say(
        f"\n{shape.records:,} records x {shape.spine:,} spine rows, {shape.kind} key,"
        f" {'in memory' if place == 'memory' else 'from Parquet'}, median of {runs} after one to warm up"
    )
    entries = IN_MEMORY if place == "memory" else FROM_FILES
    if shape.records > DASK_RECORDS:
        entries = [entry for entry in entries if entry is not FEAST_DASK]
    report.compare(
        entries, task, runs=runs, spine=shape.spine, least_bytes=touched(shape, task),
        records=shape.records, spine_rows=shape.spine, kind=shape.kind, place=place,
    )  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it works")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="RECORDSxSPINE")
    parser.add_argument("--kinds", nargs="+", choices=list(KEYS), default=list(KEYS), help="of keys")
    parser.add_argument("--only", choices=["memory", "files"], help="leave the other out")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each peer")
    parser.add_argument("--keep", action="store_true", help="keep the tables under results/data")
    options = parser.parse_args()
    report = Report("point_in_time")
    for size in QUICK_SIZES if options.quick else options.sizes:
        records, spine = map(int, size.split("x"))
        for kind in options.kinds:
            shape = Shape(records, spine, kind)
            if options.only != "files":
                run(report, shape, "memory", options.runs)
            if options.only != "memory" and kind != "composite":
                run(report, shape, "files", options.runs)
            report.save()
            if not options.keep:
                remove(shape)
    fail_if_wrong(report)


if __name__ == "__main__":
    main()
