"""Where a database is: the URL of a connection, from the environment or a private file, which nothing shows."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from tinymlops.errors import DataError, DefinitionError, NotFoundError, near
from tinymlops.secrets import Secret, hide, secret_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tinymlops.config import ConnectionConfig

__all__ = ["Address", "address_of", "settings_of"]

_POSTGRESQL = ("postgresql", "postgres")


class Address(NamedTuple):
    """Where one database is."""

    name: str
    """The connection's."""
    kind: str
    """`postgresql`, `sqlite` or `s3`."""
    place: str
    """Its place for messages, without user and password: "db.example.com:5432/shop"."""
    url: Secret
    """Of a server."""
    path: Path | None = None
    """Of a file."""


def settings_of(name: str, connections: Mapping[str, ConnectionConfig]) -> ConnectionConfig:
    """Return what `tinymlops.toml` says of a connection.

    Raises:
        NotFoundError: If it says nothing.
    """
    if name not in connections:
        table = f'in tinymlops.toml: [connections.{name}] and url = "env:{name.upper()}_URL"'
        raise NotFoundError(f"there is no connection {name!r}", hint=near(name, connections, otherwise=table))
    return connections[name]


def address_of(
    name: str, connections: Mapping[str, ConnectionConfig], root: Path, environment: Mapping[str, str] = os.environ
) -> Address:
    """Return where the database of a connection is.

    Args:
        name: The connection.
        connections: Those of `tinymlops.toml`.
        root: The directory where relative paths start.
        environment: Name to value.

    Raises:
        NotFoundError: If there is no such connection, variable or file.
        AccessError: If others may read the file with its URL.
        DefinitionError: If `url` is of no known kind.
        DataError: If the URL cannot be read; it is not quoted.
    """
    said = settings_of(name, connections).url
    write = f'url = "env:{name.upper()}_URL"'
    of = f"connection {name!r}"
    found = secret_url(said, root, of=of, write=write, example="postgresql://", environment=environment)
    return _read(name, found, root)


def _read(name: str, found: Secret, root: Path) -> Address:
    text = found.reveal()
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "sqlite":
        path = root / re.sub(r"^//(?=/)|^//", "", rest)
        if not rest.strip("/"):
            raise DefinitionError(f"connection {name!r} names no file", hint='write url = "sqlite:shop.db"')
        return Address(name, "sqlite", str(path), found, path)
    if colon and scheme in _POSTGRESQL:
        return _server(name, found)
    if colon and scheme == "s3":
        return _bucket(name, found)
    known = "postgresql://user:password@host/database, sqlite:shop.db and s3://key:secret@bucket/prefix"
    raise DefinitionError(f"the URL of connection {name!r} is of no known kind", hint=f"known are {known}")


def _server(name: str, found: Secret) -> Address:
    """Read the URL of a server, strictly: libpq would quote parts of a password that is not encoded."""
    try:
        parts = urlsplit(found.reveal())
        port = parts.port
    except ValueError:
        raise _unreadable(name) from None
    authority = parts.netloc
    if not parts.scheme or authority.count("@") > 1 or (parts.fragment or "@" in parts.path):
        raise _unreadable(name)
    for password in (unquote(parts.password or ""), _parameter(parts, "password"), _parameter(parts, "sslpassword")):
        hide(password)
    host = parts.hostname or _parameter(parts, "host") or "the local socket"
    place = f"{host}:{port or _parameter(parts, 'port') or 5432}/{unquote(parts.path.lstrip('/'))}"
    return Address(name, "postgresql", place, found)


def _bucket(name: str, found: Secret) -> Address:
    parts = urlsplit(found.reveal())
    if parts.netloc.count("@") > 1 or parts.fragment or "@" in parts.path or not parts.netloc.rpartition("@")[2]:
        raise _unreadable(name)
    hide(unquote(parts.password or ""))
    endpoint = _parameter(parts, "endpoint")
    place = f"s3://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}" + (f" at {endpoint}" if endpoint else "")
    return Address(name, "s3", place, found)


def _parameter(parts: SplitResult, name: str) -> str:
    return parse_qs(parts.query).get(name, [""])[0]


def _unreadable(name: str) -> DataError:
    return DataError(
        f"the URL of connection {name!r} cannot be read",
        hint="write postgresql://user:password@host:port/database or s3://key:secret@bucket/prefix; in a password, write @ as "
        "%40, / as %2F, : as %3A, # as %23, ? as %3F and % as %25",
    )
