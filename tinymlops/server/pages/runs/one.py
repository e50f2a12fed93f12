"""`/runs/ID`: what one run was given, what came of it, and what it was made with."""

from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from tinymlops.records import MetricSummary, Run, TrainingSetBuild
from tinymlops.registry.run_search import Compare, Field
from tinymlops.server.pages.features import feature_links
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.pages.runs.curves import draw
from tinymlops.server.pages.runs.files import is_text, pictures_of
from tinymlops.server.pages.state import context_of
from tinymlops.server.route_class import READ
from tinymlops.workspace import Workspace

__all__ = ["one_routes"]

_CURVES = 6
"""Metrics that are drawn; the others have a page of their own, as these do."""
_CHILDREN = 50
_PICTURES = 8
_FILES = 200
_CONSOLE = 12_000
"""Characters of the console that are shown, from its end."""
_PATCH = 60_000


def one_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @shows("/runs/{run:str}", opt=READ)
    def one(request: AnyRequest, run: FromPath[str]) -> Response[Any]:
        """Show a run."""
        record = ws.runs.get(run)
        sums = ws.runs.summaries(record.id).get(record.id, [])
        own = [one for one in sums if not one.name.startswith("system/")]
        curves = [one for one in own if one.count > 1]
        artifacts = ws.runs.artifacts(record.id)
        pictures = pictures_of(artifacts)
        console = ws.runs.console(record.id)
        patch = ws.runs.patch(record.id)
        children = ws.runs.search(Compare(Field("run", "parent"), "=", record.id), limit=_CHILDREN + 1)
        return page(
            request,
            "run.html",
            title=record.name,
            run=record,
            experiment=ws.runs.experiment(record.experiment).name,
            parent=_run(ws, record.parent),
            sections=_sections(own),
            system=[one for one in sums if one.name.startswith("system/")],
            drawn=[draw(ws, one) for one in curves[:_CURVES]],
            curves=len(curves),
            models=ws.runs.models(record.id),
            paths=_paths(ws, record),
            registered=_registered(ws, record),
            artifacts=artifacts[:_FILES],
            files=len(artifacts),
            pictures=pictures[:_PICTURES],
            all_pictures=len(pictures),
            is_text=is_text,
            console=console[-_CONSOLE:],
            console_length=len(console),
            patch=None if patch is None else patch[:_PATCH],
            patch_length=0 if patch is None else len(patch),
            inputs=ws.runs.inputs(record.id),
            build=_build(ws, record),
            children=children[:_CHILDREN],
            has_more=len(children) > _CHILDREN,
        )

    return [one]


def _sections(sums: list[MetricSummary]) -> dict[str, list[MetricSummary]]:
    """Return metrics by section: what stands before the first `/` of a name."""
    found: dict[str, list[MetricSummary]] = {}
    for one in sums:
        section, slash, _ = one.name.partition("/")
        found.setdefault(section if slash else "", []).append(one)
    return dict(sorted(found.items()))


def _run(ws: Workspace, run: str | None) -> Run | None:
    return next(iter(ws.runs.of_ids([run])), None) if run is not None else None


def _build(ws: Workspace, run: Run) -> TrainingSetBuild | None:
    if run.training_set is None:
        return None
    return ws._environment.database.get(TrainingSetBuild, id=run.training_set)  # noqa: SLF001 - read by its key


def _paths(ws: Workspace, run: Run) -> dict[str, dict[str, str]]:
    """Return the pages of the inputs of each model that a run logged."""
    context = context_of(ws)
    return {one.name: feature_links(context, one.signature.features) for one in ws.runs.models(run.id)}


def _registered(ws: Workspace, run: Run) -> list[Any]:
    """Return the versions that were registered from a run."""
    newest = [one.name for one in ws.models.list()]
    return [version for name in newest for version in ws.models.versions(name) if version.run == run.id]
