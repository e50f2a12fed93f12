"""`/v1/outcomes`: what really happened."""

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from tinymlops.server.errors import documented
from tinymlops.server.messages import OutcomesRequest
from tinymlops.server.route_class import WRITE
from tinymlops.serving.outcomes import OutcomeReport
from tinymlops.workspace import Workspace

__all__ = ["outcome_routes"]


def outcome_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @post(
        "/v1/outcomes",
        opt=WRITE,
        status_code=200,
        sync_to_thread=True,
        operation_id="log_outcomes",
        responses=documented(409, body=True),
    )
    def log_outcomes(data: JSONBody[OutcomesRequest]) -> OutcomeReport:
        """Say what really happened; an outcome for a prediction that is not known yet is kept for it."""
        return ws.log_outcomes([msgspec.structs.asdict(outcome) for outcome in data.outcomes])

    return [log_outcomes]
