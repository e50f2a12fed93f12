"""Find the feature row of each spine row, in one pass over the features' keys and times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops._status import Status
from tinymlops.features.join.record_times import Names, Rule, read_rows
from tinymlops.keys import Coder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import polars as pl

    Array = np.ndarray[Any, Any]

__all__ = ["Points", "Search"]

_CODED_ROWS = 1 << 22
"""Feature rows whose keys are numbered at a time, so that not all numbers are in memory at once."""


class Points(NamedTuple):
    """The spine: its key columns, their names in errors, and int64[m] times."""

    key: list[pl.Series]
    names: list[str]
    time: Array


class Search:
    """A search for the feature row of each spine row, in one pass over keys and times.

    Args:
        points: The spine.
        schema: The schema of the features.
        names: The columns that hold the key and the times of a row.
        rule: The rule for which rows count.
        explain: Whether `reasons` will be called.
    """

    def __init__(self, points: Points, schema: pl.Schema, names: Names, rule: Rule, *, explain: bool) -> None:
        from tinymlops.kernels.first_events import FirstEvents
        from tinymlops.kernels.streaming import Stream

        self._points, self._names, self._rule = points, names, rule
        self._coder = coder = Coder(points.key, [schema[name] for name in names.key], points.names)
        one_delay = names.delay.column is None and not rule.by_event
        self._stream = Stream(
            coder.codes,
            points.time,
            keys=coder.count,
            low=coder.low,
            strict=rule.strict,
            delay=names.delay.micros if one_delay else None,
            created=names.created is not None,
        )
        self._firsts = FirstEvents(coder.count, low=coder.low) if explain else None

    def read(self, batches: Iterator[pl.DataFrame]) -> None:
        """Take all feature rows, in their order."""
        first = 0
        for batch in batches:
            rows = read_rows(batch, self._names, self._rule, first)
            key = [batch[name] for name in self._names.key]
            for start in range(0, batch.height, _CODED_ROWS):
                column_parts = [column.slice(start, _CODED_ROWS) for column in key]
                codes = self._coder.number(column_parts, first_row=first + start)
                cut = slice(start, start + _CODED_ROWS)
                available = None if rows.available is None else rows.available[cut]
                created = None if rows.created is None else rows.created[cut]
                self._stream.add(codes, rows.event[cut], available, created)
                if self._firsts is not None:
                    self._firsts.add(codes, rows.event[cut])
            first += batch.height

    def winners(self) -> Array:
        """Return int64[m], the number of each spine row's feature row, -1 for none."""
        return self._stream.winners(self._rule.ttl)

    def reasons(self) -> Array:
        """Return uint8[m], the `Status` of each spine row without a winner; for the others, any value."""
        import numpy as np

        assert self._firsts is not None, "it was asked to explain"
        happened = self._firsts.of(self._coder.codes) <= self._points.time
        reason = np.where(happened, Status.NOT_YET_AVAILABLE, Status.NOT_FOUND).astype(np.uint8)
        reason[self._stream.winners() >= 0] = Status.EXPIRED
        reason[~self._firsts.knows(self._coder.codes)] = Status.NULL_KEY
        return reason
