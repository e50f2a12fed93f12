"""Read the times of a source's columns by its definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.frames import times_to_micros

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.frames import Role

__all__ = ["times_of"]


def times_of(column: pl.Series, source: SourceSpec, *, role: Role = "feature") -> pl.Series:
    """Return a source's times in microseconds UTC, read by its definition.

    Args:
        column: A column of times or dates.
        source: The source.
        role: Whether they are the times of facts, or those of a spine or of outcomes.

    Raises:
        DataError: If they are not times, or their zone is unknown.
    """
    return times_to_micros(
        column,
        role=role,
        tz=source.tz,
        name=column.name,
        of=f" of source {source.name!r}",
        ambiguous=source.ambiguous,
        date_means=source.date_means,
    )
