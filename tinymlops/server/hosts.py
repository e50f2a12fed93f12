"""Which Host header is answered: names that were allowed, and the address that the connection arrived at."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from tinymlops.errors import AccessError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LOOPBACK", "Address", "Hosts", "address_of"]

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_LAST_PORT = 65_535

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Hosts:
    """The hosts that a server answers to.

    A page gets a name to point here by DNS rebinding, but never an address: so the address that a connection arrived at
    needs no permission.

    Args:
        names: Allowed besides those of loopback, without a port.

    Raises:
        AccessError: If one of them is not a name that a Host header can have.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset({*LOOPBACK, *(_checked(name) for name in names)})

    def has(self, host: str, arrived_at: str | None) -> bool:
        """Return whether a request is for this server.

        Args:
            host: The Host header in lower case.
            arrived_at: The address of this machine that the connection came to; None if it is not known.
        """
        name = _name_of(host)
        return name in self._names or (arrived_at is not None and _is_literal(name, arrived_at))


def address_of(text: str) -> Address | None:
    """Return the address that a text is, IPv4 also where it is written as IPv6; None if it is not an address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_literal(name: str, arrived_at: str) -> bool:
    is_six = name.startswith("[") and name.endswith("]")
    text = name[1:-1] if is_six else name
    if "%" in text or is_six != (":" in text):
        return False
    address = address_of(text)
    return address is not None and address == address_of(arrived_at)


def _checked(host: str) -> str:
    name = _name_of(host.lower())
    if name != host.lower() or not name or any(mark in name for mark in "*/@ "):
        raise AccessError(
            f"{host!r} is no name that a Host header can have",
            hint='write names alone, without scheme and port, such as allowed_hosts=["ml.example.com"]',
        )
    return name


def _name_of(host: str) -> str:
    """Return a Host header without its port."""
    name, colon, port = host.rpartition(":")
    is_port = port.isascii() and port.isdigit() and len(port) <= len(str(_LAST_PORT)) and int(port) <= _LAST_PORT
    return name if colon and is_port else host
