"""`/lineage/KIND/NAME`: what something is made of and what is made of it, one hop at a time; what is opened is in the address."""

from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from tinymlops.features.definitions.lineage import Node
from tinymlops.features.law.neighbours import Neighbour, Walk
from tinymlops.server.pages.addresses import KINDS, SLUGS
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.state import context_of
from tinymlops.server.route_class import METADATA
from tinymlops.workspace import Workspace

__all__ = ["lineage_routes"]

_MOST = 200
"""Things that are shown of one side."""
_MOST_OPEN = 40
_DEEPEST = 12


class Branch(NamedTuple):
    """Something on one side, with what was opened behind it."""

    neighbour: Neighbour
    key: str
    """By which the address says that it is open."""
    columns: list[tuple[str, list[str], list[str]]]
    """A column of what is made (or of what it is made of) with those on the other side, and how."""
    is_open: bool
    has_more: bool
    branches: list["Branch"]


def lineage_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @shows("/lineage/{kind:str}/{name:str}", opt=METADATA)
    def lineage(
        request: AnyRequest,
        kind: FromPath[str],
        name: FromPath[str],
        part: FromQuery[str] = "",
        up: FromQuery[list[str] | None] = None,
        down: FromQuery[list[str] | None] = None,
    ) -> Response[Any]:
        """Show one hop in both directions, and what was opened behind."""
        walk = Walk(context_of(ws))
        node = walk.require(KINDS.get(kind, kind), name, part)
        opened = {"up": (up or [])[:_MOST_OPEN], "down": (down or [])[:_MOST_OPEN]}
        sides = {
            side: _Tree(walk, set(keys), downstream=side == "down").of(node) for side, keys in opened.items()
        }
        return page(
            request,
            "lineage.html",
            title=walk.title(node.whole),
            node=node,
            slug=kind,
            parts=walk.parts(node),
            note=walk.note(node),
            sides=sides,
            opened=opened,
            defined=node.kind in SLUGS,
        )

    return [lineage]


class _Tree:
    """What is on one side of a node, as far as it was opened.

    Args:
        walk: The lineage.
        opened: Keys of what is open.
        downstream: Whether it is what is made of the node.
    """

    def __init__(self, walk: Walk, opened: set[str], *, downstream: bool) -> None:
        self._walk, self._opened, self._downstream = walk, opened, downstream
        self._left = _MOST

    def of(self, node: Node, above: tuple[Node, ...] = ()) -> tuple[list[Branch], int]:
        """Return what is one hop from a node, and how much of it is left out."""
        found = self._walk.after(node) if self._downstream else self._walk.before(node)
        shown = found.found[: max(0, self._left)]
        self._left -= len(shown)
        branches = [self._branch(one, (*above, node.whole)) for one in shown]
        return branches, found.left_out + len(found.found) - len(shown)

    def _branch(self, one: Neighbour, above: tuple[Node, ...]) -> Branch:
        key = f"{one.node.kind}:{one.node.name}"
        is_new = one.node not in above and len(above) < _DEEPEST
        has_more = is_new and self._walk.leads_on(one.node, downstream=self._downstream)
        is_open = has_more and key in self._opened
        return Branch(one, key, self._columns(one), is_open, has_more, self.of(one.node, above)[0] if is_open else [])

    def _columns(self, one: Neighbour) -> list[tuple[str, list[str], list[str]]]:
        """Group the ways by the column of what is nearer to the beginning of the walk."""
        grouped: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
        for made_of, made, how in one.ways:
            near, far = (made_of, made) if self._downstream else (made, made_of)
            others, hows = grouped.setdefault(near, ({}, {}))
            others[far] = None
            hows[how] = None
        return [(near, [one for one in others if one], list(hows)) for near, (others, hows) in grouped.items()]
