"""Ingest against DuckDB sorting and copying the same Parquet file: seconds and peak memory, each in a process of its own.

Run it alone: `python benchmarks/ingest.py [ROWS]`. DuckDB reads the file, sorts it by key and time and writes it to Parquet,
with the same compression as ours: the simplest way to get the file in order, without a history. Ingest is measured three
times: the first, the same file again unchanged, and the same rows in another file beside 1 % new ones, which must all be
compared with history. Then 1 % new rows alone, as a function with `since` gives them, onto the same history.
"""

from __future__ import annotations

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


def ingest(folder: Path, *, with_id: bool) -> None:
    """Ingest into a workspace, created if needed."""
    import tinymlops as tm

    project = tm.Project("bench")

    @project.source(timestamp="at", id="id" if with_id else None)
    def events() -> str:
        return "select * from read_parquet('rows.parquet')"

    with tm.connect(folder / "bench.tm", create=True, root=folder) as ws:
        ws.apply(project)
        ws.ingest()


def ingest_since(folder: Path) -> None:
    """Ingest from a function that gives only what is new."""
    import tinymlops as tm

    project = tm.Project("bench")

    @project.source(timestamp="at", id="id", cursor="at")
    def events(since: datetime | None) -> pl.DataFrame:
        return pl.read_parquet(folder / ("rows.parquet" if since is None else "new.parquet"))

    with tm.connect(folder / "since.tm", create=True, root=folder) as ws:
        ws.apply(project)
        begun = time.perf_counter()
        ws.ingest()
        print(f"ingest alone {time.perf_counter() - begun:.2f} s", file=sys.stderr)


CASES: dict[str, Callable[[Path], None]] = {
    "duckdb": sort_and_copy,
    "ids": lambda folder: ingest(folder, with_id=True),
    "rows": lambda folder: ingest(folder, with_id=False),
    "since": ingest_since,
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
    CASES[case](folder)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def main(rows: int) -> None:
    """Measure, print and write the results."""
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
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ingest.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        run_case(sys.argv[2], Path(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
