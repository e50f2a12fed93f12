"""`logged-models/`: models as MLflow 3 logs them, whose files nothing here opens."""

from typing import Annotated, Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from tinymlops.errors import DataError, NotFoundError
from tinymlops.records import OpaqueModel, OpaqueVersion
from tinymlops.registry.comparisons import Field, Order, select_by
from tinymlops.server.mlflow import answers, requests
from tinymlops.server.mlflow.filters import read_filter, read_order
from tinymlops.server.mlflow.listing import listed
from tinymlops.server.mlflow.mapping import (
    experiment_id,
    millis,
    model_uri,
    page,
    pairs,
    tags_of,
    token,
)
from tinymlops.server.mlflow.routing import deletes, gets, patches, posts
from tinymlops.server.route_class import READ, WRITE
from tinymlops.workspace import Workspace

__all__ = ["logged_model_routes", "model_metrics"]

_STATUS = "LOGGED_MODEL_"
_ATTRIBUTES = (
    "name",
    "model_id",
    "model_type",
    "status",
    "source_run_id",
    "experiment_id",
    "creation_timestamp",
    "creation_time",
    "last_updated_timestamp",
    "artifact_location",
    "artifact_uri",
)
_VERSIONS_TAG = "mlflow.modelVersions"
"""Where MLflow's client looks for the versions that were registered of a model."""


def logged_model_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_reads(ws), *_writes(ws), *_details(ws)]


def _reads(ws: Workspace) -> list[HTTPRouteHandler]:
    @gets("logged-models/{model_id:str}", opt=READ)
    def get_logged_model(
        model_id: FromPath[str],
        allow_deleted: Annotated[bool, QueryParameter()] = False,  # noqa: FBT002 - Litestar passes it by name
    ) -> answers.LoggedModelAnswer:
        """Show a logged model."""
        return _answered(ws, ws.models.opaque.get(model_id, deleted=allow_deleted))

    @posts("logged-models/search", opt=READ)
    def search_logged_models(data: JSONBody[requests.SearchLoggedModels]) -> answers.LoggedModels:
        """Find logged models."""
        return _search(ws, data)

    @gets("logged-models/{model_id:str}/artifacts/directories", opt=READ)
    def list_logged_model_files(
        model_id: FromPath[str],
        artifact_directory_path: Annotated[str, QueryParameter(max_length=1_000)] = "",
        page_token: Annotated[str, QueryParameter(max_length=1_000)] = "",  # noqa: ARG001 - there is one page
    ) -> answers.Files:
        """List the files of a logged model."""
        ws.models.opaque.get(model_id)
        files = listed(ws.models.opaque.files(model_id), artifact_directory_path, full=True)
        return answers.Files(root_uri=model_uri(model_id), files=files)

    return [get_logged_model, search_logged_models, list_logged_model_files]


def _writes(ws: Workspace) -> list[HTTPRouteHandler]:
    @posts("logged-models", opt=WRITE)
    def create_logged_model(data: JSONBody[requests.CreateLoggedModel]) -> answers.LoggedModelAnswer:
        """Begin a logged model; its files come as artifacts."""
        experiment = ws.runs.experiment(experiment_id(data.experiment_id))
        run = ws.runs.remote.get(data.source_run_id).id if data.source_run_id else None
        model = ws.models.opaque.create(
            data.name or "model",
            experiment=experiment.id or 0,
            run=run,
            model_type=data.model_type,
            params=tags_of(data.params),
            tags=tags_of(data.tags),
        )
        return _answered(ws, model)

    @patches("logged-models/{model_id:str}", opt=WRITE)
    def finalize_logged_model(
        model_id: FromPath[str], data: JSONBody[requests.FinalizeLoggedModel]
    ) -> answers.LoggedModelAnswer:
        """Say that the files of a logged model are there, or will not come."""
        return _answered(ws, ws.models.opaque.change(model_id, status=data.status.removeprefix(_STATUS)))

    @deletes("logged-models/{model_id:str}", opt=WRITE)
    def delete_logged_model(model_id: FromPath[str], data: JSONBody[requests.ModelId]) -> answers.Empty:
        """Put a logged model where searches do not find it."""
        if data.model_id != model_id:
            raise DataError("the address and the body name two models", hint="name one")
        ws.models.opaque.delete(model_id)
        return answers.Empty()

    return [create_logged_model, finalize_logged_model, delete_logged_model]


