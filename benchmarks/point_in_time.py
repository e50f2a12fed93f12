"""Point-in-time join of tables in memory, against the joins a user would write instead.

    python benchmarks/point_in_time.py            # 1M records x 100k spine rows, and 10M x 1M
    python benchmarks/point_in_time.py --quick    # 100k x 10k

Records of 8 float64 columns and integer keys, unsorted, ttl of 7 days. Each join runs in a process of its own: one run
to warm up, then the median of the others, and the process's peak memory. Every answer is compared with ours bit by bit
before its time counts. Peers may return the rows in any order; ours come back in the spine's.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

VALUES = [f"f{i}" for i in range(8)]
TTL_MICROS = 7 * 86_400_000_000
YEAR_MICROS = 365 * 86_400_000_000
RECORDS_PER_KEY = 1_000
SIZES = [(1_000_000, 100_000), (10_000_000, 1_000_000)]
QUICK_SIZES = [(100_000, 10_000)]


class Peer(Protocol):
    """One way to do the join. A new peer is one such class and an entry in `PEERS`."""

    package: str

    def load(self, spine: pl.DataFrame, records: pl.DataFrame) -> None:
        """Take the tables in the peer's own kind of memory; not timed."""

    def join(self) -> Any:
        """Do the join; timed. The spine's column `row` must be in the result."""

    def read(self, result: Any) -> pl.DataFrame:
        """Return the result as Polars; not timed."""


class TinyMLOps:
    package = "tinymlops"

    def load(self, spine: pl.DataFrame, records: pl.DataFrame) -> None:
        self.spine, self.records = spine, records

    def join(self) -> Any:
        from tinymlops.features.joins import point_in_time_join

        return point_in_time_join(self.spine, self.records, key="id", timestamp="at", ttl="7d")

    def read(self, result: Any) -> pl.DataFrame:
        frame: pl.DataFrame = result
        return frame


class DuckDB:
    package = "duckdb"

    def load(self, spine: pl.DataFrame, records: pl.DataFrame) -> None:
        import duckdb

        self.connection = duckdb.connect()
        for name, frame in (("spine", spine), ("records", records)):
            self.connection.register("incoming", frame.to_arrow())
            self.connection.execute(f"create table {name} as select * from incoming")
            self.connection.unregister("incoming")

    def join(self) -> Any:
        columns = ", ".join(f"case when s.at - r.at <= interval 7 days then r.{name} end as {name}" for name in VALUES)
        return self.connection.sql(
            f"select s.row, {columns} from spine s asof left join records r on s.id = r.id and s.at >= r.at"
        ).to_arrow_table()

    def read(self, result: Any) -> pl.DataFrame:
        frame = pl.from_arrow(result)
        assert isinstance(frame, pl.DataFrame)
        return frame


class Polars:
    package = "polars"

    def load(self, spine: pl.DataFrame, records: pl.DataFrame) -> None:
        self.spine, self.records = spine, records

    def join(self) -> Any:
        return self.spine.sort("at").join_asof(
            self.records.sort("at"), on="at", by="id", tolerance="7d", check_sortedness=False
        )

    def read(self, result: Any) -> pl.DataFrame:
        frame: pl.DataFrame = result
        return frame


class PolarsSorted(Polars):
    """The same where somebody else has paid for the sort."""

    def load(self, spine: pl.DataFrame, records: pl.DataFrame) -> None:
        self.spine, self.records = spine.sort("at"), records.sort("at")

    def join(self) -> Any:
        return self.spine.join_asof(self.records, on="at", by="id", tolerance="7d", check_sortedness=False)


class Pandas:
    package = "pandas"

    def load(self, spine: pl.DataFrame, records: pl.DataFrame) -> None:
        self.spine, self.records = spine.to_pandas(), records.to_pandas()

    def join(self) -> Any:
        import pandas as pd

        return pd.merge_asof(
            self.spine.sort_values("at"), self.records.sort_values("at"), on="at", by="id",
            tolerance=pd.Timedelta(days=7),
        )  # fmt: skip

    def read(self, result: Any) -> pl.DataFrame:
        return pl.from_pandas(result)


