"""The interface of a peer, and the list of peers.

A peer is a class that takes a task; it runs in a process of its own, in the environment that has its package. To add one:
write the class, and enter it below.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

PEERS_PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
"""Feast and chdb bring their own versions of much; `make bench-peers` gives them this environment."""

DAY_MICROS = 86_400_000_000
UNITS = {"h": DAY_MICROS // 24, "d": DAY_MICROS}


@dataclass(frozen=True)
class Task:
    """Tables on disk, `spine.parquet` (`row`, keys, `at`) and `records.parquet` (keys, `at`, values), and what to make of them.

    Args:
        folder: Where they are.
        keys: The key columns of both.
        values: The value columns of the records.
        ttl: Microseconds, or None: the greatest age of a match.
        strict: Whether a record of the very moment is left out.
        created: Whether the records have a column `created`, from which on they are known.
        deletes: Whether they have columns `event` (an id) and `deleted`.
        unsorted: Hand the tables over as they are, even to a join that wants them sorted.
        tz: The zone of dates, for a peer that asks.
        windows: Such as "7d"; empty for a join.
        functions: What to compute of `values[0]` in every window.
    """

    folder: str
    keys: tuple[str, ...] = ("id",)
    values: tuple[str, ...] = ("x",)
    ttl: int | None = None
    strict: bool = False
    created: bool = False
    deletes: bool = False
    unsorted: bool = False
    tz: str | None = None
    windows: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()

    @property
    def spine(self) -> str:
        return str(Path(self.folder) / "spine.parquet")

    @property
    def records(self) -> str:
        return str(Path(self.folder) / "records.parquet")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the answer."""
        return tuple(f"{f}_{w}" for w in self.windows for f in self.functions) or self.values

    @property
    def record_order(self) -> list[str]:
        """The columns by which a user sorts the records before an as-of join that needs it."""
        return ["at", "created"] if self.created else ["at"]


def micros(window: str) -> int:
    """Return the length of a window."""
    return int(window[:-1]) * UNITS[window[-1]]


class Peer(Protocol):
    """One way to do a task."""

    def load(self, task: Task) -> None:
        """Take the tables into the peer's own kind of memory, if it works in memory; not timed."""

    def run(self) -> Any:
        """Do the work; timed. The spine's column `row` must be in the result."""

    def read(self, result: Any) -> pl.DataFrame:
        """Return the result as Polars; not timed."""

    def files(self) -> Sequence[str]:
        """Return what `run` reads from disk."""


@dataclass(frozen=True)
class Entry:
    """A peer by name: the place of its class, the package whose version counts, and its Python."""

    name: str
    code: str
    package: str
    python: Path = Path(sys.executable)

    @property
    def available(self) -> bool:
        return self.python.exists()

    def make(self) -> Peer:
        """Return the peer; in its own process only."""
        module, name = self.code.split(":")
        peer: Peer = getattr(importlib.import_module(f"peers.{module}"), name)()
        return peer


OURS = Entry("tinymlops", "with_tinymlops:Memory", "tinymlops")
IN_MEMORY = [
    OURS,
    Entry("DuckDB ASOF, tables", "with_duckdb:Tables", "duckdb"),
    Entry("Polars join_asof with sort", "with_polars:Sorting", "polars"),
    Entry("Polars join_asof, sorted before", "with_polars:Sorted", "polars"),
    Entry("pandas merge_asof with sort", "with_pandas:Memory", "pandas"),
    Entry("ClickHouse ASOF, memory tables", "with_clickhouse:Tables", "chdb", PEERS_PYTHON),
]
SEGMENTS = Entry("tinymlops, ingested segments", "with_tinymlops:Segments", "tinymlops")
FEAST_DASK = Entry("Feast, Dask store", "with_feast:OnDask", "feast", PEERS_PYTHON)
FROM_FILES = [
    Entry("tinymlops, raw Parquet", "with_tinymlops:Files", "tinymlops"),
    SEGMENTS,
    Entry("DuckDB ASOF, Parquet", "with_duckdb:Files", "duckdb"),
    Entry("Polars scan + join_asof", "with_polars:Files", "polars"),
    Entry("pandas read + merge_asof", "with_pandas:Files", "pandas"),
    Entry("ClickHouse ASOF, Parquet", "with_clickhouse:Files", "chdb", PEERS_PYTHON),
    Entry("Feast, DuckDB store", "with_feast:OnDuckDB", "feast", PEERS_PYTHON),
    FEAST_DASK,
]
WINDOWS = [
    Entry("tinymlops, in memory", "with_tinymlops:MemoryWindows", "tinymlops"),
    Entry("tinymlops, ingested segments", "with_tinymlops:Segments", "tinymlops"),
    Entry("DuckDB range join", "with_duckdb:RangeJoin", "duckdb"),
    Entry("DuckDB window functions", "with_duckdb:WindowFunctions", "duckdb"),
    Entry("Polars join + group", "with_polars:JoinAndGroup", "polars"),
    Entry("Polars rolling_by", "with_polars:Rolling", "polars"),
]
BY_NAME = {entry.name: entry for entry in [*IN_MEMORY, *FROM_FILES, *WINDOWS]}
