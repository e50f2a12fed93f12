"""How a handler of MLflow's protocol is declared: its path below `/api/2.0/mlflow/`, and what it may do."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

from litestar import delete, get, patch, post

from tinymlops.server.mlflow.errors import MLFLOW

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from litestar.handlers import HTTPRouteHandler

__all__ = ["OPTIONS", "PREFIX", "deletes", "gets", "in_thread", "patches", "posts", "run_in_thread"]

T = TypeVar("T")

PREFIX = "/api/2.0/mlflow/"
OPTIONS: dict[str, Any] = {"status_code": 200, "include_in_schema": False, "exception_handlers": MLFLOW}
"""Of every handler: the protocol is documented by MLflow, and in docs/mlflow.md."""
_THREADS = ThreadPoolExecutor(32, thread_name_prefix="tinymlops-mlflow")
"""As many as may wait for one commit together."""


async def run_in_thread(work: Callable[[], T]) -> T:
    """Do some work beside the event loop, in the name of who asks."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, copy_context().run, work)


def in_thread(function: Callable[..., T]) -> Callable[..., Coroutine[Any, Any, T]]:
    """Make a coroutine function of one that waits.

    Litestar's own `sync_to_thread` makes two of each, one around the other, where a path has several methods.
    """

    @wraps(function)
    async def call(**arguments: Any) -> T:
        return await run_in_thread(partial(function, **arguments))

    return call


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
