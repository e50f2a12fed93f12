"""The points of a run's metrics: as they come in, sealed, and in sum."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from tinymlops.records.record import Record

__all__ = ["Metric", "MetricChunk", "MetricPyramid", "MetricSeries", "MetricSummary"]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One value of one metric of one run."""

    run: str
    name: str
    step: float
    value: float
    at: datetime


class MetricChunk(Record, frozen=True, kw_only=True):
    """Points of one metric that were committed together, in the order of logging."""

    table: ClassVar[str] = "metric_chunks"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: int | None = None
    run: str
    name: str
    session: int = 0
    """How often the run had been resumed."""
    count: int = 1
    step: float
    """Of its last point."""
    value: float
    """Of its last point."""
    at: datetime
    """Of its last point."""
    content: bytes = b""
    """All its points, as `tinymlops.registry.points` writes them; empty if there is one."""


class MetricSeries(Record, frozen=True, kw_only=True):
    """A block of points of an ended run's metric, in the order of steps."""

    table: ClassVar[str] = "metric_series"
    key: ClassVar[tuple[str, ...]] = ("run", "name", "superseded", "block")

    run: str
    name: str
    superseded: bool = False
    """Whether points of a later session stand in their place."""
    block: int
    count: int
    first_step: float
    last_step: float
    content: bytes


class MetricPyramid(Record, frozen=True, kw_only=True):
    """The first, last, least and greatest point of each bucket of a sealed metric, for curves of few pixels."""

    table: ClassVar[str] = "metric_pyramids"
    key: ClassVar[tuple[str, ...]] = ("run", "name")
    derived: ClassVar[bool] = True

    run: str
    name: str
    count: int
    """Points of the series."""
    content: bytes


class MetricSummary(Record, frozen=True, kw_only=True):
    """One metric of one run in sum: what lists, sorts and searches read; derived from the points."""

    table: ClassVar[str] = "metric_summaries"
    key: ClassVar[tuple[str, ...]] = ("name", "run")
    derived: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "run_metrics"

    run: str
    name: str
    count: int
    """Points, without those superseded."""
    step: float
    """Of the last point."""
    last: float
    """The value with the greatest step; of equal ones the latest."""
    at: datetime
    """Of the last point."""
    min: float | None
    """The least value that is not NaN."""
    min_step: float | None
    max: float | None
    max_step: float | None
    best: float | None
    """`min` or `max`, by the goal."""
    best_step: float | None
    goal: str
    """`min` or `max`: which of two values is the better one."""
    nans: int = 0
    session: int = 0
    """Of the last point."""
    chunks: int = 0
    """Chunks that are not sealed yet."""
