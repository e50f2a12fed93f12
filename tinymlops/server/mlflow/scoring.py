"""`/invocations` and `/ping`: MLflow's scoring protocol, answered by the models that tinymlops trains and serves."""

from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from tinymlops.errors import DataError, DefinitionError, NotFoundError
from tinymlops.server.key_names import KeyNames
from tinymlops.server.lanes import Lanes
from tinymlops.server.messages import MAX_COLUMNS, MAX_ROWS, Cell, Column, Columns, Row
from tinymlops.server.mlflow.routing import OPTIONS
from tinymlops.server.route_class import OPEN, PREDICT
from tinymlops.workspace import Workspace

__all__ = ["scoring_routes"]

_Cells = Annotated[list[Cell], Meta(max_length=MAX_COLUMNS)]
_Rows = Annotated[list[Row | _Cells], Meta(max_length=MAX_ROWS)]
Model = Annotated[str | None, QueryParameter(max_length=200)]


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frame as pandas writes it with `orient="split"`."""

    data: Annotated[list[_Cells], Meta(max_length=MAX_ROWS)]
    columns: Annotated[list[Column], Meta(max_length=MAX_COLUMNS)] | None = None
    index: list[Any] | None = None


class Invocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows to predict for, in one of MLflow's four forms."""

    dataframe_split: Split | None = None
    dataframe_records: Annotated[list[Row], Meta(max_length=MAX_ROWS)] | None = None
    instances: _Rows | Columns | None = None
    inputs: _Rows | Columns | None = None
    params: dict[str, Any] | None = None


class Answer(msgspec.Struct, frozen=True):
    """A prediction for each row."""

    predictions: list[Any]


def scoring_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    lanes = Lanes()

    @post("/invocations", opt=PREDICT, **OPTIONS)
    async def invoke(data: JSONBody[Invocation], model: Model = None) -> Answer:
        """Predict by the model that is named, or by the only one."""
        return await lanes.run(f"invoke {model}", partial(_invoke, ws, model, data))

    @post("/v1/models/{name:str}/invocations", opt=PREDICT, **OPTIONS)
    async def invoke_named(name: FromPath[str], data: JSONBody[Invocation]) -> Answer:
        """Predict by a model, such as `churn` or `churn@champion`."""
        return await lanes.run(f"invoke {name}", partial(_invoke, ws, name, data))

    @get("/ping", opt=OPEN, sync_to_thread=False, media_type="text/plain", **OPTIONS)
    def ping() -> str:
        """Say that the process is up."""
        return "\n"

    return [invoke, invoke_named, ping]


def _invoke(ws: Workspace, name: str | None, data: Invocation) -> Answer:
    reference = _only(ws) if name is None else name
    if data.params:
        raise DataError("models here take no params", hint="leave params out")
    rows = _rows(ws, reference, data)
    if not rows:
        return Answer([])
    answer = ws.predict(reference, KeyNames(ws.key_aliases(), rows).rows)
    return Answer([one["prediction"] for one in answer.to_rows()])


def _only(ws: Workspace) -> str:
    names = [one.name for one in ws.models.list()]
    if len(names) != 1:
        known = f"name one: POST /invocations?model={names[0]}" if names else "register one: ws.register_model(name)"
        raise NotFoundError(f"there are {len(names)} models", hint=known)
    return names[0]


def _rows(ws: Workspace, reference: str, data: Invocation) -> list[dict[str, Any]]:
    forms = ("dataframe_split", "dataframe_records", "instances", "inputs")
    sent = [one for one in forms if getattr(data, one) is not None]
    if len(sent) != 1:
        raise DataError(f"the body has {len(sent)} of the forms of rows", hint=f"send one of {', '.join(forms)}")
    if data.dataframe_records is not None:
        return list(data.dataframe_records)
    if data.dataframe_split is not None:
        split = data.dataframe_split
        return [_named(ws, reference, row, split.columns) for row in split.data]
    found = data.instances if data.instances is not None else data.inputs
    if isinstance(found, dict):
        return _transposed(found)
    return [one if isinstance(one, dict) else _named(ws, reference, one, None) for one in found or []]


def _transposed(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise DataError("the columns differ in length", hint="send a value of each row in each column")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _named(ws: Workspace, reference: str, row: list[Any], columns: list[str] | None) -> dict[str, Any]:
    """Name the values of a row: as the body says, or in the order of what the model reads."""
    if columns is None:
        try:
            signature = ws.models.manifest(reference).model.signature
        except DefinitionError as error:
            raise DataError(error.message, hint=error.hint) from error
        names = [[one.name for one in signature.features], [one.name for one in signature.request]]
        columns = next((one for one in names if len(one) == len(row)), names[0])
    if len(columns) != len(row):
        raise DataError(f"a row has {len(row)} values for {len(columns)} columns", hint="name the columns of each")
    return dict(zip(columns, row, strict=True))
