"""A run with everything that belongs to it, as it is carried from one workspace to another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from tinymlops.records import (
    Artifact,
    ConsoleText,
    Experiment,
    LoggedModel,
    MetricChunk,
    MetricSeries,
    MetricSummary,
    RunInput,
    RunRow,
)
from tinymlops.registry.runs.blocks import decode_block
from tinymlops.registry.runs.experiments import DEFAULT
from tinymlops.registry.runs.points import Points, in_order, joined
from tinymlops.registry.runs.storing import points_in

if TYPE_CHECKING:
    import builtins
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from tinymlops.records.record import Record

    T = TypeVar("T", bound=Record)

    class Stored(Protocol):
        """A database, or a transaction of it."""

        def get(self, cls: type[T], **key: object) -> T | None:
            """Return a record."""

        def list(
            self,
            cls: type[T],
            *,
            where: Mapping[str, object] | None = None,
            order: str | None = None,
            limit: int | None = None,
        ) -> builtins.list[T]:
            """Return records."""


__all__ = ["WholeRun", "count_points", "read_run"]


@dataclass(frozen=True, kw_only=True)
class WholeRun:
    """A run with everything that belongs to it; its files are named by their hashes."""

    row: RunRow
    """Its `experiment` does not count: ids of experiments differ between workspaces."""
    experiment: Experiment = DEFAULT
    """Known by its name."""
    points: Mapping[str, Points] = field(default_factory=dict)
    """By metric, in their order, superseded ones included."""
    artifacts: Sequence[Artifact] = ()
    inputs: Sequence[RunInput] = ()
    models: Sequence[LoggedModel] = ()
    console: Sequence[ConsoleText] = ()

    @property
    def count(self) -> int:
        """How many points it has."""
        return sum(points.size for points in self.points.values())

    @property
    def files(self) -> set[str]:
        """The hashes of the files that it names."""
        named = {one.sha256 for one in self.artifacts}
        for model in self.models:
            named |= {one for one in (model.sha256, model.baseline_sha256) if one is not None}
        return named | ({self.row.patch_sha256} if self.row.patch_sha256 is not None else set())


def read_run(source: Stored, run: str, *, console: bool = False) -> WholeRun | None:
    """Return a run with everything that belongs to it; None if there is none of that id.

    Args:
        source: A database, or a transaction of it.
        run: The run's id.
        console: Whether with what it wrote to its console.
    """
    names = [one.name for one in source.list(MetricSummary, where={"run": run}, order="name")]
    points = {name: _points(source, run, name) for name in names}
    row = source.get(RunRow, id=run)
    if row is None:
        return None
    return WholeRun(
        row=row,
        experiment=source.get(Experiment, id=row.experiment) or DEFAULT,
        points=points,
        artifacts=source.list(Artifact, where={"run": run}, order="name"),
        inputs=source.list(RunInput, where={"run": run}, order="name"),
        models=source.list(LoggedModel, where={"run": run}, order="name"),
        console=source.list(ConsoleText, where={"run": run}, order="id") if console else (),
    )


def count_points(source: Stored, run: str) -> int:
    """Return how many points of a run are stored, superseded ones included."""
    where: dict[str, object] = {"run": run}
    sealed = sum(one.count for one in source.list(MetricSeries, where=where))
    return sealed + sum(one.count for one in source.list(MetricChunk, where=where))


def _points(source: Stored, run: str, name: str) -> Points:
    # The chunks come first: those that are sealed between the two reads are read twice, and count once.
    where: dict[str, object] = {"run": run, "name": name}
    chunks = [points_in(one) for one in source.list(MetricChunk, where=where, order="id")]
    blocks = [decode_block(one.content) for one in source.list(MetricSeries, where=where, order="block")]
    return in_order(joined([*blocks, *chunks]))
