"""Pages that move: a stream of events tells an open page that the workspace has changed, and the page asks again.

One watcher looks at the files that every change touches, for all streams of a process. A stream has a limit of its own, so
that open pages take no place from requests, and ends first when the server stops.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from litestar import get
from litestar.response import Stream

from tinymlops.errors import ConflictError
from tinymlops.server.route_class import METADATA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from litestar.handlers import HTTPRouteHandler

    from tinymlops.workspace import Workspace

__all__ = ["Streams", "live_routes"]

_MOST = 64
_LOOK = 1.0
"""Seconds between two looks at the files."""
_ALIVE = 15.0
"""Seconds after which a stream says that it is still there."""
_FILES = ("meta.db", "meta.db-wal")


class Streams:
    """The streams of a process.

    Args:
        ws: The workspace that they tell of.
    """

    def __init__(self, ws: Workspace) -> None:
        self._path: Path = ws._environment.path  # noqa: SLF001 - its files, which every change touches
        self._changed = asyncio.Condition()
        self._changes = 0
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
        self._open += 1
        return self._events()

    async def _events(self) -> AsyncIterator[bytes]:
        seen = self._changes
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
        before = self._look()
        while not self._ended:
            await asyncio.sleep(_LOOK)
            now = self._look()
            self._ended = self._ended or self.is_ending()
            if now != before or self._ended:
                before = now
                self._changes += 1
                await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _look(self) -> list[tuple[int, int]]:
        found = []
        for name in _FILES:
            with suppress(OSError):
                stat = (self._path / name).stat()
                found.append((stat.st_mtime_ns, stat.st_size))
        return found


def live_routes(streams: Streams) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @get("/live", opt=METADATA)
    async def live() -> Stream:
        """Tell that something changed, for as long as the page is open."""
        return Stream(streams.open(), media_type="text/event-stream")

    return [live]
