"""How a view's rows are read from history, by their number: notes for `plan`, without loading the code that reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import SourceSpec, ViewSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.history.stored import live_segments
from tinymlops.records import PushedRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.records import Segment

__all__ = ["MANY_ROWS", "rows_of", "ways_of_reading"]

MANY_ROWS = 200_000
"""Rows from which on an image is used: fewer are arranged faster than an image is checked and mapped."""


def ways_of_reading(context: Context) -> list[str]:
    """Return a note for each view whose source has many rows: they are read from a join image."""
    notes = []
    for view in context.definitions.of(ViewSpec).values():
        source = context.definitions.get(SourceSpec, view.source)
        origin = graph.origin(context.definitions, source)
        rows = rows_of(context, origin, live_segments(context, origin.name))
        if rows >= MANY_ROWS:
            notes.append(
                f"{view.name} reads {source.name} from a join image: it has {rows:,} rows, {MANY_ROWS:,} or more"
            )
    return notes


def rows_of(context: Context, origin: SourceSpec, segments: Sequence[Segment]) -> int:
    """Return how many rows history has in segments and by push, replaced ones counted too."""
    # Without checksums: a damaged number gives a name that no image has, and the rows are read for a new one.
    database = context.environment.database
    pushed = database.count(PushedRow, {"source": place_of(database, origin.name)}) if origin.via == "push" else 0
    return pushed + sum(segment.rows for segment in segments)
