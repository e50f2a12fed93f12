"""How many connections there are: in all, and of one address."""

from __future__ import annotations

import ipaddress
import resource
from collections import Counter
from typing import TYPE_CHECKING

from tinymlops.server.hosts import address_of

if TYPE_CHECKING:
    from tinymlops.server.proxies import Proxies

__all__ = ["Crowd"]

_MOST = 4_096
_SHARE = 4
"""One address has at most this part of all."""
_NETWORK_BITS = 64
"""Of IPv6: one client has all addresses of such a network."""


class Crowd:
    """The connections of one server.

    A proxy speaks for many clients, and what runs on this machine is not a stranger: neither has a share of its own.

    Args:
        proxies: The proxies before it.

    Attributes:
        unread: Bytes of answers that clients have not taken yet.
    """

    def __init__(self, proxies: Proxies) -> None:
        self.proxies = proxies
        self.unread = 0
        self._all = 0
        self._of: Counter[str] = Counter()

    def enter(self, peer: str) -> bool:
        """Count a connection, if there is room for it.

        Args:
            peer: The address at its other end.
        """
        most, client = _most(), self._counted(peer)
        if self._all >= most or (client is not None and self._of[client] >= max(1, most // _SHARE)):
            return False
        self._all += 1
        if client is not None:
            self._of[client] += 1
        return True

    def leave(self, peer: str) -> None:
        """Count a connection no more, which had entered."""
        self._all -= 1
        client = self._counted(peer)
        if client is not None:
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]

    def _counted(self, peer: str) -> str | None:
        address = address_of(peer)
        if address is None or address.is_loopback or self.proxies.has(peer):
            return None
        if isinstance(address, ipaddress.IPv6Address):
            return str(ipaddress.IPv6Network((address, _NETWORK_BITS), strict=False))
        return str(address)


def _most() -> int:
    """Leave half of the process's descriptors to the stores, and to whatever else it holds."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(1, min(_MOST, soft // 2))
