"""From an error to what clients of MLflow read: `{"error_code", "message"}` under a status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException

from tinymlops.errors import ConflictError, TinyMLOpsError
from tinymlops.server.errors import HANDLERS, Problem, answer, defect

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar import Request
    from litestar.types import ExceptionHandlersMap

__all__ = [
    "EXISTING",
    "MLFLOW",
    "Refusal",
    "encode_problem",
    "is_mlflow",
    "is_upload",
    "mlflow_answer",
    "status_for",
]

PREFIXES = ("/api/2.0/mlflow", "/api/3.0/mlflow")
UPLOADS = "/api/2.0/mlflow-artifacts/artifacts/"
_CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "ENDPOINT_NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "RESOURCE_CONFLICT",
    413: "MAX_BLOCK_SIZE_EXCEEDED",
    415: "MALFORMED_REQUEST",
    429: "REQUEST_LIMIT_EXCEEDED",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""Status to MLflow's name for it; any other is `INTERNAL_ERROR`."""
_STATUSES = {422: 400, 409: 400}
"""MLflow's client expects these of what it sent wrongly."""


class Refusal(msgspec.Struct, frozen=True):
    """The body of every answer that is an error."""

    error_code: str
    message: str


def mlflow_answer(problem: Problem, status: int, code: str | None = None) -> Response[Refusal]:
    """Say in MLflow's words what is wrong.

    Args:
        problem: In ours.
        status: Of our answer.
        code: Instead of the one that goes with the status.
    """
    message = f"{problem.error}. Hint: {problem.hint}" if problem.hint else problem.error
    status = _STATUSES.get(status, status)
    refusal = Refusal(code or _CODES.get(status, "INTERNAL_ERROR"), message)
    return Response(refusal, status_code=status, media_type="application/json")


def is_mlflow(path: str) -> bool:
    """Whether a path is one that clients of MLflow ask."""
    return path.startswith(PREFIXES)


def is_upload(method: str, path: str) -> bool:
    """Whether a request brings a file, whose body is of any type and stored as it comes.

    A browser asks before it sends a PUT, whatever its body is declared as.
    """
    return method == "PUT" and path.startswith(UPLOADS)


def status_for(path: str, status: int) -> int:
    """Return the status that who asks expects for one of ours."""
    return _STATUSES.get(status, status) if is_mlflow(path) else status


def encode_problem(problem: Problem, path: str, status: int) -> bytes:
    """Encode an error of whatever stands before the routes, in the words of who asks.

    Args:
        problem: What is wrong.
        path: Of the request.
        status: Of the answer.
    """
    if not is_mlflow(path):
        return msgspec.json.encode(problem)
    return msgspec.json.encode(mlflow_answer(problem, status).content)


def _translated(handler: Callable[[Any, Any], Response[Problem]]) -> Callable[[Any, Any], Response[Refusal]]:
    def translate(request: Request[Any, Any, Any], error: Any) -> Response[Refusal]:
        found = handler(request, error)
        said = mlflow_answer(found.content, found.status_code or 500)
        said.headers.update(found.headers)
        return said

    return translate


def _existing(_: Request[Any, Any, Any], error: ConflictError) -> Response[Refusal]:
    return mlflow_answer(answer(error).content, 400, "RESOURCE_ALREADY_EXISTS")


def _defects(request: Request[Any, Any, Any], error: Exception) -> Response[Refusal]:
    return mlflow_answer(defect(request.method, request.scope["path"], error).content, 500)


MLFLOW: ExceptionHandlersMap = {
    TinyMLOpsError: _translated(HANDLERS[TinyMLOpsError]),
    ValidationException: _translated(HANDLERS[ValidationException]),
    HTTPException: _translated(HANDLERS[HTTPException]),
    Exception: _defects,
}
"""Of every route."""
EXISTING: ExceptionHandlersMap = {ConflictError: _existing}
"""Of those that make something with a name of its own."""
