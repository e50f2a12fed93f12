"""`/training-sets`: the builds of training sets, what each left out and why, and what differs between two."""

from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from tinymlops.features.history.reproducing import find_build
from tinymlops.features.history.training_sets import BuildManifest, read_manifest
from tinymlops.records import RunRow, TrainingSetBuild
from tinymlops.server.pages.features import feature_links
from tinymlops.server.pages.rendering import page
from tinymlops.server.pages.routing import AnyRequest, shows
from tinymlops.server.route_class import METADATA
from tinymlops.times import from_micros
from tinymlops.workspace import Workspace

__all__ = ["training_set_routes"]

_SIZE = 100
_RUNS = 20


class _Difference(NamedTuple):
    """What differs in what is kept of two builds."""

    facts: list[tuple[str, Any, Any]]
    features: list[tuple[str, str, str]]
    """Feature, and where it comes from in each; empty where it is not in one."""
    definitions: list[tuple[str, str, str]]
    """`kind:name`, and the beginning of its fingerprint in each."""


def training_set_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    database = ws._environment.database  # noqa: SLF001 - records are read by their keys

    @shows("/training-sets", opt=METADATA)
    def builds(request: AnyRequest, name: FromQuery[str] = "", first: FromQuery[int] = 0) -> Response[Any]:
        """Show the builds, the newest first."""
        found = database.list(TrainingSetBuild, where={"name": name} if name else None, order="-created_at")
        first = min(max(first, 0), max(len(found) - 1, 0)) // _SIZE * _SIZE
        newest = {one.name: one for one in reversed(found)}
        return page(
            request,
            "training_sets.html",
            title="Training sets",
            name=name,
            builds=found[first : first + _SIZE],
            total=len(found),
            first=first,
            size=_SIZE,
            names=sorted(newest),
        )

    @shows("/training-sets/{build:str}", opt=METADATA)
    def build(request: AnyRequest, build: FromPath[str], other: FromQuery[str] = "") -> Response[Any]:
        """Show a build, and how another one differs from it."""
        context = ws._context()  # noqa: SLF001 - a manifest is read in the state of the workspace
        record = find_build(context, build)
        manifest = read_manifest(context, record)
        siblings = database.list(TrainingSetBuild, where={"name": record.name}, order="-created_at")
        before = next((one for one in siblings if one.created_at < record.created_at), None)
        compared = find_build(context, other) if other else None
        return page(
            request,
            "training_set.html",
            title=record.name,
            build=record,
            manifest=manifest,
            paths=feature_links(context, manifest.signature.features),
            in_force=context.definitions.versions,
            recipe=manifest.recipe,
            complete_until=from_micros(manifest.recipe.complete_until),
            test_from=None if manifest.recipe.test_from is None else from_micros(manifest.recipe.test_from),
            siblings=[one for one in siblings if one.id != record.id][:_SIZE],
            before=before,
            other=compared,
            difference=None
            if compared is None
            else _between(compared, read_manifest(context, compared), record, manifest),
            runs=database.list(RunRow, where={"training_set": record.id}, order="-started_at", limit=_RUNS),
        )

    return [builds, build]


def _between(before: TrainingSetBuild, old: BuildManifest, after: TrainingSetBuild, new: BuildManifest) -> _Difference:
    (labels, olds), (_, news) = _facts(before, old), _facts(after, new)
    facts = list(zip(labels, olds, news, strict=True))
    sources = [{field.name: field.source for field in one.signature.features} for one in (old, new)]
    prints = [{name: value[:12] for name, value in one.definitions.items()} for one in (old, new)]
    return _Difference([row for row in facts if row[1] != row[2]], _differing(*sources), _differing(*prints))


def _facts(build: TrainingSetBuild, manifest: BuildManifest) -> tuple[list[str], list[Any]]:
    report, recipe = manifest.report, manifest.recipe
    facts = {
        "Rows up to Q": build.sequence,
        "Fingerprint": build.fingerprint[:12],
        "Complete until": from_micros(recipe.complete_until),
        "Test from": None if recipe.test_from is None else from_micros(recipe.test_from),
        "Spine rows": report.spine_rows,
        "Immature": report.immature,
        "No outcome": report.no_outcome,
        "Purged": report.purged,
        "Train rows": report.train_rows,
        "Test rows": report.test_rows,
        "Features": len(manifest.signature.features),
    }
    return list(facts), list(facts.values())


def _differing(old: dict[str, str], new: dict[str, str]) -> list[tuple[str, str, str]]:
    names = sorted(old.keys() | new.keys())
    return [(one, old.get(one, ""), new.get(one, "")) for one in names if old.get(one) != new.get(one)]
