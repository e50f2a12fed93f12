"""What a route may do. Each handler says it, and an application with one that does not say it is not made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

__all__ = ["ADMIN", "PREDICT", "READ", "WRITE", "RouteClass", "class_of"]

RouteClass = Literal["read", "predict", "write", "admin"]

_KEY = "route_class"
READ = {_KEY: "read"}
"""`opt=` of a handler that changes nothing."""
PREDICT = {_KEY: "predict"}
"""Of one that answers by a model, and logs the answer."""
WRITE = {_KEY: "write"}
"""Of one that stores rows or outcomes."""
ADMIN = {_KEY: "admin"}
"""Of one that changes what others rely on: definitions, models, tokens."""


def class_of(handler: HTTPRouteHandler) -> RouteClass:
    """Return what a handler's route may do.

    Raises:
        DefinitionError: If the handler does not say it.
    """
    found: RouteClass | None = handler.opt.get(_KEY)
    if found is None or found not in get_args(RouteClass):
        raise DefinitionError(
            f"the route {min(handler.paths)} does not say what it may do",
            hint="give its handler opt=READ, PREDICT, WRITE or ADMIN of tinymlops.server.route_class",
        )
    return found
