"""The way around: what stands beside every page, as far as the visitor may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tinymlops.server.route_class import MAY, RouteClass

if TYPE_CHECKING:
    from tinymlops.server.access import Caller

__all__ = ["Entry", "navigation"]


class Entry(NamedTuple):
    """A page that can be gone to from everywhere."""

    path: str
    label: str
    kind: RouteClass
    """The class of its route."""


ENTRIES: dict[str, tuple[Entry, ...]] = {
    "": (Entry("/", "Today", "metadata"),),
    "Data": (
        Entry("/catalog", "Catalog", "metadata"),
        Entry("/training-sets", "Training sets", "metadata"),
        Entry("/vectors", "Vectors", "read"),
        Entry("/sql", "SQL", "read"),
    ),
    "Models": (Entry("/runs", "Runs", "read"), Entry("/models", "Models", "metadata")),
    "In use": (Entry("/predictions", "Predictions", "read"), Entry("/monitor", "Monitor", "read")),
    "Work": (Entry("/jobs", "Jobs", "read"),),
    "Trust": (Entry("/access", "Access and audit", "audit"),),
}


def navigation(caller: Caller | None) -> dict[str, list[Entry]]:
    """Return the entries by group, for whom may see them.

    Args:
        caller: None before somebody signed in: there is nowhere to go.
    """
    if caller is None:
        return {}
    may = MAY[caller.role]
    shown = {group: [entry for entry in entries if entry.kind in may] for group, entries in ENTRIES.items()}
    return {group: entries for group, entries in shown.items() if entries}
