"""Finds out who asks before a request is routed, so that a stranger learns nothing of what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from litestar.enums import ScopeType
from litestar.response.base import ASGIResponse

from tinymlops.errors import AccessError
from tinymlops.registry.actor import acting_as
from tinymlops.server.access import put_caller
from tinymlops.server.errors import answer

if TYPE_CHECKING:
    from collections.abc import Collection

    from litestar.types import ASGIApp, Receive, Scope, Send

    from tinymlops.server.access import Access

__all__ = ["Identifying"]

_ASK = {"www-authenticate": 'Bearer realm="tinymlops"'}


class Identifying:
    """Writes down who asks and lets the rest be done in that name; strangers get no further than the open paths.

    Args:
        app: What comes next.
        access: Finds out who asks.
        is_open: Paths that answer everybody.
    """

    def __init__(self, app: ASGIApp, access: Access, is_open: Collection[str]) -> None:
        self._app, self._access, self._open = app, access, is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer strangers, and pass on the rest."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        caller = None
        try:
            caller = await self._access.caller(scope)
        except AccessError as error:
            # Where the application is mounted, the path may end with a slash more.
            if "/" + scope["path"].removeprefix(scope.get("root_path", "")).strip("/") not in self._open:
                content = msgspec.json.encode(answer(error).content)
                response = ASGIResponse(body=content, status_code=401, media_type="application/json", headers=_ASK)
                await response(scope, receive, send)
                return
        put_caller(scope, caller)
        with acting_as(None if caller is None else caller.actor):
            await self._app(scope, receive, send)
