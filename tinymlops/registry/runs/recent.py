"""Runs that matter today: those that go on, and those that ended badly not long ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.records import Run, RunRow
from tinymlops.registry.runs.summed import with_metrics
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.registry.scope import Scope

__all__ = ["runs_ended_badly", "runs_going_on"]


def runs_going_on(scope: Scope, *, limit: int) -> list[Run]:
    """Return runs that are stored as running, those that began last first; one whose process ended is `lost`.

    Args:
        scope: The workspace.
        limit: At most so many.
    """
    rows = scope.environment.database.select(
        RunRow, "WHERE status = 'running' AND deleted_at IS NULL ORDER BY started_at DESC LIMIT ?", (limit,)
    )
    return scope.environment.live.judged(with_metrics(scope.environment.database, rows), scope.clock)


def runs_ended_badly(scope: Scope, since: datetime, *, limit: int) -> list[Run]:
    """Return runs that failed or were killed, those that began last first, without their metrics.

    Args:
        scope: The workspace.
        since: Only those that ended from this time on.
        limit: At most so many.
    """
    where = """WHERE status IN ('failed', 'killed') AND ended_at >= ? AND deleted_at IS NULL
        ORDER BY started_at DESC LIMIT ?"""
    rows = scope.environment.database.select(RunRow, where, (to_micros(since), limit))
    return [Run(**msgspec.structs.asdict(row)) for row in rows]
