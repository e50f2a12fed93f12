"""DuckDB: its ASOF join, and windows by a range join or by window functions over events and spine together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from peers import Task, micros

if TYPE_CHECKING:
    from collections.abc import Sequence


def asof_query(task: Task, spine: str, records: str) -> str:
    """Write the join as a user would; a match that is too old becomes null afterwards."""
    fresh = f"s.at - r.at <= to_microseconds({task.ttl})" if task.ttl is not None else "true"
    values = ", ".join(f"case when {fresh} then r.{name} end as {name}" for name in task.values)
    keys = " and ".join(f"s.{name} = r.{name}" for name in task.keys)
    return (
        f"select s.row, {values} from {spine} s asof left join {records} r"
        f" on {keys} and s.at {'>' if task.strict else '>='} r.at"
    )


FUNCTIONS = {
    "count": "count{}",
    "sum": "coalesce(sum{}, 0)",  # of nothing it is null
    "mean": "avg{}",
    "min": "min{}",
    "max": "max{}",
}


class Tables:
    def load(self, task: Task) -> None:
        self.task = task
        self.connection = duckdb.connect()
        for name, path in (("spine", task.spine), ("records", task.records)):
            self.connection.execute(f"create table {name} as select * from read_parquet('{path}')")

    def query(self) -> str:
        return asof_query(self.task, "spine", "records")

    def run(self) -> Any:
        return self.connection.sql(self.query()).to_arrow_table()

    def read(self, result: Any) -> pl.DataFrame:
        frame = pl.from_arrow(result)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def files(self) -> Sequence[str]:
        return ()


class Files(Tables):
    def load(self, task: Task) -> None:
        self.task = task
        self.connection = duckdb.connect()

    def query(self) -> str:
        return asof_query(self.task, f"read_parquet('{self.task.spine}')", f"read_parquet('{self.task.records}')")

    def files(self) -> Sequence[str]:
        return self.task.spine, self.task.records


class RangeJoin(Tables):
    """Every event of the longest window beside its spine row, then one aggregate with a filter per window."""

    def query(self) -> str:
        task, (value,) = self.task, self.task.values
        aggregates = ", ".join(
            FUNCTIONS[function].format(f"({value}) filter (where r.at >= s.at - to_microseconds({micros(window)}))")
            + f" as {function}_{window}"
            for window in task.windows
            for function in task.functions
        )
        keys = " and ".join(f"s.{name} = r.{name}" for name in task.keys)
        longest = max(map(micros, task.windows))
        return (
            f"select s.row, {aggregates} from spine s left join records r"
            f" on {keys} and r.at < s.at and r.at >= s.at - to_microseconds({longest}) group by s.row"
        )


class WindowFunctions(Tables):
    """Segment trees over events and spine rows in one table: does not slow down with events per key."""

    def query(self) -> str:
        task, (value,) = self.task, self.task.values
        keys = ", ".join(task.keys)
        aggregates = ", ".join(
            FUNCTIONS[function].format(f"({value}) over w{window}") + f" as {function}_{window}"
            for window in task.windows
            for function in task.functions
        )
        frames = ", ".join(
            f"w{window} as (partition by {keys} order by b.at range between"
            f" to_microseconds({micros(window)}) preceding and to_microseconds(1) preceding)"
            for window in task.windows
        )
        both = (
            f"select s.row, {keys}, s.at, null::double as {value} from spine s"
            f" union all select null, {keys}, r.at, {value} from records r"
        )
        computed = f"select row, {aggregates} from ({both}) b window {frames}"
        return f"select * from ({computed}) where row is not null"
