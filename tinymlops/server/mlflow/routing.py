"""How a handler of MLflow's protocol is declared: its path below `/api/2.0/mlflow/`, and what it may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import delete, get, patch, post

from tinymlops.server.mlflow.errors import MLFLOW
from tinymlops.server.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.handlers import HTTPRouteHandler

__all__ = ["OPTIONS", "PREFIX", "deletes", "gets", "in_thread", "patches", "posts", "run_in_thread"]

PREFIX = "/api/2.0/mlflow/"
OPTIONS: dict[str, Any] = {"status_code": 200, "include_in_schema": False, "exception_handlers": MLFLOW}
"""Of every handler: the protocol is documented by MLflow, and in docs/mlflow.md."""
_THREADS = Threads(32, "tinymlops-mlflow")
"""As many as may wait for one commit together."""
run_in_thread, in_thread = _THREADS.run, _THREADS.wrap


def _declares(verb: Callable[..., Any]) -> Callable[..., Callable[[Callable[..., Any]], HTTPRouteHandler]]:
    def declare(
        path: str, *, opt: dict[str, Any], errors: Any = None
    ) -> Callable[[Callable[..., Any]], HTTPRouteHandler]:
        """Declare a handler.

        Args:
            path: Below the prefix.
            opt: Its class, of `tinymlops.server.route_class`.
            errors: Exceptions that it answers in a way of its own.
        """
        options = {**OPTIONS, "exception_handlers": {**MLFLOW, **(errors or {})}}

        def decorate(function: Callable[..., Any]) -> HTTPRouteHandler:
            handler: HTTPRouteHandler = verb(PREFIX + path, opt=opt, **options)(in_thread(function))
            return handler

        return decorate

    return declare


gets, posts, patches, deletes = map(_declares, (get, post, patch, delete))
