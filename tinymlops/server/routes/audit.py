"""`/v1/audit` and `/v1/access`: who changed what, and who read which features."""

from datetime import datetime
from typing import Annotated

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from tinymlops.server.errors import documented
from tinymlops.server.messages import AccessAnswer, AuditAnswer
from tinymlops.server.route_class import AUDIT
from tinymlops.workspace import Workspace

__all__ = ["audit_routes"]

Limit = Annotated[int, QueryParameter(ge=1, le=1_000, description="At most so many.")]
Text = Annotated[str | None, QueryParameter(max_length=1_000)]
Since = Annotated[datetime | None, QueryParameter(description="Only from this time on, with its zone.")]
Before = Annotated[int | None, QueryParameter(ge=0, le=2**63 - 1, description="`next` of the page before.")]


def audit_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @get("/v1/audit", opt=AUDIT, sync_to_thread=True, operation_id="list_audit", responses=documented(400))
    def list_audit(
        subject: Text = None,
        who: Text = None,
        action: Text = None,
        since: Since = None,
        limit: Limit = 100,
        before: Before = None,
    ) -> AuditAnswer:
        """List who changed what, the newest first; values and free text are in it as hashes alone."""
        found = ws.audit.list(subject=subject, who=who, since=since, action=action, before=before, limit=limit + 1)
        following = found[limit - 1].n if len(found) > limit else None
        return AuditAnswer(entries=found[:limit], next=following, head=str(ws.audit.head()))

    @get("/v1/access", opt=AUDIT, sync_to_thread=True, operation_id="list_access", responses=documented(400))
    def list_access(who: Text = None, name: Text = None, since: Since = None, limit: Limit = 100) -> AccessAnswer:
        """List who read which features and asked which models, minute by minute, the newest first."""
        return AccessAnswer(reads=ws.access.list(since=since, who=who, name=name, limit=limit))

    return [list_audit, list_access]
