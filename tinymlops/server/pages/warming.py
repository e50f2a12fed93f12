"""What the first visitor would wait for is done beforehand: a few pages are made once, and all templates are compiled.

It takes turns with what is answered meanwhile: after each piece of work it rests for as long as that took.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from litestar.enums import ScopeType

from tinymlops.features.definitions.specs import ViewSpec
from tinymlops.server.access import OWN, put_caller
from tinymlops.server.pages.addresses import feature_path
from tinymlops.server.pages.rendering import put_renderer
from tinymlops.server.pages.state import context_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from litestar import Litestar

    from tinymlops.server.pages.rendering import Renderer

__all__ = ["Warming"]

_FIRST = ("/", "/catalog", "/runs", "/catalog?q=a")
"""Pages that read what is kept in memory from then on: definitions, checksums of runs, the index of words."""


class Warming:
    """Warms the pages of a workspace.

    Args:
        app: The pages.
        renderer: What they are written with.
    """

    def __init__(self, app: Litestar, renderer: Renderer) -> None:
        self._app, self._renderer = app, renderer
        self._ended = threading.Event()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Warm in a thread of its own, which has ended when this ends."""
        thread = threading.Thread(target=self.warm, name="tinymlops-pages-warming", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def warm(self) -> None:
        """Do the work, as long as it is wanted."""
        for work in self._pieces():
            begun = time.perf_counter()
            work()
            if self._ended.wait(time.perf_counter() - begun):
                return

    def _pieces(self) -> Iterator[Callable[[], object]]:
        yield partial(self.look, _FIRST[0])
        for name in self._renderer.names():
            yield partial(self._renderer.template, name)
        for path in (*_FIRST[1:], *self._of_lineage()):
            yield partial(self.look, path)

    def _of_lineage(self) -> list[str]:
        """Return the path of a feature, if there is one: all of lineage is kept in memory by the first."""
        views = context_of(self._renderer.ws).definitions.of(ViewSpec).values()
        return [feature_path(view.name, next(iter(view.features))) for view in list(views)[:1]]

    def look(self, address: str) -> int:
        """Make a page, as for whoever may see all of it, and return its status; nobody gets it.

        Args:
            address: Its path, and perhaps a query.
        """
        return asyncio.run(self._answered(address))

    async def _answered(self, address: str) -> int:
        path, _, query = address.partition("?")
        scope: Any = {
            "type": ScopeType.HTTP,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"accept", b"text/html")],
            "client": None,
            "server": None,
            "state": {},
        }
        put_renderer(scope, self._renderer)
        put_caller(scope, OWN)
        statuses: list[int] = []

        async def send(message: Any) -> None:
            statuses.extend([message["status"]] if "status" in message else [])

        await self._app(scope, _nothing, send)
        return statuses[0]


async def _nothing() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}
