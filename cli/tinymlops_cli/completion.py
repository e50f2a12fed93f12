"""Names for the Tab key, read from the workspace's database without opening the workspace."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import typer

from tinymlops.errors import TinyMLOpsError
from tinymlops_cli.session import Session

__all__ = ["completing", "datasets", "features", "models", "sources", "versions", "views"]

Complete = Callable[[typer.Context, str], list[str]]


def completing(read: Callable[[Path], list[str]]) -> Complete:
    """Make what typer calls for the Tab key of a function that reads names from a database."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return [name for name in _names(ctx, read) if name.startswith(incomplete)]

    return complete


def _definitions(kind: str) -> Callable[[Path], list[str]]:
    def read(database: Path) -> list[str]:
        from tinymlops.registry.names import definition_names

        return definition_names(database, kind)

    return read


def _models(database: Path) -> list[str]:
    from tinymlops.records import ModelVersion
    from tinymlops.registry.names import names_of

    return names_of(database, ModelVersion)


def _datasets(database: Path) -> list[str]:
    from tinymlops.registry.names import dataset_names

    return dataset_names(database)


def _references(database: Path) -> list[str]:
    from tinymlops.registry.names import model_references

    return model_references(database)


sources = completing(_definitions("source"))
views = completing(_definitions("feature_view"))
models = completing(_models)
datasets = completing(_datasets)
versions = completing(_references)


def features(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last name of "sky,carrier_delays"."""
    before, comma, last = incomplete.rpartition(",")
    found = [name for kind in ("feature_view", "on_demand", "service") for name in _names(ctx, _definitions(kind))]
    return [f"{before}{comma}{name}" for name in found if name.startswith(last)]


def _names(ctx: typer.Context, read: Callable[[Path], list[str]]) -> list[str]:
    """Return the names that can be shown; none where there is no workspace, for a shell wants no errors."""
    try:
        with Session(ctx.params.get("project_dir"), ctx.params.get("workspace_path")) as session:
            # What a shell could not show as it is was not defined with our own names: they are letters and digits.
            return [name for name in read(session.path / "meta.db") if name.isprintable()]
    except (TinyMLOpsError, sqlite3.Error, OSError):
        return []
