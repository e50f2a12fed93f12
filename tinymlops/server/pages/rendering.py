"""How a page is written: templates that escape every text, and what each of them may use."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litestar import Response

from tinymlops.display.templating import templates
from tinymlops.server.access import caller_of
from tinymlops.server.mounting import path_of
from tinymlops.server.pages.addresses import PATHS, SLUGS, own_path
from tinymlops.server.pages.assets import asset_path
from tinymlops.server.pages.navigation import navigation
from tinymlops.server.route_class import MAY

if TYPE_CHECKING:
    from jinja2 import Template
    from litestar import Request
    from litestar.types import HTTPScope

    from tinymlops.server.access import Caller
    from tinymlops.server.route_class import RouteClass
    from tinymlops.workspace import Workspace

__all__ = ["Renderer", "csrf_of", "page", "put_renderer", "url"]

_KEY = "tinymlops_pages"
_SHARED = ("parts.html", "base.html")
"""What all pages use."""
_POLICY = ("default-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'", "object-src 'none'")
_HEADERS = {
    "content-security-policy": "; ".join(_POLICY),
    "referrer-policy": "same-origin",
}


class Renderer:
    """What all pages of a workspace are written with.

    Args:
        ws: The workspace.
        cookie: The name of the cookie of those who signed in; None where nobody signs in here, and a function says who asks.
    """

    def __init__(self, ws: Workspace, cookie: str | None) -> None:
        self.ws, self.cookie = ws, cookie
        self.name = ws._environment.path.name  # noqa: SLF001 - the name of its directory, for people
        self._open = secrets.token_bytes(32)
        self._compiling = threading.Lock()
        self._templates = templates(Path(__file__).parent / "templates")
        self._templates.filters.update(PATHS)
        self._templates.tests["defines"] = SLUGS.__contains__

    def write(self, request: Request[Any, Any, Any], template: str, values: dict[str, Any]) -> str:
        """Write a page.

        Args:
            request: What asks for it.
            template: The name of its template.
            values: What the template names.
        """
        root = request.scope.get("root_path", "")
        caller = caller_of(request)

        def may(kind: RouteClass) -> bool:
            return caller is not None and kind in MAY[caller.role]

        return self.template(template).render(
            root=root,
            path=path_of(request.scope),
            query=request.query_params,
            asset=lambda name: root + asset_path(name),
            link=lambda path, **query: url(request, path, **query),
            csrf=csrf_of(request),
            caller=caller,
            own=lambda kind, name: url(request, own_path(kind, name, reads=may("read"))),
            may=may,
            navigation=navigation(caller),
            workspace=self.name,
            now=self.ws._clock(),  # noqa: SLF001 - the workspace's time, which may be one that is replayed
            **values,
        )

    def names(self) -> list[str]:
        """Return the names of all templates."""
        return self._templates.list_templates()

    def template(self, name: str) -> Template:
        """Return a template, compiled once: who needs one that is being compiled waits for it.

        Args:
            name: Of a file in `templates/`.
        """
        with self._compiling:
            for one in _SHARED:
                self._templates.get_template(one)
            return self._templates.get_template(name)

    def mark(self, secret: str | None, actor: str = "") -> str:
        """Return the mark of forms: of a session, or of this process and whom it knows, where nobody signs in.

        Args:
            secret: Of the session.
            actor: Who asks, where a function says so.
        """
        key = self._open if secret is None else secret.encode()
        return hmac.new(key, f"a form of the pages{actor}".encode(), hashlib.sha256).hexdigest()


def page(
    request: Request[Any, Any, Any], template: str, *, status: int = 200, title: str, **values: Any
) -> Response[Any]:
    """Answer with a page.

    Args:
        request: What asks for it.
        template: The name of a file in `templates/`.
        status: Of the answer.
        title: What the page is called, in the window and above it.
        values: What the template names.
    """
    text = _renderer(request.scope).write(request, template, {"title": title, **values})
    return Response(text, status_code=status, media_type="text/html", headers=_HEADERS)


def url(request: Request[Any, Any, Any], path: str, **query: object) -> str:
    """Return the address of a path of the pages, wherever the application is mounted.

    Args:
        request: What asks for it.
        path: Such as "/runs"; its segments are quoted already.
        query: Parameters; those that are None or empty are left out.
    """
    from urllib.parse import urlencode

    said = urlencode({name: value for name, value in query.items() if value not in (None, "")}, doseq=True)
    return request.scope.get("root_path", "") + path + (f"?{said}" if said else "")


def csrf_of(request: Request[Any, Any, Any]) -> str:
    """Return the mark that a form of this visitor must carry."""
    renderer = _renderer(request.scope)
    caller: Caller | None = caller_of(request)
    if caller is None or caller.actor is None:
        return renderer.mark(None)
    if renderer.cookie is None:
        return renderer.mark(None, caller.actor)
    return renderer.mark(request.cookies.get(renderer.cookie))


def put_renderer(scope: HTTPScope, renderer: Renderer) -> None:
    """Write down what the pages are written with, for `page`."""
    scope["state"][_KEY] = renderer


def _renderer(scope: Any) -> Renderer:
    found: Renderer = scope["state"][_KEY]
    return found
