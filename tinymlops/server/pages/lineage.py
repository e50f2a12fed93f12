"""`/lineage/KIND/NAME`: what something is made of and what is made of it, one hop at a time; what is opened is in the address."""

from typing import Any, NamedTuple
from urllib.parse import unquote

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


class Way(NamedTuple):
    """Columns that lead to columns; none where the whole is meant."""

    made_of: list[str]
    made: list[str]
    how: list[str]


class Branch(NamedTuple):
    """Something on one side, with what was opened behind it."""

    neighbour: Neighbour
    key: str
    """By which the address says that it is open."""
    is_there: bool
    ways: list["Way"]
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
        node = walk.require(KINDS.get(kind, kind), unquote(name) if kind == "file" else name, part)
        opened = {"up": (up or [])[:_MOST_OPEN], "down": (down or [])[:_MOST_OPEN]}
        sides = {side: _Tree(walk, set(keys), downstream=side == "down").of(node) for side, keys in opened.items()}
        return page(
            request,
            "lineage.html",
            title=node.name if node.kind in SLUGS else walk.title(node.whole),
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
        return Branch(
            one,
            key,
            self._walk.has(one.node),
            _ways(one),
            is_open,
            has_more,
            self.of(one.node, above)[0] if is_open else [],
        )


def _ways(one: Neighbour) -> list[Way]:
    """Put together what leads to the same columns in the same ways: what keeps its name first, the whole last."""
    whole = Way([], [], [])
    hows: dict[tuple[str, str], list[str]] = {}
    for made_of, made, how in one.ways:
        if made:
            hows.setdefault((made_of, made), []).append(how)
        else:
            whole.made_of.extend([made_of] if made_of else [])
            whole.how.append(how)
    same: dict[tuple[str, ...], list[str]] = {}
    made_from: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (made_of, made), found in hows.items():
        if made_of == made:
            same.setdefault(tuple(found), []).append(made)
            continue
        made_from.setdefault((made_of, tuple(found)), []).append(made)
    ways: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (made_of, how_), targets in made_from.items():
        ways.setdefault((tuple(targets), how_), []).append(made_of)
    grouped = [Way([], names, list(how)) for how, names in same.items()]
    grouped += [Way([one for one in origins if one], list(made), list(how)) for (made, how), origins in ways.items()]
    if not whole.how:
        return grouped
    return [*grouped, Way(*(list(dict.fromkeys(each)) for each in whole))]
