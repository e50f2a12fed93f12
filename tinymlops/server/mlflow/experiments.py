"""`experiments/`: what runs belong to."""

from typing import Annotated, Any

from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from tinymlops.errors import DataError
from tinymlops.records import Experiment
from tinymlops.registry.comparisons import Comparison, Field, select_by
from tinymlops.server.mlflow import answers, requests
from tinymlops.server.mlflow.errors import EXISTING
from tinymlops.server.mlflow.filters import read_filter, read_order
from tinymlops.server.mlflow.mapping import (
    NOTE_TAG,
    experiment_answer,
    experiment_id,
    millis,
    page,
    tags_of,
    token,
)
from tinymlops.server.mlflow.routing import gets, posts
from tinymlops.server.route_class import METADATA, READ, WRITE
from tinymlops.workspace import Workspace

__all__ = ["experiment_routes"]

Name = Annotated[str, QueryParameter(max_length=1_000)]
_ATTRIBUTES = ("name", "experiment_id", "creation_time", "last_update_time")
_VIEWS = {"ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}
_MOST_RESULTS = 50_000


def experiment_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_reads(ws), *_writes(ws)]


def _reads(ws: Workspace) -> list[HTTPRouteHandler]:
    @gets("experiments/get-by-name", opt=METADATA)
    def get_by_name(experiment_name: Name) -> answers.ExperimentAnswer:
        """Find an experiment by its name."""
        return answers.ExperimentAnswer(experiment=experiment_answer(ws.runs.experiment(experiment_name)))

    @gets("experiments/get", opt=METADATA)
    def get_experiment(experiment_id: Name) -> answers.ExperimentAnswer:
        """Find an experiment by its id."""
        return answers.ExperimentAnswer(experiment=experiment_answer(_of(ws, experiment_id)))

    @posts("experiments/search", opt=METADATA)
    def search_experiments(data: JSONBody[requests.SearchExperiments]) -> answers.Experiments:
        """Find experiments."""
        return _search(ws, data)

    @posts("experiments/search-datasets", opt=READ)
    def search_datasets(data: JSONBody[requests.SearchDatasets]) -> answers.DatasetSummaries:
        """List the datasets that runs of experiments read."""
        ids = [experiment_id(one) for one in data.experiment_ids]
        found = ws.runs.remote.datasets(ids)
        return answers.DatasetSummaries(
            dataset_summaries=[
                answers.DatasetSummary(experiment_id=str(number), name=name, digest=digest, context=context or None)
                for number, name, digest, context in found
            ]
        )

    return [get_by_name, get_experiment, search_experiments, search_datasets]


def _writes(ws: Workspace) -> list[HTTPRouteHandler]:
    @posts("experiments/create", opt=WRITE, errors=EXISTING)
    def create_experiment(data: JSONBody[requests.CreateExperiment]) -> answers.ExperimentIdAnswer:
        """Make an experiment; its files are always kept here."""
        if data.artifact_location and not data.artifact_location.startswith("mlflow-artifacts:"):
            raise DataError(
                f"artifacts of {data.name!r} would be kept at {data.artifact_location[:100]!r}",
                hint="leave artifact_location out: this server keeps all files",
            )
        tags = tags_of(data.tags)
        made = ws.runs.create_experiment(data.name, notes=tags.pop(NOTE_TAG, None), tags=tags)
        return answers.ExperimentIdAnswer(experiment_id=str(made.id or 0))

    @posts("experiments/delete", opt=WRITE)
    def delete_experiment(data: JSONBody[requests.ExperimentId]) -> answers.Empty:
        """Put an experiment into the trash, with its runs."""
        ws.runs.trash_experiment(experiment_id(data.experiment_id))
        return answers.Empty()

    @posts("experiments/restore", opt=WRITE)
    def restore_experiment(data: JSONBody[requests.ExperimentId]) -> answers.Empty:
        """Take an experiment out of the trash."""
        ws.runs.restore_experiment(experiment_id(data.experiment_id))
        return answers.Empty()

    @posts("experiments/update", opt=WRITE, errors=EXISTING)
    def update_experiment(data: JSONBody[requests.UpdateExperiment]) -> answers.Empty:
        """Rename an experiment."""
        if data.new_name is not None:
            ws.runs.rename_experiment(experiment_id(data.experiment_id), data.new_name)
        return answers.Empty()

    @posts("experiments/set-experiment-tag", opt=WRITE)
    def set_experiment_tag(data: JSONBody[requests.ExperimentTag]) -> answers.Empty:
        """Set a tag of an experiment; `mlflow.note.content` is its notes."""
        _set_tag(ws, data.experiment_id, data.key, data.value)
        return answers.Empty()

    @posts("experiments/delete-experiment-tag", opt=WRITE)
    def delete_experiment_tag(data: JSONBody[requests.ExperimentTag]) -> answers.Empty:
        """Remove a tag of an experiment."""
        _set_tag(ws, data.experiment_id, data.key, None)
        return answers.Empty()

    return [
        create_experiment,
        delete_experiment,
        restore_experiment,
        update_experiment,
        set_experiment_tag,
        delete_experiment_tag,
    ]


def _of(ws: Workspace, text: str) -> Experiment:
    return ws.runs.experiment(experiment_id(text))


def _set_tag(ws: Workspace, experiment: str, key: str, value: str | None) -> None:
    ws.runs.set_experiment_tags(experiment_id(experiment), {key: value})


def _search(ws: Workspace, data: requests.SearchExperiments) -> answers.Experiments:
    if data.view_type not in _VIEWS:
        raise DataError(f"there is no view {data.view_type!r}", hint=f"use one of {', '.join(_VIEWS)}")
    begin, count = page(data.page_token, data.max_results, limit=_MOST_RESULTS)
    found = ws.runs.experiments(deleted=_VIEWS[data.view_type])
    orders = read_order(data.order_by) or read_order(["creation_time DESC", "experiment_id DESC"])
    comparisons = [_by_number(one) for one in read_filter(data.filter)]
    places = select_by([_fields(one) for one in found], comparisons, orders, _ATTRIBUTES)
    return answers.Experiments(
        experiments=[experiment_answer(found[place]) for place in places[begin : begin + count]],
        next_page_token=token(begin, count, len(places)),
    )


def _by_number(comparison: Comparison) -> Comparison:
    """Let an id be compared that is written as a text."""
    if comparison.field == Field("attribute", "experiment_id") and isinstance(comparison.value, str):
        return comparison._replace(value=float(experiment_id(comparison.value)))
    return comparison


def _fields(one: Experiment) -> dict[Field, Any]:
    answered = experiment_answer(one)
    return {
        Field("attribute", "name"): one.name,
        Field("attribute", "experiment_id"): float(one.id or 0),
        Field("attribute", "creation_time"): float(millis(one.created_at)),
        Field("attribute", "last_update_time"): float(millis(one.created_at)),
    } | {Field("tag", pair.key): pair.value for pair in answered.tags}
