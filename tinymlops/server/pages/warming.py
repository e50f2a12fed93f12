"""What the first visitor would wait for is done beforehand: the first page is made once, and all templates are compiled.

It takes turns with what is answered meanwhile: after each piece of work it rests for as long as that took.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType

from tinymlops.server.access import OWN, put_caller
from tinymlops.server.pages.rendering import put_renderer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from litestar import Litestar

    from tinymlops.server.pages.rendering import Renderer

__all__ = ["Warming"]

_FIRST = "/"


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
        yield self.look
        for name in self._renderer.names():
            yield lambda name=name: self._renderer.template(name)  # type: ignore[misc]

    def look(self) -> int:
        """Make the first page, as for whoever may see all of it, and return its status; nobody gets it."""
        return asyncio.run(self._answered())

    async def _answered(self) -> int:
        scope: Any = {
            "type": ScopeType.HTTP,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": _FIRST,
            "raw_path": _FIRST.encode(),
            "root_path": "",
            "query_string": b"",
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
