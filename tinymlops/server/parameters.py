"""Query parameters: what a route's handler does not name is a mistake, not something to pass over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.constants import RESERVED_KWARGS
from litestar.exceptions import ValidationException

from tinymlops.errors import near

if TYPE_CHECKING:
    from litestar import Request

__all__ = ["refuse_unknown_parameters"]


async def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """Compare a request's query with the parameters of the function that answers it, before it is called.

    It is not one of Litestar's guards: that copies the handler for every request, and sends a plain function to a thread.

    Raises:
        ValidationException: If one of the query's names is not among them.
    """
    if not request.scope["query_string"]:
        return
    said = request.route_handler.parsed_fn_signature.parameters.items()
    named = {getattr(one.kwarg_definition, "name", None) or name for name, one in said if name not in RESERVED_KWARGS}
    named -= set(request.path_params)
    for name in request.query_params:
        if name not in named:
            taken = ", ".join(sorted(named)) or "none"
            # Of Litestar's class for parameters: no route has an answer of its own for that.
            raise ValidationException(
                f"{request.scope['path']} takes no query parameter {name[:100]!r}",
                extra={"hint": near(name, named, otherwise=f"it takes {taken}")},
            )
