"""tinymlops: the whole machine-learning workflow of a small team in one process on one machine.

The public names are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tinymlops import _forks as _forks

if TYPE_CHECKING:
    from tinymlops.errors import TinyMLOpsError
    from tinymlops.features.definitions.expressions import Features, Label, Rows
    from tinymlops.features.definitions.nouns import Inputs, Schema
    from tinymlops.features.definitions.project import Project
    from tinymlops.features.join.point_in_time import point_in_time_join
    from tinymlops.server import create_app, serve
    from tinymlops.times import ReplayClock
    from tinymlops.workspace import Workspace, connect, restore

__all__ = [
    "Features",
    "Inputs",
    "Label",
    "Project",
    "ReplayClock",
    "Rows",
    "Schema",
    "TinyMLOpsError",
    "Workspace",
    "__version__",
    "connect",
    "create_app",
    "point_in_time_join",
    "restore",
    "serve",
]

__version__ = "0.1.0"

_HOMES = {
    "Features": "tinymlops.features.definitions.expressions",
    "Inputs": "tinymlops.features.definitions.nouns",
    "Label": "tinymlops.features.definitions.expressions",
    "Project": "tinymlops.features.definitions.project",
    "ReplayClock": "tinymlops.times",
    "Rows": "tinymlops.features.definitions.expressions",
    "Schema": "tinymlops.features.definitions.nouns",
    "TinyMLOpsError": "tinymlops.errors",
    "Workspace": "tinymlops.workspace",
    "connect": "tinymlops.workspace",
    "create_app": "tinymlops.server",
    "point_in_time_join": "tinymlops.features.join.point_in_time",
    "restore": "tinymlops.workspace",
    "serve": "tinymlops.server",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tinymlops' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
