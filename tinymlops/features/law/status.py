"""`status`: what stands where, and what somebody should do about it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tinymlops.features.definitions.data_checks import checks_on
from tinymlops.features.definitions.rules import in_code, shortened
from tinymlops.features.definitions.specs import SourceSpec, ViewSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.law.freshness import freshness_of, rough
from tinymlops.features.law.sink_status import SinkStatus, sink_status
from tinymlops.features.online.materialization import covered
from tinymlops.features.online.pinned import VersionState, version_states
from tinymlops.features.standing import starved_models
from tinymlops.notebook import in_notebook
from tinymlops.records import SourceState
from tinymlops.registry.checks import newest_results
from tinymlops.tables import html_table, text_table

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.law.planning import Plan
    from tinymlops.registry.models import Models

__all__ = ["SourceStatus", "ViewStatus", "WorkspaceStatus", "status", "views_behind"]


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a source stands."""

    source: str
    rows: int
    """Stored, versions included; 0 of one that is read in place."""
    ingested_at: datetime | None
    """When rows came last; None where none ever did."""
    newest_event: datetime | None = None
    age_seconds: float | None = None
    """From the newest event until now."""
    arrives_p50_seconds: float | None = None
    """Half of its rows came at most so long after their events, over the last seven days with rows; at most a tenth too long."""
    arrives_p95_seconds: float | None = None
    late: str = ""
    """Why its `delay=` is too short for that; empty if it is not."""
    in_place: bool = False
    """Whether its rows are read where they are, so that nothing is stored or known of them here."""


class ViewStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a feature view stands online."""

    view: str
    sequence: int | None
    """Up to which it is in the online store; None where it was never materialized."""
    behind: str = ""
    """Why it does not take the newer rows; empty where it does."""


class WorkspaceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a workspace stands."""

    sequence: int
    changes: list[str]
    """What the project has and `apply` has not made the definitions in force yet."""
    sources: list[SourceStatus]
    views: list[ViewStatus]
    versions: list[VersionState]
    """Of views, beside the newest: what pins each, what the online store has of it, and since when it gets no new rows."""
    models: dict[str, int]
    """Aliases, such as "churn@champion", and the version that each points at."""
    starved: dict[str, str]
    """Models in use that get no new rows of a source, and why."""
    sinks: list[SinkStatus] = []

    def __str__(self) -> str:
        lines = [f"Q={self.sequence}", *(f"not applied: {change}" for change in self.changes)]
        lines += [f"late: {one.late}" for one in self.sources if one.late]
        lines += [text_table(table) for table in self._tables() if len(table) > 1]
        return "\n".join([*lines, *(f"starved: {model}: {why}" for model, why in self.starved.items())])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return in_notebook(*(html_table(f"{table[0][0]}s", table[1:]) for table in self._tables() if len(table) > 1))

    def _tables(self) -> list[list[list[str]]]:
        return [self._sources(), self._views(), self._versions(), self._models(), self._sinks()]

    def _sources(self) -> list[list[str]]:
        rows = [
            [
                one.source,
                "in place" if one.in_place else f"{one.rows:,}",
                "-" if one.in_place else _shown(one.ingested_at),
                _span(one.age_seconds),
                f"{_span(one.arrives_p50_seconds)} / {_span(one.arrives_p95_seconds)}",
            ]
            for one in self.sources
        ]
        return [["source", "rows", "last rows", "newest event, ago", "arrives after, p50 / p95"], *rows]

    def _views(self) -> list[list[str]]:
        rows = [
            [one.view, _up_to(one.sequence) + (f", behind: {one.behind}" if one.behind else "")] for one in self.views
        ]
        return [["feature view", "online"], *rows]

    def _versions(self) -> list[list[str]]:
        rows = [
            [one.version, ", ".join(one.pinned_by), _up_to(one.covered), "" if one.ended is None else str(one.ended)]
            for one in self.versions
        ]
        return [["version", "pinned by", "online", "gets no new rows"], *rows]

    def _models(self) -> list[list[str]]:
        return [["model", "version"], *([name, str(version)] for name, version in self.models.items())]

    def _sinks(self) -> list[list[str]]:
        rows = [
            [one.sink, one.target, f"{one.rows:,}", one.waits, _shown(one.delivered_at), one.error]
            for one in self.sinks
        ]
        return [["sink", "to", "rows", "waiting", "complete", "last failure"], *rows]


def status(context: Context, models: Models, planned: Plan | None) -> WorkspaceStatus:
    """Say where a workspace stands.

    Args:
        context: Its state.
        models: Registered ones.
        planned: What `apply` would change; None where no project is at hand.
    """
    database, definitions = context.environment.database, context.definitions
    found = [(view.name, covered(context, view)) for view in definitions.of(ViewSpec).values()]
    behind = views_behind(context)
    return WorkspaceStatus(
        sequence=database.sequence(),
        changes=[str(change) for change in planned.changes if change.action != "keep"] if planned is not None else [],
        sources=[_source(context, source) for source in definitions.of(SourceSpec).values() if not source.row_wise],
        views=[
            ViewStatus(view=name, sequence=None if one is None else one.sequence, behind=behind.get(name, ""))
            for name, one in found
        ],
        versions=version_states(context, models),
        models={
            f"{newest.name}@{alias.alias}": alias.version
            for newest in models.list()
            for alias in models.aliases(newest.name)
        },
        starved=starved_models(context, models),
        sinks=sink_status(context),
    )


def _source(context: Context, source: SourceSpec) -> SourceStatus:
    if source.in_place:
        return SourceStatus(source=source.name, rows=0, ingested_at=None, in_place=True)
    database = context.environment.database
    state = database.get(SourceState, source=place_of(database, source.name))
    fresh = freshness_of(context, source)
    return SourceStatus(
        source=source.name,
        rows=0 if state is None else state.rows,
        ingested_at=None if state is None else state.ingested_at,
        newest_event=fresh.newest_event,
        age_seconds=_seconds(fresh.age),
        arrives_p50_seconds=_seconds(fresh.p50),
        arrives_p95_seconds=_seconds(fresh.p95),
        late=fresh.late,
    )


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1e6


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else rough(round(seconds * 1e6))


def _up_to(sequence: int | None) -> str:
    return "-" if sequence is None else f"Q={sequence}"


def views_behind(context: Context) -> dict[str, str]:
    """Return the views that a check keeps from taking new rows in the online store, and what it says."""
    database, found = context.environment.database, dict[str, str]()
    for view in context.definitions.of(ViewSpec).values():
        refusing = [spec for spec in checks_on(context.definitions, view) if spec.action == "fail"]
        one = covered(context, view) if refusing else None
        if one is None or one.sequence == database.sequence():
            continue
        known = {(spec.name, in_code(rule)) for spec in refusing for rule in spec.rules}
        said = [last for last in newest_results(database) if (last.definition, last.rule) in known]
        told = [f"{shortened(last.rule)} ({last.failed:,} of {last.rows:,} keys)" for last in said if not last.passed]
        if told:
            found[view.name] = f"it does not pass {', '.join(told)}"
    return found


def _shown(moment: datetime | None) -> str:
    return "never" if moment is None else moment.strftime("%Y-%m-%d %H:%M UTC")
