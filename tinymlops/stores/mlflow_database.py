"""MLflow's own database, a SQLite file, read and never written; by short reads, for its writers wait for a long one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["MlflowDatabase"]

Row = dict[str, Any]
_PATIENCE = 30.0
"""Seconds to wait for a writer."""
_NEEDED = {
    "experiments": {"experiment_id", "name", "lifecycle_stage"},
    "runs": {"run_uuid", "status", "start_time", "end_time", "lifecycle_stage", "artifact_uri", "experiment_id"},
    "metrics": {"key", "value", "timestamp", "run_uuid", "step", "is_nan"},
    "params": {"key", "value", "run_uuid"},
    "tags": {"key", "value", "run_uuid"},
}


class MlflowDatabase:
    """The rows of MLflow's database.

    Args:
        path: The file.

    Raises:
        NotFoundError: If there is none.
        DataError: If it is not MLflow's, or of a version before 1.0.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise NotFoundError(f"there is no file {path}", hint="name mlflow.db, or the directory mlruns")
        try:
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None
            )
            self._connection.text_factory = _as_text
            self._columns = {name: self._columns_of(name) for name in self._tables()}
        except sqlite3.Error as error:
            raise self._unreadable(error) from error
        except DataError:
            self.close()
            raise
        missing = [name for name, columns in _NEEDED.items() if not columns <= self._columns.get(name, set())]
        if missing:
            self.close()
            raise DataError(
                f"{path} is not a database of MLflow 1.0 or later: it lacks {', '.join(missing)}",
                hint=f"if it is an older one: mlflow db upgrade sqlite:///{path}",
            )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def experiments(self) -> list[Row]:
        """Return the experiments, the oldest first."""
        return self._rows("SELECT * FROM experiments ORDER BY experiment_id")

    def runs(self) -> list[Row]:
        """Return the runs without what was logged to them, the oldest first."""
        return self._rows("SELECT * FROM runs ORDER BY start_time, run_uuid")

    def points(self, run: str) -> list[tuple[str, float, int, int, bool]]:
        """Return the points of a run: name, value, milliseconds, step, and whether the value is NaN; by name and time."""
        return self._plain(
            "SELECT key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? ORDER BY key, timestamp, step",
            (run,),
        )

    def traces(self) -> int:
        """Return how many traces there are."""
        if "trace_info" not in self._columns:
            return 0
        ((count,),) = self._plain("SELECT count(*) FROM trace_info")
        return int(count)

    def params(self, run: str) -> dict[str, str]:
        """Return the parameters of a run."""
        return dict(self._plain("SELECT key, value FROM params WHERE run_uuid = ? ORDER BY key", (run,)))

    def tags(self, run: str) -> dict[str, str]:
        """Return the tags of a run."""
        return dict(self._plain("SELECT key, coalesce(value, '') FROM tags WHERE run_uuid = ? ORDER BY key", (run,)))

    def experiment_tags(self, experiment: int) -> dict[str, str]:
        """Return the tags of an experiment."""
        if "experiment_tags" not in self._columns:
            return {}
        sql = "SELECT key, coalesce(value, '') FROM experiment_tags WHERE experiment_id = ? ORDER BY key"
        return dict(self._plain(sql, (experiment,)))

    def inputs(self, run: str) -> list[Row]:
        """Return the datasets of a run, each with its `tags`."""
        if not {"inputs", "datasets", "input_tags"} <= self._columns.keys():
            return []
        found = self._rows(
            "SELECT d.*, i.input_uuid FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id"
            " WHERE i.destination_id = ? AND i.destination_type = 'RUN' AND i.source_type = 'DATASET' ORDER BY d.name",
            (run,),
        )
        sql = "SELECT name, value FROM input_tags WHERE input_uuid = ? ORDER BY name"
        return [{**row, "tags": dict(self._plain(sql, (row["input_uuid"],)))} for row in found]

    def models(self) -> list[Row]:
        """Return the logged models of MLflow 3 that were not deleted, each with its `params` and `tags`; the oldest first."""
        if "logged_models" not in self._columns:
            return []
        found = self._rows(
            "SELECT * FROM logged_models WHERE lifecycle_stage = 'active' ORDER BY creation_timestamp_ms, model_id"
        )
        params = "SELECT param_key, param_value FROM logged_model_params WHERE model_id = ? ORDER BY param_key"
        tags = "SELECT tag_key, tag_value FROM logged_model_tags WHERE model_id = ? ORDER BY tag_key"
        return [
            {
                **row,
                **{
                    name: dict(self._plain(sql, (row["model_id"],)))
                    for name, sql in (("params", params), ("tags", tags))
                },
            }
            for row in found
        ]

    def registered(self) -> list[Row]:
        """Return the registered models, each with its `tags`, its `aliases` and its `versions`, which have `tags` too."""
        if "registered_models" not in self._columns:
            return []
        found = []
        for row in self._rows("SELECT * FROM registered_models ORDER BY name"):
            name = row["name"]
            versions = [
                {**one, "tags": self._pairs("model_version_tags", "key, value", name, one["version"])}
                for one in self._rows("SELECT * FROM model_versions WHERE name = ? ORDER BY version", (name,))
            ]
            tags = self._pairs("registered_model_tags", "key, value", name)
            aliases = self._pairs("registered_model_aliases", "alias, version", name)
            found.append({**row, "tags": tags, "aliases": aliases, "versions": versions})
        return found

    def _pairs(self, table: str, columns: str, name: str, version: int | None = None) -> dict[str, Any]:
        if table not in self._columns:
            return {}
        of_version = "" if version is None else " AND version = ?"
        bound = (name,) if version is None else (name, version)
        return dict(self._plain(f"SELECT {columns} FROM {table} WHERE name = ?{of_version}", bound))

    def _rows(self, sql: str, bound: Sequence[Any] = ()) -> list[Row]:
        names, rows = self._read(sql, bound)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _plain(self, sql: str, bound: Sequence[Any] = ()) -> list[Any]:
        return self._read(sql, bound)[1]

    def _read(self, sql: str, bound: Sequence[Any]) -> tuple[list[str], list[Any]]:
        try:
            with closing(self._connection.execute(sql, bound)) as cursor:
                return [column[0] for column in cursor.description], cursor.fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _tables(self) -> list[str]:
        return [row["name"] for row in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")]

    def _columns_of(self, table: str) -> set[str]:
        return {row["name"] for row in self._rows("SELECT name FROM pragma_table_info(?)", (table,))}

    def _unreadable(self, error: sqlite3.Error) -> DataError:
        return DataError(
            f"{self.path} cannot be read as a database of MLflow: {error}",
            hint="name mlflow.db, the directory mlruns, or the address of a tracking server",
        )


def _as_text(content: bytes) -> str:
    return content.decode(errors="replace")
