"""tinymlops itself, by its public functions only."""

from __future__ import annotations

import atexit
import os
import shutil
import weakref
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import tinymlops as tm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers import Task


class Memory:
    """The join of two frames."""

    def load(self, task: Task) -> None:
        self.task = task
        self.spine = pl.read_parquet(task.spine)
        self.records: Any = pl.read_parquet(task.records)

    def run(self) -> Any:
        task = self.task
        return tm.point_in_time_join(
            self.spine,
            self.records,
            key=list(task.keys),
            timestamp="at",
            ttl=None if task.ttl is None else timedelta(microseconds=task.ttl),
            boundary="<" if task.strict else "<=",
            created="created" if task.created else None,
            tz=task.tz,
        )

    def read(self, result: Any) -> pl.DataFrame:
        frame: pl.DataFrame = result
        return frame

    def files(self) -> Sequence[str]:
        return ()


class Files(Memory):
    """The same, directly from a raw Parquet file."""

    def load(self, task: Task) -> None:
        self.task = task

    def run(self) -> Any:
        self.spine, self.records = pl.read_parquet(self.task.spine), Path(self.task.records)
        return super().run()

    def files(self) -> Sequence[str]:
        return self.task.spine, self.task.records


class Segments(Memory):
    """Historical features of a workspace; the ingest is done once and not part of the time."""

    def load(self, task: Task) -> None:
        self.task = task
        self.root = Path(task.folder) / f"bench-{os.getpid()}.tm"  # its SQL reads only what lies beside it
        atexit.register(shutil.rmtree, self.root, ignore_errors=True)
        self.workspace = tm.connect(self.root, create=True)
        weakref.finalize(self, self.workspace.close)
        self.workspace.apply(project_of(task))
        self.workspace.ingest()

    def run(self) -> Any:
        return self.workspace.get_historical_features(pl.read_parquet(self.task.spine), ["features"], timestamp="at")

    def files(self) -> Sequence[str]:
        stored = [str(path) for path in self.root.rglob("*") if path.is_file()]
        return self.task.spine, *stored


class MemoryWindows(Memory):
    """Windows over two frames, by the code behind `get_historical_features`."""

    def run(self) -> Any:
        from tinymlops.features.compute.aggregates import compute
        from tinymlops.features.compute.arranged import history_of
        from tinymlops.features.definitions.specs import SourceSpec

        task = self.task
        rows = self.records.with_columns(
            pl.col("at").to_physical().alias("__event"),
            pl.lit(None, pl.Int64).alias("__created"),
            pl.int_range(pl.len()).alias("__sequence"),
            pl.lit(value=False).alias("__deleted"),
        )
        history = history_of(
            rows,
            SourceSpec(name="records", via="sql", timestamp="at"),
            task.keys,
            [self.spine[key] for key in task.keys],
        )
        times = self.spine["at"].to_physical().to_numpy()
        return self.spine.with_columns(
            compute(history, features_of(task, tm.Rows()), times, strict=False, ttl=None).values()
        )


def project_of(task: Task) -> tm.Project:
    """Define a view with the newest value of each column, or the windows of the first."""
    project = tm.Project("bench")
    entity = project.entity("entity", key=list(task.keys))

    @project.source(timestamp="at", created="created" if task.created else None, id="event" if task.deletes else None)
    def records() -> str:
        return f"select * from read_parquet('{task.records}')"

    @project.feature_view(entity=entity, ttl=None if task.ttl is None else timedelta(microseconds=task.ttl))
    def features(records: tm.Rows) -> tm.Features:
        return features_of(task, records)

    return project


def features_of(task: Task, records: tm.Rows) -> tm.Features:
    """Return the newest value of each column, or the windows of the first."""
    if not task.windows:
        return {name: records[name].last() for name in task.values}
    column = records[task.values[0]]
    return {f"{f}_{w}": getattr(column, f)(window=w) for w in task.windows for f in task.functions}
