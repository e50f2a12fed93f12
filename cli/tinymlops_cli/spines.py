"""Spines as files and arguments have them, whose times are text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = ["with_times"]


def with_times(spine: "pl.DataFrame", timestamp: str, tz: str | None) -> "pl.DataFrame":
    """Read a time column that is text, as it is in JSON and arguments."""
    import polars as pl

    from tinymlops.times import parse_instant, parse_zone

    if timestamp not in spine.columns or spine[timestamp].dtype != pl.String:
        return spine
    zone = parse_zone(tz) if tz is not None else None
    moments = [None if text is None else parse_instant(text, name=timestamp, zone=zone) for text in spine[timestamp]]
    return spine.with_columns(pl.Series(timestamp, moments, dtype=pl.Datetime("us", "UTC")))
