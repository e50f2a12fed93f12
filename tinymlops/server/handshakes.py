"""TLS on its way: a connection counts from the moment that it is taken, and its handshake has not long.

With a context given to asyncio's server, a connection is known to nobody before its handshake has ended.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from tinymlops.server.connections import PatientProtocol, peer_of

if TYPE_CHECKING:
    import ssl

    from tinymlops.server.crowd import Crowd

__all__ = ["Handshake"]

_SECONDS = 10.0
_CLOSING_SECONDS = 5.0


class Handshake(asyncio.Protocol):
    """A connection up to the end of its handshake; then it is a `PatientProtocol`.

    Args:
        crowd: What the connection counts towards.
        context: The certificate.
        options: Of uvicorn, for the protocol after this one.
    """

    def __init__(self, *, crowd: Crowd, context: ssl.SSLContext, **options: Any) -> None:
        self._crowd = crowd
        self._context = context
        self._options = options
        self._connections: set[Any] = options["server_state"].connections
        self._early: list[bytes] = []
        self._lost = False
        self._transport: asyncio.Transport
        self._work: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, or end the connection at once if there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._crowd.enter(peer_of(transport)):
            self._transport.abort()
            return
        self._connections.add(self)
        self._transport.pause_reading()  # every byte is for TLS
        self._work = asyncio.get_running_loop().create_task(self._begin())

    def data_received(self, data: bytes) -> None:
        """Keep what comes together with the end of the handshake."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Know that there is nobody to go on with."""
        self._lost = True

    def shutdown(self) -> None:
        """Wait no longer."""
        self._transport.abort()

    async def _begin(self) -> None:
        peer = peer_of(self._transport)
        try:
            secured = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=_SECONDS,
                ssl_shutdown_timeout=_CLOSING_SECONDS,
            )
        except OSError:  # it was not TLS, took too long, or the client has gone
            secured = None
        finally:
            self._connections.discard(self)
        if secured is None or self._lost:
            self._transport.abort()
            self._crowd.leave(peer)
            return
        protocol = PatientProtocol(crowd=self._crowd, wire=self._transport, **self._options)
        secured.set_protocol(protocol)
        protocol.connection_made(secured)
        for data in self._early:
            protocol.data_received(data)
