"""The tables of the benchmarks: written once, chunk by chunk, so that every process and environment reads the same.

Keys are uniform and so are times over a year; nothing is sorted and nothing is null.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

DATA = Path(__file__).parent / "results" / "data"
VALUES = tuple(f"f{i}" for i in range(8))
YEAR_MICROS = 365 * 86_400_000_000
ROW_GROUP = 1_000_000
SEED = 2013
KEYS = {"integer": ("id",), "string": ("name",), "composite": ("region", "name")}


@dataclass(frozen=True)
class Shape:
    """Which tables: `kind` names the key columns, as in `KEYS`."""

    records: int
    spine: int
    kind: str = "integer"
    per_key: int = 1_000
    values: tuple[str, ...] = VALUES

    @property
    def keys(self) -> tuple[str, ...]:
        return KEYS[self.kind]

    @property
    def key_count(self) -> int:
        return max(1, self.records // self.per_key)

    @property
    def folder(self) -> Path:
        return DATA / f"{self.kind}-{self.records}x{self.spine}-{self.per_key}-{len(self.values)}"


def make(shape: Shape) -> Path:
    """Return the folder of `spine.parquet` and `records.parquet`, written first if needed."""
    if not shape.folder.exists():
        DATA.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=DATA))
        _write(fresh / "spine.parquet", shape, shape.spine, values=(), seed=1)
        _write(fresh / "records.parquet", shape, shape.records, values=shape.values, seed=2)
        os.replace(fresh, shape.folder)
    return shape.folder


def remove(shape: Shape) -> None:
    """Free the disk space."""
    shutil.rmtree(shape.folder, ignore_errors=True)


def _write(path: Path, shape: Shape, rows: int, *, values: tuple[str, ...], seed: int) -> None:
    names = np.array([f"{key * 0x9E37_79B9_7F4B % 2**48:012x}" for key in range(shape.key_count)])
    writer = None
    for start in range(0, max(rows, 1), ROW_GROUP):
        rng = np.random.default_rng([SEED, seed, start])
        count = min(ROW_GROUP, rows - start)
        key = rng.integers(0, shape.key_count, count)
        columns: dict[str, object] = {} if values else {"row": np.arange(start, start + count)}
        if shape.kind == "integer":
            columns["id"] = key
        elif shape.kind == "string":
            columns["name"] = names[key]
        else:
            columns |= {"region": key % 100, "name": names[key // 100]}
        at = pl.Series(rng.integers(0, YEAR_MICROS, count)).cast(pl.Datetime("us", "UTC"))
        columns |= {"at": at} | {name: rng.normal(size=count) for name in values}
        table = pl.DataFrame(columns).to_arrow(compat_level=pl.CompatLevel.oldest())
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=ROW_GROUP)
    assert writer is not None
    writer.close()
