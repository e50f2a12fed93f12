"""What there is to know of a workspace this morning: what needs a look, and where everything stands."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.display.listed_jobs import ListedJob, listed_jobs
from tinymlops.display.needs import Need, needs_of, told
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import LabelSpec, SourceSpec, TrainingSetSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.law.freshness import Freshness, freshness_of
from tinymlops.monitoring.keeping import KeptReport, last_report
from tinymlops.records import LoggedModel, ModelAlias, ModelVersion, Run, SourceState, TrainingSetBuild
from tinymlops.registry.models import CHAMPION
from tinymlops.registry.runs.recent import runs_going_on

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.monitoring.coming import ComingOutcomes
    from tinymlops.registry.jobs import Jobs
    from tinymlops.registry.models import Models

__all__ = ["Champion", "Coming", "SourceFreshness", "Today", "coming_by", "today_of"]

_RUNS, _JOBS, _SOURCES = 50, 8, 12


class Champion(NamedTuple):
    """A model in use."""

    alias: ModelAlias
    known_until: datetime | None
    """Outcomes of predictions up to this time have had the time to come; None where that is not known."""
    report: KeptReport | None
    """The last one that was kept, for those who may read values."""


class Coming(NamedTuple):
    """The outcomes that a champion waits for, by the time of who looks."""

    due: int
    """Could be known by now, and had not come when the report was made."""
    today: int
    later: int


class SourceFreshness(NamedTuple):
    """How fresh a source is."""

    name: str
    fresh: Freshness
    came: datetime | None


class Today(NamedTuple):
    """What stands where, and what needs a look."""

    needs: list[Need]
    looked_at: list[tuple[int, str]]
    """What was looked at: how many of each."""
    runs: list[Run]
    """Those that go on, the newest first."""
    are_all_runs: bool
    """Whether there are no others that go on."""
    champions: list[Champion]
    jobs: list[ListedJob]
    """Those that are due next."""
    has_jobs: bool
    sources: list[SourceFreshness]
    more_sources: int
    """Sources beside these, whose rows came later."""
    sequence: int


def today_of(context: Context, models: Models, jobs: Jobs, *, may_read: bool) -> Today:
    """Return what there is to know.

    Args:
        context: The workspace's state.
        models: Those that are registered.
        jobs: Those of the workspace.
        may_read: Whether who looks may read values, which failures quote.
    """
    listed = listed_jobs(jobs) if may_read else []
    runs = runs_going_on(context.scope, limit=_RUNS)
    champions = _champions(context, may_read=may_read)
    reports = [one.report for one in champions if one.report]
    due = sorted(
        (one for one in listed if one.next is not None and one.word not in ("paused", "removed")),
        key=lambda one: one.next or jobs.clock(),
    )
    sources = _sources(context)
    return Today(
        needs=needs_of(context, models, jobs, listed, runs, reports, may_read=may_read),
        looked_at=told(context, listed, models=len(champions), may_read=may_read),
        runs=[one for one in runs if one.status == "running"],
        are_all_runs=len(runs) < _RUNS,
        champions=champions,
        jobs=due[:_JOBS],
        has_jobs=bool(listed),
        sources=sources[:_SOURCES],
        more_sources=max(0, len(sources) - _SOURCES),
        sequence=context.environment.database.sequence(),
    )


def coming_by(coming: ComingOutcomes, now: datetime) -> Coming:
    """Return how many outcomes are waited for, as a kept report counted them: predictions are not counted here.

    Args:
        coming: Of the report.
        now: The time of who looks.
    """
    today = f"{now:%Y-%m-%d}"
    due = coming.overdue + sum(count for day, count in coming.days.items() if day < today)
    later = sum(count for day, count in coming.days.items() if day > today)
    return Coming(due, coming.days.get(today, 0), later)


def _champions(context: Context, *, may_read: bool) -> list[Champion]:
    database = context.environment.database
    aliases = database.list(ModelAlias, where={"alias": CHAMPION}, order="name")
    found = []
    for one in aliases:
        report = last_report(database, one.name, one.version) if may_read else None
        found.append(Champion(one, _known_until(context, one, report), report))
    return found


def _known_until(context: Context, alias: ModelAlias, report: KeptReport | None) -> datetime | None:
    """Return until when outcomes have had the time to come, by the label that the model was trained on.

    Where a column says how late rows come, only the last report knows the latest: no rows are read here.
    """
    database, definitions = context.environment.database, context.definitions
    version = database.get(ModelVersion, name=alias.name, version=alias.version)
    model = None if version is None else database.get(LoggedModel, run=version.run, name=version.logged_name)
    build = (
        None if model is None or model.training_set is None else database.get(TrainingSetBuild, id=model.training_set)
    )
    asked = None if build is None else definitions.of(TrainingSetSpec).get(build.name)
    label = None if asked is None else definitions.of(LabelSpec).get(asked.label)
    if label is None:
        return None
    origin = graph.origin(definitions, definitions.get(SourceSpec, label.source))
    after: int | None = label.horizon + label.gap + origin.delay
    if origin.delay_column is not None:
        after = report.report.coming.after if report and report.report.coming else None
    return None if after is None else context.clock() - timedelta(microseconds=after)


def _sources(context: Context) -> list[SourceFreshness]:
    """Return the sources that take rows, those whose rows came longest ago first."""
    database = context.environment.database
    found = []
    for source in context.definitions.of(SourceSpec).values():
        if not source.row_wise:
            state = database.get(SourceState, source=place_of(database, source.name))
            came = None if state is None else state.ingested_at
            found.append(SourceFreshness(source.name, freshness_of(context, source), came))
    return sorted(found, key=lambda one: (one.came is not None, one.came or context.clock(), one.name))
