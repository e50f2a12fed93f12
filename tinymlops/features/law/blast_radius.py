"""The blast radius of a plan: what reads a definition that changes, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.context import definitions_of
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.definitions import in_words, kind_of
from tinymlops.features.definitions.specs import SourceSpec, TrainingSetSpec, ViewSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.online.materialization import covered
from tinymlops.records import Reader, SourceState, TrainingSetBuild

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.registry.models import Models

__all__ = ["BlastRadius", "blast_radius"]

Key = tuple[str, str]
"""Kind and name."""


class BlastRadius(msgspec.Struct, frozen=True, kw_only=True):
    """What reads one definition that changes or goes."""

    kind: str
    name: str
    definitions: list[str]
    """Definitions that stand on it, such as "feature view spending" or "service inputs"; they change with it."""
    training_sets: dict[str, int]
    """Training sets that stand on it, and how many builds of each there are; these stay as they are."""
    models: dict[str, str]
    """Models in use that were trained with it, such as "churn@champion", and what they go on with."""
    online_views: list[str]
    """Materialized views to be written anew."""
    readers: list[str]
    """Consumers that read the newest version of what changes, such as "billing reads spending:last"."""
    rows: int
    """Stored rows that are read again for these."""

    def __bool__(self) -> bool:
        return bool(self.definitions or self.training_sets or self.models or self.online_views or self.readers)

    def __str__(self) -> str:
        parts = [
            _listed("training sets", [f"{name} ({count} builds)" for name, count in self.training_sets.items()]),
            _listed("models", [f"{name} ({why})" for name, why in self.models.items()]),
            _listed("online views", self.online_views),
            _listed("definitions", self.definitions),
            _listed("readers", self.readers),
            f"{self.rows:,} rows to be computed again" if self.rows else "",
        ]
        return f"{in_words(self.kind)} {self.name} reaches {'; '.join(part for part in parts if part) or 'nothing'}"


def blast_radius(context: Context, models: Models, changed: Iterable[Key]) -> list[BlastRadius]:
    """Return what each changed definition reaches.

    Args:
        context: The workspace's state, by the definitions in force before the change.
        models: Registered ones.
        changed: Kind and name of each definition that changes or goes.

    Returns:
        In the order of `changed`; one that was not in force is left out.
    """
    definitions = context.definitions
    below = {_key(spec): set(map(_parts, graph.below(definitions, spec))) for spec in definitions.all}
    in_use = _models_in_use(models)
    return [
        _of_one(context, key, {other for other, under in below.items() if key in under} - {key}, in_use)
        for key in changed
        if key in below
    ]


def _of_one(context: Context, key: Key, above: set[Key], in_use: dict[str, list[Definitions]]) -> BlastRadius:
    definitions, database = context.definitions, context.environment.database
    reached = above | {key}
    views = [view for view in definitions.of(ViewSpec).values() if _key(view) in reached]
    online = [view for view in views if covered(context, view) is not None]
    return BlastRadius(
        kind=key[0],
        name=key[1],
        definitions=[f"{in_words(kind)} {name}" for kind, name in sorted(above) if kind != "training_set"],
        training_sets={
            one.name: database.count(TrainingSetBuild, {"name": one.name})
            for one in definitions.of(TrainingSetSpec).values()
            if _key(one) in reached
        },
        models={reference: said for reference, every in in_use.items() if (said := _goes_on_with(context, every, key))},
        online_views=[view.name for view in online],
        readers=_readers(context, reached),
        rows=sum(_stored_rows(context, view) for view in online),
    )


def _goes_on_with(context: Context, every: list[Definitions], key: Key) -> str:
    """Say what a model goes on with that stands on a definition; empty if it does not stand on it."""
    if key[0] == "source":
        place = partial(place_of, context.environment.database)
        reads = any(place(name) == place(key[1]) for one in every for name in one.of(SourceSpec))
        return "reads its rows by the definition it was trained with" if reads else ""
    found = {one.versions.get(":".join(key), 0) for one in every if any(_key(spec) == key for spec in one.all)}
    if not found:
        return ""
    return f"keeps {' and '.join(f'v{number}' for number in sorted(found))}, which it was trained with"


def _models_in_use(models: Models) -> dict[str, list[Definitions]]:
    """Return what each model in use was trained with, by alias, or by version where it has none.

    Returns:
        The definitions in force then, and each version that they name beside these.
    """
    found = {}
    for newest in models.list():
        aliases = {f"{newest.name}@{one.alias}": one.version for one in models.aliases(newest.name)}
        for reference, version in (aliases or {f"{newest.name}:{newest.version}": newest.version}).items():
            try:
                manifest = models.manifest(f"{newest.name}:{version}")
                pinned = definitions_of(manifest.definitions, manifest.variants)
            except TinyMLOpsError:
                continue  # whoever loads the model is told
            found[reference] = [pinned, *graph.named_versions(pinned)]
    return found


def _readers(context: Context, reached: set[Key]) -> list[str]:
    """Return who said to read the newest version of a view, such as "billing reads spending:last"."""
    views = {name for kind, name in reached if kind in ("feature_view", "on_demand")}
    found = context.environment.database.list(Reader, where={"kind": ["historical", "online"]}, order="consumer")
    read = {(one.consumer, one.name) for one in found if one.name.partition(":")[0] in views}
    return [f"{consumer} reads {name}" for consumer, name in sorted(read)]


def _stored_rows(context: Context, view: ViewSpec) -> int:
    source = graph.origin(context.definitions, context.definitions.get(SourceSpec, view.source))
    state = context.environment.database.get(SourceState, source=place_of(context.environment.database, source.name))
    return 0 if state is None else state.rows


def _key(spec: object) -> Key:
    return kind_of(spec), spec.name  # type: ignore[arg-type,attr-defined]


def _parts(key: str) -> Key:
    kind, _, name = key.partition(":")
    return kind, name


def _listed(what: str, names: list[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else ""
