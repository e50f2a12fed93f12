"""Connections: only so many, and none that stays silent.

uvicorn closes a connection that asks nothing more after an answer, but waits without end for a first request, or for
the rest of one's head; and where the system has no descriptor left, it accepts the same connection again and again.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    import asyncio

__all__ = ["PatientProtocol"]

_SECONDS = 15
"""Between two looks at a connection: without a new request from one to the next, it is closed."""
_MOST = 4_096


def _most() -> int:
    """Leave half of the process's descriptors to the stores, and to whatever else it holds."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(1, min(_MOST, soft // 2))


class PatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # whichever is installed
    """uvicorn's protocol, whose patience ends."""

    _refused = False
    _looking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or close it at once if there are too many."""
        if len(self.connections) >= _most():
            self._refused = True
            transport.abort()
            return
        super().connection_made(transport)
        self._look(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
        if not self._refused:
            super().connection_lost(exc)

    def _look(self, before: object) -> None:
        """Close the connection if nothing is being answered and the last request is the one of the last look."""
        last = self.cycle or self
        answered = last is self or last.response_complete
        if before is last and answered:
            self.transport.close()
            return
        self._looking = self.loop.call_later(_SECONDS, self._look, last if answered else None)
