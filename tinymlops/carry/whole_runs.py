"""One run as the entries of an archive, and back."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from tinymlops.carry.plain_records import from_json, from_plain, listed, plain, to_json_bytes
from tinymlops.errors import IntegrityError
from tinymlops.records import Artifact, ConsoleText, Experiment, LoggedModel, RunInput, RunRow
from tinymlops.registry.runs.points import Points, in_order
from tinymlops.registry.runs.whole import WholeRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.carry.archive import ArchiveReader

__all__ = ["MOST_POINTS", "entries_of", "whole_run"]

MOST_POINTS = 200_000_000
"""Points of a run in an archive: compressed columns may claim more than the memory holds."""
_STATUSES = ("running", "finished", "failed", "killed")
_COLUMNS = ["name", "step", "value", "time", "session"]


def entries_of(whole: WholeRun) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each entry of a run, without its files."""
    run = whole.row.id
    records = {
        "run": plain(whole.row),
        "experiment": plain(whole.experiment),
        "artifacts": [plain(one) for one in whole.artifacts],
        "inputs": [plain(one) for one in whole.inputs],
        "models": [plain(one) for one in whole.models],
        "points": whole.count,
    }
    yield f"runs/{run}.json", to_json_bytes(records)
    yield f"points/{run}.parquet", _columns(whole)
    if whole.console:
        yield f"console/{run}.json", to_json_bytes({"texts": [plain(one) for one in whole.console]})


def whole_run(archive: ArchiveReader, run: str) -> WholeRun:
    """Read one run.

    Raises:
        IntegrityError: If it is not what `runs export` writes.
    """
    records = from_json(archive.read(f"runs/{run}.json"))
    if set(records) != {"run", "experiment", "artifacts", "inputs", "models", "points"}:
        raise IntegrityError(f"the records of run {run} are not complete")
    console = f"console/{run}.json"
    texts = from_json(archive.read(console)).get("texts", []) if console in archive else []
    whole = WholeRun(
        row=from_plain(RunRow, records["run"]),
        experiment=from_plain(Experiment, records["experiment"]),
        points=_points(archive.read(f"points/{run}.parquet"), run, records["points"]),
        artifacts=listed(Artifact, records["artifacts"]),
        inputs=listed(RunInput, records["inputs"]),
        models=listed(LoggedModel, records["models"]),
        console=listed(ConsoleText, texts),
    )
    named = {one.run for one in whole.artifacts} | {one.run for one in whole.inputs}
    named |= {one.run for one in whole.models} | {one.run for one in whole.console}
    if named | {whole.row.id} != {run}:
        raise IntegrityError(f"the records of run {run} are of several runs")
    if whole.row.status not in _STATUSES:
        raise IntegrityError(f"run {run} has the status {whole.row.status!r:.50}")
    paths = [PurePosixPath(one.name) for one in whole.artifacts]
    if strange := [path for path in paths if path.is_absolute() or ".." in path.parts or not path.parts]:
        raise IntegrityError(f"run {run} has an artifact named {str(strange[0])!r:.80}")
    return whole


def _columns(whole: WholeRun) -> bytes:
    import polars as pl

    parts = [
        pl.DataFrame(
            {
                "step": points.steps,
                "value": points.values,
                "time": points.times,
                "session": points.sessions.astype(np.int32),
            }
        ).select(pl.lit(name).alias("name"), pl.all())
        for name, points in whole.points.items()
    ]
    empty = {"name": pl.String, "step": pl.Float64, "value": pl.Float64, "time": pl.Int64, "session": pl.Int32}
    stream = io.BytesIO()
    (pl.concat(parts) if parts else pl.DataFrame(schema=empty)).write_parquet(
        stream, compression="zstd", statistics=False
    )
    return stream.getvalue()


def _points(content: bytes, run: str, count: object) -> dict[str, Points]:
    import polars as pl
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(io.BytesIO(content)).metadata.num_rows
        if rows != count or rows > MOST_POINTS:
            raise IntegrityError(f"run {run} has {rows:,} points in its columns, and {count} by its records")
        frame = pl.read_parquet(io.BytesIO(content))
        if frame.columns != _COLUMNS:
            raise IntegrityError(f"the points of run {run} have the columns {', '.join(frame.columns)}")
        parts = frame.partition_by("name", maintain_order=True, as_dict=True)
        return {name: _one(part) for (name,), part in parts.items()}
    except (pl.exceptions.PolarsError, OSError, ValueError, TypeError) as error:
        raise IntegrityError(f"the points of run {run} cannot be read: {error}") from error


def _one(rows: object) -> Points:
    import polars as pl

    assert isinstance(rows, pl.DataFrame)
    kinds = {"step": pl.Float64, "value": pl.Float64, "time": pl.Int64, "session": pl.Int32}
    if any(rows[name].dtype != kind or rows[name].null_count() for name, kind in kinds.items()):
        raise IntegrityError("a column of points has another type, or gaps")
    return in_order(Points(*(rows[name].to_numpy().copy() for name in kinds)))
