"""Polars: join_asof, and windows by join and group or by rolling expressions over events and spine together."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from peers import Task, micros

if TYPE_CHECKING:
    from collections.abc import Sequence


def join_asof(task: Task, spine: Any, records: Any) -> Any:
    """Join two frames, eager or lazy, that are already in order."""
    by = {"by": list(task.keys)} if len(task.keys) > 1 else {"by": task.keys[0]}
    return spine.join_asof(
        records,
        on="at",
        **by,
        tolerance=None if task.ttl is None else timedelta(microseconds=task.ttl),
        allow_exact_matches=not task.strict,
        check_sortedness=task.unsorted,  # with `by` it only warns that it cannot; what was sorted here needs no warning
    )


class Sorting:
    """The sort is part of the work."""

    def load(self, task: Task) -> None:
        self.task = task
        self.spine, self.records = pl.read_parquet(task.spine), pl.read_parquet(task.records)

    def run(self) -> Any:
        spine, records = self.spine, self.records
        if not self.task.unsorted:
            spine, records = spine.sort("at"), records.sort(self.task.record_order)
        return join_asof(self.task, spine, records)

    def read(self, result: Any) -> pl.DataFrame:
        frame: pl.DataFrame = result
        return frame

    def files(self) -> Sequence[str]:
        return ()


class Sorted(Sorting):
    """The sort was done before and is not timed."""

    def load(self, task: Task) -> None:
        super().load(task)
        self.spine, self.records = self.spine.sort("at"), self.records.sort(task.record_order)

    def run(self) -> Any:
        return join_asof(self.task, self.spine, self.records)


class Files(Sorting):
    def load(self, task: Task) -> None:
        self.task = task

    def run(self) -> Any:
        spine, records = pl.scan_parquet(self.task.spine), pl.scan_parquet(self.task.records)
        return join_asof(self.task, spine.sort("at"), records.sort(self.task.record_order)).collect()

    def files(self) -> Sequence[str]:
        return self.task.spine, self.task.records


class JoinAndGroup(Sorting):
    """All pairs of spine row and event of a key within the longest window, then one grouping."""

    def run(self) -> Any:
        task, (value,) = self.task, self.task.values
        age = pl.col("at") - pl.col("at_event")
        longest = max(map(micros, task.windows))
        pairs = (
            self.spine.lazy()
            .join(self.records.lazy().rename({"at": "at_event"}), on=list(task.keys), how="inner")
            .filter(age > timedelta(0), age <= timedelta(microseconds=longest))
        )
        aggregates = [
            getattr(pl.col(value).filter(age <= timedelta(microseconds=micros(window))), function)().alias(
                f"{function}_{window}"
            )
            for window in task.windows
            for function in task.functions
        ]
        empty = [pl.col(f"{f}_{w}").fill_null(0) for w in task.windows for f in task.functions if f in ("count", "sum")]
        rows = self.spine.lazy().select("row")
        return rows.join(pairs.group_by("row").agg(aggregates), on="row", how="left").with_columns(empty).collect()


class Rolling(Sorting):
    """Rolling expressions over events and spine rows in one frame, key by key."""

    def run(self) -> Any:
        task, (value,) = self.task, self.task.values
        both = pl.concat([self.spine.lazy(), self.records.lazy()], how="diagonal").sort(*task.keys, "at")
        present = pl.col(value).is_not_null().cast(pl.Int64)
        columns = []
        for window in task.windows:
            for function in task.functions:
                operand = present if function == "count" else pl.col(value)
                rolling = getattr(operand, f"rolling_{'sum' if function == 'count' else function}_by")
                column = rolling("at", window_size=timedelta(microseconds=micros(window)), closed="left")
                column = column.fill_null(0) if function in ("count", "sum") else column
                columns.append(column.over(task.keys).alias(f"{function}_{window}"))
        return both.select("row", *columns).filter(pl.col("row").is_not_null()).collect()
