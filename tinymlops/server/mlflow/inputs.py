"""`runs/log-inputs`, `runs/outputs` and `runs/log-model`: what runs read and make."""

import json
from datetime import datetime

from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from tinymlops.errors import DataError
from tinymlops.records import RunInput
from tinymlops.server.mlflow import answers, requests
from tinymlops.server.mlflow.mapping import CONTEXT_TAG, integer, tags_of
from tinymlops.server.mlflow.routing import posts
from tinymlops.server.mlflow.runs import log_tags
from tinymlops.server.route_class import WRITE
from tinymlops.times import system_clock
from tinymlops.workspace import Workspace

__all__ = ["input_routes"]

_HISTORY_TAG = "mlflow.log-model.history"


def input_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""

    @posts("runs/log-inputs", opt=WRITE)
    def log_inputs(data: JSONBody[requests.LogInputs]) -> answers.Empty:
        """Say what a run reads; a dataset whose digest is the id of a training set build here joins its lineage."""
        now = system_clock()
        inputs = [_input(data.run_id, one, now) for one in data.datasets]
        ws.runs.remote.log_inputs(data.run_id, inputs, [one.model_id for one in data.models])
        return answers.Empty()

    @posts("runs/outputs", opt=WRITE)
    def log_outputs(data: JSONBody[requests.LogOutputs]) -> answers.Empty:
        """Say which logged models a run makes."""
        run = ws.runs.remote.get(data.run_id).id
        models = {one.model_id: integer(one.step, "step") for one in data.models}
        ws.models.opaque.link(run, models, "output")
        return answers.Empty()

    @posts("runs/log-model", opt=WRITE)
    def log_model(data: JSONBody[requests.LogModel]) -> answers.Empty:
        """Keep what a client before MLflow 3 says of a model, in the tag where it looks for that."""
        run = ws.runs.remote.get(data.run_id)
        try:
            said = json.loads(data.model_json)
            history = json.loads(run.tags.get(_HISTORY_TAG, "[]"))
        except ValueError:
            raise DataError("model_json is not JSON", hint="send what MLmodel has, as JSON") from None
        text = json.dumps([*(one for one in history if one != said), said])
        ws.runs.remote.log(run.id, log_tags({_HISTORY_TAG: text}))
        return answers.Empty()

    return [log_inputs, log_outputs, log_model]


def _input(run: str, one: requests.DatasetSent, at: datetime) -> RunInput:
    tags = tags_of(one.tags)
    return RunInput(
        run=run,
        name=one.dataset.name,
        digest=one.dataset.digest,
        context=tags.pop(CONTEXT_TAG, ""),
        source_type=one.dataset.source_type,
        source=one.dataset.source,
        schema=one.dataset.schema,
        profile=one.dataset.profile,
        tags=tags,
        at=at,
    )
