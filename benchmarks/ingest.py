"""Ingest against DuckDB sorting and copying the same Parquet file: seconds and peak memory, each in a process of its own.

Run it alone: `python benchmarks/ingest.py [ROWS] [--only whole | --only small]`.

DuckDB reads the file, sorts it by key and time and writes it to Parquet, with the same compression as ours: the simplest way
to get the file in order, without a history. Ingest is measured three times: the first, the same file again unchanged, and the
same rows in another file beside 1 % new ones, which must all be compared with history. Then 1 % new rows alone, as a function
with `since` gives them, onto the same history.

`small` reads few rows onto the same long history: new ones, in no order of time, changed ones all over history, and ones that
are known, by id and by content, and onto 1,000 segments that nothing merged. Its seconds are those of `ws.ingest` in a process
that has just opened the workspace. Beside them stands the least that it could take: to read such a file and to store it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl

ROWS = 10_000_000
SEGMENTS = 1_000
ALLOWED_RATIO, ALLOWED_BYTES = 4.0, 2 * 2**30
RESULTS = Path(__file__).parent / "results"


def write_rows(path: Path, rows: int, *, more: int = 0, first: int = 0) -> None:
    """Write events of 100,000 customers over a year, in the order of their arrival, ids unique; from a number on."""
    import duckdb

    duckdb.execute(f"""
        COPY (SELECT i AS id, hash(i) % 100000 AS customer, 'kind ' || hash(i * 7) % 50 AS kind,
                     timestamptz '2024-01-01 00:00:00Z' + to_microseconds((hash(i * 3) % 31536000000000)::bigint) AS "at",
                     (hash(i * 5) % 1000000) / 100 AS amount, hash(i * 11) % 2 = 0 AS paid
              FROM range({first}, {rows + more}) AS t(i)) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
    """)


def sort_and_copy(folder: Path) -> None:
    """Sort and copy the file with DuckDB."""
    import duckdb

    source, target = folder / "rows.parquet", folder / "sorted.parquet"
    duckdb.execute(f"SET temp_directory = '{folder / 'spill'}'")
    duckdb.execute(f"""COPY (SELECT * FROM '{source}' ORDER BY customer, "at")
                       TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)""")


def ingest(folder: Path, *, with_id: bool) -> float:
    """Ingest into a workspace, created if needed; return the seconds of the ingest alone."""
    import tinymlops as tm

    project = tm.Project("bench")

    @project.source(timestamp="at", id="id" if with_id else None)
    def events() -> str:
        return "select * from read_parquet('rows.parquet')"

    with tm.connect(folder / "bench.tm", create=True, root=folder) as ws:
        ws.apply(project)
        begun = time.perf_counter()
        ws.ingest()
        return time.perf_counter() - begun


def ingest_since(folder: Path) -> float:
    """Ingest from a function that gives only what is new; return the seconds of the ingest alone."""
    import tinymlops as tm

    project = tm.Project("bench")

    @project.source(timestamp="at", id="id", cursor="at")
    def events(since: datetime | None) -> pl.DataFrame:
        return pl.read_parquet(folder / ("rows.parquet" if since is None else "new.parquet"))

    with tm.connect(folder / "since.tm", create=True, root=folder) as ws:
        ws.apply(project)
        begun = time.perf_counter()
        ws.ingest()
        return time.perf_counter() - begun


def store_new(folder: Path) -> float:
    """Read the new rows, sort them and store them durably, with nothing before them."""
    from tinymlops.stores import segments

    begun = time.perf_counter()
    rows = pl.read_parquet(folder / "new.parquet").sort("at").with_row_index("__ordinal")
    (folder / "tmp").mkdir(exist_ok=True)
    segments.write(rows, folder / "bare", folder / "tmp")
    return time.perf_counter() - begun


def ingest_many(folder: Path) -> float:
    """Ingest ten rows a thousand times without a merge; return the mean seconds of the last ten."""
    import tinymlops as tm
    from tinymlops.features.intake import compaction

    compaction._MOST_SEGMENTS = SEGMENTS + 1  # noqa: SLF001  # what the measurement is about
    rows, given = pl.read_parquet(folder / "new.parquet", n_rows=10 * SEGMENTS), 0
    project = tm.Project("bench")

    @project.source(timestamp="at", id="id")
    def events() -> pl.DataFrame:
        return rows.slice(given, 10)

    with tm.connect(folder / "many.tm", create=True, root=folder) as ws:
        ws.apply(project)
        for given in range(0, 10 * SEGMENTS, 10):  # the source reads it
            if given == 10 * (SEGMENTS - 10):
                begun = time.perf_counter()
            ws.ingest()
        return (time.perf_counter() - begun) / 10


CASES: dict[str, Callable[[Path], float | None]] = {
    "duckdb": sort_and_copy,
    "ids": lambda folder: ingest(folder, with_id=True),
    "rows": lambda folder: ingest(folder, with_id=False),
    "since": ingest_since,
    "bare": store_new,
    "many": ingest_many,
}


def measured(case: str, folder: Path) -> dict[str, float]:
    """Run a case in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--case", case, str(folder)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_case(case: str, folder: Path) -> None:
    """Run it here and print seconds and peak memory."""
    begun = time.perf_counter()
    alone = CASES[case](folder)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "alone": seconds if alone is None else alone, "bytes": peak}))


