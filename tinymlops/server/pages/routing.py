"""How a page is declared: `shows` for one that is looked at, `takes` for a form that is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from litestar import Request, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body

from tinymlops.server.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.handlers import HTTPRouteHandler

__all__ = ["AnyRequest", "Form", "shows", "takes"]

AnyRequest: TypeAlias = Request[Any, Any, Any]
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
"""What a form says: a text for each name."""
_THREADS = Threads(4, "tinymlops-pages")
"""So few that those who look keep none from those who ask for predictions."""


def _declares(verb: Callable[..., Any]) -> Callable[..., Callable[[Callable[..., Any]], HTTPRouteHandler]]:
    def declare(path: str, *, opt: dict[str, Any]) -> Callable[[Callable[..., Any]], HTTPRouteHandler]:
        """Declare a handler; it is called in a thread.

        Args:
            path: Such as "/runs".
            opt: Its class, of `tinymlops.server.route_class`.
        """

        def decorate(function: Callable[..., Any]) -> HTTPRouteHandler:
            handler: HTTPRouteHandler = verb(path, opt=opt, status_code=200)(_THREADS.wrap(function))
            return handler

        return decorate

    return declare


shows, takes = map(_declares, (get, post))
