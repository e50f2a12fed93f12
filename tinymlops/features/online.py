"""`get_online_features`: the features of now, from the online store, by the code that reads history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops._time import from_micros
from tinymlops.errors import DataError
from tinymlops.features.historical import Asked, features_for, parse_features
from tinymlops.features.materialization import online_rows
from tinymlops.features.sources import stored_rows
from tinymlops.frames import to_polars

if TYPE_CHECKING:
    import pyarrow as pa

    from tinymlops.features.context import Context
    from tinymlops.features.specs import FeatureRequest, ViewSpec

__all__ = ["OnlineFeatures", "get_online_features", "read_features"]


class OnlineFeatures:
    """The answer to an online read.

    Attributes:
        timestamp: `t`, the clock's time of the read.
        sequence: `Q`, the sequence that every view of the answer covers at least.
        features: The names of the feature columns, in the order asked for.
    """

    def __init__(self, frame: pl.DataFrame, timestamp: datetime, sequence: int, features: Sequence[str]) -> None:
        self._frame = frame
        self.timestamp = timestamp
        self.sequence = sequence
        self.features = tuple(features)

    def to_polars(self) -> pl.DataFrame:
        """Return keys, features and, if asked for, details as a Polars frame, a row for each key."""
        return self._frame

    def to_dict(self) -> dict[str, list[Any]]:
        """Return column name to values."""
        return self._frame.to_dict(as_series=False)

    def to_arrow(self) -> pa.Table:
        """Return a PyArrow table."""
        return self._frame.to_arrow()

    def to_numpy(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the features alone, as float64[keys, features] in the order asked for; null is NaN.

        Raises:
            DataError: If a feature is neither a number nor a boolean.
        """
        for name in self.features:
            dtype = self._frame.schema[name]
            if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
                raise DataError(
                    f"feature {name!r} is {dtype}, and an array holds numbers",
                    hint="use to_polars(), or leave the feature out",
                )
        table = np.empty((self._frame.height, len(self.features)), np.float64)
        for i, name in enumerate(self.features):
            table[:, i] = self._frame[name].cast(pl.Float64).to_numpy()
        return table

    def __repr__(self) -> str:
        return f"<online features at {self.timestamp.isoformat()}, Q={self.sequence}>\n{self._frame}"

    def _repr_html_(self) -> str:
        return f"<p>online features at {self.timestamp.isoformat()}, Q={self.sequence}</p>{self._frame._repr_html_()}"


def get_online_features(
    context: Context,
    asked: Asked,
    keys: Sequence[Mapping[str, object]] | Mapping[str, Sequence[object]],
    *,
    details: bool,
) -> OnlineFeatures:
    """Read features as of the clock's time.

    A view that was never materialized, or only at a later time than the clock's, is read from history.

    Args:
        context: The workspace's state.
        asked: The features.
        keys: Rows, or columns, of entity keys and request fields.
        details: Add `<feature>_status` and `<feature>_event_time`.

    Raises:
        DataError: If there are no keys, or a key column is missing.
    """
    frame = to_polars(dict(keys) if isinstance(keys, Mapping) else [dict(row) for row in keys])
    if not frame.width:
        raise DataError("no keys were given", hint='write [{"customer": 7}], or {"customer": [7, 8]}')
    return read_features(context, frame, parse_features(context, asked), details=details)


def read_features(
    context: Context,
    frame: pl.DataFrame,
    requests: Sequence[FeatureRequest],
    *,
    spine_source: str | None = None,
    details: bool = False,
) -> OnlineFeatures:
    """Read features for a frame of keys and request fields, as of the clock's time.

    Args:
        context: The workspace's state.
        frame: Keys and request fields.
        requests: What to read, in order.
        spine_source: As for `features_for`: a model's features are read as its training set's were.
        details: Add `<feature>_status` and `<feature>_event_time`.
    """
    now = context.now()
    sequences = [context.environment.database.sequence()]

    def rows(view: ViewSpec, wanted: Sequence[pl.Series]) -> pl.DataFrame:
        found = online_rows(context, view, wanted, now)
        if found is None:
            return stored_rows(context, view.source)
        sequences.append(found[1])
        return found[0]

    time = np.full(frame.height, now, np.int64)
    table = features_for(context, frame, time, requests, spine_source=spine_source, details=details, rows=rows)
    result = frame.with_columns(*table.columns.values(), *table.details.values())
    return OnlineFeatures(result, from_micros(now), min(sequences), list(table.columns))