def measure_small(rows: int) -> dict[str, dict[str, float]]:
    """Measure reads that are small beside history."""
    results: dict[str, dict[str, float]] = {}

    def report(name: str, case: str, folder: Path) -> None:
        results[name] = found = measured(case, folder)
        print(f"{name:<52}{found['alone']:8.2f} s {found['bytes'] / 2**20:7.0f} MiB", flush=True)

    few = rows // 100
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = folder / "rows.parquet"
        write_rows(every, rows)
        report(f"{rows:,} rows, by id", "since", folder)
        first = rows
        for what in ("first small read", "new rows", "new rows again"):
            write_rows(folder / "new.parquet", rows, more=first - rows + few, first=first)
            first += few
            report(f"  {few:,} {what}", "since", folder)
        report("  the same again", "since", folder)
        changed = pl.scan_parquet(every).gather_every(100).with_columns(pl.col("amount") + 1)
        changed.collect().write_parquet(folder / "new.parquet")
        report(f"  {few:,} changed all over history", "since", folder)
        report("the least: read, sort and store these", "bare", folder)
        report(f"10 new rows onto {SEGMENTS:,} segments of 10 rows", "many", folder)
        report(f"{rows:,} rows, by content", "rows", folder)
        for number, what in enumerate(("first small read", "new rows", "new rows again"), 1):
            write_rows(every, 0, more=rows + few * number, first=rows + few * (number - 1))
            report(f"  {few:,} {what}", "rows", folder)
        report("  the same again", "rows", folder)
    return results


def main(rows: int, only: str | None) -> None:
    """Measure, print and write the results."""
    RESULTS.mkdir(exist_ok=True)
    for what, measure in (("whole", measure_whole), ("small", measure_small)):
        if only in (None, what):
            name = "ingest.json" if what == "whole" else "ingest_small.json"
            (RESULTS / name).write_text(json.dumps(measure(rows), indent=2) + "\n")


def measure_whole(rows: int) -> dict[str, dict[str, float]]:
    """Measure reads of all rows, beside DuckDB."""
    results: dict[str, dict[str, float]] = {}

    def report(name: str, case: str, folder: Path) -> None:
        results[name] = found = measured(case, folder)
        ratio = found["seconds"] / results["DuckDB: sort and copy"]["seconds"]
        print(
            f"{name:<44}{found['seconds']:8.1f} s {ratio:6.2f} x DuckDB {found['bytes'] / 2**30:7.2f} GiB", flush=True
        )

    print(f"{rows:,} rows of 6 columns; allowed: {ALLOWED_RATIO:g} x DuckDB, {ALLOWED_BYTES / 2**30:g} GiB")
    for case, what in (("ids", "known by id"), ("rows", "known by their content")):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_rows(folder / "rows.parquet", rows)
            report("DuckDB: sort and copy", "duckdb", folder)
            report(f"ingest, rows {what}", case, folder)
            report("  the same file again", case, folder)
            write_rows(folder / "rows.parquet", rows, more=rows // 100)
            report("  1 % more rows in another file", case, folder)
            if case == "ids":
                write_rows(folder / "rows.parquet", rows)
                report("ingest, from a function with since", "since", folder)
                write_rows(folder / "new.parquet", rows, more=rows // 100, first=rows)
                report("  1 % new rows alone", "since", folder)
    return results


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        run_case(sys.argv[2], Path(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("rows", type=int, nargs="?", default=ROWS)
        parser.add_argument("--only", choices=["whole", "small"])
        asked = parser.parse_args()
        main(asked.rows, asked.only)
