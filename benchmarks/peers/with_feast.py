"""Feast with its offline stores on DuckDB and on Dask."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

os.environ["FEAST_USAGE"] = "False"  # it would report home

import pandas as pd
import polars as pl
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64, Int64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers import Task


class OnDuckDB:
    store: ClassVar[str] = "duckdb"

    def load(self, task: Task) -> None:
        self.task = task
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.features = FeatureStore(
            config=RepoConfig(
                project="bench",
                provider="local",
                registry=str(root / "registry.db"),
                offline_store={"type": self.store},
                online_store={"type": "sqlite", "path": str(root / "online.db")},
                entity_key_serialization_version=3,
            )
        )
        entities = [Entity(name=key, join_keys=[key]) for key in task.keys]
        source = FileSource(
            path=task.records, timestamp_field="at", created_timestamp_column="created" if task.created else ""
        )
        kinds = pl.read_parquet_schema(task.records)
        view = FeatureView(
            name="records",
            entities=entities,
            ttl=timedelta(microseconds=task.ttl or 0),  # zero is without limit
            schema=[Field(name=name, dtype=Float64 if kinds[name].is_float() else Int64) for name in task.values],
            source=source,
            online=False,
        )
        self.features.apply([*entities, view])

    def run(self) -> Any:
        spine = pd.read_parquet(self.task.spine).rename(columns={"at": "event_timestamp"})
        wanted = [f"records:{name}" for name in self.task.values]
        return self.features.get_historical_features(entity_df=spine, features=wanted).to_arrow()

    def read(self, result: Any) -> pl.DataFrame:
        frame = pl.from_arrow(result.select(["row", *self.task.values]))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def files(self) -> Sequence[str]:
        return self.task.spine, self.task.records


class OnDask(OnDuckDB):
    store: ClassVar[str] = "dask"
