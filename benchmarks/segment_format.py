"""Compare formats for the rows of a source on disk: Parquet or Arrow, by size, writing, SQL and a point-in-time gather.

    python benchmarks/segment_format.py [--rows 10000000]

Two kinds of rows: eight columns of random float64, which nothing compresses, and the landings of the flights example
(if `examples/flights/prepare.py` has been run), which are like most tables of a company: text and small numbers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

LANDINGS = Path(__file__).parent.parent / "examples" / "flights" / "data" / "landings.parquet"
GATHERED = 1_000_000
FORMS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    "Parquet, zstd 1": lambda rows, path: rows.write_parquet(path, compression="zstd", compression_level=1),
    "Parquet, plain": lambda rows, path: rows.write_parquet(path, compression="uncompressed"),
    "Arrow, lz4": lambda rows, path: rows.write_ipc(path, compression="lz4", record_batch_size=rows.height),
    "Arrow, mapped": lambda rows, path: rows.write_ipc(path, compression="uncompressed", record_batch_size=rows.height),
}


def numbers(rows: int) -> pl.DataFrame:
    random = np.random.default_rng(1)
    return pl.DataFrame(
        {"key": random.integers(0, rows // 1000, rows), **{f"f{i}": random.normal(size=rows) for i in range(8)}}
    )


def read(form: str, path: Path) -> pl.DataFrame:
    if form.startswith("Parquet"):
        return pl.read_parquet(path)
    table = pl.from_arrow(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), rechunk=False)
    assert isinstance(table, pl.DataFrame)
    return table


def aggregate(form: str, path: Path, rows: pl.DataFrame) -> None:
    """Count rows by the first column in DuckDB: from the file where it is Parquet, else from the mapped table."""
    with duckdb.connect() as connection:
        source = f"read_parquet('{path}')" if form.startswith("Parquet") else "mapped"
        if source == "mapped":
            connection.register("mapped", rows)
        connection.sql(
            f'select "{rows.columns[0]}", count(*), max("{rows.columns[-1]}") from {source} group by 1'
        ).fetchall()


def timed(work: Callable[[], object], repeat: int = 3) -> float:
    seconds = []
    for _ in range(repeat):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def measure(form: str, rows: pl.DataFrame, path: Path) -> list[float]:
    chosen = pl.Series(np.random.default_rng(2).integers(0, rows.height, GATHERED), dtype=pl.UInt32)
    writing = timed(lambda: FORMS[form](rows, path), repeat=1)
    loaded = read(form, path)
    return [
        path.stat().st_size / 1e6,
        writing,
        timed(lambda: read(form, path)),
        timed(lambda: aggregate(form, path, loaded)),
        timed(lambda: loaded.select(pl.all().gather(chosen))),
    ]


def compare(name: str, rows: pl.DataFrame, folder: Path) -> None:
    print(f"\n{name}: {rows.height:,} rows, {rows.width} columns, {rows.estimated_size() / 1e6:,.0f} MB in memory")
    print(f"{'':<18}{'MB':>10}{'write s':>10}{'read s':>10}{'SQL s':>10}{'gather s':>10}")
    for form in FORMS:
        print(f"{form:<18}" + "".join(f"{figure:>10.3f}" for figure in measure(form, rows, folder / "rows")))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    rows = arguments.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        compare("numbers", numbers(rows), Path(folder))
        if LANDINGS.exists():
            compare("flights", pl.read_parquet(LANDINGS), Path(folder))


if __name__ == "__main__":
    main()
