"""`/healthz` and `/readyz`: whether the process is up, and whether it can answer."""

from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler

from tinymlops.errors import ConflictError, TinyMLOpsError
from tinymlops.server.access import caller_of
from tinymlops.server.errors import documented, unavailable
from tinymlops.server.messages import Health
from tinymlops.server.readiness import ages_of, in_place_of, require_ready, starved_of
from tinymlops.server.route_class import OPEN
from tinymlops.workspace import Workspace

__all__ = ["health_routes"]


def health_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @get("/healthz", opt=OPEN, sync_to_thread=False, operation_id="healthz", responses=documented())
    def healthz() -> Health:
        """Say that the process is up."""
        return Health("up")

    @get(
        "/readyz",
        opt=OPEN,
        sync_to_thread=True,
        operation_id="readyz",
        responses=documented(),
        exception_handlers={TinyMLOpsError: unavailable},
    )
    def readyz(request: Request[Any, Any, Any]) -> Health:
        """Say whether the models that aliases point at load, and the code here is the code that was applied.

        A model that a renamed or rebuilt source starves goes on answering, so it is named and does not count as a failure.
        Ages are told for who watches them; none is too old by itself.
        Where the server needs a token, names are told only with one.
        """
        if caller_of(request) is not None:
            require_ready(ws)
            return Health("ready", starved=starved_of(ws), ages=ages_of(ws), in_place=in_place_of(ws))
        try:
            require_ready(ws)
        except TinyMLOpsError as error:
            raise ConflictError("not ready", hint="ask with a token to be told why") from error
        return Health("ready")

    return [healthz, readyz]
