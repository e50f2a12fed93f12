"""Shell completion of names, read from the workspace's database without opening the workspace."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from tinymlops.errors import TinyMLOpsError
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.records import Record

__all__ = [
    "audited",
    "completing",
    "connections",
    "datasets",
    "definitions",
    "embeddings",
    "experiments",
    "features",
    "job_states",
    "jobs",
    "models",
    "named",
    "roles",
    "runs",
    "shareable",
    "sinks",
    "sources",
    "spines",
    "tokens",
    "training_sets",
    "versions",
    "views",
]

Complete = Callable[[typer.Context, str], list[str]]


def completing(read: Callable[[Path], list[str]]) -> Complete:
    """Make typer's completion callback from a function that reads names from a database."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return [name for name in _names(ctx, read) if name.startswith(incomplete)]

    return complete


def _definitions(kind: str) -> Callable[[Path], list[str]]:
    def read(database: Path) -> list[str]:
        from tinymlops.registry.names import definition_names

        return definition_names(database, kind)

    return read


def _all_definitions(database: Path) -> list[str]:
    kinds = ("source", "feature_view", "on_demand", "label", "training_set", "service", "entity")
    return sorted({name for kind in kinds for name in _definitions(kind)(database)})


def _models(database: Path) -> list[str]:
    from tinymlops.records import ModelVersion

    return _names_in(database, ModelVersion)


def _datasets(database: Path) -> list[str]:
    from tinymlops.registry.names import dataset_names

    return dataset_names(database)


def _jobs(database: Path) -> list[str]:
    from tinymlops.registry.names import job_names

    return job_names(database)


def _runs(database: Path) -> list[str]:
    from tinymlops.registry.names import run_names

    return [name for name in run_names(database) if " " not in name]  # a shell would take it for two words


def _experiments(database: Path) -> list[str]:
    from tinymlops.registry.names import experiment_names

    return [name for name in experiment_names(database) if " " not in name]


def _references(database: Path) -> list[str]:
    from tinymlops.registry.names import model_references

    return model_references(database)


def audited(column: Literal["actor", "action", "subject"]) -> Complete:
    """Complete what the audit log has in a column."""

    def read(database: Path) -> list[str]:
        from tinymlops.registry.names import audited_names

        return audited_names(database, column)

    return completing(read)


def _versions_of(kind: str) -> Callable[[Path], list[str]]:
    def read(database: Path) -> list[str]:
        from tinymlops.registry.names import definition_references

        return definition_references(database, kind)

    return read


def views(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a feature view; its versions once there is an @."""
    return _matching(ctx, ("feature_view",), incomplete)


def _named(database: Path) -> list[str]:
    from tinymlops.records import Definition

    return sorted({*_models(database), *_names_in(database, Definition)})


def _tokens(database: Path) -> list[str]:
    from tinymlops.records import Token

    return _names_in(database, Token)


def roles(incomplete: str) -> list[str]:
    """Complete a role."""
    from tinymlops.registry.tokens import ROLES

    return [role for role in ROLES if role.startswith(incomplete)]


def job_states(incomplete: str) -> list[str]:
    """Complete the state of a run of a job."""
    from tinymlops.registry.job_rows import STATES

    return sorted(state for state in STATES if state.startswith(incomplete))


def connections(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a connection of `tinymlops.toml`."""
    try:
        with Session(ctx.params.get("project_dir"), ctx.params.get("workspace_path")) as session:
            return sorted(name for name in session.config.connections if name.startswith(incomplete))
    except (TinyMLOpsError, OSError):
        return []


def spines(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete a training set or a service."""
    return _matching(ctx, ("training_set", "service"), incomplete)


def _names_in(database: Path, cls: type[Record]) -> list[str]:
    from tinymlops.registry.names import names_of

    return names_of(database, cls)


sources = completing(_definitions("source"))
sinks = completing(_definitions("sink"))
embeddings = completing(_definitions("embedding"))
definitions = completing(_all_definitions)
models = completing(_models)
datasets = completing(_datasets)
jobs = completing(_jobs)
runs = completing(_runs)
experiments = completing(_experiments)
training_sets = completing(_definitions("training_set"))
versions = completing(_references)
named = completing(_named)
tokens = completing(_tokens)


def _shareable(database: Path) -> list[str]:
    built = _definitions("training_set")(database)
    return sorted({*_references(database), *_models(database), *built, *_runs(database)})


shareable = completing(_shareable)


def features(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the last name of "sky,carrier_delays"."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _matching(ctx, ("feature_view", "on_demand", "service"), last)]


def _matching(ctx: typer.Context, kinds: Sequence[str], incomplete: str) -> list[str]:
    read = _versions_of if "@" in incomplete else _definitions
    return [name for kind in kinds for name in _names(ctx, read(kind)) if name.startswith(incomplete)]


def _names(ctx: typer.Context, read: Callable[[Path], list[str]]) -> list[str]:
    """Return the names that can be shown; none without a workspace, because completion must not print errors."""
    try:
        with Session(ctx.params.get("project_dir"), ctx.params.get("workspace_path")) as session:
            # A name that a shell could not show is not one of ours: those are letters and digits.
            return [name for name in read(session.path / "meta.db") if name.isprintable()]
    except (TinyMLOpsError, sqlite3.Error, OSError):
        return []
