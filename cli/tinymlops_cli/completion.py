"""Names for the Tab key, read from the workspace by sqlite3 alone: nothing heavy is imported, nothing is locked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import typer

from tinymlops.errors import TinyMLOpsError
from tinymlops_cli.session import Session

__all__ = ["features", "models", "sources", "versions", "views"]

_DEFINED = "SELECT DISTINCT name FROM definitions WHERE kind = ? AND removed_at IS NULL"
_MODELS = "SELECT DISTINCT name FROM model_versions"
_VERSIONS = """SELECT name || '@' || alias FROM model_aliases
    UNION SELECT name || ':' || version FROM model_versions
    UNION SELECT name || '@latest' FROM model_versions UNION SELECT name FROM model_versions"""

Complete = Callable[[typer.Context, str], list[str]]


def _completing(sql: str, *bound: str) -> Complete:
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return [name for name in _names(ctx, sql, bound) if name.startswith(incomplete)]

    return complete


sources = _completing(_DEFINED, "source")
views = _completing(_DEFINED, "feature_view")
models = _completing(_MODELS)
versions = _completing(_VERSIONS)


def features(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last name of "sky,carrier_delays"."""
    before, comma, last = incomplete.rpartition(",")
    found = [name for kind in ("feature_view", "on_demand") for name in _names(ctx, _DEFINED, (kind,))]
    return [f"{before}{comma}{name}" for name in found if name.startswith(last)]


def _names(ctx: typer.Context, sql: str, bound: tuple[str, ...]) -> list[str]:
    """Return what a SELECT of names finds; nothing where there is no workspace, for a shell wants no errors."""
    try:
        with Session(ctx.params.get("project_dir"), ctx.params.get("workspace_path")) as session:
            database = session.path / "meta.db"
            return _select(database, sql, bound)
    except (TinyMLOpsError, sqlite3.Error, OSError):
        return []


def _select(database: Path, sql: str, bound: tuple[str, ...]) -> list[str]:
    # Opened for reading, so that closing it is never the checkpoint that `write.lock` guards.
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        # What a shell could not show as it is was not defined with our own names: they are letters and digits.
        return sorted(name for (name,) in connection.execute(sql, bound) if name.isprintable())