def _details(ws: Workspace) -> list[HTTPRouteHandler]:
    @patches("logged-models/{model_id:str}/tags", opt=WRITE)
    def set_logged_model_tags(
        model_id: FromPath[str], data: JSONBody[requests.SetLoggedModelTags]
    ) -> answers.LoggedModelAnswer:
        """Set tags of a logged model."""
        return _answered(ws, ws.models.opaque.change(model_id, tags=tags_of(data.tags)))

    @deletes("logged-models/{model_id:str}/tags/{tag_key:str}", opt=WRITE)
    def delete_logged_model_tag(model_id: FromPath[str], tag_key: FromPath[str]) -> answers.Empty:
        """Remove a tag of a logged model."""
        if tag_key not in ws.models.opaque.get(model_id).tags:
            raise NotFoundError(f"the model has no tag {tag_key[:100]!r}")
        ws.models.opaque.change(model_id, tags={tag_key: None})
        return answers.Empty()

    @posts("logged-models/{model_id:str}/params", opt=WRITE)
    def log_logged_model_params(
        model_id: FromPath[str], data: JSONBody[requests.LogLoggedModelParams]
    ) -> answers.Empty:
        """Add params to a logged model; each keeps its value."""
        ws.models.opaque.change(model_id, params=tags_of(data.params))
        return answers.Empty()

    return [set_logged_model_tags, delete_logged_model_tag, log_logged_model_params]


def _answered(ws: Workspace, model: OpaqueModel) -> answers.LoggedModelAnswer:
    return answers.LoggedModelAnswer(model=_answer(model, ws.models.registered.of_model(model.id)))


def _answer(model: OpaqueModel, versions: list[tuple[str, OpaqueVersion]]) -> answers.LoggedModel:
    tags = dict(model.tags)
    if versions:
        said = [{"name": title, "version": one.version} for title, one in versions]
        tags[_VERSIONS_TAG] = msgspec.json.encode(said).decode()
    return answers.LoggedModel(
        info=answers.LoggedModelInfo(
            model_id=model.id,
            experiment_id=str(model.experiment),
            name=model.name,
            creation_timestamp_ms=millis(model.created_at),
            last_updated_timestamp_ms=millis(model.updated_at),
            artifact_uri=model_uri(model.id),
            status=_STATUS + model.status,
            model_type=model.model_type or None,
            source_run_id=model.run,
            tags=pairs(tags),
        ),
        data=answers.LoggedModelData(params=pairs(model.params), metrics=model_metrics(model)),
    )


def model_metrics(model: OpaqueModel) -> list[answers.Metric]:
    """Return the metrics of a logged model."""
    return [answers.Metric(**one) for one in model.metrics]


def _search(ws: Workspace, data: requests.SearchLoggedModels) -> answers.LoggedModels:
    begin, count = page(data.page_token, data.max_results)
    found = ws.models.opaque.list([experiment_id(one) for one in data.experiment_ids])
    datasets = [(one.get("dataset_name"), one.get("dataset_digest")) for one in data.datasets]
    rows = [_fields(one, datasets) for one in found]
    places = select_by(rows, read_filter(data.filter), [_order(one) for one in data.order_by], _ATTRIBUTES)
    some = [found[place] for place in places[begin : begin + count]]
    return answers.LoggedModels(
        models=[_answered(ws, one).model for one in some], next_page_token=token(begin, count, len(places))
    )


def _order(sent: dict[str, Any]) -> Order:
    (order,) = read_order([str(sent.get("field_name", ""))])
    return order._replace(descending=sent.get("ascending", True) is False)


def _fields(model: OpaqueModel, datasets: list[tuple[str | None, str | None]]) -> dict[Field, float | str | None]:
    created, updated = float(millis(model.created_at)), float(millis(model.updated_at))
    attributes: dict[str, float | str | None] = {
        "name": model.name,
        "model_id": model.id,
        "model_type": model.model_type,
        "status": model.status,
        "source_run_id": model.run,
        "experiment_id": str(model.experiment),
        "creation_timestamp": created,
        "creation_time": created,
        "last_updated_timestamp": updated,
        "artifact_location": model_uri(model.id),
        "artifact_uri": model_uri(model.id),
    }
    metrics = {
        Field("metric", one["key"]): float(one["value"])
        for one in model.metrics
        if not datasets
        or any(
            one.get("dataset_name") == name and digest in (None, one.get("dataset_digest")) for name, digest in datasets
        )
    }
    return (
        {Field("attribute", key): value for key, value in attributes.items()}
        | {Field("tag", key): value for key, value in model.tags.items()}
        | {Field("param", key): value for key, value in model.params.items()}
        | metrics
    )
