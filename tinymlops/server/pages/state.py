"""What handlers of pages may read of an open workspace beside its public nouns, and of who looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.server.access import caller_of
from tinymlops.server.route_class import MAY

if TYPE_CHECKING:
    from litestar import Request

    from tinymlops.features.context import Context
    from tinymlops.server.route_class import RouteClass
    from tinymlops.workspace import Workspace

__all__ = ["context_of", "may"]


def context_of(ws: Workspace) -> Context:
    """Return the workspace's state, by the definitions in force: a page reads no more than what is kept of them."""
    return ws._context()  # noqa: SLF001 - pages read definitions as the verbs do


def may(request: Request[Any, Any, Any], kind: RouteClass) -> bool:
    """Return whether who looks may use routes of a class: parts of a page may be of another than the page.

    Args:
        request: What asks for the page.
        kind: The class.
    """
    caller = caller_of(request)
    return caller is not None and kind in MAY[caller.role]
