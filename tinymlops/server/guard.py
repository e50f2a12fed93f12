"""What every request passes before it is routed: its host, its origin, its body, and how many there are.

Listening on loopback alone keeps nobody out who can make a browser on this machine send requests: a page of another
site can, and by DNS rebinding it can read the answers too. The Host header shows the latter, the Origin header the
former, and a body that must be declared as JSON makes the browser ask first.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from litestar.enums import ScopeType
from litestar.response.base import ASGIResponse

from tinymlops.errors import AccessError, ConflictError, DataError, TinyMLOpsError, is_fault
from tinymlops.server.bodies import Body, Held
from tinymlops.server.errors import answer, defect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar import Response
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

    from tinymlops.server.errors import Problem

__all__ = ["LOOPBACK", "Guard"]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_MOST_AT_ONCE = 256
"""Requests in the making; one more is told to come back."""
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HEADERS = [
    (b"content-security-policy", b"default-src 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Stands before the router, so that it sees requests to unknown routes as well.

    Args:
        app: What it guards.
        hosts: Names that the Host header may have besides those of loopback, without a port.

    Raises:
        AccessError: If one of them is no name of a host.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset({*LOOPBACK, *(_checked(host) for host in hosts)})
        self._answering = 0
        self._held = Held()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, and pass on the rest."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return

        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await _respond(answer(*refusal), scope, receive, send_guarded)
            return
        self._answering += 1
        body = Body(receive, self._held)
        try:
            await self._app(scope, body.receive, send_guarded)
        except BaseException as error:  # a panic of a library is no Exception
            if begun or not is_fault(error):
                raise
            await _respond(defect(scope["method"], scope["path"], error), scope, receive, send_guarded)
        finally:
            self._answering -= 1
            body.release()

    def _refusal(self, scope: HTTPScope) -> tuple[TinyMLOpsError, int] | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if _name_of(host) not in self._hosts:
            return AccessError(
                f"this server does not answer to the host {host[:100]!r}",
                hint="use http://localhost, or name the host: create_app(ws, allowed_hosts=[...])",
            ), 403
        origin = headers.get(b"origin")
        if origin is not None and scope["method"] not in _SAFE_METHODS and not _is_same(origin.decode("latin-1"), host):
            return AccessError(
                f"a page of {origin.decode('latin-1')[:100]!r} may not write here",
                hint="send the request from a program, or from a page of this server",
            ), 403
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json" and _has_body(headers):
            return DataError(
                f"the body is declared as {kind.decode('latin-1')[:100]!r}, not as JSON",
                hint='send the header "Content-Type: application/json"',
            ), 415
        if self._answering >= _MOST_AT_ONCE and not scope["path"].endswith("/healthz"):
            return ConflictError(f"the server is at work on {_MOST_AT_ONCE} requests", hint="send it again"), 503
        return None


def _checked(host: str) -> str:
    name = _name_of(host.lower())
    if name != host.lower() or not name or any(mark in name for mark in "*/@ "):
        raise AccessError(
            f"{host!r} is no name that a Host header can have",
            hint='write names alone, without scheme and port, such as allowed_hosts=["ml.example.com"]',
        )
    return name


def _name_of(host: str) -> str:
    """Return a Host header without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_same(origin: str, host: str) -> bool:
    scheme, _, rest = origin.lower().partition("://")
    return scheme in ("http", "https") and rest == host


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def _respond(response: Response[Problem], scope: HTTPScope, receive: Receive, send: Send) -> None:
    status = response.status_code or HTTPStatus.INTERNAL_SERVER_ERROR
    raw = ASGIResponse(
        body=msgspec.json.encode(response.content),
        status_code=status,
        media_type="application/json",
        headers={"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {},
    )
    await raw(scope, receive, send)
