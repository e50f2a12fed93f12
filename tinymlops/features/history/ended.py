"""Since when a version of a view gets no new rows: the generation of a source that it reads has ended."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DataError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import SourceSpec, ViewSpec
from tinymlops.features.history.generations import generations_of, place_of, span_of
from tinymlops.records import SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import FeatureRequest

__all__ = ["Ended", "ended", "ended_views"]


class Ended(msgspec.Struct, frozen=True):
    """A source of which a version reads rows that were replaced since."""

    source: str
    sequence: int
    """From here on another generation of rows stands, which the version does not read."""
    at: datetime

    def __str__(self) -> str:
        return f"source {self.source} ended at Q={self.sequence}, {self.at:%Y-%m-%d %H:%M} UTC"


def ended(context: Context, request: FeatureRequest) -> Ended | None:
    """Return since when what a request names gets no new rows; None if it still does.

    Args:
        context: The workspace's state.
        request: Of a feature view; one without a version reads what is live.
    """
    if request.version is msgspec.UNSET or request.on_demand:
        return None
    definitions = context.definitions.for_request(request)
    view = definitions.get(ViewSpec, request.view)
    source = graph.origin(definitions, definitions.get(SourceSpec, view.source))
    database = context.environment.database
    place = place_of(database, source.name)
    state = database.get(SourceState, source=place)
    try:
        ends = span_of(database, source, place, state).ends
    except DataError:  # it reads nothing that is stored, which whoever reads it is told
        return None
    if ends is None:
        return None
    after = next(one for one in generations_of(database, place, state) if one.begins == ends)
    return Ended(source.name, ends, after.at)


def ended_views(context: Context, requests: Iterable[FeatureRequest]) -> dict[str, Ended]:
    """Return the versions among requests that get no new rows, such as `spending@v1`, and since when."""
    found = {}
    for request in requests:
        one = ended(context, request)
        if one is not None:
            found[title_of(request)] = one
    return found
