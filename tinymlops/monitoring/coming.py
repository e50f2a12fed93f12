"""When the outcomes that are waited for can be known: counted beside a report, so that nobody reads predictions for it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tinymlops.features.definitions.specs import LabelSpec
from tinymlops.features.history.labels import known_after
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.serving.model import Model

__all__ = ["ComingCounter", "ComingOutcomes"]

_DAY = 86_400_000_000


class ComingOutcomes(msgspec.Struct, frozen=True, kw_only=True):
    """The predictions that wait for their outcome, by when it can be known."""

    overdue: int
    """Those whose outcome could be known at the time of the report, and had not come."""
    days: dict[str, int]
    """UTC day, such as "2026-03-01", to those whose outcome can be known on it, after the time of the report."""
    next_at: datetime | None
    """When the first of these can be known; None without any."""
    last_at: datetime | None
    """When the last of these can be known."""
    after: int | None = None
    """How long after a prediction its outcome can be known, microseconds; None in a report of an earlier version."""


class ComingCounter:
    """Counts predictions without an outcome.

    Args:
        after: How long after a prediction its outcome can be known, microseconds.
        now: The time of the report, microseconds UTC.

    Example:
        >>> counter = ComingCounter(after=60_000_000, now=100_000_000)
        >>> counter.add(40_000_000)
        >>> counter.add(40_000_001)
        >>> found = counter.found()
        >>> found.overdue, found.days
        (1, {'1970-01-01': 1})
    """

    def __init__(self, *, after: int, now: int) -> None:
        self._after, self._now = after, now
        self._overdue = 0
        self._days: Counter[int] = Counter()
        self._first: int | None = None
        self._last: int | None = None

    @classmethod
    def of(cls, context: Context, model: Model) -> ComingCounter:
        """Count by the label that a model was trained with.

        Args:
            context: The workspace's state.
            model: The model version.
        """
        pinned = model.context(context)
        label = pinned.definitions.get(LabelSpec, model.training_set.label)
        return cls(after=known_after(pinned, label), now=context.now())

    def add(self, at: int) -> None:
        """Count a prediction that waits.

        Args:
            at: Its time, microseconds UTC.
        """
        due = at + self._after
        if due <= self._now:
            self._overdue += 1
            return
        self._days[due // _DAY] += 1
        self._first = due if self._first is None else min(self._first, due)
        self._last = due if self._last is None else max(self._last, due)

    def found(self) -> ComingOutcomes:
        """Return the counts."""
        return ComingOutcomes(
            overdue=self._overdue,
            days={f"{from_micros(day * _DAY):%Y-%m-%d}": count for day, count in sorted(self._days.items())},
            next_at=None if self._first is None else from_micros(self._first),
            last_at=None if self._last is None else from_micros(self._last),
            after=self._after,
        )
