"""How a handler of MLflow's protocol is declared: its path below `/api/2.0/mlflow/`, and what it may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import delete, get, patch, post

from tinymlops.server.mlflow.errors import MLFLOW

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OPTIONS", "PREFIX", "deletes", "gets", "patches", "posts"]

PREFIX = "/api/2.0/mlflow/"
OPTIONS: dict[str, Any] = {"status_code": 200, "include_in_schema": False}
"""Of every handler: the protocol is documented by MLflow, and in docs/mlflow.md."""


def _declares(verb: Callable[..., Any]) -> Callable[..., Any]:
    def declare(*paths: str, opt: dict[str, Any], errors: Any = None) -> Any:
        """Declare a handler.

        Args:
            paths: Below the prefix.
            opt: Its class, of `tinymlops.server.route_class`.
            errors: Exceptions that it answers in a way of its own.
        """
        return verb(
            [PREFIX + path for path in paths],
            opt=opt,
            sync_to_thread=True,
            exception_handlers=MLFLOW | (errors or {}),
            **OPTIONS,
        )

    return declare


gets, posts, patches, deletes = map(_declares, (get, post, patch, delete))
