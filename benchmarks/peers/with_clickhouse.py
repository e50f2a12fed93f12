"""The ClickHouse engine in the process (chdb): its ASOF join."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from chdb.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers import Task

NOT_NULL = "settings schema_inference_make_columns_nullable = 'auto'"
"""Columns without a null are taken as what they are: its ASOF join refuses a nullable time."""


class Tables:
    def load(self, task: Task) -> None:
        self.task = task
        self.folder = tempfile.TemporaryDirectory()
        self.session = Session(self.folder.name)
        self.session.query("create database if not exists b")
        for name, path in (("spine", task.spine), ("records", task.records)):
            self.session.query(
                f"create table b.{name} engine = Memory as select * from file('{path}', Parquet) {NOT_NULL}"
            )

    def tables(self) -> tuple[str, str]:
        return "b.spine", "b.records"

    def run(self) -> Any:
        task = self.task
        spine, records = self.tables()
        fresh = f"dateDiff('microsecond', r.at, s.at) <= {task.ttl}" if task.ttl is not None else "true"
        values = ", ".join(f"if({fresh}, r.{name}, null) as {name}" for name in task.values)
        keys = " and ".join(f"s.{name} = r.{name}" for name in task.keys)
        return self.session.query(
            f"select s.row as row, {values} from {spine} s asof left join {records} r"
            f" on {keys} and s.at {'>' if task.strict else '>='} r.at"
            f" {NOT_NULL}, join_use_nulls = 1",
            "Arrow",
        )

    def read(self, result: Any) -> pl.DataFrame:
        frame = pl.from_arrow(pa.ipc.open_file(pa.py_buffer(result.bytes())).read_all())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def files(self) -> Sequence[str]:
        return ()


class Files(Tables):
    def load(self, task: Task) -> None:
        self.task = task
        self.folder = tempfile.TemporaryDirectory()
        self.session = Session(self.folder.name)

    def tables(self) -> tuple[str, str]:
        return f"file('{self.task.spine}', Parquet)", f"file('{self.task.records}', Parquet)"

    def files(self) -> Sequence[str]:
        return self.task.spine, self.task.records
