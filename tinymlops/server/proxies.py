"""What a reverse proxy says of the client that it speaks for: believed from named addresses, and from nobody else."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from tinymlops.errors import AccessError
from tinymlops.server.hosts import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import ASGIApp, Receive, Scope, Send

    from tinymlops.server.hosts import Address

    Headers = Iterable[tuple[bytes, bytes]]

__all__ = ["Forwarded", "Proxies"]

_FOR = b"x-forwarded-for"
_SCHEME = b"x-forwarded-proto"


class Proxies:
    """The addresses of the reverse proxies before a server.

    Args:
        addresses: Such as "10.0.0.2" and "172.18.0.0/16".

    Raises:
        AccessError: If one of them is not an address, or is every address.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._networks = [_checked(address) for address in addresses]

    def has(self, address: str) -> bool:
        """Return whether one of them has this address."""
        found = address_of(address) if self._networks else None
        return found is not None and self._trusts(found)

    def client_of(self, peer: str, headers: Headers) -> str:
        """Return the address of the client: the last that is named and is not a proxy's own.

        Each proxy adds at the end the address that it was reached from; whatever stands before may be the client's invention.

        Args:
            peer: The address at the other end of the connection.
            headers: Of the request, names in lower case.
        """
        client = peer
        if not self.has(peer):
            return client
        for text in reversed(_values(headers, _FOR)):
            address = _hop(text)
            if address is None:
                break
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def scheme_of(self, peer: str, headers: Headers, scheme: str) -> str:
        """Return the scheme that the client used, as the last proxy says; else the connection's own."""
        said = _values(headers, _SCHEME) if self.has(peer) else []
        return said[-1].lower() if said and said[-1].lower() in ("http", "https") else scheme

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


class Forwarded:
    """An application that sees the client where it would see a proxy."""

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        client = scope.get("client")
        if "method" in scope and client and self._proxies.has(client[0]):
            headers = scope["headers"]
            found = self._proxies.client_of(client[0], headers)
            scope["scheme"] = self._proxies.scheme_of(client[0], headers, scope["scheme"])
            if found != client[0]:
                scope["client"] = (found, 0)
        await self._app(scope, receive, send)


def _values(headers: Headers, name: bytes) -> list[str]:
    joined = ",".join(value.decode("latin-1") for key, value in headers if key == name)
    return [part.strip() for part in joined.split(",")] if joined else []


def _hop(text: str) -> Address | None:
    """Read an address with or without a port: "10.0.0.1:80", "[::1]:80", "::1"."""
    if text.startswith("["):
        inner, bracket, port = text[1:].partition("]")
        is_good = bracket and ":" in inner and (not port or (port[0] == ":" and _is_number(port[1:])))
        return address_of(inner) if is_good else None
    name, colon, port = text.partition(":")
    if colon and ":" not in port:
        return address_of(name) if _is_number(port) else None
    return address_of(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _checked(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(address.strip())
    except ValueError:
        network = None
    if network is None or network.prefixlen == 0:
        raise AccessError(
            f"{address!r} is not the address of a proxy" + (": everybody has one of those" if network else ""),
            hint='name the addresses that proxies connect from, such as "127.0.0.1" or "172.18.0.0/16"',
        )
    return network
