"""The HTTP server: the workspace's verbs as routes, on the loopback interface.

Litestar is loaded with the first name that is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinymlops.server.app import create_app
    from tinymlops.server.running import serve

__all__ = ["create_app", "serve"]

_HOMES = {"create_app": "tinymlops.server.app", "serve": "tinymlops.server.running"}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tinymlops.server' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
