"""What is read as a request: only what every reader of HTTP/1.1 would read as the same request.

Where a proxy and a server read the same bytes differently, one request hides in another (request smuggling). The standard lets
a server pass over much; this one does not, and ends the connection.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import h11

if TYPE_CHECKING:
    from h11 import Event

__all__ = ["MOST_HEAD_BYTES", "StrictConnection"]

MOST_HEAD_BYTES = 64 * 1024
_VERSIONS = (b"1.0", b"1.1")
_END = re.compile(rb"\n\r?\n")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
"""A line feed or a carriage return alone."""
_FOLDED = re.compile(rb"\n[ \t]")


class StrictConnection(h11.Connection):
    """h11's connection of a server, that refuses more."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MOST_HEAD_BYTES)
        self._head = b""

    def send(self, event: Event) -> bytes | None:  # type: ignore[override]  # it has an overload for each event
        """Return the bytes of an event; the head of an answer waits for what comes next, so that both are written at once."""
        data = super().send(event)
        if isinstance(event, h11.Response) and data is not None:
            self._head = data
            return b""
        head, self._head = self._head, b""
        return head + data if data is not None else None

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | Event:
        """Return what comes next.

        Raises:
            RemoteProtocolError: If it is not what this server reads, with the status to answer.
        """
        if self.their_state is h11.IDLE:
            _check_head(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request):
            _check_request(event)
        return event


def _check_head(received: bytes) -> None:
    end = _END.search(received)
    if end is None:
        return  # h11 refuses what goes on for too long
    if end.end() > MOST_HEAD_BYTES:
        raise h11.RemoteProtocolError(f"the head has more than {MOST_HEAD_BYTES} bytes", error_status_hint=431)
    head = received[: end.end()]
    if _BARE.search(head):
        raise h11.RemoteProtocolError("a line of the head ends in something else than CRLF")
    if _FOLDED.search(head):
        raise h11.RemoteProtocolError("a header goes on in the next line")


def _check_request(request: h11.Request) -> None:
    names = [name for name, _ in request.headers]
    is_chunked = b"transfer-encoding" in names
    if request.http_version not in _VERSIONS:
        raise h11.RemoteProtocolError("the version is not HTTP/1.1", error_status_hint=505)
    if is_chunked and (b"content-length" in names or request.http_version == b"1.0"):
        raise h11.RemoteProtocolError("the length of the body is given in two ways")
    if names.count(b"host") > 1:
        raise h11.RemoteProtocolError("there is more than one Host")
    if not request.target.startswith(b"/"):
        raise h11.RemoteProtocolError("the target is not a path")
