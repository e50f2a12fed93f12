"""The effect of definitions on stored rows: which source must be rebuilt, and which model is starved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError, DefinitionError, TinyMLOpsError
from tinymlops.features.context import definitions_of
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import FeatureRequest, SourceSpec, TrainingSetSpec
from tinymlops.features.history.ended import ended_views
from tinymlops.features.history.generations import (
    dating_of,
    generations_of,
    how_to_rebuild,
    judge,
    place_of,
    reads_others,
    span_of,
)
from tinymlops.records import RenamedSource, SourceState
from tinymlops.registry.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.registry.models import Models
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["check_renames", "notes_on_stored_rows", "rename", "starved_models"]


def notes_on_stored_rows(context: Context, models: Models, renamed: Mapping[str, str]) -> list[str]:
    """Return notes on what a project's definitions mean for the rows and the models of a workspace.

    Args:
        context: The workspace's state, read by the project's definitions.
        models: Registered models.
        renamed: Sources by their earlier names.
    """
    notes = [*_judged(context), *_moved(context)]
    notes += [
        f"source {name} takes over the rows of {was}"
        for name, was in renamed.items()
        if place_of(context.environment.database, name) == name
    ]
    notes += list(_on_versions(context))
    starved = starved_models(context, models, renamed)
    return notes + [f"model {reference} is starved: {why}" for reference, why in starved.items()]


def starved_models(context: Context, models: Models, renamed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the models in use that get no new rows of a source, and why.

    Args:
        context: The workspace's state, by the definitions that are or will be in force.
        models: Registered models; the version of each alias, or of a name without aliases the newest, is in use.
        renamed: Sources that the planned apply renames, by their earlier names.

    Returns:
        Such as `churn@champion` to the reason.
    """
    found = {}
    for newest in models.list():
        aliases = {alias.alias: alias.version for alias in models.aliases(newest.name)}
        used = {f"{newest.name}@{alias}": f"{newest.name}:{version}" for alias, version in aliases.items()}
        for shown, reference in (
            used or {f"{newest.name}:{newest.version}": f"{newest.name}:{newest.version}"}
        ).items():
            try:
                manifest = models.manifest(reference)
                pinned = definitions_of(manifest.definitions, manifest.variants)
            except TinyMLOpsError:
                continue  # loading the model reports it
            every = [pinned, *graph.named_versions(pinned)]
            reasons = list(dict.fromkeys(why for one in every for why in _starving(context, one, renamed or {})))
            if reasons:
                found[shown] = "; ".join(reasons)
    return found


def check_renames(context: Context, renamed: Mapping[str, str]) -> None:
    """Refuse a `was=` that is not possible.

    Args:
        context: The workspace's state, read by the project's definitions.
        renamed: Sources by their earlier names.

    Raises:
        DefinitionError: If the earlier name is still that of a source, or had no rows.
        ConflictError: If a source would share the rows of another.
    """
    database, sources = context.environment.database, context.definitions.of(SourceSpec)
    for name, was in renamed.items():
        if place_of(database, name) == place_of(database, was):
            continue  # renamed before
        if was in sources:
            raise DefinitionError(
                f"source {name!r} was {was!r}, which is still a source of this project",
                hint=f"leave was= out, or the source {was!r}",
            )
        if database.get(SourceState, source=place_of(database, was)) is None:
            raise DefinitionError(f"source {name!r} was {was!r}, which has no rows here", hint="leave was= out")
        if database.get(SourceState, source=name) is not None:
            raise ConflictError(
                f"source {name!r} has rows of its own, so it cannot take over those of {was!r}",
                hint="leave was= out, or give the source a name that had no rows",
            )
    places: dict[str, str] = {}
    for name in sources:
        place = place_of(database, renamed.get(name, name))
        if place in places:
            raise ConflictError(
                f"sources {places[place]!r} and {name!r} would share the rows that are stored as {place!r}",
                hint=f"{places[place]!r} took them over when it was renamed: give {name!r} another name",
            )
        places[place] = name


