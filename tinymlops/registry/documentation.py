"""What the workspace knows of one definition beside its content: versions, marks, notes, statistics, models."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tinymlops.records import (
    ColumnStatistics,
    Definition,
    LoggedModel,
    Mark,
    ModelAlias,
    ModelVersion,
    Note,
    Reader,
    TrainingSetBuild,
)
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.stores.database import Database

__all__ = [
    "ModelInput",
    "last_builds",
    "last_predictions",
    "last_reads",
    "marks_of",
    "model_inputs",
    "models_by_definition",
    "notes_of",
    "readers_of",
    "statistics_of",
    "versions_of",
]


def versions_of(database: Database, kind: str, name: str) -> list[Definition]:
    """Return the versions of a definition, the newest first."""
    return database.list(Definition, where={"kind": kind, "name": name}, order="-version")


def marks_of(database: Database, kind: str, name: str) -> dict[int, str]:
    """Return version to mark."""
    return {one.version: one.mark for one in database.list(Mark, where={"kind": kind, "name": name})}


def notes_of(database: Database, kind: str, name: str) -> list[Note]:
    """Return the notes on a definition, the newest first."""
    return database.list(Note, where={"kind": kind, "name": name}, order="-id")


def last_builds(database: Database) -> dict[str, datetime]:
    """Return name of a training set to when it was last built."""
    return {one.name: one.created_at for one in database.list(TrainingSetBuild, order="created_at")}


def last_reads(database: Database) -> dict[str, datetime]:
    """Return name to when a reader that names itself last read it: views, on-demand views and services, or `view@v1`."""
    found: dict[str, datetime] = {}
    for one in database.list(Reader):
        name = one.name.partition(":")[0]
        if one.kind != "model":
            found[name] = max(found.get(name, one.last_at), one.last_at)
    return found


def last_predictions(database: Database) -> dict[str, datetime]:
    """Return `kind:name` to when a model that stands on it last predicted and logged the answer."""
    sql = "SELECT max(at) FROM predictions WHERE model = ? AND version = ?"
    found: dict[str, datetime] = {}
    for version, model in _registered(database):
        ((at,),) = database.rows(sql, (version.name, version.version))
        for key in model.definitions if at is not None else ():
            found[key] = max(found.get(key, from_micros(at)), from_micros(at))
    return found


def _registered(database: Database) -> list[tuple[ModelVersion, LoggedModel]]:
    versions = database.list(ModelVersion)
    runs = sorted({one.run for one in versions})  # not of all runs: there are many more of them
    logged = {(one.run, one.name): one for one in database.list(LoggedModel, where={"run": runs})} if runs else {}
    return [(one, logged[one.run, one.logged_name]) for one in versions if (one.run, one.logged_name) in logged]


class ModelInput(NamedTuple):
    """A feature as a registered version takes it."""

    model: str
    version: int
    aliases: list[str]
    name: str
    """What the model calls it."""
    dtype: str
    run: str
    logged_name: str
    """With `run`, what finds the model that was logged."""


def model_inputs(database: Database, view: str, feature: str | None = None) -> list[ModelInput]:
    """Return the inputs of registered versions that are features of a view, the newest version first.

    Args:
        database: The workspace's.
        view: The feature view's name, or that of an on-demand view.
        feature: Only this one; None for all.
    """
    aliases = _aliases(database)
    found = []
    for version, model in sorted(_registered(database), key=lambda one: one[0].registered_at, reverse=True):
        for field in model.signature.features:
            of, _, name = field.source.partition(":")
            if name and of == view and feature in (None, name):
                known = aliases.get((version.name, version.version), [])
                names = (version.name, version.version, known, field.name, field.dtype)
                found.append(ModelInput(*names, version.run, version.logged_name))
    return found


def readers_of(database: Database, name: str, feature: str | None = None) -> list[Reader]:
    """Return who reads a view and said its name, the last one first.

    Args:
        database: The workspace's.
        name: The name of a feature view, an on-demand view or a service.
        feature: Only those of the whole view or of this feature; None for all.
    """
    rows = [one for one in database.list(Reader, order="-last_at") if one.kind != "model"]
    parts = [(one, *one.name.partition(":")) for one in rows]
    return [one for one, of, _, part in parts if of == name and (feature is None or part in ("", feature))]


def statistics_of(database: Database, place: str) -> dict[str, ColumnStatistics]:
    """Return the statistics of a source's columns, by name.

    Args:
        database: The workspace's.
        place: The name that the source's rows are stored under.
    """
    return {one.name: one for one in database.list(ColumnStatistics, where={"source": place})}


def models_by_definition(database: Database) -> dict[str, list[str]]:
    """Return `kind:name` to the registered versions that stand on it, such as "delay:3 (champion)"."""
    aliases = _aliases(database)
    found: dict[str, list[str]] = {}
    for version, model in _registered(database):
        names = ", ".join(aliases.get((version.name, version.version), []))
        told = f"{version.name}:{version.version}" + (f" ({names})" if names else "")
        for key in model.definitions:
            found.setdefault(key, []).append(told)
    return found


def _aliases(database: Database) -> dict[tuple[str, int], list[str]]:
    found: dict[tuple[str, int], list[str]] = {}
    for alias in database.list(ModelAlias):
        found.setdefault((alias.name, alias.version), []).append(alias.alias)
    return found
