"""What the columns of a source's rows look like."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["ColumnStatistics"]


class ColumnStatistics(Record, frozen=True, kw_only=True):
    """One column of the rows that the last ingest of a source stored; an ingest that stores no row changes nothing.

    Of a column that identifies somebody or something, an entity's key or the source's id, only the counts are kept.
    """

    table: ClassVar[str] = "column_statistics"
    key: ClassVar[tuple[str, ...]] = ("source", "name")
    subjects: ClassVar[tuple[str, ...]] = ("minimum", "maximum")
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "column_statistics"

    source: str
    """The name that its rows are stored under."""
    name: str
    """The column's."""
    dtype: str
    rows: int
    nulls: int
    distinct: int | None = None
    """Different values of the sampled rows; null of lists, structs and bytes."""
    minimum: float | str | None = None
    """Of finite numbers, or of times as ISO 8601 text; never of text."""
    maximum: float | str | None = None
    mean: float | None = None
    """Of finite numbers; of booleans the share that is true."""
    quantiles: dict[str, float | str] = {}
    """At 0.01, 0.25, 0.5, 0.75 and 0.99, of the sampled rows."""
    histogram: list[int] = []
    """Sampled rows in bins of one width from the quantile at 0.01 to that at 0.99; the outer bins hold the rest."""
    top: dict[str, float] = {}
    """Of text and booleans: the values that at least 1 % of the sampled rows share, and at least 5 of them, and their share;
    20 at most."""
    sampled: int
    """Rows, evenly spaced, that different values, quantiles, histogram and top values are of: all of them up to 20,000."""
    sequence: int = 0
    """The workspace's sequence after the ingest."""
    at: datetime