def rename(tx: Transaction, renamed: Mapping[str, str], at: datetime) -> None:
    """Give sources the rows of their earlier names; inside the transaction of an apply."""
    for name, was in renamed.items():
        place = place_of(tx, was)
        if place_of(tx, name) != place:
            tx.put(RenamedSource(name=name, place=place, at=at))
            tx.audit("source.rename", name, was=was, place=place)


def _on_versions(context: Context) -> Iterator[str]:
    """Say of each version that a training set names that it gets no new rows; refuse one that cannot be read."""
    for row in Catalog(context.scope).list("feature_view"):
        if row.spec.get("about", {}).get("keep"):  # it stays beside its successor
            context.for_request(FeatureRequest(view=row.name, version=row.version))
    for training_set in context.definitions.of(TrainingSetSpec).values():
        for request in training_set.features:
            context.for_request(request)
        for title, one in ended_views(context, training_set.features).items():
            yield f"training set {training_set.name} reads {title}, which gets no new rows: {one}"


def _judged(context: Context) -> Iterator[str]:
    database = context.environment.database
    for source in context.definitions.of(SourceSpec).values():
        state = database.get(SourceState, source=place_of(database, source.name))
        if source.row_wise or state is None or not state.rows or source.in_place:
            continue
        live = next(reversed(generations_of(database, place_of(database, source.name), state)), None)
        judged = judge(source, live, state.columns)
        if judged.dating and source.inputs:
            yield f"transformation {source.name} starts over: {' and '.join(judged.dating)} changed"
        elif judged.dating:
            yield (
                f"the {' and '.join(judged.dating)} of source {source.name} changed under {state.rows:,} stored rows, which "
                f"cannot be read until they are rebuilt; {how_to_rebuild(source.name)}"
            )
        elif source.inputs and (judged.query or reads_others(context.definitions, source, live)):
            yield f"transformation {source.name} starts over, because its computation changed"
        elif judged.query:
            yield (
                f"the query or function of source {source.name} changed: if known rows differ, ingest refuses them until it is "
                "told to --rebuild"
            )


def _moved(context: Context) -> Iterator[str]:
    """Say what becomes of stored rows of a source that is read in place from now on, or is stored again."""
    database, before = context.environment.database, Catalog(context.scope).list("source")
    was_in_place = {row.name: row.spec.get("store") is False for row in before}
    for source in context.definitions.of(SourceSpec).values():
        state = database.get(SourceState, source=place_of(database, source.name))
        rows = 0 if state is None else state.rows
        if source.in_place and rows:
            yield (
                f"source {source.name} is read in place: the {rows:,} rows that are stored of it stay, and are read by what is "
                "pinned to an earlier version alone"
            )
        elif not source.in_place and was_in_place.get(source.name):
            stored = f"has the {rows:,} rows again that were stored of it before" if rows else "has no rows"
            yield f"source {source.name} is stored from the next ingest on; until then it {stored}"


def _starving(context: Context, pinned: Definitions, renamed: Mapping[str, str]) -> Iterator[str]:
    database, sources = context.environment.database, context.definitions.of(SourceSpec)
    places = {place_of(database, renamed.get(name, name)): spec for name, spec in sources.items()}
    for source in pinned.of(SourceSpec).values():
        place = place_of(database, source.name)
        state = database.get(SourceState, source=place)
        if source.row_wise or state is None:
            continue
        now = places.get(place)
        if now is None:
            yield (
                f"it reads source {source.name!r}, which is not among the definitions, and gets no new rows of it; if it has "
                f'another name now: @project.source(was="{source.name}")'
            )
        elif (ended := _ended(database, source, place, state)) is not None:
            yield f"it reads source {source.name!r} as it was before Q={ended}, and gets no new rows of it"
        elif now.in_place and not source.in_place:
            yield f"it reads source {source.name!r} as it was stored, and gets no new rows of it since that is read in place"
        elif not now.inputs and dating_of(source, state.columns) != dating_of(now, state.columns):
            yield f"it reads source {source.name!r} as it was, and gets no new rows once that is rebuilt"


def _ended(database: Database, source: SourceSpec, place: str, state: SourceState) -> int | None:
    """Return the sequence at which the rows that a definition reads were replaced; None if they are the live ones."""
    try:
        return span_of(database, source, place, state).ends
    except TinyMLOpsError:
        return generations_of(database, place, state)[-1].begins
