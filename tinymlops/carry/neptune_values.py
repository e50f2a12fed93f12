"""The values of an exported run of Neptune, by their types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.carry.carried import CarriedFile, unique_points
from tinymlops.carry.mlflow.artifacts import files_in
from tinymlops.carry.tables import file_name
from tinymlops.registry.runs.points import Points, joined
from tinymlops.stores.json_text import to_json
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from tinymlops.carry.carried import CarriedRun
    from tinymlops.records import Scalar

__all__ = ["Attributes", "add_files", "add_series", "add_tables", "params_of"]

_VALUES = {
    "int": "int_value",
    "float": "float_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}
_PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".svg", ".webp"}


class Attributes(Mapping[str, Any]):
    """The attributes of a run that have one value: path to value.

    Args:
        project: Such as "team/project".
        run: What Neptune calls it.
    """

    def __init__(self, project: str, run: str) -> None:
        self.project, self.run = project, run
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def moment(self, name: str) -> datetime | None:
        """Return a time, aware."""
        value = self.get(name)
        if not isinstance(value, datetime):
            return None
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)

    def add(self, rows: pl.DataFrame) -> None:
        """Add those among some rows."""
        for kind, column in _VALUES.items():
            if column in rows.columns:
                found = rows.filter((rows["attribute_type"] == kind) & rows[column].is_not_null())
                self._values.update(found.select("attribute_path", column).iter_rows())


def params_of(attributes: Attributes) -> dict[str, Scalar]:
    """Return the attributes that are not the system's, as parameters: times as ISO 8601 and sets as JSON."""
    return {name: _scalar(value) for name, value in attributes.items() if not name.startswith("sys/")}


def add_series(run: CarriedRun, rows: pl.DataFrame) -> None:
    """Add the points of some rows to a run."""
    start = to_micros(run.started_at)
    timeless = repeated = 0
    for (name,), part in rows.partition_by("attribute_path", as_dict=True, maintain_order=True).items():
        before = run.points.get(name)
        points, without = _points(part, start)
        if before is not None:
            points = joined([before, points])
        run.points[name], twice = unique_points(points)
        timeless, repeated = timeless + without, repeated + twice
    if timeless:
        run.remarks.append(
            f"points without a time or a step, given the run's start or the next whole step: {timeless:,}"
        )
    if repeated:
        run.remarks.append(f"points that repeat another in step, time and value, counted once: {repeated:,}")


def add_tables(tables: dict[str, list[dict[str, Any]]], rows: pl.DataFrame) -> None:
    """Add the rows of texts and histograms to tables, by attribute."""
    for row in rows.iter_rows(named=True):
        step = float(row["step"]) if row["step"] is not None else None
        content = {"step": step, "time": row["timestamp"]}
        if row["attribute_type"] == "string_series":
            content["text"] = row["string_value"]
        else:
            content |= row["histogram_value"] or {"type": None, "edges": None, "values": None}
        tables.setdefault(row["attribute_path"], []).append(content)


def add_files(run: CarriedRun, rows: pl.DataFrame, root: Path) -> None:
    """Add the files of some rows to a run.

    Args:
        run: To add to.
        rows: Each with a path below the root.
        root: The directory of files; nothing outside of it is read.
    """
    for row in rows.iter_rows(named=True):
        name, said = row["attribute_path"], (row.get("file_value") or {}).get("path")
        path = _inside(root, said)
        if path is None:
            run.left_out.append(f"file {name}: {_why(root, said)}")
        elif path.is_dir():
            run.files += files_in(path, run.left_out, below=f"{file_name(name)}/")
        else:
            run.files.append(_file(row, name, path))


def _file(row: dict[str, Any], name: str, path: Path) -> CarriedFile:
    step = float(row["step"]) if row["step"] is not None else None
    suffix = path.suffix if path.suffix != PurePosixPath(name).suffix else ""
    is_series = row["attribute_type"] == "file_series"
    return CarriedFile(
        name=file_name(f"{name}/{step:g}{path.suffix}" if is_series and step is not None else name + suffix),
        content=path,
        kind="image" if path.suffix.lower() in _PICTURES else "file",
        series=name if is_series else None,
        step=step,
        at=row["timestamp"],
    )


def _inside(root: Path, said: str | None) -> Path | None:
    if not said:
        return None
    path = root / said
    real = path.resolve()
    return path if real.exists() and real.is_relative_to(root) and not path.is_symlink() else None


def _why(root: Path, said: str | None) -> str:
    if not said:
        return "it was not downloaded by neptune-exporter"
    if not (root / said).exists():
        return f"{said} is not in {root}"
    return f"{said} leads out of {root}"


def _points(rows: pl.DataFrame, start: int) -> tuple[Points, int]:
    import polars as pl

    steps = rows["step"].cast(pl.Float64)
    times = rows["timestamp"].dt.replace_time_zone(None).dt.cast_time_unit("us").cast(pl.Int64)
    without = int((steps.is_null() | times.is_null()).sum())
    highest = steps.max()
    following = (float(highest) if isinstance(highest, int | float) else -1.0) + 1.0
    filled = steps.to_numpy().copy()
    empty = np.isnan(filled)
    filled[empty] = following + np.arange(int(empty.sum()))
    values = rows["float_value"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    moments = times.fill_null(start).to_numpy()
    return Points(filled, values.copy(), moments.copy(), np.zeros(rows.height, dtype=np.int32)), without


def _scalar(value: Any) -> Scalar:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return to_json(sorted(value))
    plain: Scalar = value
    return plain
