"""What a route may do. Each handler says it, and an application with one that does not say it is not made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from litestar.handlers import BaseRouteHandler

__all__ = [
    "ADMIN",
    "AUDIT",
    "MAY",
    "METADATA",
    "OPEN",
    "PREDICT",
    "READ",
    "WRITE",
    "Role",
    "RouteClass",
    "class_of",
]

RouteClass = Literal["open", "metadata", "read", "predict", "write", "admin", "audit"]
Role = str
"""One of `tinymlops.registry.tokens.ROLES`."""

_KEY = "route_class"
OPEN = {_KEY: "open"}
"""`opt=` of a handler that answers everybody: whether the server is up."""
METADATA = {_KEY: "metadata"}
"""Of one that tells names, versions and types, and no value of a row."""
READ = {_KEY: "read"}
"""Of one that answers values."""
PREDICT = {_KEY: "predict"}
"""Of one that answers by a model, and logs the answer."""
WRITE = {_KEY: "write"}
"""Of one that stores rows or outcomes, or asks for a run of a job."""
ADMIN = {_KEY: "admin"}
"""Of one that changes what others rely on: definitions, models, tokens, and whether a job runs at all."""
AUDIT = {_KEY: "audit"}
"""Of one that tells who did what."""

MAY: dict[Role, frozenset[RouteClass]] = {
    "reader": frozenset({"open", "metadata", "read"}),
    "predictor": frozenset({"open", "metadata", "predict"}),
    "editor": frozenset({"open", "metadata", "read", "predict", "write"}),
    "admin": frozenset(get_args(RouteClass)),
    "auditor": frozenset({"open", "metadata", "audit"}),
}
"""What each role may use."""


def class_of(handler: BaseRouteHandler) -> RouteClass:
    """Return what a handler's route may do.

    Raises:
        DefinitionError: If the handler does not say it.
    """
    found: RouteClass | None = handler.opt.get(_KEY)
    if found is None or found not in get_args(RouteClass):
        raise DefinitionError(
            f"the route {min(handler.paths)} does not say what it may do",
            hint="give its handler opt=OPEN, METADATA, READ, PREDICT, WRITE, ADMIN or AUDIT of tinymlops.server.route_class",
        )
    return found
