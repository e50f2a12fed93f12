"""`/v1/sources`: rows that arrive by push."""

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from tinymlops.features.intake.pushing import Pushed, require_batch_id
from tinymlops.server.errors import documented
from tinymlops.server.messages import PushRequest
from tinymlops.server.route_class import WRITE
from tinymlops.workspace import Workspace

__all__ = ["source_routes"]


def source_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @post(
        "/v1/sources/{name:str}/push",
        opt=WRITE,
        status_code=200,
        sync_to_thread=True,
        operation_id="push",
        responses=documented(404, 409, body=True),
    )
    def push(name: FromPath[str], data: JSONBody[PushRequest]) -> Pushed:
        """Add rows to a source that takes pushes; they are durable when the answer comes.

        A source without an id needs a batch_id, so that a retry is known for one.
        """
        require_batch_id(ws._context(), name, data.batch_id)  # noqa: SLF001 - in Python, `push` makes one up
        return ws.push(name, data.rows, batch_id=data.batch_id)

    return [push]
