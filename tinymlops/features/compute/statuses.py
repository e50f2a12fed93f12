"""The status of each cell, and the event time that it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

from tinymlops._status import Status
from tinymlops.features.compute.aggregates import winners_of
from tinymlops.features.compute.arranged import ALWAYS
from tinymlops.kernels import asof
from tinymlops.kernels.records import NEVER

if TYPE_CHECKING:
    from tinymlops.features.compute.arranged import Array, History
    from tinymlops.features.definitions.expressions import Aggregate
    from tinymlops.kernels.records import Records

__all__ = ["cell_statuses", "statuses", "window_statuses"]

_STATUSES = pl.Series([status.name for status in Status], dtype=pl.Enum([status.name for status in Status]))


def cell_statuses(
    history: History, feature: Aggregate, time: Array, *, strict: bool, ttl: int | None
) -> tuple[pl.Series, pl.Series]:
    """Return the status of each cell of a feature, and the matched event time (UTC)."""
    if feature.window is not None or feature.parts is not msgspec.UNSET:
        return window_statuses(history.spine_key)
    winner = winners_of(history, feature, time, strict=strict, ttl=ttl)
    assert feature.operand is not None
    null = history.series(feature.operand).is_null().to_numpy()
    value_is_null = np.zeros(len(time), np.bool_)
    value_is_null[winner >= 0] = null[winner[winner >= 0]]
    return statuses(history.records, winner, history.spine_key, time, value_is_null, strict=strict, ttl=ttl)


def statuses(
    records: Records, winner: Array, key: Array, time: Array, value_is_null: Array, *, strict: bool, ttl: int | None
) -> tuple[pl.Series, pl.Series]:
    """Return the status and the matched event time (UTC) of each cell; the arguments are those of `asof.status`."""
    status, matched = asof.status(records, winner, key, time, strict=strict, ttl=ttl, value_is_null=value_is_null)
    missing = (matched == NEVER) | (matched == ALWAYS)
    events = pl.Series(matched).set(pl.Series(missing), None).cast(pl.Datetime("us", "UTC"))
    return _STATUSES.gather(status), events


def window_statuses(key: Array) -> tuple[pl.Series, pl.Series]:
    """Return the statuses of windows and of combined features, which have no single event time."""
    none = pl.Series([None], dtype=pl.Datetime("us", "UTC")).new_from_index(0, len(key))
    return _STATUSES.gather(np.where(key < 0, Status.NULL_KEY, Status.PRESENT)), none
