"""pandas: merge_asof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers import Task


class Memory:
    def load(self, task: Task) -> None:
        self.task = task
        self.spine, self.records = pd.read_parquet(task.spine), pd.read_parquet(task.records)

    def run(self) -> Any:
        return self.join(self.spine, self.records)

    def join(self, spine: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
        task = self.task
        if not task.unsorted:
            spine, records = spine.sort_values("at"), records.sort_values(task.record_order)
        return pd.merge_asof(
            spine,
            records,
            on="at",
            by=list(task.keys),
            tolerance=None if task.ttl is None else pd.Timedelta(task.ttl, "us"),
            allow_exact_matches=not task.strict,
        )

    def read(self, result: Any) -> pl.DataFrame:
        return pl.from_pandas(result[["row", *self.task.values]])

    def files(self) -> Sequence[str]:
        return ()


class Files(Memory):
    def load(self, task: Task) -> None:
        self.task = task

    def run(self) -> Any:
        return self.join(pd.read_parquet(self.task.spine), pd.read_parquet(self.task.records))

    def files(self) -> Sequence[str]:
        return self.task.spine, self.task.records
