"""`/catalog`: the definitions in force, by kind, owner and tag, and found by words."""

from collections import Counter
from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery

from tinymlops.errors import DataError, near
from tinymlops.features.context import Context
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.law.described import Entry, entries
from tinymlops.features.law.freshness import Freshness, freshness_of
from tinymlops.records import Definition, SourceState
from tinymlops.registry.search import Found, Search, SearchResult
from tinymlops.server.pages.addresses import KINDS, SLUGS
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.state import context_of, may
from tinymlops.server.route_class import METADATA
from tinymlops.workspace import Workspace

__all__ = ["catalog_routes"]

_SHOWN = 100
_FOUND = 50
_TOLD = (Definition.table, SourceState.table)
"""Whose words hold no value: names, texts and columns."""
_LONGEST = 200
"""Characters of a search."""


class _Hit(NamedTuple):
    """What a search found."""

    found: Found
    entry: Entry | None
    """Of a definition in force."""
    about: Entry | None
    """The definition that a note or a reader is about."""


def catalog_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @shows("/catalog", opt=METADATA)
    def catalog(
        request: AnyRequest,
        q: FromQuery[str] = "",
        kind: FromQuery[str] = "",
        owner: FromQuery[str] = "",
        tag: FromQuery[str] = "",
        first: FromQuery[int] = 0,
    ) -> Response[Any]:
        """List the definitions in force, or what has the words of a search."""
        context = context_of(ws)
        every = entries(context)
        if kind and kind not in KINDS:
            raise DataError(f"{kind[:100]!r} is not a kind of definition", hint=near(kind, KINDS))
        text = q.strip()[:_LONGEST]
        hits, found = _hits(ws, request, every, text) if text else ([], None)
        fitting = [one for one in every if owner in ("", one.owner) and (not tag or tag in one.tags)]
        counts = Counter(one.kind for one in fitting)
        listed = sorted(
            (one for one in fitting if kind in ("", SLUGS[one.kind])), key=lambda one: (_ORDER[one.kind], one.name)
        )
        first = max(0, min(first, len(listed)))
        return page(
            request,
            "catalog.html",
            title="Catalog",
            q=text,
            hits=hits,
            corrections=[] if found is None else found.corrections,
            facets=[(slug, one, counts[one]) for one, slug in SLUGS.items() if counts[one]],
            chosen={"kind": kind, "owner": owner, "tag": tag},
            listed=[] if text else listed[first : first + _SHOWN],
            fresh=_freshness(context, listed[first : first + _SHOWN]) if kind == "source" and not text else {},
            first=first,
            shown=_SHOWN,
            total=len(listed),
            every=len(fitting),
            in_force=len(every),
            most=_FOUND,
        )

    return [catalog]


_ORDER = {kind: place for place, kind in enumerate(SLUGS)}


def _hits(ws: Workspace, request: AnyRequest, every: list[Entry], text: str) -> tuple[list[_Hit], SearchResult | None]:
    """Search; for who may read no values among definitions alone, as texts of runs and notes may quote them."""
    if not any(map(str.isalnum, text)):
        return [], None
    reads = may(request, "read")
    search = Search(ws._scope)  # noqa: SLF001 - who calls `ws.search` may read everything
    found = search.find(text, limit=_FOUND, tables=None if reads else _TOLD)
    known = {(one.kind, one.name): one for one in every}
    by_name = {one.name: one for one in every}
    hits = [_Hit(one, known.get((one.kind, one.name)), by_name.get(one.name) if reads else None) for one in found]
    return hits, found


def _freshness(context: Context, listed: list[Entry]) -> dict[str, Freshness]:
    sources = context.definitions.of(SourceSpec)
    return {one.name: freshness_of(context, sources[one.name]) for one in listed if one.name in sources}
