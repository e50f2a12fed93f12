"""`/`: what there is to know this morning, what needs a look first."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from tinymlops.features.context import Context
from tinymlops.features.definitions.specs import LabelSpec, SourceSpec, TrainingSetSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.law.freshness import Freshness, freshness_of
from tinymlops.monitoring.coming import ComingOutcomes
from tinymlops.monitoring.keeping import KeptReport, last_report
from tinymlops.records import LoggedModel, ModelAlias, ModelVersion, SourceState, TrainingSetBuild
from tinymlops.registry.models import CHAMPION
from tinymlops.registry.runs.recent import runs_going_on
from tinymlops.server.pages.jobs import listed_jobs
from tinymlops.server.pages.needs import needs_of, told
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.state import context_of, may
from tinymlops.server.route_class import METADATA
from tinymlops.workspace import Workspace

__all__ = ["home_routes"]

_RUNS, _JOBS, _SOURCES = 50, 8, 12


class _Champion(NamedTuple):
    """A model in use."""

    alias: ModelAlias
    known_until: datetime | None
    """Outcomes of predictions up to this time have had the time to come; None where the label has no horizon."""
    report: KeptReport | None
    """The last one that was kept, for those who may read values."""


class _Coming(NamedTuple):
    """The outcomes that a champion waits for, by the time of the page."""

    due: int
    """Could be known by now, and had not come when the report was made."""
    today: int
    later: int


class _Source(NamedTuple):
    """How fresh a source is."""

    name: str
    fresh: Freshness
    came: datetime | None


def home_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @shows("/", opt=METADATA)
    def home(request: AnyRequest) -> Response[Any]:
        """Show what moved."""
        context, may_read = context_of(ws), may(request, "read")
        jobs = listed_jobs(ws) if may_read else []
        runs = runs_going_on(context.scope, limit=_RUNS)
        champions = _champions(context, may_read=may_read)
        reports = [one.report for one in champions if one.report]
        due = sorted(
            (one for one in jobs if one.next is not None and one.word not in ("paused", "removed")),
            key=lambda one: one.next or ws.jobs.clock(),
        )
        sources = _sources(context)
        return page(
            request,
            "home.html",
            title="Today",
            needs=needs_of(ws, context, jobs, runs, reports, may_read=may_read),
            looked_at=told(context, jobs, models=len(champions), may_read=may_read),
            runs=[one for one in runs if one.status == "running"],
            champions=champions,
            coming=_coming,
            jobs=due[:_JOBS],
            has_jobs=bool(jobs),
            may_read=may_read,
            sources=sources[:_SOURCES],
            more_sources=max(0, len(sources) - _SOURCES),
            sequence=context.environment.database.sequence(),
            applied=ws.catalog.last_apply(),
        )

    return [home]


def _champions(context: Context, *, may_read: bool) -> list[_Champion]:
    database = context.environment.database
    aliases = database.list(ModelAlias, where={"alias": CHAMPION}, order="name")
    return [
        _Champion(one, _known_until(context, one), last_report(database, one.name, one.version) if may_read else None)
        for one in aliases
    ]


def _known_until(context: Context, alias: ModelAlias) -> datetime | None:
    """Return until when outcomes have had the time to come, by the label that the model was trained on."""
    database = context.environment.database
    version = database.get(ModelVersion, name=alias.name, version=alias.version)
    model = None if version is None else database.get(LoggedModel, run=version.run, name=version.logged_name)
    build = (
        None if model is None or model.training_set is None else database.get(TrainingSetBuild, id=model.training_set)
    )
    asked = None if build is None else context.definitions.of(TrainingSetSpec).get(build.name)
    label = None if asked is None else context.definitions.of(LabelSpec).get(asked.label)
    if label is None:
        return None
    return context.clock() - timedelta(microseconds=label.horizon + label.gap)


def _coming(coming: ComingOutcomes, now: datetime) -> _Coming:
    """Return how many outcomes are waited for, as a kept report counted them: predictions are not counted here."""
    today = f"{now:%Y-%m-%d}"
    due = coming.overdue + sum(count for day, count in coming.days.items() if day < today)
    later = sum(count for day, count in coming.days.items() if day > today)
    return _Coming(due, coming.days.get(today, 0), later)


def _sources(context: Context) -> list[_Source]:
    """Return the sources that take rows, those whose rows came longest ago first."""
    database = context.environment.database
    found = []
    for source in context.definitions.of(SourceSpec).values():
        if not source.row_wise:
            state = database.get(SourceState, source=place_of(database, source.name))
            came = None if state is None else state.ingested_at
            found.append(_Source(source.name, freshness_of(context, source), came))
    return sorted(found, key=lambda one: (one.came is not None, one.came or context.clock(), one.name))
