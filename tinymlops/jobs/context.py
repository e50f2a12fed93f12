"""What a function that is scheduled is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinymlops.workspace import Workspace

__all__ = ["JobContext"]


@dataclass(frozen=True)
class JobContext:
    """The attempt that a scheduled function is called for."""

    workspace: Workspace
    """Open, and fenced: it takes nothing any more once the attempt was given up."""
    name: str
    """The job's name."""
    due: datetime
    """The due time that is worked for, in UTC: for a backfill one of the past."""
    since: datetime | None
    """The last earlier due time that succeeded; None before the first."""
    attempt: int
    """The number of the attempt, which counts up over all jobs."""

    @property
    def key(self) -> str:
        """A text that is the same for all attempts at this due time: for a service that takes an idempotency key."""
        return f"{self.name}@{self.due:%Y-%m-%dT%H:%M:%S.%fZ}"
