"""Experiment runs as pages: the list, one run with its curves and files, and runs side by side."""

from litestar.handlers import HTTPRouteHandler

from tinymlops.server.pages.runs.comparing import comparison_routes
from tinymlops.server.pages.runs.curves import curve_routes
from tinymlops.server.pages.runs.files import file_routes
from tinymlops.server.pages.runs.listing import list_routes
from tinymlops.server.pages.runs.one import one_routes
from tinymlops.workspace import Workspace

__all__ = ["run_routes"]


def run_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*list_routes(ws), *comparison_routes(ws), *one_routes(ws), *curve_routes(ws), *file_routes(ws)]
