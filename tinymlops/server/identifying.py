"""Finds out who asks before a request is routed, so that a stranger learns nothing of what is there.

Who asks too often, or for too much at once, is told when to come back: one token cannot keep the others out.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from litestar.enums import ScopeType
from litestar.response.base import ASGIResponse

from tinymlops.errors import AccessError, ConflictError, TinyMLOpsError
from tinymlops.registry.actor import acting_as
from tinymlops.server.access import put_caller
from tinymlops.server.errors import answer
from tinymlops.server.limits import Rates
from tinymlops.server.mlflow.errors import encode_problem
from tinymlops.server.mounting import path_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from litestar.types import ASGIApp, Receive, Scope, Send

    from tinymlops.server.access import Access, Caller

__all__ = ["Identifying"]

_HEALTH = "/healthz"
"""Answers without asking who it is: neither an application that knows its users slowly nor a rate keeps it from that."""
_ASK = {"www-authenticate": 'Bearer realm="tinymlops"'}
_MOST_EACH = 128
"""Requests that one token may have open: half of what the server works on."""


class Identifying:
    """Writes down who asks and lets the rest be done in that name; strangers get no further than the open paths.

    Args:
        app: What comes next.
        access: Finds out who asks.
        is_open: Paths that answer everybody.
    """

    def __init__(self, app: ASGIApp, access: Access, is_open: Collection[str]) -> None:
        self._app, self._access, self._open = app, access, is_open
        self._rates = Rates()
        self._asking: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer strangers and those who ask too much, and pass on the rest."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        # Where the application is mounted, the path may end with a slash more.
        path = "/" + path_of(scope).strip("/")
        if path == _HEALTH:
            put_caller(scope, None)
            await self._app(scope, receive, send)
            return
        caller = None
        try:
            caller = await self._access.caller(scope)
        except AccessError as error:
            if path not in self._open:
                await _refuse(error, 401, _ASK, path)(scope, receive, send)
                return
        put_caller(scope, caller)
        if caller is None or caller.actor is None:
            await self._app(scope, receive, send)
            return
        wait = self._wait(caller, caller.actor)
        if wait is not None:
            told = ConflictError(f"{caller.actor!r} asks for more than it may", hint=f"come back in {wait} seconds")
            await _refuse(told, 429, {"retry-after": str(wait)}, path)(scope, receive, send)
            return
        self._asking[caller.actor] += 1
        try:
            with acting_as(caller.actor):
                await self._app(scope, receive, send)
        finally:
            self._asking[caller.actor] -= 1
            if not self._asking[caller.actor]:
                del self._asking[caller.actor]

    def _wait(self, caller: Caller, actor: str) -> int | None:
        """Return after how many seconds this one may ask; None for now."""
        if self._asking[actor] >= _MOST_EACH:
            return 1
        wait = None if caller.rate is None else self._rates.allow(actor, caller.rate)
        return None if wait is None else math.ceil(wait)


def _refuse(error: TinyMLOpsError, status: int, headers: dict[str, str], path: str) -> ASGIResponse:
    content = encode_problem(answer(error).content, path, status)
    return ASGIResponse(body=content, status_code=status, media_type="application/json", headers=headers)
