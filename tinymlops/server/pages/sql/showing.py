"""`/sql` as a page: the query, what came of it, what is saved, and which tables there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops import errors
from tinymlops.errors import TinyMLOpsError
from tinymlops.server.errors import answer
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.sql.asked import Asked, mark_of
from tinymlops.server.pages.sql.asking import BOUNDS, hidden_from
from tinymlops.server.pages.sql.pictures import drawn, points_of
from tinymlops.server.pages.sql.tables import columns_of, tables_by_kind
from tinymlops.server.pages.state import context_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar import Request, Response

    from tinymlops.queries.messages import Place, Refused, Shown
    from tinymlops.workspace import Workspace

__all__ = ["error_of", "sql_page"]


class Wrong(NamedTuple):
    """What is wrong with a query."""

    message: str
    hint: str
    place: Place | None


def sql_page(
    ws: Workspace,
    request: Request[Any, Any, Any],
    asked: Asked,
    *,
    shown: Shown | None = None,
    refused: Refused | None = None,
    error: TinyMLOpsError | None = None,
    name: str = "",
) -> Response[Any]:
    """Answer with the page.

    Args:
        ws: The workspace.
        request: What asks for it.
        asked: What the fields say.
        shown: The result, if the query was run.
        refused: Why it has none, by the process that ran it.
        error: What else went wrong.
        name: What it was to be saved as.
    """
    context, hidden = context_of(ws), hidden_from(request)
    saved = ws.queries.list()
    if refused is not None:
        error = error_of(refused)
    status = 200 if error is None else answer(error).status_code or 500
    response = page(
        request,
        "sql.html",
        status=status,
        title="SQL",
        asked=asked,
        shown=shown,
        wrong=None if error is None else Wrong(error.message, error.hint, refused.place if refused else None),
        was_not_run=bool(asked.q.strip()) and shown is None and error is None and not asked.table,
        picture=drawn(shown.chart) if shown is not None and shown.chart is not None else None,
        points=points_of(shown.chart) if shown is not None and shown.chart is not None else None,
        run=mark_of(request, asked.q),
        saved=[(one, Asked(one.text, saved=one.name).address_of_saved(request)) for one in saved],
        loaded=next((one for one in saved if one.name == asked.saved), None),
        name=name,
        groups=tables_by_kind(context, hidden),
        columns=_columns(context, asked, hidden),
        starters=_starters(request),
        bounds=BOUNDS,
    )
    if status == 503:
        response.headers["retry-after"] = "3"
    return response


def error_of(refused: Refused) -> TinyMLOpsError:
    """Return the error that a process told."""
    cls = getattr(errors, refused.kind, TinyMLOpsError) if refused.kind else TinyMLOpsError
    found: TinyMLOpsError = cls(refused.message, hint=refused.hint)
    return found


def _columns(context: Any, asked: Asked, hidden: tuple[str, ...]) -> Mapping[str, str] | None:
    return columns_of(context, asked.table, hidden) if asked.table else None


def _starters(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """Return queries to begin with, and their addresses."""
    texts = ["show tables", "select status, count(*) as runs\nfrom tinymlops.runs\ngroup by all\norder by runs desc"]
    return [(text, Asked(text).address(request)) for text in texts]
