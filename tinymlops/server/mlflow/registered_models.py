"""`registered-models/`: names with versions, those that clients of MLflow registered and those of this workspace."""

from typing import Annotated

from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from tinymlops.errors import DataError, NotFoundError
from tinymlops.registry.comparisons import select_by
from tinymlops.server.mlflow import answers, requests
from tinymlops.server.mlflow.errors import EXISTING
from tinymlops.server.mlflow.filters import read_filter, read_order
from tinymlops.server.mlflow.mapping import integer, page, tags_of, token
from tinymlops.server.mlflow.registry import Registry, refuse_prompt
from tinymlops.server.mlflow.routing import deletes, gets, patches, posts
from tinymlops.server.route_class import ADMIN, METADATA, WRITE
from tinymlops.workspace import Workspace

__all__ = ["registered_model_routes"]

Name = Annotated[str, QueryParameter(max_length=1_000)]
Count = Annotated[int, QueryParameter()]
Names = Annotated[list[str] | None, QueryParameter()]
Filter = Annotated[str, QueryParameter(max_length=10_000)]
_ATTRIBUTES = ("name", "creation_timestamp", "last_updated_timestamp", "description")


def registered_model_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_reads(Registry(ws)), *_writes(ws, Registry(ws)), *_tags(Registry(ws)), *_aliases(ws, Registry(ws))]


def _reads(registry: Registry) -> list[HTTPRouteHandler]:
    @gets("registered-models/get", opt=METADATA)
    def get_registered_model(name: Name) -> answers.RegisteredModelAnswer:
        """Show a registered model and its newest version."""
        return answers.RegisteredModelAnswer(registered_model=registry.model(name))

    @gets("registered-models/search", opt=METADATA)
    def search_registered_models(
        filter: Filter = "",  # noqa: A002 - MLflow's name
        max_results: Count = 100,
        order_by: Names = None,
        page_token: Name = "",
    ) -> answers.RegisteredModels:
        """Find registered models."""
        begin, count = page(page_token, max_results)
        rows = registry.model_fields()
        orders = [*read_order(order_by or []), *read_order(["name"])]
        places = select_by([fields for _, fields in rows], read_filter(filter), orders, _ATTRIBUTES)
        return answers.RegisteredModels(
            registered_models=[registry.model(rows[place][0]) for place in places[begin : begin + count]],
            next_page_token=token(begin, count, len(places)),
        )

    @gets("registered-models/get-latest-versions", opt=METADATA)
    def get_latest_versions_of(name: Name, stages: Names = None) -> answers.ModelVersions:
        """List the newest version of each stage."""
        return answers.ModelVersions(model_versions=registry.latest(name, stages or []))

    @posts("registered-models/get-latest-versions", opt=METADATA)
    def get_latest_versions(data: JSONBody[requests.LatestVersions]) -> answers.ModelVersions:
        """List the newest version of each stage."""
        return answers.ModelVersions(model_versions=registry.latest(data.name, data.stages))

    return [get_registered_model, search_registered_models, get_latest_versions_of, get_latest_versions]


def _writes(ws: Workspace, registry: Registry) -> list[HTTPRouteHandler]:
    @posts("registered-models/create", opt=WRITE, errors=EXISTING)
    def create_registered_model(data: JSONBody[requests.CreateRegisteredModel]) -> answers.RegisteredModelAnswer:
        """Register a name, which is kept word for word; here it is called by its slug."""
        tags = tags_of(data.tags)
        refuse_prompt(tags)
        registry.refuse_taken(data.name)
        ws.models.registered.create(data.name, description=data.description, tags=tags)
        return answers.RegisteredModelAnswer(registered_model=registry.model(data.name))

    @posts("registered-models/rename", opt=ADMIN, errors=EXISTING)
    def rename_registered_model(data: JSONBody[requests.RenameModel]) -> answers.RegisteredModelAnswer:
        """Give a registered model another name; what it is called here stays."""
        registry.refuse_own(data.name)
        registry.refuse_taken(data.new_name)
        ws.models.registered.change(data.name, new_title=data.new_name)
        return answers.RegisteredModelAnswer(registered_model=registry.model(data.new_name))

    @patches("registered-models/update", opt=WRITE)
    def update_registered_model(data: JSONBody[requests.UpdateModel]) -> answers.RegisteredModelAnswer:
        """Describe a registered model."""
        registry.refuse_own(data.name)
        ws.models.registered.change(data.name, description=data.description)
        return answers.RegisteredModelAnswer(registered_model=registry.model(data.name))

    @deletes("registered-models/delete", opt=ADMIN)
    def delete_registered_model(data: JSONBody[requests.Named]) -> answers.Empty:
        """Remove a registered model with all its versions."""
        registry.refuse_own(data.name)
        ws.models.registered.delete(data.name)
        return answers.Empty()

    return [create_registered_model, rename_registered_model, update_registered_model, delete_registered_model]


def _tags(registry: Registry) -> list[HTTPRouteHandler]:
    @posts("registered-models/set-tag", opt=WRITE)
    def set_registered_model_tag(data: JSONBody[requests.NamedTag]) -> answers.Empty:
        """Set a tag of a registered model."""
        registry.refuse_own(data.name)
        registry.registered.change(data.name, tags={data.key: data.value})
        return answers.Empty()

    @deletes("registered-models/delete-tag", opt=WRITE)
    def delete_registered_model_tag(data: JSONBody[requests.NamedTag]) -> answers.Empty:
        """Remove a tag of a registered model."""
        registry.refuse_own(data.name)
        registry.registered.change(data.name, tags={data.key: None})
        return answers.Empty()

    return [set_registered_model_tag, delete_registered_model_tag]


def _aliases(ws: Workspace, registry: Registry) -> list[HTTPRouteHandler]:
    @posts("registered-models/alias", opt=ADMIN)
    def set_registered_model_alias(data: JSONBody[requests.Aliased]) -> answers.Empty:
        """Point an alias at a version; of a model of this workspace it is a promotion."""
        if data.version is None:
            raise DataError("the alias points at no version", hint="send version")
        number = integer(data.version, "version")
        if registry.is_own(data.name):
            ws.models.promote(data.name, number, data.alias)
        else:
            ws.models.registered.set_alias(data.name, data.alias, number)
        return answers.Empty()

    @deletes("registered-models/alias", opt=ADMIN)
    def delete_registered_model_alias(data: JSONBody[requests.Aliased]) -> answers.Empty:
        """Remove an alias."""
        registry.refuse_own(data.name)
        ws.models.registered.set_alias(data.name, data.alias, None)
        return answers.Empty()

    @gets("registered-models/alias", opt=METADATA)
    def get_model_version_by_alias(name: Name, alias: Name) -> answers.ModelVersionAnswer:
        """Show the version that an alias points at."""
        if not registry.is_own(name):
            version = ws.models.registered.by_alias(name, alias)
            return answers.ModelVersionAnswer(model_version=registry.version(name, version.version))
        pointed = {one.alias: one.version for one in ws.models.aliases(name)}
        if alias not in pointed:
            raise NotFoundError(f"the model {name!r} has no alias {alias[:100]!r}", hint=f"set one: promote({name!r})")
        return answers.ModelVersionAnswer(model_version=registry.version(name, pointed[alias]))

    return [set_registered_model_alias, delete_registered_model_alias, get_model_version_by_alias]
