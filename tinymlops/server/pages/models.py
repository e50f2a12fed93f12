"""`/models`: what is registered, which version is champion and since when, what each reads, and how one is promoted."""

from typing import Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Redirect

from tinymlops.display.measured import measured
from tinymlops.errors import DataError
from tinymlops.records import Definition, FeatureField, LoggedModel, ModelAlias, ModelVersion, Note, Reader
from tinymlops.server.pages.addresses import definition_path, lineage_path
from tinymlops.server.pages.features import feature_links
from tinymlops.server.pages.rendering import page, url
from tinymlops.server.pages.routing import AnyRequest, Form, shows, takes
from tinymlops.server.pages.state import context_of
from tinymlops.server.route_class import ADMIN, METADATA
from tinymlops.workspace import Workspace

__all__ = ["model_routes"]

_MOVES = 100
_LONGEST = 2_000
"""Characters of a reason."""


class _Version(NamedTuple):
    record: ModelVersion
    model: LoggedModel | None
    aliases: list[str]
    notes: list[Note]


def model_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    database = ws._environment.database  # noqa: SLF001 - records are read by their keys

    @shows("/models", opt=METADATA)
    def models(request: AnyRequest) -> Response[Any]:
        """Show the models, each with its newest version and its aliases."""
        newest = ws.models.list()
        rows = [(one, ws.models.aliases(one.name), _logged(one)) for one in newest]
        return page(request, "models.html", title="Models", models=rows, opaque=ws.models.registered.list())

    @shows("/models/{name:str}", opt=METADATA)
    def model(request: AnyRequest, name: FromPath[str]) -> Response[Any]:
        """Show a model: its versions, and where its aliases pointed when."""
        versions = ws.models.versions(name)
        aliases, moves = ws.models.aliases(name), ws.models.moves(name)
        notes = database.list(Note, where={"kind": "model", "name": name}, order="id")
        return page(
            request,
            "model.html",
            title=name,
            name=name,
            versions=[_version(one, aliases, notes) for one in reversed(versions)],
            aliases=aliases,
            moves=moves[:_MOVES],
            more_moves=len(moves) - _MOVES,
            metrics=measured,
        )

    @shows("/models/{name:str}/{version:int}", opt=METADATA)
    def version(request: AnyRequest, name: FromPath[str], version: FromPath[int]) -> Response[Any]:
        """Show a version: what it answers, how well, what it reads, and who asks it."""
        record = ws.models.get(f"{name}:{version}")
        manifest = ws.models.manifest(record)
        aliases = ws.models.aliases(name)
        notes = database.list(Note, where={"kind": "model", "name": name, "version": version}, order="id")
        readers = database.list(Reader, where={"kind": "model", "name": f"{name}:{version}"}, order="-last_at")
        return page(
            request,
            "model_version.html",
            title=f"{name} v{version}",
            version=record,
            manifest=manifest,
            model=manifest.model,
            aliases=[one.alias for one in aliases if one.version == version],
            champion=next((one.version for one in aliases if one.alias == "champion"), 0),
            notes=notes,
            metrics=measured(manifest.model.evaluation),
            views=_by_source(manifest.model.signature.features),
            feature_paths=feature_links(context_of(ws), manifest.model.signature.features),
            paths=_paths(ws, manifest.definitions),
            lineage=lineage_path("model", f"{name}:{version}"),
            readers=readers,
        )

    @takes("/models/{name:str}/promote", opt=ADMIN)
    def promote(request: AnyRequest, name: FromPath[str], data: Form) -> Response[Any]:
        """Point an alias at a version, and keep why; not if it was moved since the form was shown."""
        version, expected = _number(data, "version"), _number(data, "expected")
        alias, reason = data.get("alias", "champion").strip(), _reason(data)
        ws.models.promote(name, version, alias, expected=expected, message=reason)
        return Redirect(url(request, f"/models/{name}"), status_code=303)

    @takes("/models/{name:str}/rollback", opt=ADMIN)
    def rollback(request: AnyRequest, name: FromPath[str], data: Form) -> Response[Any]:
        """Point an alias back at the version before, and keep why."""
        alias, reason = data.get("alias", "champion").strip(), _reason(data)
        ws.models.rollback(name, alias, message=reason)
        return Redirect(url(request, f"/models/{name}"), status_code=303)

    def _logged(version: ModelVersion) -> LoggedModel | None:
        return database.get(LoggedModel, run=version.run, name=version.logged_name)

    def _version(record: ModelVersion, aliases: list[ModelAlias], notes: list[Note]) -> _Version:
        pointing = [one.alias for one in aliases if one.version == record.version]
        own = [one for one in notes if one.version == record.version]
        return _Version(record, _logged(record), pointing, own)

    return [models, model, version, promote, rollback]


def _by_source(features: list[FeatureField]) -> dict[str, list[FeatureField]]:
    """Return features by the view that they come from; `request` for fields of the request."""
    found: dict[str, list[FeatureField]] = {}
    for one in features:
        found.setdefault(one.source.partition(":")[0], []).append(one)
    return found


def _paths(ws: Workspace, definitions: list[Definition]) -> dict[str, str]:
    """Return the page of each view that a version reads, if it is there still."""
    there = {(one.kind, one.name) for one in ws.catalog.list()}
    views = [one for one in definitions if one.kind in ("feature_view", "on_demand") and (one.kind, one.name) in there]
    return {one.name: definition_path(one.kind, one.name) for one in views}


def _reason(data: dict[str, str]) -> str:
    reason = data.get("reason", "").strip()
    if not reason:
        raise DataError("a reason is missing", hint="go back and say in a few words why: it is kept with the version")
    return reason[:_LONGEST]


def _number(data: dict[str, str], name: str) -> int:
    said = data.get(name, "")
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        raise DataError(f"{name} is {said[:50]!r}, and not the number of a version", hint="choose one of the list")
    return int(said)
