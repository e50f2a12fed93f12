"""What every request passes before it is routed: its host, its origin, its body, and how many there are.

Whoever can make a browser send requests reaches every server that the browser reaches, those on loopback too: a page of another
site can, and by DNS rebinding it can read the answers too. The Host header shows the latter, the Origin header the
former, and a body that must be declared as JSON makes the browser ask first.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from litestar.enums import ScopeType
from litestar.response.base import ASGIResponse

from tinymlops.errors import AccessError, ConflictError, DataError, TinyMLOpsError, is_fault
from tinymlops.server.bodies import BUSY, Body, Load
from tinymlops.server.errors import answer, defect
from tinymlops.server.hosts import Hosts
from tinymlops.server.mlflow.errors import encode_problem, is_upload, status_for
from tinymlops.server.mounting import mounted, path_of
from tinymlops.server.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from litestar import Response
    from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

    from tinymlops.server.errors import Problem

__all__ = ["SECURITY_HEADERS", "Guard"]

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SECURITY_HEADERS = [
    (b"content-security-policy", b"default-src 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
]
"""Of every answer that does not say otherwise."""
_KINDS = {b"application/json": "JSON", b"application/x-www-form-urlencoded": "a form"}


class Guard:
    """Stands before the router, so that it sees requests to unknown routes as well.

    Args:
        app: What it guards.
        hosts: Names that the Host header may have besides those of loopback, without a port.
        origins: Whose pages may read and write besides those of this server.
        forms: Tells which paths take the forms of pages, and no JSON; none by default.

    Raises:
        AccessError: If one of them is no name of a host, or not an origin.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        *,
        forms: Callable[[str], bool] | None = None,
    ) -> None:
        self._app = app
        self._forms = forms or (lambda _: False)
        self._hosts = Hosts(hosts)
        self._origins = Origins(origins)
        self._load = Load()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, and pass on the rest."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        scope = mounted(scope)
        streams = is_upload(scope["method"], path_of(scope))
        body = Body(receive, self._load, streams=streams)
        begun = False
        headers = dict(scope["headers"])
        origin = _text(headers.get(b"origin"))
        added = [*SECURITY_HEADERS, *self._origins.headers(origin)]

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                body.work_ended()
                said = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in added if one[0] not in said)]
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _respond(answer(*refusal), scope, receive, send_guarded)
            return
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            leave = self._origins.leave(origin)
            if leave is not None:
                added += leave
                await _send_empty(send_guarded)
                return
        try:
            if not _has_body(headers):
                body.work_begins()
            await self._app(scope, body.receive, send_guarded)
        except BaseException as error:  # a panic of a library is no Exception
            if begun or not is_fault(error):
                raise
            await _respond(defect(scope["method"], scope["path"], error), scope, receive, send_guarded)
        finally:
            body.release()

    def _refusal(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> tuple[TinyMLOpsError, int] | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        names = [name for name, _ in scope["headers"]]
        server = scope.get("server")
        if names.count(b"host") > 1 or not self._hosts.has(host, server[0] if server else None):
            return AccessError(
                f"this server does not answer to the host {host[:100]!r}",
                hint="name the host that it is reached by: create_app(ws, allowed_hosts=[...]), "
                "tinymlops serve --allowed-host NAME",
            ), 403
        origin = _text(headers.get(b"origin"))
        if origin is not None and scope["method"] not in _SAFE_METHODS:
            scheme = scope.get("scheme", "http")
            if names.count(b"origin") > 1 or not self._origins.may_write(origin, scheme, host):
                return AccessError(
                    f"a page of {origin[:100]!r} may not write here",
                    hint="send the request from a program, or from a page of this server, or name the page's origin: "
                    "create_app(ws, origins=[...]), tinymlops serve --origin URL",
                ), 403
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        wanted = b"application/x-www-form-urlencoded" if self._forms(path_of(scope)) else b"application/json"
        if kind != wanted and _has_body(headers) and not is_upload(scope["method"], path_of(scope)):
            return DataError(
                f"the body is declared as {kind.decode('latin-1')[:100]!r}, not as {_KINDS[wanted]}",
                hint=f'send the header "Content-Type: {wanted.decode()}"',
            ), 415
        if self._load.is_full and not _has_body(headers) and not scope["path"].endswith("/healthz"):
            return ConflictError(BUSY, hint="send it again"), 503
        return None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


async def _send_empty(send: Send) -> None:
    await send({"type": "http.response.start", "status": HTTPStatus.NO_CONTENT, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _respond(response: Response[Problem], scope: HTTPScope, receive: Receive, send: Send) -> None:
    status = status_for(path_of(scope), response.status_code or HTTPStatus.INTERNAL_SERVER_ERROR)
    raw = ASGIResponse(
        body=encode_problem(response.content, path_of(scope), status),
        status_code=status,
        media_type="application/json",
        headers={"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {},
    )
    await raw(scope, receive, send)
