"""Deletes without an id: they end a state, but a window cannot tell which of its rows they take back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DataError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.expressions import aggregates_of

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["in_a_window", "refuse_deletes"]

_SHOWN_ROWS = 5


def refuse_deletes(definitions: Definitions, source: SourceSpec, frame: pl.DataFrame) -> None:
    """Refuse rows of a source that are deletes without an id, if a window reads it.

    Raises:
        DataError: If there are any; it names the rows and the feature that reads them.
    """
    nameless = frame["__deleted"]
    if source.id is not None:
        nameless = nameless & frame[source.id].is_null()
    if not nameless.any():
        return
    made = graph.downstream(definitions, source.name)
    readers = [
        *(f"label {label.name!r}" for label in graph.labels_reading(definitions, *made)),
        *(
            f"feature {name!r} of view {view.name!r}"
            for view in graph.views_reading(definitions, *made)
            for name, feature in view.features.items()
            if any(part.window is not None for part in aggregates_of(feature))
        ),
    ]
    if readers:
        raise in_a_window(source, f"in rows {nameless.arg_true().head(_SHOWN_ROWS).to_list()}", readers[0])


def in_a_window(source: SourceSpec, where: str, reader: str) -> DataError:
    """Return the error for a window that reads deletes without an id."""
    return DataError(
        f"source {source.name!r} has deletes without an id {where}, and {reader} is a window: it is unknown which "
        "of its rows they take back",
        hint="give the source an id= so that deletes name their event, or read the source by last and first only",
    )
