"""Runs in directories of TensorBoard's event files: one run for each directory that has any."""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple

import numpy as np

from tinymlops.carry.carried import (
    CarriedExperiment,
    CarriedFile,
    CarriedModel,
    CarriedName,
    CarriedRun,
    instant,
    run_id_of,
    unique_points,
)
from tinymlops.carry.event_files import EventFile
from tinymlops.carry.event_values import Histogram, Hyperparameters, Picture, Plain, Text, read_value
from tinymlops.carry.tables import file_name, table_file
from tinymlops.errors import DataError, NotFoundError
from tinymlops.registry.runs.points import Points

if TYPE_CHECKING:
    from tinymlops.carry.event_files import Event
    from tinymlops.records import Scalar

__all__ = ["TensorBoardSource"]

_EVENTS = re.compile(r"tfevents")
_FAILURE, _RUNNING = 2, 3
"""Statuses of a session of the plugin hparams; 1 is success."""


class _Row(NamedTuple):
    step: int
    micros: int
    session: int
    content: dict[str, object]


@dataclass
class _Series:
    steps: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    times: array[int] = field(default_factory=lambda: array("q"))
    sessions: array[int] = field(default_factory=lambda: array("i"))

    def add(self, event: Event, value: float, session: int) -> None:
        """Add a point."""
        self.steps.append(event.step)
        self.values.append(value)
        self.times.append(event.micros)
        self.sessions.append(session)


class _Place(NamedTuple):
    """Where a value is: the file, where its record begins, the number of the value in it, and its plugin."""

    path: Path
    at: int
    number: int
    plugin: str


@dataclass(frozen=True)
class _Recorded:
    """A picture, read again when it is stored: all those of a run may be more than the memory holds."""

    place: _Place
    picture: int
    bytes: int
    is_far: ClassVar[bool] = False

    def write_to(self, stream: BinaryIO) -> None:
        """Write it to a stream."""
        path, at, number, plugin = self.place
        try:
            read = read_value(EventFile(path).event_at(at).values[number], plugin)
        except (ValueError, IndexError, OSError) as error:
            raise DataError(f"{path} changed while it was read: {error}", hint="import again") from error
        assert isinstance(read, Picture)
        stream.write(read.contents[self.picture])


@dataclass
class _Collected:
    """What the event files of one directory hold."""

    scalars: dict[str, _Series] = field(default_factory=dict)
    tables: dict[str, list[_Row]] = field(default_factory=dict)
    pictures: dict[str, CarriedFile] = field(default_factory=dict)
    params: dict[str, Scalar] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    unread: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    group: str | None = None
    ended: int = 0
    graph: bytes = b""
    first: int | None = None
    last: int | None = None


class TensorBoardSource:
    """A directory of event files, or of directories of them.

    Args:
        path: The directory.
        experiment: The name of the runs' experiment; by default the directory's.

    Raises:
        NotFoundError: If there is no event file.
    """

    origin = "tensorboard"

    def __init__(self, path: Path, experiment: str | None = None) -> None:
        self._path = path.resolve()
        self._experiment = experiment or self._path.name or "tensorboard"
        self._runs = dict(_directories(self._path))
        self.remarks: list[str] = []
        if not self._runs:
            raise NotFoundError(
                f"{path} has no event files, neither itself nor in a directory below",
                hint="name the directory that `tensorboard --logdir` gets",
            )

    def experiments(self) -> list[CarriedExperiment]:
        """Return the one experiment."""
        return [CarriedExperiment(name=self._experiment)]

    def keys(self) -> list[str]:
        """Return the directories of the runs, those above before those below."""
        return list(self._runs)

    def read(self, key: str) -> CarriedRun:
        """Read the event files of one directory, in the order in which they were begun; each is a session of the run."""
        if key not in self._runs:
            raise NotFoundError(f"there are no event files in {self._path / key}")
        collected, left_out = _Collected(), list[str]()
        for session, name in enumerate(self._runs[key]):
            _collect(collected, self._path / key / name, session, left_out)
        if collected.first is None:
            raise DataError(f"{self._path / key} has no readable event: {'; '.join(left_out) or 'its files are empty'}")
        return self._carried(key, collected, left_out)

    def models(self) -> list[CarriedModel]:
        """Return none: its models are files of runs."""
        return []

    def registered(self) -> list[CarriedName]:
        """Return none."""
        return []

    def close(self) -> None:
        """Hold nothing."""

    def _id(self, key: str) -> str:
        # The name of an event file holds when and where it was begun; a copy of the directory elsewhere is the same run.
        return run_id_of("tensorboard", key, self._runs[key][0])

    def _carried(self, key: str, collected: _Collected, left_out: list[str]) -> CarriedRun:
        status = "failed" if collected.ended == _FAILURE else "running" if collected.ended == _RUNNING else "finished"
        last = collected.last if collected.last is not None else collected.first
        above = [os.path.normpath(parent) for parent in Path(key).parents if key != "."]
        parent = next((one for one in above if one in self._runs), None)
        points, twice = _points(collected)
        files = [*collected.pictures.values(), *_tables(collected)]
        if collected.graph:
            files.append(CarriedFile(name="graph.pb", content=collected.graph))
        run = CarriedRun(
            id=self._id(key),
            foreign=key,
            name=self._path.name if key == "." else key,
            experiment=self._experiment,
            status=status,
            started_at=instant(collected.first or 0),
            ended_at=instant(last or 0) if status != "running" else None,
            params=collected.params,
            points=points,
            files=files,
            group=collected.group,
            parent=self._id(parent) if parent is not None else None,
            left_out=left_out,
        )
        run.left_out += [f"values of {what}: {count:,}" for what, count in sorted(collected.unread.items())]
        if twice:
            run.remarks.append(f"points that repeat another in step, time and value, counted once: {twice:,}")
        if collected.repeated:
            run.remarks.append(
                f"pictures logged again at their step, of which the later ones came: {collected.repeated:,}"
            )
        return run


