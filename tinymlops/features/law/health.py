"""Whether definitions are alive: built lately, standing on sources that come as they used to, and used."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from tinymlops.features.definitions.definitions import in_words, kind_of
from tinymlops.features.definitions.reads import reads
from tinymlops.features.definitions.specs import CheckSpec, SinkSpec, SourceSpec, TermSpec
from tinymlops.features.history.generations import place_of
from tinymlops.registry.documentation import last_builds, last_predictions, last_reads
from tinymlops.registry.history import failed_ingests, newest_ingests
from tinymlops.registry.pushes import times_of_pushes
from tinymlops.tables import text_table
from tinymlops.times import format_duration, from_micros

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import AnySpec
    from tinymlops.records import Definition
    from tinymlops.stores.database import Database

__all__ = ["Health", "HealthReport", "health", "source_troubles"]

_UNUSED = timedelta(days=90)
_COMPARED = 20
"""Ingests of a source whose distances say how often it comes."""
_LEAST_COMPARED = 4
_PATIENCE = 3
"""A source is late once this many times its usual distance has passed."""

_READ = ("feature_view", "on_demand", "service")
Key = tuple[str, str]


class Health(msgspec.Struct, frozen=True):
    """How one definition is."""

    kind: str
    name: str
    last_build: datetime | None
    """Of a source its last ingest; else the last training set that was built with it. Null if there is none."""
    last_use: datetime | None
    """The last training set that was built with it, prediction of a model that stands on it, or read by a named reader."""
    problems: list[str]
    """What is wrong with it; empty if nothing is."""
    in_place: bool = False
    """Whether it is a source that is read in place: nothing comes here that could be late."""


class HealthReport(msgspec.Struct, frozen=True):
    """How all definitions in force are, terms left out."""

    definitions: list[Health]

    @property
    def unwell(self) -> list[Health]:
        """Those with problems."""
        return [one for one in self.definitions if one.problems]

    def __str__(self) -> str:
        rows = [(f"{in_words(one.kind)} {one.name}", "; ".join(one.problems)) for one in self.unwell]
        told = f"{len(self.definitions) - len(rows):,} of {len(self.definitions):,} definitions are well"
        there = [one.name for one in self.definitions if one.in_place]
        said = [f"in place, so that nobody knows how old they are: {', '.join(there)}"] if there else []
        return "\n".join([told, *said, *([text_table(rows)] if rows else [])])

    __repr__ = __str__


def health(context: Context, rows: Iterable[Definition]) -> HealthReport:
    """Look at every definition in force; nothing is read but the workspace's database.

    A source is late once three times the median distance of its last 20 ingests has passed, and its last attempt may have
    failed; both count for all that stands on it. A definition is unused if it was applied more than 90 days ago and, in
    these days, no training set was built with it, no model that stands on it has predicted, and no reader that names itself has
    read it. Other reads leave no trace. Pushed rows count as ingests, as long as no compaction has moved them.

    Args:
        context: The workspace's state.
        rows: The definitions in force, as the catalog has them.
    """
    database, now = context.environment.database, from_micros(context.now())
    specs = {
        _key(spec): spec for spec in context.definitions.all if not isinstance(spec, CheckSpec | SinkSpec | TermSpec)
    }
    below = {key: _below(context, key, specs) for key in specs}
    there = {key for key, spec in specs.items() if isinstance(spec, SourceSpec) and spec.in_place}
    troubles = {key[1]: [] if key in there else _trouble(database, key[1], now) for key in specs if key[0] == "source"}
    builds, predictions = last_builds(database), last_predictions(database)
    built: dict[Key, datetime] = {}
    read: dict[Key, datetime] = {}
    reads_of = last_reads(database)
    for (kind, name), under in below.items():
        if kind in _READ and name in reads_of:
            for key in under:
                read[key] = max(read.get(key, reads_of[name]), reads_of[name])
        if kind == "training_set" and name in builds:
            for key in under:
                built[key] = max(built.get(key, builds[name]), builds[name])
    found = []
    for row in rows:
        key = (row.kind, row.name)
        if key in specs:
            found_uses = built.get(key), predictions.get(f"{row.kind}:{row.name}"), read.get(key)
            uses = [one for one in found_uses if one is not None]
            ingested = row.kind == "source" and key not in there
            ingest = newest_ingests(database, _names(database, row.name), limit=1) if ingested else []
            problems = [text for under in sorted(below[key]) if under[0] == "source" for text in troubles[under[1]]]
            used = max(uses, default=None)
            if now - max([row.applied_at, *uses]) > _UNUSED:
                told = (
                    "no training set, prediction or named reader uses it"
                    if used is None
                    else f"last used on {used:%Y-%m-%d}"
                )
                problems.append(f"unused for {_UNUSED.days} days: {told}")
            at = ingest[0].at if ingest else built.get(key)
            found.append(Health(*key, at, used, problems, in_place=key in there))
    return HealthReport(found)


def source_troubles(context: Context) -> dict[str, list[str]]:
    """Return the sources whose rows do not come as they used to, or whose last ingest failed, with what `health` says."""
    database, now = context.environment.database, from_micros(context.now())
    sources = [spec for spec in context.definitions.of(SourceSpec).values() if not spec.row_wise]
    troubles = {source.name: _trouble(database, source.name, now) for source in sources}
    return {name: told for name, told in troubles.items() if told}


def _key(spec: AnySpec) -> Key:
    return kind_of(spec), spec.name


def _below(context: Context, key: Key, specs: Mapping[Key, AnySpec]) -> set[Key]:
    """Return a definition and all that it stands on."""
    found, todo = set[Key](), [key]
    while todo:
        one = todo.pop()
        if one not in found and one in specs:
            found.add(one)
            todo += reads(context.definitions, specs[one])
    return found


def _names(database: Database, source: str) -> list[str]:
    return list({source, place_of(database, source)})


def _trouble(database: Database, name: str, now: datetime) -> list[str]:
    """Say what is wrong with how a source's rows come."""
    ingests = newest_ingests(database, _names(database, name), limit=_COMPARED + 1)
    said = [
        f"source {name}: the last ingest failed on {failed.at:%Y-%m-%d %H:%M} UTC ({failed.error})"
        for failed in failed_ingests(database, name)
    ]
    came, what = [one.at for one in ingests], "ingest"
    if not came:
        place = place_of(database, name)
        came, what = [from_micros(at) for at in times_of_pushes(database, place, limit=_COMPARED + 1)], "push"
    gaps = [later - earlier for later, earlier in pairwise(came)]
    if len(gaps) + 1 >= _LEAST_COMPARED:
        usual, since = sorted(gaps)[len(gaps) // 2], now - came[0]
        if since > usual * _PATIENCE and usual > timedelta(0):
            said.append(f"source {name}: last {what} {_rough(since)} ago, usually every {_rough(usual)}")
    return said


def _rough(span: timedelta) -> str:
    """Write a span in its two largest units at most."""
    seconds = round(span.total_seconds())
    for unit in (86_400, 3_600, 60):
        if seconds >= 2 * unit:
            return format_duration(seconds // unit * unit * 1_000_000)
    return format_duration(max(seconds, 1) * 1_000_000)
