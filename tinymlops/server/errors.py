"""From an error to an answer: the one place that knows which class is which status."""

from __future__ import annotations

import logging
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi.datastructures import ResponseSpec

from tinymlops.errors import (
    AccessError,
    ConflictError,
    DataError,
    DefinitionError,
    IngestError,
    LeakageError,
    NotFoundError,
    TinyMLOpsError,
    UnavailableError,
)
from tinymlops.printable import printable
from tinymlops.secrets import without_secrets

if TYPE_CHECKING:
    from litestar import Request
    from litestar.types import ExceptionHandlersMap

__all__ = ["HANDLERS", "MAX_BODY", "Problem", "answer", "defect", "documented", "unavailable"]

_log = logging.getLogger("tinymlops.server")

_STATUSES: dict[type[TinyMLOpsError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    AccessError: 403,
    DataError: 422,
    DefinitionError: 422,
    LeakageError: 422,
    UnavailableError: 503,
}
"""What is none of these is the server's own trouble: 500."""

_MEANINGS = {
    400: "The request is malformed: its body is missing, or is not JSON.",
    401: "The server needs a token, and the one that came is missing, unknown, expired or revoked.",
    403: "The Host header, or the Origin of a write, is not this server's, or the token's role may not use this route.",
    404: "There is no such name, alias or version.",
    408: "The body did not come to its end in time.",
    409: "Somebody else changed or holds it.",
    413: "The body is too large.",
    415: "The body is not declared as application/json.",
    422: "The body is JSON that cannot be accepted, or the query has an unknown parameter; the answer names it.",
    429: "The token asks more often than it may, or for too much at once; the answer says when to come back.",
    500: "The server cannot do it: a damaged file, an untrusted model, or a defect.",
    503: "The server is busy, or its code is not the code that was applied.",
}
_ALWAYS = (401, 403, 422, 429, 500, 503)
_OF_BODIES = (400, 408, 413, 415)
MAX_BODY = 8 * 2**20
"""Bytes."""
_LONGEST = 2_000
"""Characters of a message: it may quote what the client sent."""


class Problem(msgspec.Struct, frozen=True):
    """The body of every answer that is an error."""

    error: str
    """What is wrong, naming the thing it is wrong with."""
    hint: str
    """What to do about it; empty if there is nothing to add."""
    type: str
    """The class of the error, such as `NotFoundError`."""


def documented(*statuses: int, body: bool = False) -> dict[int, ResponseSpec]:
    """Describe the errors of a route for the OpenAPI document: these, and those of every route.

    Args:
        statuses: Which the route adds.
        body: Whether it takes a body.
    """
    every = sorted({*statuses, *_ALWAYS, *(_OF_BODIES if body else ())})
    return {status: ResponseSpec(Problem, description=_MEANINGS[status], generate_examples=False) for status in every}


def answer(error: TinyMLOpsError, status: int | None = None) -> Response[Problem]:
    """Turn an error of ours into a response.

    Args:
        error: What was raised.
        status: Instead of the one of its class.
    """
    if status is None:
        cls = error.common_class() if isinstance(error, IngestError) else type(error)
        status = next((code for kind, code in _STATUSES.items() if issubclass(cls, kind)), 500)
    return _response(status, error.message, error.hint, type(error).__name__)


def _of_ours(_: Request[Any, Any, Any], error: TinyMLOpsError) -> Response[Problem]:
    response = answer(error)
    if response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("%s", without_secrets(str(error)))
    return response


def unavailable(_: Request[Any, Any, Any], error: TinyMLOpsError) -> Response[Problem]:
    """Say that the server cannot answer as it is, which is no fault of the request."""
    _log.error("%s", without_secrets(str(error)))
    return answer(error, status=503)


def _of_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """Answer for what Litestar found out."""
    status, path = HTTPStatus(error.status_code), request.scope["path"]
    message, hint = error.detail, ""
    if status == HTTPStatus.NOT_FOUND:
        message, hint = f"there is no route {path}", "GET /schema lists them"
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{path} does not take {request.method}"
        hint = f"it takes {(error.headers or {}).get('allow', '')}"
    elif isinstance(error, RequestEntityTooLarge):
        message, hint = f"the body has more than {MAX_BODY} bytes", "send fewer rows at a time"
    return _response(status, message, hint, status.phrase.title().replace(" ", ""), error.headers)


def _of_parameters(_: Request[Any, Any, Any], error: ValidationException) -> Response[Problem]:
    found = error.extra if isinstance(error.extra, list) else []
    message = "; ".join(f"{one.get('key', 'the request')}: {one['message']}" for one in found) or error.detail
    hint = error.extra.get("hint", "") if isinstance(error.extra, dict) else ""
    return _response(422, message, hint, DataError.__name__)


def _of_defects(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    return defect(request.method, request.scope["path"], error)


def defect(method: str, path: str, error: BaseException) -> Response[Problem]:
    """Log what nobody expected, and tell the client no more than that.

    Args:
        method: Of the request.
        path: Of the request.
        error: Of any kind; a panic and an exit are none of `Exception`.
    """
    where = printable(without_secrets("".join(traceback.format_exception(error))))
    _log.error("%s %s failed\n%s", method, printable(path, line=True), where)
    return _response(500, "the server failed", "its log says why", "InternalServerError")


def _response(
    status: int, message: str, hint: str, kind: str, headers: dict[str, str] | None = None
) -> Response[Problem]:
    problem = Problem(_cut(message), _cut(hint), kind)
    return Response(problem, status_code=status, headers=headers, media_type="application/json")


def _cut(text: str) -> str:
    text = without_secrets(text[: 4 * _LONGEST])
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


HANDLERS: ExceptionHandlersMap = {
    TinyMLOpsError: _of_ours,
    ValidationException: _of_parameters,
    HTTPException: _of_http,
    Exception: _of_defects,
}
