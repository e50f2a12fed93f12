"""A request's body on its way in: it comes to its end in time, and only so much of all is held.

A request is at work from the end of its body to the beginning of its answer: who sends slowly, or reads slowly, takes no place
from those who do not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from litestar.exceptions import HTTPException

if TYPE_CHECKING:
    from litestar.types import HTTPReceiveMessage, Receive, WebSocketReceiveMessage

__all__ = ["BUSY", "Body", "Load"]

_SECONDS = 30
"""From a request's head to the end of its body."""
_STREAMED_BYTES = 32 * 1024
"""Of a body that is stored as it comes: each gives it a second more."""
_MOST_BYTES = 128 * 2**20
"""Of all bodies together; a large one more is told to come back."""
_SMALL = 64 * 1024
"""A body up to here always finds room."""
_MOST_AT_WORK = 256
"""Requests; one more is told to come back."""
BUSY = f"the server is at work on {_MOST_AT_WORK} requests"


class Load:
    """What all requests together take.

    Attributes:
        bytes: Of bodies in memory.
        at_work: Requests that are being answered.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.at_work = 0

    @property
    def is_full(self) -> bool:
        """Whether one more is too many."""
        return self.at_work >= _MOST_AT_WORK


class Body:
    """The body of one request.

    Args:
        receive: Where its parts come from.
        load: What it counts towards.
        streams: Whether it is stored as it comes: then it is never held, and a long one has longer.
    """

    def __init__(self, receive: Receive, load: Load, *, streams: bool = False) -> None:
        self._receive = receive
        self._load = load
        self._streams = streams
        self._bytes = 0
        self._ended = False
        self._at_work = False
        self._deadline = asyncio.get_running_loop().time() + _SECONDS

    async def receive(self) -> HTTPReceiveMessage | WebSocketReceiveMessage:
        """Hand on the next part; after the body, whatever else the client does.

        Raises:
            HTTPException: If the body takes too long, or there is too much at work or held already.
        """
        if self._ended:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(f"the body did not end within {_SECONDS} seconds", status_code=408) from error
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            if self._streams:
                self._deadline += count / _STREAMED_BYTES
            else:
                self._take(count)
            if not message.get("more_body", False):
                self._ended = True
                if self._load.is_full and not self._at_work:
                    raise HTTPException(BUSY, status_code=503, headers=_LATER)
                self.work_begins()
        return message

    def work_begins(self) -> None:
        """Count the request as at work."""
        if not self._at_work:
            self._at_work = True
            self._load.at_work += 1

    def work_ended(self) -> None:
        """Count it so no more: its answer is known."""
        if self._at_work:
            self._at_work = False
            self._load.at_work -= 1

    def release(self) -> None:
        """Give back all that it took."""
        self.work_ended()
        self._load.bytes -= self._bytes
        self._bytes = 0

    def _take(self, count: int) -> None:
        self._bytes += count
        self._load.bytes += count
        if self._bytes > _SMALL and self._load.bytes > _MOST_BYTES:
            raise HTTPException(
                f"the server holds {_MOST_BYTES} bytes of other requests", status_code=503, headers=_LATER
            )


_LATER = {"retry-after": "1"}
