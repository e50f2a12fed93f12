"""`/`: what there is to know this morning, what needs a look first."""

from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from tinymlops.display.today import today_of
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.state import context_of, may
from tinymlops.server.route_class import METADATA
from tinymlops.workspace import Workspace

__all__ = ["home_routes"]


def home_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @shows("/", opt=METADATA)
    def home(request: AnyRequest) -> Response[Any]:
        """Show what moved."""
        may_read = may(request, "read")
        today = today_of(context_of(ws), ws.models, ws.jobs, may_read=may_read)
        return page(
            request,
            "home.html",
            title="Today",
            **today._asdict(),
            may_read=may_read,
            applied=ws.catalog.last_apply(),
        )

    return [home]
