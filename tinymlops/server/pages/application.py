"""`create_pages`: the Litestar application of the pages, and which requests are theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request
from litestar.enums import ScopeType

from tinymlops.server.access import authorize
from tinymlops.server.mounting import path_of
from tinymlops.server.pages.assets import asset_routes
from tinymlops.server.pages.errors import PAGE_HANDLERS
from tinymlops.server.pages.forms import require_own_form
from tinymlops.server.pages.live import Streams, live_routes
from tinymlops.server.pages.nouns import PAGES
from tinymlops.server.pages.rendering import Renderer
from tinymlops.server.pages.signing_in import sign_in_routes
from tinymlops.server.pages.sql import Asking, sql_routes
from tinymlops.server.pages.visitors import Visitors
from tinymlops.server.pages.warming import Warming
from tinymlops.server.parameters import refuse_unknown_parameters

if TYPE_CHECKING:
    from litestar.types import (
        ASGIApp,
        HTTPReceiveMessage,
        HTTPScope,
        Message,
        Receive,
        Scope,
        Send,
        WebSocketReceiveMessage,
    )

    from tinymlops.server.access import Access
    from tinymlops.workspace import Workspace

__all__ = ["Pages", "create_pages"]

_MAX_FORM = 256 * 1024
"""Bytes."""


class Pages:
    """The pages, in front of the API: it answers requests to its own paths, and hands on all others.

    Args:
        app: The pages.
        streams: Those that are open.
        asking: The queries that run.
        first: The first segment of each of their paths.
        api: What the others go to.
        warming: Does beforehand what the first visitor would wait for.
    """

    def __init__(
        self,
        app: ASGIApp,
        streams: Streams,
        asking: Asking,
        first: frozenset[str],
        api: ASGIApp,
        warming: Warming,
    ) -> None:
        self._app, self._first, self._api = app, first, api
        self.streams, self.asking, self.warming = streams, asking, warming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != ScopeType.HTTP or not self.has(path_of(scope)):
            await self._api(scope, receive, send)
        elif scope["method"] == "HEAD":
            head: HTTPScope = {**scope, "method": "GET"}
            await self._app(head, *_without_body(receive, send))
        else:
            await self._app(scope, receive, send)

    def has(self, path: str) -> bool:
        """Return whether a path is one of theirs.

        Args:
            path: Without the prefix that the application is mounted at.
        """
        return path.strip("/").partition("/")[0] in self._first


def create_pages(ws: Workspace, access: Access, api: ASGIApp) -> Pages:
    """Make the pages of a workspace.

    Args:
        ws: Open as long as they are.
        access: Finds out who asks.
        api: What requests to other paths go to.
    """
    streams = Streams(ws)
    asking = Asking(ws, streams.is_about_to_end)
    nouns = [handler for routes in PAGES for handler in routes(ws)]
    handlers = [*nouns, *sign_in_routes(ws, access), *asset_routes(), *live_routes(streams)]
    handlers += sql_routes(ws, asking)
    renderer = Renderer(ws, None if access.asks_a_function else access.cookie)
    app = Litestar(
        handlers,
        request_class=Request,
        guards=[authorize],
        before_request=_before,
        request_max_body_size=_MAX_FORM,
        exception_handlers=PAGE_HANDLERS,
        openapi_config=None,
        logging_config=None,
    )
    first = frozenset(path.strip("/").partition("/")[0] for handler in handlers for path in handler.paths)
    return Pages(Visitors(app.asgi_handler, access, renderer), streams, asking, first, api, Warming(app, renderer))


def _without_body(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Let an answer to GET be one to HEAD: it ends with its head, and what would go on writes to nobody."""
    begun = False

    async def receive_until_begun() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        return {"type": "http.disconnect"} if begun else await receive()

    async def send_head(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start":
            begun = True
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return receive_until_begun, send_head


async def _before(request: Request[Any, Any, Any]) -> None:
    await require_own_form(request)
    await refuse_unknown_parameters(request)
