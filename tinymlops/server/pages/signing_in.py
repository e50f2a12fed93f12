"""Signing in: a token buys a session for the pages, and nothing else."""

from typing import Any

from litestar import Response
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from litestar.response import Redirect

from tinymlops.errors import AccessError
from tinymlops.server.access import Access, caller_of
from tinymlops.server.pages.rendering import page, url
from tinymlops.server.pages.routing import AnyRequest, Form, shows, takes
from tinymlops.server.route_class import METADATA, OPEN
from tinymlops.workspace import Workspace

__all__ = ["sign_in_routes"]


def sign_in_routes(ws: Workspace, access: Access) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    sessions = ws._page_sessions  # noqa: SLF001 - nobody but the pages signs in

    @shows("/sign-in", opt=OPEN)
    def form(request: AnyRequest, next: FromQuery[str] = "/") -> Response[Any]:  # noqa: A002 - the name of the parameter
        """Show the form; who is signed in already, or need not be, goes on."""
        caller = caller_of(request)
        if caller is not None:
            return Redirect(url(request, _local(next)), status_code=303)
        return page(request, "sign_in.html", title="Sign in", next=_local(next), error=None)

    @takes("/sign-in", opt=OPEN)
    def sign_in(request: AnyRequest, data: Form) -> Response[Any]:
        """Begin a session; one that the browser had before is over, so that none can be planted."""
        following = _local(data.get("next", "/"))
        try:
            signed_in = sessions.begin(data.get("token", "").strip())
        except AccessError as error:
            return page(request, "sign_in.html", status=403, title="Sign in", next=following, error=error)
        _end(request)
        cookie = _cookie(request, signed_in.secret, max_age=signed_in.seconds)
        return Redirect(url(request, following), status_code=303, cookies=[cookie])

    @takes("/sign-out", opt=METADATA)
    def sign_out(request: AnyRequest, data: Form) -> Response[Any]:  # noqa: ARG001 - it has the mark alone
        """End the session."""
        _end(request)
        return Redirect(url(request, "/sign-in"), status_code=303, cookies=[_cookie(request, "", max_age=0)])

    def _end(request: AnyRequest) -> None:
        before = request.cookies.get(access.cookie)
        if before:
            sessions.end(before)

    def _cookie(request: AnyRequest, value: str, *, max_age: int) -> Cookie:
        return Cookie(
            key=access.cookie,
            value=value,
            path=request.scope.get("root_path", "") or "/",
            max_age=max_age,
            httponly=True,
            secure=request.scope["scheme"] == "https",
            samesite="strict",
        )

    return [form, sign_in, sign_out]


def _local(path: str) -> str:
    """Return a path of this server; "/" for what could lead elsewhere."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path
    return path if is_local else "/"
