"""`runs/`: what clients log to and search."""

from collections import defaultdict
from typing import Annotated

from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from tinymlops.errors import ConflictError, DataError
from tinymlops.records import Run
from tinymlops.registry.runs.remote import Batch
from tinymlops.server.mlflow import answers, requests
from tinymlops.server.mlflow.filters import read_filter, read_order
from tinymlops.server.mlflow.mapping import (
    NAME_TAG,
    NOTE_TAG,
    PARENT_TAG,
    experiment_id,
    instant,
    page,
    run_answer,
    run_info,
    status_here,
    tags_of,
)
from tinymlops.server.mlflow.routing import gets, posts
from tinymlops.server.route_class import READ, WRITE
from tinymlops.stores.live_runs import HTTP
from tinymlops.workspace import Workspace

__all__ = ["log_tags", "run_routes"]

Id = Annotated[str, QueryParameter(max_length=100)]
_FIELDS = {NAME_TAG: "name", NOTE_TAG: "notes", PARENT_TAG: "parent"}
"""Tags of MLflow that are fields of a run here."""
_VIEWS = {"ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}


def run_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_lives(ws), *_reads(ws), *_tags(ws)]


def _lives(ws: Workspace) -> list[HTTPRouteHandler]:
    @posts("runs/create", opt=WRITE)
    def create_run(data: JSONBody[requests.CreateRun]) -> answers.RunAnswer:
        """Start a run; it goes on until the client says how it ended, or is silent for a day."""
        return answers.RunAnswer(run=run_answer(_start(ws, data), []))

    @posts("runs/update", opt=WRITE)
    def update_run(data: JSONBody[requests.UpdateRun]) -> answers.RunInfoAnswer:
        """Rename a run, end it, or let it go on."""
        run = data.run_id or data.run_uuid
        if data.run_name:
            ws.runs.remote.log(run, Batch(fields={"name": data.run_name}))
        if data.status is not None:
            _set_status(ws, run, data)
        return answers.RunInfoAnswer(run_info=run_info(ws.runs.remote.get(run)))

    @posts("runs/delete", opt=WRITE)
    def delete_run(data: JSONBody[requests.RunId]) -> answers.Empty:
        """Put a run into the trash."""
        ws.runs.trash(ws.runs.remote.get(data.run_id).id)
        return answers.Empty()

    @posts("runs/restore", opt=WRITE)
    def restore_run(data: JSONBody[requests.RunId]) -> answers.Empty:
        """Take a run out of the trash."""
        ws.runs.restore(ws.runs.remote.get(data.run_id).id)
        return answers.Empty()

    return [create_run, update_run, delete_run, restore_run]


def _reads(ws: Workspace) -> list[HTTPRouteHandler]:
    @gets("runs/get", opt=READ)
    def get_run(run_id: Id = "", run_uuid: Id = "") -> answers.RunAnswer:
        """Show a run with the last point of each of its metrics."""
        return answers.RunAnswer(run=_answers(ws, [ws.runs.remote.get(run_id or run_uuid)])[0])

    @posts("runs/search", opt=READ)
    def search_runs(data: JSONBody[requests.SearchRuns]) -> answers.Runs:
        """Find runs by a filter, in order, page by page."""
        if data.run_view_type not in _VIEWS:
            raise DataError(f"there is no view {data.run_view_type!r}", hint=f"use one of {', '.join(_VIEWS)}")
        begin, count = page(data.page_token, data.max_results)
        found = ws.runs.remote.search(
            read_filter(data.filter),
            read_order(data.order_by),
            experiments=[experiment_id(one) for one in data.experiment_ids],
            deleted=_VIEWS[data.run_view_type],
            start=begin,
            limit=count + 1,
        )
        following = str(begin + count) if len(found) > count else None
        return answers.Runs(runs=_answers(ws, found[:count]), next_page_token=following)

    return [get_run, search_runs]


def _tags(ws: Workspace) -> list[HTTPRouteHandler]:
    @posts("runs/set-tag", opt=WRITE)
    def set_tag(data: JSONBody[requests.TagOfRun]) -> answers.Empty:
        """Set a tag; `mlflow.runName`, `mlflow.note.content` and `mlflow.parentRunId` are fields of the run."""
        ws.runs.remote.log(data.run_id or data.run_uuid, log_tags({data.key: data.value}))
        return answers.Empty()

    @posts("runs/delete-tag", opt=WRITE)
    def delete_tag(data: JSONBody[requests.TagOfRun]) -> answers.Empty:
        """Remove a tag."""
        if data.key == NAME_TAG:
            raise DataError("a run keeps its name", hint="give it another one")
        ws.runs.remote.log(data.run_id or data.run_uuid, log_tags({data.key: None}))
        return answers.Empty()

    return [set_tag, delete_tag]


def log_tags(tags: dict[str, str | None]) -> Batch:
    """Return what logs tags: those that are fields of a run here as such; None removes one."""
    fields = {_FIELDS[key]: value or None for key, value in tags.items() if key in _FIELDS}
    return Batch(tags={key: value for key, value in tags.items() if key not in _FIELDS}, fields=fields)


def _start(ws: Workspace, data: requests.CreateRun) -> Run:
    tags = tags_of(data.tags)
    experiment = ws.runs.experiment(experiment_id(data.experiment_id))
    if experiment.deleted_at is not None:
        raise ConflictError(f"the experiment {experiment.name!r} is in the trash", hint="restore it first")
    if data.user_id:
        tags.setdefault("mlflow.user", data.user_id)
    name = data.run_name or tags.get(NAME_TAG) or "run"
    return ws.runs.start(
        name,
        experiment=experiment.id,
        parent=tags.get(PARENT_TAG),
        tags={key: value for key, value in tags.items() if key not in _FIELDS},
        notes=tags.get(NOTE_TAG),
        origin=HTTP,
        started_at=None if data.start_time is None else instant(data.start_time, "start_time"),
    )


def _set_status(ws: Workspace, run: str, data: requests.UpdateRun) -> None:
    status = status_here(data.status or "")
    if status == "running":
        before = ws.runs.remote.get(run)
        if before.status != "running":
            ws.runs.remote.resume(run)
        return
    ended = None if not data.end_time else instant(data.end_time, "end_time")
    ws.runs.finish(ws.runs.remote.get(run).id, status=status, ended_at=ended)


def _answers(ws: Workspace, runs: list[Run]) -> list[answers.Run]:
    ids = [one.id for one in runs]
    sums = ws.runs.summaries(ids)
    inputs, links = defaultdict(list), defaultdict(list)
    for read in ws.runs.remote.inputs(ids):
        inputs[read.run].append(read)
    for link in ws.models.opaque.links(ids):
        links[link.run].append(link)
    return [run_answer(run, sums.get(run.id, []), inputs[run.id], links[run.id]) for run in runs]
