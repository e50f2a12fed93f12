"""Times of a source's columns, read as its definition says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.frames import times_to_micros

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.frames import Role

__all__ = ["times_of"]


def times_of(column: pl.Series, source: SourceSpec, *, role: Role = "feature") -> pl.Series:
    """Return a source's times in microseconds UTC, read as its declaration says.

    Args:
        column: A column of times or dates.
        source: Whose column.
        role: Whether they say when facts were, or the moments of a spine or of outcomes.

    Raises:
        DataError: If they are not times, or it does not say which.
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
