"""Finds out who looks at a page before it is routed; a stranger is led to sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from litestar import Request
from litestar.enums import ScopeType
from litestar.response.base import ASGIResponse

from tinymlops.errors import AccessError
from tinymlops.registry.actor import acting_as
from tinymlops.server.access import put_caller
from tinymlops.server.mounting import path_of
from tinymlops.server.pages.rendering import put_renderer

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    from tinymlops.server.access import Access
    from tinymlops.server.pages.rendering import Renderer

__all__ = ["Visitors"]

_OPEN = ("/sign-in", "/assets/")
_LOCAL = 2_000
"""Characters of an address that signing in leads back to."""


class Visitors:
    """Writes down who looks, and lets the rest be done in that name.

    Args:
        app: What comes next.
        access: Finds out who asks.
        renderer: What pages are written with.
    """

    def __init__(self, app: ASGIApp, access: Access, renderer: Renderer) -> None:
        self._app, self._access, self._renderer = app, access, renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lead strangers to sign in, and pass on the rest."""
        assert scope["type"] == ScopeType.HTTP
        put_renderer(scope, self._renderer)
        path = path_of(scope)
        caller = None
        try:
            caller = await self._access.visitor(scope)
        except AccessError:
            if not path.startswith(_OPEN):
                await _lead(scope)(scope, receive, send)
                return
        put_caller(scope, caller)
        if caller is None or caller.actor is None:
            await self._app(scope, receive, send)
            return
        with acting_as(caller.actor):
            await self._app(scope, receive, send)


def _lead(scope: HTTPScope) -> ASGIResponse:
    """Answer with the way to the form; what was asked for comes after it, if it only reads."""
    root = scope.get("root_path", "")
    target = f"{root}/sign-in"
    request: Request[Any, Any, Any] = Request(scope)
    if scope["method"] == "GET" and "text/html" in request.headers.get("accept", "text/html"):
        path = quote(path_of(scope), safe="/:@!$&'()*+,;=~")
        asked = path + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        if path != "/" and len(asked) <= _LOCAL:
            target += "?" + urlencode({"next": asked})
        return ASGIResponse(status_code=303, headers={"location": target})
    return ASGIResponse(body=b"sign in first", status_code=401, media_type="text/plain", headers={"location": target})
