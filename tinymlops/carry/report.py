"""What became of runs that were to be imported, run by run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["FAILED", "ImportLine", "ImportReport"]

FAILED = frozenset({"not read", "incomplete"})
"""Outcomes that an import is not well after."""


@dataclass(frozen=True, kw_only=True)
class ImportLine:
    """One run."""

    outcome: str
    """`new`, `grown`, `unchanged`, `deleted here`, `goes on here`, `not read` or `incomplete`."""
    experiment: str
    name: str
    run: str
    """Its id here; what the source calls it if it was not read."""
    params: int = 0
    metrics: int = 0
    points: int = 0
    """In the source."""
    points_here: int = 0
    """Stored, once it was imported."""
    tags: int = 0
    inputs: int = 0
    artifacts: int = 0
    """In the source."""
    artifacts_here: int = 0
    left_out: tuple[str, ...] = ()
    """What could not come, and why."""
    remarks: tuple[str, ...] = ()
    """What came otherwise than it was, or differs here."""


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """An import."""

    origin: str
    lines: list[ImportLine] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What holds for all of it."""
    experiments: int = 0
    """Created."""

    @property
    def outcomes(self) -> dict[str, int]:
        """How many runs had which outcome."""
        return dict(Counter(line.outcome for line in self.lines))

    @property
    def points(self) -> tuple[int, int]:
        """Points in the source, and those here, of the runs that were imported now or before."""
        there = [line for line in self.lines if line.outcome not in ("not read", "deleted here")]
        return sum(line.points for line in there), sum(line.points_here for line in there)

    @property
    def is_complete(self) -> bool:
        """Whether every run could be read, and is here with every point of it."""
        return not any(line.outcome in FAILED for line in self.lines)
