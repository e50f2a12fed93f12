"""`/catalog/KIND/NAME` and `/catalog/feature/VIEW/NAME`: what there is to know of a definition, and of one feature."""

from datetime import datetime
from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from tinymlops.errors import NotFoundError, near
from tinymlops.features.context import Context
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import AnySpec, SourceSpec, ViewSpec
from tinymlops.features.history.generations import place_of
from tinymlops.features.law.described import Described, described
from tinymlops.features.law.freshness import Freshness, freshness_of
from tinymlops.features.law.neighbours import Walk
from tinymlops.features.law.pages import about_said
from tinymlops.features.online.materialization import covered
from tinymlops.monitoring.drift import Drift
from tinymlops.monitoring.keeping import last_report
from tinymlops.records import Definition, FailedIngest, Ingestion, LoggedModel, Quarantine, SourceState
from tinymlops.registry.checks import list_quarantines
from tinymlops.registry.documentation import ModelInput, model_inputs, models_by_definition, readers_of, versions_of
from tinymlops.registry.history import failed_ingests, newest_ingests
from tinymlops.server.pages.addresses import KINDS
from tinymlops.server.pages.monitoring import histogram_svg, most_served
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.state import context_of, may
from tinymlops.server.route_class import METADATA
from tinymlops.training.baseline import Histogram, read_baseline
from tinymlops.workspace import Workspace

__all__ = ["definition_routes"]

_INGESTS = 5
_REPORTS = 5
"""Versions whose reports are read for the page of a feature."""


class _Under(NamedTuple):
    """A source that a feature comes from in the end."""

    name: str
    owner: str
    fresh: Freshness
    changed: Definition | None
    """Its newest version."""


class _Rows(NamedTuple):
    """How a source's rows come."""

    fresh: Freshness
    state: SourceState | None
    failed: list[FailedIngest]
    ingests: list[Ingestion]
    kept_aside: list[Quarantine]


def definition_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @shows("/catalog/{kind:str}/{name:str}", opt=METADATA)
    def definition(request: AnyRequest, kind: FromPath[str], name: FromPath[str]) -> Response[Any]:
        """Show a definition in force."""
        if kind not in KINDS:
            raise NotFoundError(f"{kind[:100]!r} is not a kind of definition", hint=near(kind, KINDS))
        context = context_of(ws)
        found = described(context, KINDS[kind], name)
        database = context.environment.database
        return page(
            request,
            "definition.html",
            title=name,
            slug=kind,
            one=found,
            rows=_rows(context, found.spec) if isinstance(found.spec, SourceSpec) else None,
            online=covered(context, found.spec) if isinstance(found.spec, ViewSpec) else None,
            sql=_query(found.spec),
            models=models_by_definition(database).get(f"{found.row.kind}:{name}", []),
            consumers=readers_of(database, name) if kind in ("view", "on-demand", "service") else [],
            may_read=may(request, "read"),
        )

    @shows("/catalog/feature/{view:str}/{name:str}", opt=METADATA)
    def feature(request: AnyRequest, view: FromPath[str], name: FromPath[str]) -> Response[Any]:
        """Show a feature of a view, or of an on-demand view."""
        context = context_of(ws)
        walk = Walk(context)
        of_view = view in context.definitions.of(ViewSpec)
        node = walk.require("feature_view" if of_view else "on_demand", view, name)
        found: Described | None = described(context, node.kind, view)
        value = next((one for one in found.values if one.name == name), None) if found else None
        inputs = model_inputs(context.environment.database, view, name)
        return page(
            request,
            "feature.html",
            title=f"{view}:{name}",
            one=found,
            value=value,
            node=node,
            before=walk.before(node),
            after=walk.after(node),
            inputs=inputs,
            sources=_sources(context, found.spec) if found and isinstance(found.spec, ViewSpec) else [],
            reports=_in_use(context, inputs) if may(request, "read") else {},
            trained=_trained(context, inputs) if may(request, "read") else None,
            consumers=readers_of(context.environment.database, view, name),
            pair=histogram_svg,
            most_served=most_served,
        )

    return [feature, definition]


def _rows(context: Context, source: SourceSpec) -> _Rows:
    database = context.environment.database
    place = place_of(database, source.name)
    return _Rows(
        freshness_of(context, source),
        database.get(SourceState, source=place),
        failed_ingests(database, source.name),
        newest_ingests(database, sorted({source.name, place}), limit=_INGESTS),
        list_quarantines(database, place=place, status="waiting"),
    )


def _sources(context: Context, view: ViewSpec) -> list[_Under]:
    """Return the sources under a view, with whose they are and when they changed."""
    database, sources = context.environment.database, context.definitions.of(SourceSpec)
    return [
        _Under(
            name,
            about_said(sources[name]).owner,
            freshness_of(context, sources[name]),
            next(iter(versions_of(database, "source", name)), None),
        )
        for name in sorted(graph.base_sources(context.definitions, view.source))
    ]


def _in_use(context: Context, inputs: list[ModelInput]) -> dict[str, tuple[Drift, datetime]]:
    """Return how a feature is in use beside training, by the last kept report on each of the first versions that take it."""
    found = {}
    for one in inputs[:_REPORTS]:
        kept = last_report(context.environment.database, one.model, one.version)
        drift = next((drift for drift in kept.report.features if drift.name == one.name), None) if kept else None
        if kept is not None and drift is not None:
            found[f"{one.model}:{one.version}"] = (drift, kept.at)
    return found


def _query(spec: AnySpec) -> str:
    """Return the SQL of a source, or what is read of its connection; empty where there is none."""
    if not isinstance(spec, SourceSpec):
        return ""
    return spec.sql or (spec.query if isinstance(spec.query, str) else "")


def _trained(context: Context, inputs: list[ModelInput]) -> tuple[ModelInput, Histogram] | None:
    """Return the distribution of a feature in the training rows of the newest version that takes it, as it was kept."""
    for one in inputs:
        model = context.environment.database.get(LoggedModel, run=one.run, name=one.logged_name)
        if model is not None and model.baseline_sha256 is not None:
            histogram = read_baseline(context.environment.blobs.read(model.baseline_sha256)).features.get(one.name)
            if histogram is not None:
                return one, histogram
    return None
