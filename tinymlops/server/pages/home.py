"""`/`: what there is to know this morning."""

from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.route_class import METADATA
from tinymlops.workspace import Workspace

__all__ = ["home_routes"]

_RUNS = 8


def home_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @shows("/", opt=METADATA)
    def home(request: AnyRequest) -> Response[Any]:
        """Show what moved."""
        return page(request, "home.html", title="Today", standing=ws.status(), job_runs=ws.jobs.history(limit=_RUNS))

    return [home]