PEERS: dict[str, type[Peer]] = {
    "tinymlops": TinyMLOps,
    "DuckDB ASOF": DuckDB,
    "Polars join_asof with sort": Polars,
    "Polars join_asof, sorted before": PolarsSorted,
    "pandas merge_asof with sort": Pandas,
}


def make_tables(records: int, spine: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Make the same tables for every process: uniform keys and times over a year, no nulls."""
    rng = np.random.default_rng(2013)
    keys = max(1, records // RECORDS_PER_KEY)

    def times(count: int) -> pl.Series:
        return pl.Series(rng.integers(0, YEAR_MICROS, count)).cast(pl.Datetime("us", "UTC"))

    left = pl.DataFrame({"row": np.arange(spine), "id": rng.integers(0, keys, spine), "at": times(spine)})
    right = pl.DataFrame({"id": rng.integers(0, keys, records), "at": times(records)}).with_columns(
        pl.Series(name, rng.normal(size=records)) for name in VALUES
    )
    return left, right


def checksum(result: pl.DataFrame) -> str:
    """Digest the values in the spine's order, a null as NaN."""
    values = result.sort("row").select(pl.col(VALUES).fill_null(float("nan"))).to_numpy()
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def peak_megabytes() -> float:
    """Return the most memory this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(name: str, records: int, spine: int, runs: int) -> dict[str, Any]:
    """Time one peer in this process."""
    peer = PEERS[name]()
    peer.load(*make_tables(records, spine))
    loaded = peak_megabytes()
    seconds, result = [], None
    for _ in range(runs + 1):
        result = None  # the last answer must not count into the next one's memory
        start = time.perf_counter()
        result = peer.join()
        seconds.append(time.perf_counter() - start)
    peak = peak_megabytes()
    return {
        "peer": name,
        "version": importlib.metadata.version(peer.package) if peer.package != "tinymlops" else "this tree",
        "first_seconds": seconds[0],
        "seconds": statistics.median(seconds[1:]),
        "all_seconds": seconds[1:],
        "loaded_megabytes": loaded,
        "peak_megabytes": peak,
        "checksum": checksum(peer.read(result)),
    }


def measure_alone(name: str, records: int, spine: int, runs: int) -> dict[str, Any]:
    """Time one peer in a fresh process."""
    command = [sys.executable, __file__, "--measure", name, "--size", str(records), str(spine), "--runs", str(runs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def machine() -> dict[str, Any]:
    """Say what these figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gigabytes": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {
            name: importlib.metadata.version(name) for name in ("numba", "numpy", "polars", "duckdb", "pandas")
        },
    }


def report(records: int, spine: int, runs: int) -> list[dict[str, Any]]:
    """Measure every peer at one size and print how they compare."""
    print(f"\n{records:,} records x {spine:,} spine rows, {len(VALUES)} float64 columns, ttl 7d, median of {runs}")
    print(f"{'':34}{'seconds':>9}{'ratio':>8}{'first':>8}{'peak MB':>9}")
    rows: list[dict[str, Any]] = []
    for name in PEERS:
        row = measure_alone(name, records, spine, runs) | {"records": records, "spine": spine}
        rows.append(row)
        if row["checksum"] != rows[0]["checksum"]:
            raise SystemExit(f"{name} gives another answer than {rows[0]['peer']}")
        row["ratio"] = row["seconds"] / rows[0]["seconds"]
        print(
            f"{name:34}{row['seconds']:9.3f}{row['ratio']:7.1f}x{row['first_seconds']:8.3f}{row['peak_megabytes']:9.0f}",
            flush=True,
        )
    return rows


def main() -> None:
    """Run the benchmark, or one measurement of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it works")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each peer")
    parser.add_argument("--measure", choices=list(PEERS), help="time one peer in this process and print JSON")
    parser.add_argument("--size", type=int, nargs=2, default=QUICK_SIZES[0], help="records and spine rows of --measure")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.size[0], options.size[1], options.runs)))
        return
    facts = machine()
    print(json.dumps(facts, indent=1))
    rows = [row for size in (QUICK_SIZES if options.quick else SIZES) for row in report(*size, options.runs)]
    target = Path(__file__).parent / "results" / "point_in_time.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"at": datetime.now(UTC).isoformat(), "machine": facts, "rows": rows}, indent=1))
    print(f"\nwritten to {target.parent.name}/{target.name}")


if __name__ == "__main__":
    main()
