"""What needs a look this morning, the most urgent first; and what was looked at, so that "all is well" means something."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.display.words import count_text
from tinymlops.features.definitions.rules import in_code
from tinymlops.features.definitions.specs import CheckSpec, SourceSpec
from tinymlops.features.law.freshness import late_sources
from tinymlops.features.law.health import source_troubles
from tinymlops.features.law.status import views_behind
from tinymlops.features.standing import starved_models
from tinymlops.registry.checks import list_quarantines, newest_results
from tinymlops.registry.runs.recent import runs_ended_badly

if TYPE_CHECKING:
    from tinymlops.display.listed_jobs import ListedJob
    from tinymlops.features.context import Context
    from tinymlops.monitoring.keeping import KeptReport
    from tinymlops.records import Run
    from tinymlops.registry.jobs import Jobs
    from tinymlops.registry.models import Models

__all__ = ["Need", "Place", "needs_of", "told"]

_DAY = timedelta(days=1)
_RESULTS = 20_000
"""Results of checks that are looked through, the newest."""
_MOST = 200
"""Runs that ended badly which are told, the newest."""


class Place(NamedTuple):
    """What to look at."""

    kind: str
    """A kind of definition, `job`, `run`, `model`, `report` on a model's version in use, or `messages`."""
    name: str
    due: datetime | None = None
    """Of a run of a job."""


class Need(NamedTuple):
    """One thing that needs a look."""

    word: str
    """Its state, as `state` of the templates shows it."""
    what: str
    kind: str
    """Of what, in words."""
    told: str
    since: datetime | None
    place: Place


def needs_of(
    context: Context,
    models: Models,
    jobs: Jobs,
    listed: list[ListedJob],
    runs: list[Run],
    reports: list[KeptReport],
    *,
    may_read: bool,
) -> list[Need]:
    """Return what needs a look, the most urgent first: what failed, then what is late, then what may become worse.

    Args:
        context: The workspace's state.
        models: Those that are registered.
        jobs: Those of the workspace.
        listed: All of them.
        runs: Those that go on, or were lost.
        reports: The last kept one on each champion, if who looks may read values.
        may_read: Whether who looks may read values, which failures quote.
    """
    found = [
        *_of_jobs(listed),
        *_of_sources(context),
        *_of_models(models, context),
        *_of_reports(reports),
        *_of_runs(context, runs, may_read=may_read),
    ]
    if may_read:
        found += [*_of_checks(context), *_of_messages(jobs)]
    urgent = {"failed": 0, "fail": 0, "lost": 1, "overdue": 2, "late": 3}
    last = context.clock()
    found.sort(key=lambda one: (urgent.get(one.word, len(urgent)), -(one.since or last).timestamp()))
    return found


def told(context: Context, jobs: list[ListedJob], *, models: int, may_read: bool) -> list[tuple[int, str]]:
    """Return what was looked at: how many of each."""
    definitions = context.definitions
    rules = sum(len(check.rules) for check in definitions.of(CheckSpec).values()) if may_read else 0
    counts = [(len(jobs), "job"), (len(definitions.of(SourceSpec)), "source"), (rules, "check"), (models, "model")]
    return [(count, word) for count, word in counts if count]


def _of_jobs(jobs: list[ListedJob]) -> Iterator[Need]:
    for one in jobs:
        name = one.state.job
        if one.word == "failed" and one.last is not None:
            place = Place("job", name, one.last.due)
            yield Need("failed", name, "job", one.last.told or "", one.last.ended_at or one.last.due, place)
        elif one.word == "overdue":
            yield Need(
                "overdue", name, "job", "no runner has looked: tinymlops jobs run", one.overdue, Place("job", name)
            )


def _of_sources(context: Context) -> Iterator[Need]:
    for name, troubles in source_troubles(context).items():
        place = Place("source", name)
        for text in troubles:
            word = "failed" if "failed" in text else "late"
            yield Need(word, name, "source", text.removeprefix(f"source {name}: "), None, place)
    for text in late_sources(context):
        name = text.split(" ", 2)[1]
        yield Need("warn", name, "source", text.removeprefix(f"source {name} "), None, Place("source", name))
    for view, why in views_behind(context).items():
        yield Need("late", view, "feature view", f"online it is behind: {why}", None, Place("feature_view", view))


def _of_models(models: Models, context: Context) -> Iterator[Need]:
    for model, why in starved_models(context, models).items():
        name, _, alias = model.partition("@")
        version = next((one.version for one in models.aliases(name) if one.alias == alias), None)
        place = Place("model", f"{name}:{version}" if version is not None else name)
        yield Need("warn", model, "model", why, None, place)


def _of_reports(reports: list[KeptReport]) -> Iterator[Need]:
    for at, report in reports:
        shifted = [one for one in report.features if one.reading == "shift"]
        answers = report.prediction is not None and report.prediction.reading == "shift"
        said = ["its answers"] if answers else []
        if shifted:
            of = count_text(len(report.features), "input")
            said.append(f"{len(shifted):,} of {of}, most of all {shifted[0].name}")
        if said:
            what = f"{report.model}:{report.version}"
            text = f"not as in training: {' and '.join(said)}"
            yield Need("warn", what, "model in use", text, at, Place("report", what))


def _of_runs(context: Context, runs: list[Run], *, may_read: bool) -> Iterator[Need]:
    since = context.clock() - _DAY
    lost = [one for one in runs if one.status == "lost"]
    for run in [*lost, *runs_ended_badly(context.scope, since, limit=_MOST)]:
        why = (run.error if may_read else None) or ("its process ended before it did" if run.status == "lost" else "")
        yield Need(run.status, run.name, "run", why, run.ended_at or run.started_at, Place("run", run.id))


def _of_checks(context: Context) -> Iterator[Need]:
    database = context.environment.database
    checks = context.definitions.of(CheckSpec)
    for one in newest_results(database, among=_RESULTS):
        check = checks.get(one.definition)
        is_meant = check is not None and one.rule in map(in_code, check.rules)
        if check is not None and is_meant and one.passed is False and one.action != "quarantine":  # told by its rows
            word = "warn" if one.action == "warn" else "fail"
            place = Place("feature_view" if check.of_view else "source", check.target)
            yield Need(word, one.target, "check", f"{one.rule}: {one.failed:,} of {one.rows:,} rows", one.at, place)
    places = {context.definitions.places.get(name, name): name for name in context.definitions.of(SourceSpec)}
    waiting: dict[str, list[tuple[int, datetime]]] = {}
    for batch in list_quarantines(database, status="waiting", limit=_RESULTS):
        waiting.setdefault(places.get(batch.source, ""), []).append((batch.rows, batch.at))
    for name, batches in waiting.items():
        if name:
            rows = sum(count for count, _ in batches)
            text = f"{count_text(rows, 'row')} in quarantine: tinymlops checks quarantined"
            yield Need("warn", name, "source", text, min(at for _, at in batches), Place("source", name))


def _of_messages(jobs: Jobs) -> Iterator[Need]:
    given_up = jobs.outbox.list(state="given up")
    if given_up:
        last = given_up[-1].told or given_up[-1].text
        text = f"{count_text(len(given_up), 'message')} could not be sent; the last: {last}"
        yield Need("failed", "alerts", "messages", text, given_up[-1].created_at, Place("messages", ""))
