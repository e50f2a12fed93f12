"""What clients of MLflow may ask and this server does not speak: said as such, not as a path that is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.exceptions import HTTPException

from tinymlops.server.errors import HANDLERS, Problem
from tinymlops.server.mlflow.errors import MLFLOW, is_mlflow, mlflow_answer
from tinymlops.server.mounting import path_of

if TYPE_CHECKING:
    from litestar import Request, Response

__all__ = ["FAMILIES", "by_path"]

FAMILIES = {
    "traces": "traces are not kept here; predictions of models that tinymlops serves are logged with their features",
    "unified-traces": "traces are not kept here",
    "get-online-trace-details": "traces are not kept here",
    "assessments": "assessments of traces are not kept here",
    "datasets": "evaluation datasets are not kept here; a run's inputs are (mlflow.log_input)",
    "scorers": "scorers are not run here",
    "webhooks": "webhooks are not sent from here",
    "gateway": "there is no gateway to other models here",
    "workspaces": "a server has one workspace",
    "prompt-optimization": "prompts are not kept here",
    "prompts": "prompts are not kept here",
    "issues": "issues are not kept here",
    "label-schemas": "labels are not kept here",
    "review-queues": "reviews are not kept here",
    "mcp-servers": "servers of MCP are not listed here",
    "mcp": "servers of MCP are not listed here",
    "users": "who may ask is said by tokens: tinymlops token create",
    "jobs": "jobs of MLflow are not run here",
    "presigned-upload-url": "files go through this server: PUT them as artifacts",
    "presigned-download-url": "files go through this server: GET them as artifacts",
    "mpu": "a file comes in one request, as long as it is not larger than the limit",
    "presigned": "files go through this server: GET them as artifacts",
}
"""A part of a path to why it is refused."""


def by_path(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what Litestar found out, in the words of who asks."""
    path = path_of(request.scope)
    if not is_mlflow(path):
        return HANDLERS[HTTPException](request, error)
    if error.status_code not in (404, 405):
        return MLFLOW[HTTPException](request, error)
    reason = next((FAMILIES[part] for part in path.split("/")[3:] if part in FAMILIES), None)
    if reason is not None:
        return mlflow_answer(Problem(reason, "docs/mlflow.md lists what is spoken", ""), 501)
    problem = Problem(f"there is no route {path[:200]}", "docs/mlflow.md lists those that are spoken", "")
    return mlflow_answer(problem, 404, "ENDPOINT_NOT_FOUND")
