"""Connections: only so many, and none whose client takes its time.

uvicorn waits without end for a request's head, for the rest of a body that was refused, and for a client to read its answer.
A byte now and then keeps all of them open; so what counts here is when each began.

The parser is h11, whatever else is installed: how requests are read is tested with this one.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
import msgspec
from uvicorn.protocols.http.h11_impl import H11Protocol

from tinymlops.server.errors import Problem
from tinymlops.server.framing import StrictConnection
from tinymlops.server.guard import SECURITY_HEADERS

if TYPE_CHECKING:
    import asyncio

    from tinymlops.server.crowd import Crowd

__all__ = ["PatientProtocol", "peer_of"]

_LOOK_SECONDS = 1.0
"""Between two looks at a connection."""
_HEAD_SECONDS = 10.0
"""For a request's head."""
_BODY_SECONDS = 35.0
"""For its body, longer than the application waits, which answers 408; and one more for each of:"""
_BODY_BYTES = 32 * 1024
_REST_SECONDS = 5.0
"""For the rest of a body that was answered already."""
_READ_SECONDS = 30.0
"""For a client to read its answer, and one more for each of:"""
_READ_BYTES = 32 * 1024
_MOST_UNREAD = 128 * 2**20
"""Bytes of all answers together; over it, those that wait for their reader wait no longer."""
_IDLE_SECONDS = 20
_PROXY_IDLE_SECONDS = 75
"""Longer than proxies keep a connection, so that it is they who close it."""
_LAST_SECONDS = 5.0
"""For whatever a client owes once the server is told to stop."""


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, whose patience ends.

    Args:
        crowd: What the connection counts towards.
        wire: The transport below TLS, which was counted already; None without TLS.
    """

    def __init__(self, *args: Any, crowd: Crowd, wire: asyncio.Transport | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = StrictConnection()
        self._crowd = crowd
        self._wire = wire
        self._peer: str | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._owed: tuple[str, object] | None = None
        self._until = 0.0
        self._unread = 0
        self._body_bytes = 0
        self._stopping = False

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or end it at once if there are too many."""
        peer = peer_of(transport)
        if self._wire is None:
            if not self._crowd.enter(peer):
                transport.abort()
                return
            self._wire = transport
        self._peer = peer
        super().connection_made(transport)
        self.timeout_keep_alive = _PROXY_IDLE_SECONDS if self._crowd.proxies.has(peer) else _IDLE_SECONDS
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._peer is None:
            return
        if self._looking is not None:
            self._looking.cancel()
        self._crowd.unread -= self._unread
        self._crowd.leave(self._peer)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End the connection when its answer is read; the client has not long for that."""
        self._stopping = True
        self._owed = None
        if not self.transport.is_closing():
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer what was not understood, and end the connection."""
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        self._refuse(status, "the request is not HTTP/1.1 as this server reads it", str(error or msg).partition(":")[0])

    def _refuse(self, status: int, message: str, hint: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            phrase = HTTPStatus(status).phrase
            body = msgspec.json.encode(Problem(message, hint, phrase.title().replace(" ", "")))
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
                *SECURITY_HEADERS,
            ]
            response = h11.Response(status_code=status, headers=headers, reason=phrase)
            for event in (response, h11.Data(body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _look(self) -> None:
        """End the connection if the client has owed the same thing for too long."""
        now = self.loop.time()
        self._count_unread()
        owed, seconds = self._what_is_owed()
        if owed is None or (owed, self.cycle) != self._owed:
            self._owed = None if owed is None else (owed, self.cycle)
            self._body_bytes = 0
            self._until = now + (min(seconds, _LAST_SECONDS) if self._stopping else seconds)
        elif now >= self._until + self._patience(owed) or (owed == "read" and self._crowd.unread > _MOST_UNREAD):
            self._end(owed)
        self._looking = self.loop.call_later(_LOOK_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        """Count what comes of a body: a long one that keeps coming has longer."""
        if self._owed is not None and self._owed[0] == "body":
            self._body_bytes += len(data)
        super().data_received(data)

    def _patience(self, owed: str) -> float:
        """Return how many seconds more a client has for what it sent of it."""
        return self._body_bytes / _BODY_BYTES if owed == "body" and not self._stopping else 0.0

    def _what_is_owed(self) -> tuple[str | None, float]:
        """Return what only the client can do now, and how many seconds it has."""
        answered = self.cycle is None or self.cycle.response_complete
        if self.transport.is_closing() or self.flow.write_paused or (answered and self._unread):
            return "read", _READ_SECONDS + self._unread / _READ_BYTES
        if not answered:
            return ("body", _BODY_SECONDS) if self.cycle.more_body else (None, 0.0)
        if self.conn.their_state is h11.SEND_BODY:
            return "rest", _REST_SECONDS
        is_idle = self.cycle is not None and not self.conn.trailing_data[0]
        return (None, 0.0) if is_idle else ("head", _HEAD_SECONDS)

    def _end(self, owed: str) -> None:
        assert self._wire is not None
        if owed == "head":
            if self.conn.trailing_data[0]:
                self._refuse(408, "the head of the request did not end in time", "send it at once")
            else:
                self.transport.close()
        else:
            self._wire.abort()

    def _count_unread(self) -> None:
        assert self._wire is not None
        unread = self._wire.get_write_buffer_size()
        if self._wire is not self.transport:
            unread += self.transport.get_write_buffer_size()
        self._crowd.unread += unread - self._unread
        self._unread = unread


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Return the address at the other end of a connection; empty if it is gone."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""
