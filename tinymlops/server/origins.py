"""Which pages of other origins may use the server: those that were named, one by one.

A browser asks before it sends what a page of another origin wrote (a preflight), and shows the page no answer without
leave. Cookies play no part: no answer ever allows credentials, and a page sends its token itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tinymlops.errors import AccessError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Origins"]

_PORTS = {"http": ":80", "https": ":443"}
_MAX_AGE = b"600"
_VARY = (b"vary", b"origin")
Headers = list[tuple[bytes, bytes]]


class Origins:
    """The origins whose pages may read and write.

    Args:
        names: Such as "https://app.example.com"; the port only where it is not the scheme's.

    Raises:
        AccessError: If one of them is not an origin.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(_checked(name) for name in names)

    def may_write(self, origin: str, scheme: str, host: str) -> bool:
        """Return whether a page may write: one of this server, or of a named origin.

        Args:
            origin: The Origin header.
            scheme: That the request came by.
            host: The Host header in lower case.
        """
        return origin in self._names or origin.lower() == f"{scheme}://{host.removesuffix(_PORTS.get(scheme, ' '))}"

    def headers(self, origin: str | None) -> Headers:
        """Return what each answer says of it; nothing if no origin was named.

        Args:
            origin: The Origin header, if there is one.
        """
        if not self._names:
            return []
        if origin not in self._names:
            return [_VARY]
        shown = [(b"access-control-allow-origin", origin.encode()), (b"access-control-expose-headers", b"retry-after")]
        return [_VARY, *shown]

    def leave(self, origin: str | None) -> Headers | None:
        """Return what is added to the answer to a preflight, or None if the origin was not named."""
        if origin not in self._names:
            return None
        return [
            (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE"),
            (b"access-control-allow-headers", b"authorization, content-type"),
            (b"access-control-max-age", _MAX_AGE),
        ]


def _checked(origin: str) -> str:
    """Return an origin as browsers write it."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    name = (parts.hostname or "").lower()
    shown = f"[{name}]" if ":" in name else name
    plain = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
    is_odd = not origin.isascii() or any(not mark.isprintable() or mark in "*, %" for mark in origin)
    if parts.scheme not in _PORTS or not name or is_odd or plain != origin.lower():
        raise AccessError(
            f"{origin!r} is not an origin",
            hint='write scheme and host, without a path, such as origins=["https://app.example.com"]; there is no "*"',
        )
    return plain.removesuffix(_PORTS[parts.scheme])
