"""A request's body on its way in: it comes to its end in time, and only so much of all is held."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from litestar.exceptions import HTTPException

if TYPE_CHECKING:
    from litestar.types import HTTPReceiveMessage, Receive, WebSocketReceiveMessage

__all__ = ["Body", "Held"]

_SECONDS = 30
"""From a request's head to the end of its body."""
_MOST_BYTES = 128 * 2**20
"""Of all bodies together; one more is told to come back."""


class Held:
    """How many bytes of bodies are in memory, of all requests together."""

    def __init__(self) -> None:
        self.bytes = 0


class Body:
    """The body of one request.

    Args:
        receive: Where its parts come from.
        held: What it counts towards until it is released.
    """

    def __init__(self, receive: Receive, held: Held) -> None:
        self._receive = receive
        self._held = held
        self._bytes = 0
        self._ended = False
        self._deadline = asyncio.get_running_loop().time() + _SECONDS

    async def receive(self) -> HTTPReceiveMessage | WebSocketReceiveMessage:
        """Hand on the next part; after the body, whatever else the client does.

        Raises:
            HTTPException: If the body takes too long, or too much is held already.
        """
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(f"the body did not end within {_SECONDS} seconds", status_code=408) from error
        if message["type"] == "http.request":
            self._ended = not message.get("more_body", False)
            self._take(len(message.get("body", b"")))
        return message

    def release(self) -> None:
        """Give back what was held for it."""
        self._held.bytes -= self._bytes
        self._bytes = 0

    def _take(self, count: int) -> None:
        if self._held.bytes + count > _MOST_BYTES:
            told = f"the server holds {_MOST_BYTES} bytes of other requests"
            raise HTTPException(told, status_code=503, headers={"retry-after": "1"})
        self._bytes += count
        self._held.bytes += count
