"""`/v1/checks`: what checks on data found, and the rows that they keep aside."""

from typing import Annotated, Literal

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from tinymlops.records import CheckResult, Quarantine
from tinymlops.server.errors import documented
from tinymlops.server.messages import (
    DropAnswer,
    DropRequest,
    QuarantinedRowsAnswer,
    QuarantinesAnswer,
    ReleaseAnswer,
    ReleaseRequest,
    ResultsAnswer,
)
from tinymlops.server.route_class import READ, WRITE
from tinymlops.workspace import Workspace

__all__ = ["check_routes"]

Limit = Annotated[int, QueryParameter(ge=1, le=1_000, description="At most so many.")]
Beyond = Annotated[int | None, QueryParameter(ge=0, le=2**63 - 1, description="`next` of the page before.")]
Name = Annotated[str | None, QueryParameter(max_length=1_000)]
Status = Annotated[Literal["waiting", "released", "dropped"] | None, QueryParameter(description="Without it, all.")]


def check_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_reading(ws), *_settling(ws)]


def _reading(ws: Workspace) -> list[HTTPRouteHandler]:
    @get(
        "/v1/checks/results",
        opt=READ,
        sync_to_thread=True,
        operation_id="list_check_results",
        responses=documented(400, 404),
    )
    def list_check_results(target: Name = None, limit: Limit = 100, after: Beyond = None) -> ResultsAnswer:
        """List what rules said of batches, the newest first; of pushes only what did not pass is kept."""
        found = list(ws.checks.results(target, limit=limit + 1, before=after))
        return ResultsAnswer(results=found[:limit], next=_next(found, limit))

    @get(
        "/v1/checks/quarantines",
        opt=READ,
        sync_to_thread=True,
        operation_id="list_quarantines",
        responses=documented(400, 404),
    )
    def list_quarantines(
        source: Name = None, status: Status = None, limit: Limit = 100, after: Beyond = None
    ) -> QuarantinesAnswer:
        """List batches of rows that were kept aside, in the order in which they came."""
        found = ws.checks.quarantined(source, status=status, limit=limit + 1, after=after)
        return QuarantinesAnswer(quarantines=found[:limit], next=_next(found, limit))

    @get(
        "/v1/checks/quarantines/{number:int}/rows",
        opt=READ,
        sync_to_thread=True,
        operation_id="list_quarantined_rows",
        responses=documented(400, 404, 409),
    )
    def list_quarantined_rows(number: FromPath[int], limit: Limit = 100, after: Beyond = None) -> QuarantinedRowsAnswer:
        """Show rows that wait, each with its number in `__row` and the rules that it did not pass in `__rules`."""
        rows = ws.checks.rows(number)
        left = rows if after is None else rows.filter(rows["__row"] > after)
        page = left.head(limit)
        following = page["__row"][-1] if left.height > limit else None
        return QuarantinedRowsAnswer(
            columns=list(rows.columns), rows=page.to_dicts(), total=rows.height, next=following
        )

    return [list_check_results, list_quarantines, list_quarantined_rows]


def _settling(ws: Workspace) -> list[HTTPRouteHandler]:
    @post(
        "/v1/checks/quarantines/{number:int}/release",
        opt=WRITE,
        status_code=200,
        sync_to_thread=True,
        operation_id="release_quarantine",
        responses=documented(404, 409, body=True),
    )
    def release(number: FromPath[int], data: JSONBody[ReleaseRequest]) -> ReleaseAnswer:
        """Let rows of a quarantine go in as if they came now, all or nothing; the others wait on."""
        done = ws.checks.release(number, ids=data.ids, rows=data.rows, replace_newer=data.replace_newer)
        return ReleaseAnswer(
            source=done.source,
            rows_new=done.rows_new,
            rows_corrected=done.rows_corrected,
            rows_known=done.rows_known,
            sequence=done.sequence,
        )

    @post(
        "/v1/checks/quarantines/{number:int}/drop",
        opt=WRITE,
        status_code=200,
        sync_to_thread=True,
        operation_id="drop_quarantine",
        responses=documented(404, 409, body=True),
    )
    def drop(number: FromPath[int], data: JSONBody[DropRequest]) -> DropAnswer:
        """Give up rows of a quarantine: their values are removed, and the same rows stay out when they come again."""
        done = ws.checks.drop(number, ids=data.ids, rows=data.rows)
        return DropAnswer(quarantine=done.id or 0, source=done.source, rows=done.rows, status=done.status)

    return [release, drop]


def _next(found: list[CheckResult] | list[Quarantine], limit: int) -> int | None:
    """Return the id after which the next page begins; None after the last."""
    return found[limit - 1].id if len(found) > limit else None
