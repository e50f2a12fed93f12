"""Query parameters: what a route's handler does not name is a mistake, not something to pass over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.constants import RESERVED_KWARGS
from litestar.exceptions import ValidationException

from tinymlops.errors import near

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

__all__ = ["refuse_unknown_parameters"]


def refuse_unknown_parameters(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Compare a request's query with the parameters of the function that answers it; one guard for every route.

    Raises:
        ValidationException: If one of the query's names is not among them.
    """
    if not connection.scope["query_string"]:
        return
    named = set(handler.parsed_fn_signature.parameters) - RESERVED_KWARGS - set(connection.path_params)
    for name in connection.query_params:
        if name not in named:
            taken = ", ".join(sorted(named)) or "none"
            # Of Litestar's class for parameters: no route has an answer of its own for that.
            raise ValidationException(
                f"{connection.scope['path']} takes no query parameter {name[:100]!r}",
                extra={"hint": near(name, named, otherwise=f"it takes {taken}")},
            )
