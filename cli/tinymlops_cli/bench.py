"""`bench`: measure the join and the windows on this machine, on generated rows."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tinymlops_cli.commands import command
from tinymlops_cli.machine import machine, memory_speed
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    import tinymlops as tm

__all__ = ["add_to"]

_VALUES = [f"f{i}" for i in range(8)]
_WINDOWS = ("1h", "1d", "7d", "30d")
_FUNCTIONS = ("count", "sum", "mean", "min", "max")
_YEAR_MICROS = 365 * 86_400_000_000
_RECORDS_PER_KEY = 1_000
_RECORDS_PER_SPINE_ROW = 10
_RUNS = 3


class Timing(msgspec.Struct, frozen=True):
    """The time of a piece of work.

    Args:
        work: The name of the work.
        first_seconds: The first run, with loading and compiling.
        seconds: The median of the later runs; the first one if there is only one.
        nanoseconds_per_record: `seconds` per record.
    """

    work: str
    first_seconds: float
    seconds: float
    nanoseconds_per_record: float


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(bench)


def bench(
    session: Session,  # noqa: ARG001 - no project is needed
    *,
    rows: Annotated[int, typer.Option(min=1_000, help="Records; there is a spine row for every ten of them.")] = (
        1_000_000
    ),
) -> Answer:
    """Time a point-in-time join and sliding windows on generated rows; your own data is neither read nor written."""
    from tempfile import TemporaryDirectory

    facts = {**machine(), **memory_speed()}
    spine, records = _tables(rows)
    timings = [_timing("join of two frames, ttl 7d", rows, _join(spine, records))]
    with TemporaryDirectory() as folder:
        timings += _in_a_workspace(Path(folder), spine, records)
    return Answer(
        {"machine": facts, "rows": rows, "spine_rows": spine.height, "timings": timings},
        [
            Table(["machine", ""], list(facts.items())),
            "",
            f"{rows:,} records x {spine.height:,} spine rows; seconds: the median of {_RUNS} after the first",
            Table.of([msgspec.structs.asdict(timing) for timing in timings]),
        ],
    )


def _tables(rows: int) -> "tuple[pl.DataFrame, pl.DataFrame]":
    """Make a spine and records with uniform keys and times over a year, in random order."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(2013)
    keys = max(1, rows // _RECORDS_PER_KEY)

    def table(count: int) -> pl.DataFrame:
        at = pl.Series("at", rng.integers(0, _YEAR_MICROS, count)).cast(pl.Datetime("us", "UTC"))
        return pl.DataFrame({"id": rng.integers(0, keys, count), "at": at})

    spine = table(rows // _RECORDS_PER_SPINE_ROW)
    return spine, table(rows).with_columns(pl.Series(name, rng.normal(size=rows)) for name in _VALUES)


def _join(spine: "pl.DataFrame", records: "pl.DataFrame") -> "Callable[[], object]":
    from tinymlops.features.join.point_in_time import point_in_time_join

    return lambda: point_in_time_join(spine, records, key="id", timestamp="at", ttl="7d")


def _in_a_workspace(folder: Path, spine: "pl.DataFrame", records: "pl.DataFrame") -> list[Timing]:
    """Ingest the records from a file into a workspace that lives as long as the command, and read features."""
    from tinymlops.workspace import connect

    records.write_parquet(folder / "records.parquet")
    with connect(folder / "bench.tm", create=True) as workspace:
        workspace.apply(_project(folder / "records.parquet"))
        timings = [_timing("ingest", records.height, workspace.ingest, runs=0)]
        works = {
            "historical features: 8 newest values": "newest",
            f"historical features: {len(_WINDOWS)} windows x {len(_FUNCTIONS)} functions": "windows",
        }
        for work, view in works.items():

            def read(view: str = view) -> object:
                return workspace.get_historical_features(spine, [view], timestamp="at")

            timings.append(_timing(work, records.height, read))
    return timings


def _project(path: Path) -> "tm.Project":
    import tinymlops as tm

    project = tm.Project("bench")
    entity = project.entity("entity", key="id")

    @project.source(timestamp="at")
    def records() -> str:
        return f"select * from read_parquet('{path}')"

    @project.feature_view(entity=entity, ttl="7d")
    def newest(records: tm.Rows) -> tm.Features:
        return {name: records[name].last() for name in _VALUES}

    @project.feature_view(entity=entity)
    def windows(records: tm.Rows) -> tm.Features:
        column = records[_VALUES[0]]
        return {f"{f}_{w}": getattr(column, f)(window=w) for w in _WINDOWS for f in _FUNCTIONS}

    return project


def _timing(work: str, rows: int, run: "Callable[[], Any]", *, runs: int = _RUNS) -> Timing:
    from statistics import median

    seconds = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    typical = median(seconds[1:] or seconds)
    return Timing(work, seconds[0], typical, typical / rows * 1e9)