def _directories(root: Path) -> list[tuple[str, list[str]]]:
    """Return the directories with event files, by their path below the root, and these by the time they were begun."""
    found = []
    for folder, inner, names in os.walk(root):
        inner.sort()
        events = sorted((name for name in names if _EVENTS.search(name)), key=lambda name: (_begun(name), name))
        if events:
            found.append((os.path.relpath(folder, root), events))
    return found


def _begun(name: str) -> int:
    """Return the second in an event file's name."""
    digits = re.search(r"tfevents\.(\d+)", name)
    return int(digits.group(1)) if digits else 0


def _collect(collected: _Collected, path: Path, session: int, left_out: list[str]) -> None:
    file = EventFile(path)
    try:
        for event in file.events():
            _take(collected, event, path, session)
    except OSError as error:
        left_out.append(f"{path.name} cannot be read: {error.strerror}")
    if file.trouble:
        left_out.append(f"{path.name}: {file.trouble}")


def _take(collected: _Collected, event: Event, path: Path, session: int) -> None:
    collected.first = event.micros if collected.first is None else min(collected.first, event.micros)
    collected.last = event.micros if collected.last is None else max(collected.last, event.micros)
    collected.graph = event.graph or collected.graph
    for number, value in enumerate(event.values):
        plugin = collected.plugins.setdefault(value.tag, value.plugin) or value.plugin
        try:
            read = read_value(value, plugin)
        except ValueError as error:
            collected.unread[f"{value.tag}: {error}"] += 1
            continue
        if isinstance(read, Plain):
            collected.scalars.setdefault(value.tag, _Series()).add(event, read.value, session)
        elif isinstance(read, Text | Histogram):
            rows = [_Row(event.step, event.micros, session, content) for content in read.rows()]
            collected.tables.setdefault(value.tag, []).extend(rows)
        elif isinstance(read, Picture):
            _take_pictures(collected, event, value.tag, read, _Place(path, event.at, number, plugin))
        elif isinstance(read, Hyperparameters):
            _take_hyperparameters(collected, read)
        else:
            collected.unread[f"the plugin {plugin!r}, which has no place here"] += 1


def _take_hyperparameters(collected: _Collected, read: Hyperparameters) -> None:
    collected.params.update(read.params)
    collected.group = read.group or collected.group
    collected.ended = read.status or collected.ended


def _take_pictures(collected: _Collected, event: Event, tag: str, picture: Picture, place: _Place) -> None:
    for number, content in enumerate(picture.contents):
        series = f"{tag}/{number}" if len(picture.contents) > 1 else tag
        name = file_name(f"{series}/{event.step}{picture.suffix}")
        collected.repeated += name in collected.pictures
        collected.pictures[name] = CarriedFile(
            name=name,
            content=_Recorded(place, number, len(content)),
            kind=picture.kind,
            series=series,
            step=float(event.step),
            at=instant(event.micros),
        )


def _points(collected: _Collected) -> tuple[dict[str, Points], int]:
    found, repeated = {}, 0
    for tag, series in collected.scalars.items():
        points = Points(
            np.array(series.steps),
            np.array(series.values),
            np.array(series.times, dtype=np.int64),
            np.array(series.sessions, dtype=np.int32),
        )
        found[tag], twice = unique_points(points)
        repeated += twice
    return found, repeated


def _tables(collected: _Collected) -> list[CarriedFile]:
    return [
        table_file(
            tag,
            [
                {"step": row.step, "time": instant(row.micros), "session": row.session, **row.content}
                for row in sorted(rows, key=lambda row: (row.session, row.step, row.micros))
            ],
        )
        for tag, rows in collected.tables.items()
    ]
