"""`model-versions/`: the numbered versions of registered models."""

import re
from typing import Annotated

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from tinymlops.errors import DataError
from tinymlops.registry.comparisons import Comparison, Field, select_by
from tinymlops.server.mlflow import answers, requests
from tinymlops.server.mlflow.filters import read_filter, read_order
from tinymlops.server.mlflow.listing import below
from tinymlops.server.mlflow.mapping import integer, page, tags_of, token
from tinymlops.server.mlflow.registry import NO_PROMPT, Registry, refuse_prompt
from tinymlops.server.mlflow.routing import deletes, gets, patches, posts
from tinymlops.server.route_class import ADMIN, METADATA, WRITE
from tinymlops.workspace import Workspace

__all__ = ["model_version_routes"]

Name = Annotated[str, QueryParameter(max_length=1_000)]
Count = Annotated[int, QueryParameter()]
Names = Annotated[list[str] | None, QueryParameter()]
Filter = Annotated[str, QueryParameter(max_length=10_000)]
_ATTRIBUTES = (
    "name",
    "version_number",
    "version",
    "run_id",
    "source_path",
    "creation_timestamp",
    "last_updated_timestamp",
)
_OF_MODEL = re.compile(
    r"models:/(m-[0-9a-f]{32})(?:/.*)?|mlflow-artifacts:/+(?:[^/]+/)*?models/(m-[0-9a-f]{32})(?:/.*)?"
)
_OF_RUN = re.compile(r"(?:runs:/|mlflow-artifacts:/+runs/)([0-9a-f]{32})(?:/(.*))?")
_OF_VERSION = re.compile(r"models:/([^/]+)/(\d{1,9})")
_MOST_RESULTS = 200_000


def model_version_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_reads(Registry(ws)), *_writes(ws, Registry(ws)), *_tags(Registry(ws))]


def _reads(registry: Registry) -> list[HTTPRouteHandler]:
    @gets("model-versions/get", opt=METADATA)
    def get_model_version(name: Name, version: Count) -> answers.ModelVersionAnswer:
        """Show a version."""
        return answers.ModelVersionAnswer(model_version=registry.version(name, version))

    @gets("model-versions/search", opt=METADATA)
    def search_model_versions(
        filter: Filter = "",  # noqa: A002 - MLflow's name
        max_results: Count = 10_000,
        order_by: Names = None,
        page_token: Name = "",
    ) -> answers.ModelVersions:
        """Find versions."""
        begin, count = page(page_token, max_results, limit=_MOST_RESULTS)
        found = registry.versions()
        orders = [*read_order(order_by or []), *read_order(["last_updated_timestamp DESC", "name", "version DESC"])]
        comparisons = [_by_number(one) for one in read_filter(filter)]
        places = select_by([_fields(one) for one in found], comparisons, orders, _ATTRIBUTES)
        some = [found[place] for place in places[begin : begin + count]]
        return answers.ModelVersions(model_versions=some, next_page_token=token(begin, count, len(places)))

    @gets("model-versions/get-download-uri", opt=METADATA)
    def get_download_uri(name: Name, version: Count) -> answers.Uri:
        """Say where the files of a version are."""
        return answers.Uri(artifact_uri=registry.download_uri(name, version))

    return [get_model_version, search_model_versions, get_download_uri]


