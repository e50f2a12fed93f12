"""Runs that neptune-exporter wrote: Parquet files, `<run>_part_<n>.parquet` in a directory a project, and files beside them.

The columns are those of its README: an attribute a row, its type in `attribute_type`, and its value in the column of that type.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymlops.carry.carried import CarriedExperiment, CarriedModel, CarriedName, CarriedRun, instant, run_id_of
from tinymlops.carry.neptune_values import Attributes, add_files, add_series, add_tables, params_of
from tinymlops.errors import DataError, NotFoundError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["NeptuneSource"]

_PART = re.compile(r"(.+)_part_(\d+)\.parquet(\.tmp)?")
_COLUMNS = {"project_id", "run_id", "attribute_path", "attribute_type"}
_MAPPED = {
    "sys/id",
    "sys/name",
    "sys/custom_run_id",
    "sys/creation_time",
    "sys/modification_time",
    "sys/description",
    "sys/owner",
    "sys/failed",
    "sys/trashed",
    "sys/state",
    "sys/tags",
    "sys/group_tags",
    "sys/experiment/name",
    "sys/forking/parent",
}
"""What has a field here; the other attributes of the system become tags."""


class NeptuneSource:
    """A directory that neptune-exporter wrote.

    Args:
        path: The one with `data` and `files` in it, or the one of the Parquet files.
        files: The directory of files, unless it is `files` beside the data.

    Raises:
        NotFoundError: If there is no Parquet file of a run.
    """

    origin = "neptune"

    def __init__(self, path: Path, files: Path | None = None) -> None:
        data = path / "data" if (path / "data").is_dir() else path
        self._files = (files or data.resolve().parent / "files").resolve()
        self.remarks: list[str] = []
        self._parts = self._found(data)
        if not self._parts:
            raise NotFoundError(
                f"{path} holds no <run>_part_<n>.parquet of neptune-exporter", hint="name its directory of data"
            )
        if not self._files.is_dir():
            self.remarks.append(f"there is no directory {self._files}: files are left out; name it with --files")
        self._system: dict[str, Attributes] = {}
        self._damaged: dict[str, DataError] = {}
        for key, parts in self._parts.items():
            try:
                self._system[key] = _system(parts)
            except DataError as error:
                self._damaged[key] = error

    def experiments(self) -> list[CarriedExperiment]:
        """Return the projects."""
        return [CarriedExperiment(name=name) for name in sorted({one.project for one in self._system.values()})]

    def keys(self) -> list[str]:
        """Return the runs, by the directory and the beginning of the name of their files."""
        return list(self._parts)

    def read(self, key: str) -> CarriedRun:
        """Read the parts of one run."""
        if key in self._damaged:
            raise self._damaged[key]
        numbers = sorted(self._parts[key])
        system = self._system[key]
        run = self._begun(system)
        missing = [number for number in range(numbers[-1] + 1) if number not in self._parts[key]]
        if missing:
            run.left_out.append(f"parts {', '.join(map(str, missing))} of its Parquet files are missing")
        add = _Adding(run, self._files)
        for number in numbers:
            add.part(_read(self._parts[key][number]))
        add.end()
        return run

    def models(self) -> list[CarriedModel]:
        """Return none: its models are files of runs."""
        return []

    def registered(self) -> list[CarriedName]:
        """Return none."""
        return []

    def close(self) -> None:
        """Hold nothing."""

    def _found(self, data: Path) -> dict[str, dict[int, Path]]:
        found: dict[str, dict[int, Path]] = defaultdict(dict)
        for path in sorted([*data.glob("*.parquet*"), *data.glob("*/*.parquet*")]):
            match = _PART.fullmatch(path.name)
            if match is None:
                self.remarks.append(f"{path.name} is not named <run>_part_<n>.parquet: left out")
            elif match.group(3):
                self.remarks.append(f"{path.name} was not finished by neptune-exporter: left out")
            else:
                found[str(path.parent.relative_to(data) / match.group(1))][int(match.group(2))] = path
        return dict(found)

    def _begun(self, system: Attributes) -> CarriedRun:
        created = system.moment("sys/creation_time")
        changed = system.moment("sys/modification_time")
        is_running = str(system.get("sys/state") or "").lower() in ("active", "running")
        status = "failed" if system.get("sys/failed") else "running" if is_running else "finished"
        tags = {str(tag): "true" for name in ("sys/tags", "sys/group_tags") for tag in system.get(name) or ()}
        tags |= {name: str(value) for name, value in system.items() if name.startswith("sys/") and name not in _MAPPED}
        parent = system.get("sys/forking/parent")
        if parent:
            tags["forked_from"] = self._id_of(system.project, str(parent))
        run = CarriedRun(
            id=run_id_of("neptune", system.project, system.run),
            foreign=system.run,
            name=_name(system),
            experiment=system.project,
            status=status,
            started_at=created if created is not None else instant(0),
            ended_at=(changed or created) if status != "running" else None,
            deleted_at=(changed or created or instant(0)) if system.get("sys/trashed") else None,
            params=params_of(system),
            tags=tags,
            group=_text(system.get("sys/experiment/name")),
            notes=_text(system.get("sys/description")),
            user=_text(system.get("sys/owner")),
        )
        if created is None:
            run.remarks.append("it has no sys/creation_time; it starts in 1970")
        return run

    def _id_of(self, project: str, run: str) -> str:
        """Return the id here of a run that another one names, by what that one calls it."""
        names = ("sys/custom_run_id", "sys/id")
        same = [one for one in self._system.values() if one.project == project]
        found = next((one.run for one in same if run in (one.run, *(one.get(name) for name in names))), run)
        return run_id_of("neptune", project, found)


class _Adding:
    """What the parts of a run add to it: series that are tables are made at the end, for they may be in several parts."""

    def __init__(self, run: CarriedRun, files: Path) -> None:
        self._run, self._files = run, files
        self._tables: dict[str, list[dict[str, Any]]] = {}

    def part(self, rows: pl.DataFrame) -> None:
        """Add the rows of a part."""
        import polars as pl

        known = {"float", "int", "string", "bool", "datetime", "string_set", "float_series"}
        tables, files = {"string_series", "histogram_series"}, {"file", "file_series", "file_set", "artifact"}
        kind = pl.col("attribute_type")
        add_series(self._run, rows.filter(kind == "float_series"))
        add_tables(self._tables, rows.filter(kind.is_in(tables)))
        add_files(self._run, rows.filter(kind.is_in(files)), self._files)
        others = rows.filter(~kind.is_in(known | tables | files))
        for name, count in others.group_by("attribute_type").len().sort("attribute_type").iter_rows():
            self._run.left_out.append(f"values of the type {name!r}, which has no place here: {count:,}")

    def end(self) -> None:
        """Make files of the tables."""
        from tinymlops.carry.tables import table_file

        for name, rows in self._tables.items():
            rows.sort(key=lambda row: (row["step"] is None, row["step"]))
            self._run.files.append(table_file(name, rows))


def _system(parts: dict[int, Path]) -> Attributes:
    """Return the attributes of a run that are no series."""
    found: Attributes | None = None
    for number in sorted(parts):
        rows = _read(parts[number])
        if found is None and rows.height:
            found = Attributes(rows["project_id"][0], rows["run_id"][0])
        if found is not None:
            found.add(rows)
    if found is None:
        raise DataError(f"{parts[min(parts)]} has no rows", hint="export the run again")
    return found


def _read(path: Path) -> pl.DataFrame:
    import polars as pl

    try:
        rows = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}", hint="export the run again") from error
    missing = sorted(_COLUMNS - set(rows.columns))
    if missing:
        raise DataError(f"{path} is not of neptune-exporter: it lacks {', '.join(missing)}")
    return rows


def _name(system: Attributes) -> str:
    for name in ("sys/custom_run_id", "sys/name"):
        if said := _text(system.get(name)):
            return said
    return system.run


def _text(value: object) -> str | None:
    return str(value) if value not in (None, "") else None
