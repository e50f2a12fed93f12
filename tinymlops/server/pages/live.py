"""Pages that move: a stream of events tells an open page that the workspace has changed, and the page asks again.

One watcher looks at the files that every change touches, for all streams of a process; the use of a token, which whoever looks
at a page makes, wakes none. A stream has a limit of its own, so
that open pages take no place from requests, and ends first when the server stops.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from litestar import get
from litestar.response import Stream

from tinymlops.errors import ConflictError, TinyMLOpsError
from tinymlops.server.route_class import METADATA
from tinymlops.server.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from litestar.handlers import HTTPRouteHandler

    from tinymlops.workspace import Workspace

__all__ = ["Streams", "live_routes"]

_MOST = 64
_LOOK = 1.0
"""Seconds between two looks at the files."""
_ALIVE = 15.0
"""Seconds after which a stream says that it is still there."""
_FILES = ("meta.db", "meta.db-wal")
_WATCHING = Threads(1, "tinymlops-pages-live")


class Streams:
    """The streams of a process.

    Args:
        ws: The workspace that they tell of.
    """

    def __init__(self, ws: Workspace) -> None:
        self._database = ws._environment.database  # noqa: SLF001 - its files, which every change touches
        self._changed = asyncio.Condition()
        self._changes = 0
        self._counted: int | None = None
        self._open = 0
        self._ended = False
        self._watcher: asyncio.Task[None] | None = None
        self.is_ending: Callable[[], bool] = bool
        """Whether the server is about to stop."""

    def is_about_to_end(self) -> bool:
        """Return whether the server is about to stop, or whatever it runs in has ended."""
        return self._ended or self.is_ending()

    async def close(self) -> None:
        """End all streams."""
        self._ended = True
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        await self._tell()

    def open(self) -> AsyncIterator[bytes]:
        """Open a stream.

        Raises:
            ConflictError: If there are too many.
        """
        if self._open >= _MOST:
            raise ConflictError(
                f"{_MOST} pages are open already", hint="this one does not move; load it again to see more"
            )
        if self._watcher is None:
            self._watcher = asyncio.get_running_loop().create_task(self._watch())
        return self._events()

    async def _events(self) -> AsyncIterator[bytes]:
        seen = self._changes
        self._open += 1  # here, as one that is never read from never ends
        try:
            yield b"retry: 3000\n\n"
            while (now := await self._next(seen)) is not None:
                yield b": still here\n\n" if now == seen else b"event: changed\ndata: \n\n"
                seen = now
        finally:
            self._open -= 1

    async def _next(self, seen: int) -> int | None:
        """Wait for a change, but not for long; None when it is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_ALIVE), self._changed:
                await self._changed.wait_for(lambda: self._ended or self._changes != seen)
        return None if self._ended else self._changes

    async def _watch(self) -> None:
        before, _ = self._look(), await self._has_changed()
        while not self._ended:
            await asyncio.sleep(_LOOK)
            now = self._look()
            self._ended = self._ended or self.is_ending()
            if self._ended or (now != before and await self._has_changed()):
                self._changes += 1
                await self._tell()
            before = now

    async def _has_changed(self) -> bool:
        """Return whether something was committed since the last time that a page may show."""
        before, self._counted = self._counted, None
        with suppress(TinyMLOpsError):
            self._counted = await _WATCHING.run(self._database.changes)
        return self._counted is None or self._counted != before

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _look(self) -> list[tuple[int, int]]:
        found = []
        for name in _FILES:
            with suppress(OSError):
                stat = (self._database.path.parent / name).stat()
                found.append((stat.st_mtime_ns, stat.st_size))
        return found


def live_routes(streams: Streams) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @get("/live", opt=METADATA)
    async def live() -> Stream:
        """Tell that something changed, for as long as the page is open."""
        return Stream(streams.open(), media_type="text/event-stream")

    return [live]
