"""Since when corrections count: a later version of an id counts from the ingest that brought it.

New corrections are stored with that time (`intake/changes.py` for ingests, `intake/pushing.py` for pushes). For versions that
were stored without it, it is found here, from the ingests of the source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tinymlops.registry.history import ingests_of
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.stores.database import Database

    Array = np.ndarray[Any, Any]

__all__ = ["Commits", "with_observed_times"]


class Commits:
    """The ingests of a source: the sequence after each, and the clock's time.

    Args:
        database: The workspace's database.
        place: The name that the source's rows are stored under.
    """

    def __init__(self, database: Database, place: str) -> None:
        found = ingests_of(database, place)
        self._last = np.array([one.sequence for one in found], np.int64)
        # A rebuild that took no number of its own ends at the same number as the one before: the first has the rows.
        self._at = np.array([*(to_micros(one.at) for one in found), 0], np.int64)

    def numbers_of(self, sequences: pl.Series) -> Array:
        """Return int64[n], the number of the ingest that brought each row."""
        return np.searchsorted(self._last, sequences.to_numpy(), side="left")

    def times_of(self, sequences: pl.Series) -> Array:
        """Return int64[n], the clock's time when each row was ingested, microseconds UTC."""
        times: Array = self._at[self.numbers_of(sequences)]
        return times


def with_observed_times(rows: pl.DataFrame, source: SourceSpec, commits: Commits) -> pl.DataFrame:
    """Fill in the time from which versions count, where it was not stored: that of the ingest that brought them.

    Rows of the ingest that first brought their id, and rows without an id, have none.

    Args:
        rows: All versions of the ids among them, with id, `__created` and `__sequence`.
        source: Their source.
        commits: The commits of the source.
    """
    assert source.id is not None, "rows without ids have one version each"
    numbers, at = commits.numbers_of(rows["__sequence"]), commits.times_of(rows["__sequence"])
    later = pl.col("__commit") > pl.col("__commit").min().over(source.id)
    own = pl.when(later & pl.col(source.id).is_not_null()).then("__at")
    return (
        rows.with_columns(__commit=pl.Series(numbers), __at=pl.Series(at), __place=pl.int_range(pl.len()))
        .with_columns(__created=pl.coalesce("__created", own))
        .sort("__sequence")
        # No version counts from earlier than the one before it, even if the clock was set back between them.
        .with_columns(__created=pl.col("__created").cum_max().over(source.id))
        .sort("__place")
        .drop("__commit", "__at", "__place")
    )
