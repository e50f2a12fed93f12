"""`create_app`: the Litestar application of one workspace."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.exceptions import HTTPException

from tinymlops.server.access import Access, Auth, authorize
from tinymlops.server.errors import HANDLERS, MAX_BODY
from tinymlops.server.guard import Guard
from tinymlops.server.identifying import Identifying
from tinymlops.server.large_answers import encode_large
from tinymlops.server.mlflow import MLFLOW_NOUNS
from tinymlops.server.mlflow.refused import by_path
from tinymlops.server.openapi import openapi_config
from tinymlops.server.pages import create_pages
from tinymlops.server.parameters import refuse_unknown_parameters
from tinymlops.server.request import StrictRequest
from tinymlops.server.route_class import class_of
from tinymlops.server.routes import NOUNS

if TYPE_CHECKING:
    from litestar.types import ASGIApp

    from tinymlops.workspace import Workspace

__all__ = ["create_app"]


def create_app(
    ws: Workspace,
    *,
    allowed_hosts: Iterable[str] = (),
    origins: Iterable[str] = (),
    auth: Auth = "tokens",
    pages: bool = True,
) -> Litestar:
    """Make the ASGI application that serves a workspace; mount it in another one, or let `serve` run it.

    As long as no token was issued, it answers whoever reaches it: whoever mounts it keeps strangers out. It stays the
    caller's to close the workspace.

    Args:
        ws: The workspace, open as long as the application runs.
        allowed_hosts: Names that the Host header may have besides localhost, such as "ml.example.com"; the
            application refuses every other, against DNS rebinding. The address of this machine that a connection came
            to is always allowed.
        origins: Origins whose pages may read and write besides this server's own, such as "https://app.example.com".
        auth: "tokens" asks for one once the first was issued; a function gets the connection and answers the actor and
            the role, such as ("ana", "reader"), or None for a stranger, and may be a coroutine; None answers everybody.
        pages: Whether browsers are shown pages as well.

    Returns:
        The application: an ASGI callable.

    Raises:
        AccessError: If an allowed host is no name of a host, or an origin is not one.
        DefinitionError: If a route does not say what it may do, or `auth` is none of these.

    Example:
        >>> import tempfile, tinymlops as tm
        >>> with tm.connect(tempfile.mkdtemp() + "/shop.tm", create=True) as ws:
        ...     app = tm.create_app(ws, allowed_hosts=["ml.example.com"])
        >>> type(app).__name__
        'Litestar'
    """
    handlers = [handler for routes in (*NOUNS, *MLFLOW_NOUNS) for handler in routes(ws)]
    is_open = frozenset(path for one in handlers if class_of(one) == "open" for path in one.paths)
    access = Access(ws, auth)
    app = Litestar(
        handlers,
        request_class=StrictRequest,
        guards=[authorize],
        before_request=refuse_unknown_parameters,
        after_request=encode_large,
        request_max_body_size=MAX_BODY,
        exception_handlers={**HANDLERS, HTTPException: by_path},
        openapi_config=openapi_config(),
        logging_config=None,
        on_shutdown=[ws.flush],
    )
    answering: ASGIApp = Identifying(app.asgi_handler, access, is_open)
    shown = create_pages(ws, access, answering) if pages else None
    if shown is not None:
        app.state.streams = shown.streams
        app.on_shutdown += [shown.streams.close, shown.asking.close]
    app.asgi_handler = Guard(shown or answering, allowed_hosts, origins, forms=shown.has if shown else None)
    return app
