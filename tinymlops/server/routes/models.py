"""`/v1/models`: what is registered, and predictions."""

from functools import partial

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from tinymlops.errors import DataError, DefinitionError
from tinymlops.records import ModelVersion
from tinymlops.references import Reference
from tinymlops.server.errors import documented, unavailable
from tinymlops.server.key_names import KeyNames
from tinymlops.server.lanes import Lanes
from tinymlops.server.messages import (
    ModelAnswer,
    ModelsAnswer,
    ModelSummary,
    PredictAnswer,
    PredictRequest,
    VersionSummary,
)
from tinymlops.server.route_class import METADATA, PREDICT
from tinymlops.workspace import Workspace

__all__ = ["model_routes"]


def model_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    lanes = Lanes()

    @get("/v1/models", opt=METADATA, sync_to_thread=True, operation_id="list_models", responses=documented())
    def list_models() -> ModelsAnswer:
        """List the registered models."""
        return ModelsAnswer(models=[_model_summary(ws, newest) for newest in ws.models.list()])

    @get(
        "/v1/models/{name:str}",
        opt=METADATA,
        sync_to_thread=True,
        operation_id="get_model",
        responses=documented(400, 404),
    )
    def get_model(name: FromPath[str]) -> ModelAnswer:
        """Show a model, its versions and aliases, and what it takes and gives."""
        version = ws.models.get(name)
        return ModelAnswer(
            name=version.name,
            version=version.version,
            signature=ws.models.manifest(version).model.signature,
            aliases=ws.models.aliases(version.name),
            versions=[_version_summary(one) for one in ws.models.versions(version.name)],
        )

    @post(
        "/v1/models/{name:str}/predict",
        opt=PREDICT,
        status_code=200,
        operation_id="predict",
        responses=documented(404, body=True),
        exception_handlers={DefinitionError: unavailable},
    )
    async def predict(name: FromPath[str], data: JSONBody[PredictRequest]) -> PredictAnswer:
        """Predict as of now, and log the predictions with the features they were made from."""
        kind = f"{name}@{data.alias}:{data.version}" + (" of many rows" if len(data.rows) > 1 or data.sync else "")
        return await lanes.run(kind, partial(_predict, ws, name, data))

    return [list_models, get_model, predict]


def _predict(ws: Workspace, name: str, data: PredictRequest) -> PredictAnswer:
    reference = _reference(name, alias=data.alias, version=data.version)
    rows = KeyNames(ws.key_aliases(), data.rows).rows
    answer = ws.predict(
        reference, rows, details=data.details, sync=data.sync, consumer=data.consumer, request_id=data.request_id
    )
    return PredictAnswer(
        model=answer.model,
        version=answer.version,
        timestamp=answer.timestamp,
        sequence=answer.sequence,
        predictions=answer.to_rows(),
    )


def _reference(name: str, *, alias: str | None = None, version: int | None = None) -> str:
    """Name the version that is asked for: in the path, as in `delay@champion`, or in the body."""
    said = Reference.parse(name)
    if alias is None and version is None:
        return name
    if said != Reference(said.name):
        raise DataError(
            f"the address names {name!r}, and the body another version", hint=f"post to /v1/models/{said.name}/predict"
        )
    return str(Reference(name, version, None if version is not None else alias))


def _version_summary(version: ModelVersion) -> VersionSummary:
    return VersionSummary(version=version.version, run=version.run, registered_at=version.registered_at)


def _model_summary(ws: Workspace, newest: ModelVersion) -> ModelSummary:
    aliases = {alias.alias: alias.version for alias in ws.models.aliases(newest.name)}
    return ModelSummary(name=newest.name, newest=_version_summary(newest), aliases=aliases)
