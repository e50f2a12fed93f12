"""Where a provider is, and which of its models is meant: `https://api.openai.com/v1#text-embedding-3-small`."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from tinymlops.errors import DataError, DefinitionError, NotFoundError
from tinymlops.secrets import Secret, hide, read_secret

__all__ = ["Provider", "key_of", "provider_of"]

_ENDPOINT = "/embeddings"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORM = "write https://host/v1#model"


class Provider(NamedTuple):
    """Where vectors come from."""

    url: str
    """The address of its embeddings, without secrets."""
    model: str


def provider_of(address: str) -> Provider:
    """Read the address of a provider.

    Args:
        address: Its URL, with or without `/embeddings` at the end, and the name of the model after `#`.

    Raises:
        DefinitionError: If it is not of this form. A user, password or query is refused and not quoted: it may be a secret.

    Example:
        >>> provider_of("http://localhost:8080/v1#minilm")
        Provider(url='http://localhost:8080/v1/embeddings', model='minilm')
    """
    try:
        parts = urlsplit(address)
        host, port, user = parts.hostname, parts.port, "@" in parts.netloc
    except ValueError:
        raise DefinitionError("the address of the provider cannot be read", hint=_FORM) from None
    if user or parts.query:
        raise DefinitionError(
            "the address of the provider holds a user, a password or a query",
            hint='leave it out, and give the key by key="env:NAME"',
        )
    if not host or not parts.netloc.isascii() or not address.isprintable() or " " in parts.netloc + parts.path:
        raise DefinitionError("the address of the provider cannot be read", hint=_FORM)
    if not parts.fragment:
        raise DefinitionError("the address of the provider names no model", hint=_FORM)
    name = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix(_ENDPOINT) + _ENDPOINT
    place = name if port in (None, {"http": 80, "https": 443}[parts.scheme]) else f"{name}:{port}"
    return Provider(f"{parts.scheme}://{place}{path}", unquote(parts.fragment))


def key_of(key: str | None) -> Secret | None:
    """Return the key that a definition names.

    Args:
        key: "env:NAME", or None for none.

    Raises:
        DefinitionError: If it is not of this form; it is not quoted, as it may be the key itself.
        NotFoundError: If neither NAME nor NAME_FILE is set.
        DataError: If its value cannot be sent.
        AccessError: If others may read the file that NAME_FILE names.
    """
    if key is None:
        return None
    kind, _, variable = key.partition(":")
    if kind != "env" or not _VARIABLE.fullmatch(variable):
        raise DefinitionError("key= names no variable of the environment", hint='write key="env:NAME"')
    secret = read_secret(variable)
    if secret is None:
        raise NotFoundError(
            f"the provider's key is taken from {variable}, which is not set",
            hint=f"export {variable}=..., or {variable}_FILE with the path of a file of mode 0600",
        )
    if not secret.reveal().isascii():
        raise DataError(
            f"{variable} holds no key that can be sent", hint="a key has letters, digits and signs of ASCII alone"
        )
    hide(secret.reveal())
    return secret
