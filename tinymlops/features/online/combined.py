"""The answer of a view with combined features: computed at each read from the aggregates that the store returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from tinymlops._status import Status
from tinymlops.features.compute.combining import combined
from tinymlops.features.compute.statuses import window_statuses
from tinymlops.features.online.cells import Cells, SingleRowCells

if TYPE_CHECKING:
    from tinymlops.features.definitions.expressions import Aggregate

__all__ = ["Answer", "CombinedCells"]

Array = np.ndarray[Any, Any]


class CombinedCells:
    """The answer of one view.

    Args:
        names: The names of the features' columns.
        features: The features, in the same order.
        parts: The answer about the aggregates that they read, in the order of `aggregates_in`.
        now: Microseconds UTC.

    Raises:
        DataError: If a value is beyond its type.
    """

    def __init__(
        self, names: Sequence[str], features: Mapping[str, Aggregate], parts: Cells | SingleRowCells, now: int
    ) -> None:
        self.names = names
        self._features, self._parts = features, parts
        values = iter(parts.all_series())
        self._series = [_value(name, feature, values, now) for name, feature in features.items()]

    def columns(self) -> dict[str, list[Any]]:
        """Return name to Python values."""
        return {name: series.to_list() for name, series in zip(self.names, self._series, strict=True)}

    def series(self, place: int) -> pl.Series:
        """Return a feature's values as a Polars column."""
        return self._series[place]

    def all_series(self) -> list[pl.Series]:
        """Return every feature's values as a Polars column."""
        return self._series

    def numbers(self) -> list[Array | None]:
        """Return each feature's values as float64, null as NaN; None for a feature that is not numeric."""
        return [
            series.cast(pl.Float64).to_numpy()
            if series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)
            else None
            for series in self._series
        ]

    def details(self) -> dict[str, pl.Series]:
        """Return the status of each cell."""
        found, details = iter(self._parts.details().values()), {}
        for name, feature in zip(self.names, self._features.values(), strict=True):
            status, event = next(found), next(found)
            if feature.parts is not msgspec.UNSET:
                for _ in feature.parts[1:]:
                    next(found), next(found)
                null_key = (status.cast(pl.String) == Status.NULL_KEY.name).to_numpy()
                status, event = window_statuses(np.where(null_key, -1, 0))
            details[f"{name}_status"] = status.alias(f"{name}_status")
            details[f"{name}_event_time"] = event.alias(f"{name}_event_time")
        return details


Answer = Cells | SingleRowCells | CombinedCells
"""The result of a view's read."""


def _value(name: str, feature: Aggregate, parts: Any, now: int) -> pl.Series:
    if feature.parts is msgspec.UNSET:
        values: pl.Series = next(parts)
        return values
    series = [next(parts) for _ in feature.parts]
    return combined(name, feature, series, np.full(len(series[0]), now, np.int64)).series
