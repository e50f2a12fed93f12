"""Errors as pages: what is wrong, and what to do next."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from litestar.exceptions import HTTPException

from tinymlops.errors import TinyMLOpsError
from tinymlops.server.errors import HANDLERS
from tinymlops.server.pages.rendering import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar import Request, Response
    from litestar.types import ExceptionHandlersMap

    from tinymlops.server.errors import Problem

__all__ = ["PAGE_HANDLERS"]

_TITLES = {
    403: "Not yours to use",
    404: "Not found",
    405: "Not found",
    422: "This cannot be answered",
    503: "Not just now",
}


def _as_page(told: Callable[[Request[Any, Any, Any], Any], Response[Problem]]) -> Any:
    def handler(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        answer = told(request, error)
        problem, status = answer.content, answer.status_code or HTTPStatus.INTERNAL_SERVER_ERROR
        hint = "" if isinstance(error, HTTPException) and status == HTTPStatus.NOT_FOUND else problem.hint
        title = _TITLES.get(status, "This did not work")
        message = (
            problem.error
            if isinstance(error, TinyMLOpsError) or status < 500
            else "The server failed; its log says why."
        )
        if hint != problem.hint:
            message = "There is no such page."
        return page(request, "error.html", status=status, title=title, message=message, hint=hint)

    return handler


PAGE_HANDLERS: ExceptionHandlersMap = {kind: _as_page(cast("Any", told)) for kind, told in HANDLERS.items()}
