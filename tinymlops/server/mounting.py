"""Where the application is mounted, and what the path of a request is from there on.

By ASGI `root_path` is the prefix, and `path` begins with it. Litestar's mounts take it from `path` and leave `root_path`
empty; some servers, and older versions of Starlette, take it from `path` alone. `mounted` makes all alike.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Scope

__all__ = ["mounted", "path_of"]

_SLASHES = re.compile("//+")


def mounted(scope: HTTPScope) -> HTTPScope:
    """Return a request's scope as ASGI says it, with the prefix in `root_path` and in `path`.

    Args:
        scope: As the server, or the application around this one, gives it; it stays as it is.

    Example:
        >>> found = mounted({"root_path": "", "path": "/models/", "raw_path": b"/ml/models"})
        >>> found["root_path"], found["path"]
        ('/ml', '/ml/models')
    """
    root, path = scope.get("root_path", ""), scope["path"]
    sent = scope.get("raw_path") or b""
    if f"{path}/".startswith(f"{root}/") if root else sent == path.encode(errors="replace"):
        return scope
    whole = _SLASHES.sub("/", unquote(sent.partition(b"?")[0].decode("latin-1")))
    outer, inner = whole.rstrip("/"), path.rstrip("/")
    if outer != inner and outer.endswith(inner):
        return {**scope, "root_path": outer.removesuffix(inner), "path": whole}
    return {**scope, "path": root + path}


def path_of(scope: Scope) -> str:
    """Return a request's path without the prefix.

    Args:
        scope: As `mounted` returns it.

    Example:
        >>> path_of({"root_path": "/ml", "path": "/ml/models"}), path_of({"root_path": "/ml", "path": "/ml"})
        ('/models', '/')
    """
    return scope["path"].removeprefix(scope.get("root_path", "")) or "/"