def _writes(ws: Workspace, registry: Registry) -> list[HTTPRouteHandler]:
    @posts("model-versions/create", opt=WRITE)
    def create_model_version(data: JSONBody[requests.CreateModelVersion]) -> answers.ModelVersionAnswer:
        """Register a logged model, or files of a run, as the next version of a name."""
        tags = tags_of(data.tags)
        refuse_prompt(tags)
        registry.refuse_own(data.name)
        ws.models.registered.get(data.name)
        model, run = _model_of(ws, data)
        made = ws.models.registered.add_version(
            data.name,
            model,
            source=data.source,
            run=run,
            run_link=data.run_link,
            description=data.description,
            tags=tags,
        )
        return answers.ModelVersionAnswer(model_version=registry.version(data.name, made.version))

    @patches("model-versions/update", opt=WRITE)
    def update_model_version(data: JSONBody[requests.UpdateVersion]) -> answers.ModelVersionAnswer:
        """Describe a version."""
        registry.refuse_own(data.name)
        number = integer(data.version, "version")
        registry.registered.change_version(data.name, number, description=data.description)
        return answers.ModelVersionAnswer(model_version=registry.version(data.name, number))

    @posts("model-versions/transition-stage", opt=ADMIN)
    def transition_stage(data: JSONBody[requests.Transition]) -> answers.ModelVersionAnswer:
        """Move a version to a stage, for clients that have no aliases."""
        registry.refuse_own(data.name)
        number = integer(data.version, "version")
        registry.registered.change_version(
            data.name, number, stage=data.stage, archive_existing=data.archive_existing_versions
        )
        return answers.ModelVersionAnswer(model_version=registry.version(data.name, number))

    @deletes("model-versions/delete", opt=ADMIN)
    def delete_model_version(data: JSONBody[requests.NamedVersion]) -> answers.Empty:
        """Remove a version; its number is not used again."""
        registry.refuse_own(data.name)
        registry.registered.delete_version(data.name, integer(data.version, "version"))
        return answers.Empty()

    return [create_model_version, update_model_version, transition_stage, delete_model_version]


def _tags(registry: Registry) -> list[HTTPRouteHandler]:
    @posts("model-versions/set-tag", opt=WRITE)
    def set_model_version_tag(data: JSONBody[requests.VersionTag]) -> answers.Empty:
        """Set a tag of a version."""
        registry.refuse_own(data.name)
        number = integer(data.version, "version")
        registry.registered.change_version(data.name, number, tags={data.key: data.value})
        return answers.Empty()

    @deletes("model-versions/delete-tag", opt=WRITE)
    def delete_model_version_tag(data: JSONBody[requests.VersionTag]) -> answers.Empty:
        """Remove a tag of a version."""
        registry.refuse_own(data.name)
        registry.registered.change_version(data.name, integer(data.version, "version"), tags={data.key: None})
        return answers.Empty()

    return [set_model_version_tag, delete_model_version_tag]


def _model_of(ws: Workspace, data: requests.CreateModelVersion) -> tuple[str, str | None]:
    """Return the opaque model that is registered, and the run that it comes from.

    Raises:
        DataError: If the source is none of this server's.
    """
    named = _OF_MODEL.fullmatch(data.source)
    id_ = data.model_id or (named[1] or named[2] if named is not None else "")
    if id_:
        model = ws.models.opaque.get(id_)
        return model.id, data.run_id or model.run
    of_version = _OF_VERSION.fullmatch(data.source)
    if of_version is not None:
        version = ws.models.registered.version(of_version[1], int(of_version[2]))
        return version.model, data.run_id or version.run
    of_run = _OF_RUN.fullmatch(data.source)
    if of_run is None:
        raise DataError(
            f"the source {data.source[:200]!r} is not kept by this server",
            hint="register what was logged here: models:/m-..., runs:/<run>/<path>",
        )
    run, path = ws.runs.remote.get(of_run[1]), (of_run[2] or "").strip("/")
    files = below(ws.runs.artifacts(run.id), path)
    if not files:
        raise DataError(f"run {run.id} has no files below {path!r}", hint="log the model first")
    kept = [msgspec.structs.replace(one, name=one.name[len(path) :].lstrip("/")) for one in files]
    made = ws.models.opaque.of_artifacts(run.id, run.experiment, path.rpartition("/")[2] or run.name, kept)  # type: ignore[arg-type]
    return made.id, run.id


def _by_number(comparison: Comparison) -> Comparison:
    """Let a version be compared that is written as a text."""
    is_number = comparison.field.name in ("version", "version_number") and isinstance(comparison.value, str)
    return comparison._replace(value=float(comparison.value)) if is_number else comparison  # type: ignore[arg-type]


def _fields(one: answers.ModelVersion) -> dict[Field, float | str | None]:
    attributes: dict[str, float | str | None] = {
        "name": one.name,
        "version_number": float(one.version),
        "version": float(one.version),
        "run_id": one.run_id,
        "source_path": one.source,
        "creation_timestamp": float(one.creation_timestamp),
        "last_updated_timestamp": float(one.last_updated_timestamp),
    }
    return (
        NO_PROMPT
        | {Field("attribute", key): value for key, value in attributes.items()}
        | {Field("tag", pair.key): pair.value for pair in one.tags}
    )
